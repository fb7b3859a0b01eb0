"""Environments and run configurations of steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..exceptions import UserErrorException
from ..loader.name_table import Partial
from .conda import CondaDependencies
from .workspace import Workspace, changed_records, read_records

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.1-cudnn8-ubuntu20.04"
MPI_CPU_IMAGE, MPI_GPU_IMAGE = DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE
_FILE = "environments.json"


class _Section:
    """Recorded settings; any attribute may be set."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__dict__})"


class DockerSection(_Section):
    """Docker settings of an environment; only recorded, workers run without Docker here."""

    def __init__(self, **settings: Any) -> None:
        self.enabled = False
        self.base_image: str | None = DEFAULT_CPU_IMAGE
        self.base_dockerfile: str | None = None
        self.base_image_registry = ContainerRegistry()
        self.shared_volumes = True
        self.gpu_support = False
        self.arguments: list[str] = []
        self.shm_size: str | None = None
        self.platform = _Section(os="Linux", architecture="amd64")
        super().__init__(**settings)


class DockerConfiguration(_Section):
    """Docker settings of a run configuration; only recorded."""

    def __init__(
        self,
        use_docker: bool = False,
        shared_volumes: bool = True,
        arguments: list[str] | None = None,
        shm_size: str | None = None,
    ) -> None:
        super().__init__(
            use_docker=use_docker,
            shared_volumes=shared_volumes,
            arguments=arguments or [],
            shm_size=shm_size,
        )


class ContainerRegistry(_Section):
    """The registry of a Docker image; only recorded, without credentials."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.username: str | None = None
        self.password: str | None = None


class PythonSection(_Section):
    """Python packages and interpreter of an environment."""

    def __init__(self, **settings: Any) -> None:
        self.user_managed_dependencies = False
        self.interpreter_path = "python"
        self.conda_dependencies_file: str | None = None
        self.conda_dependencies: CondaDependencies | None = CondaDependencies()
        super().__init__(**settings)


class SparkSection(_Section):
    """Spark settings of an environment; only recorded."""

    def __init__(self, **settings: Any) -> None:
        self.repositories: list[str] = []
        self.packages: list[str] = []
        self.precache_packages = True
        super().__init__(**settings)


class Environment(Partial):
    """The environment of a step: its packages; settings for Docker and Spark are only recorded.

    The variable ``PARALLELRUN_ENVIRONMENT`` selects the interpreter of the steps when a pipeline
    is submitted: ``current`` (the default), ``build``, or the path of a python.

    Raises
    ------
    UserErrorException
        The name is invalid.
    """

    def __init__(self, name: str, **_: Any) -> None:
        if not isinstance(name, str) or not name.strip():
            msg = f"name is {name!r}; expected the name of an environment, such as 'batch_environment'."
            raise UserErrorException(msg)
        self.name = name
        self.version: str | None = None
        self.environment_variables: dict[str, str] = {}
        self.python = PythonSection()
        self.docker = DockerSection()
        self.spark = SparkSection()
        self.databricks = _Section()
        self.inferencing_stack_version: str | None = None

    def __repr__(self) -> str:
        return f"Environment(name={self.name!r}, version={self.version!r})"

    @staticmethod
    def from_conda_specification(name: str, file_path: str) -> Environment:
        """Return an environment with the packages of a conda YAML file."""
        environment = Environment(name)
        environment.python.conda_dependencies = CondaDependencies(file_path)
        return environment

    @staticmethod
    def from_pip_requirements(
        name: str, file_path: str, pip_version: str | None = None
    ) -> Environment:
        """Return an environment with the packages of a requirements file."""
        lines = (line.split("#")[0].strip() for line in Path(file_path).read_text().splitlines())
        packages = [line for line in lines if line]
        environment = Environment(name)
        environment.python.conda_dependencies = CondaDependencies.create(pip_packages=packages)
        return environment

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> Environment:
        """Return an environment whose interpreter is set by ``PARALLELRUN_ENVIRONMENT``."""
        return Environment._user_managed(name)

    @staticmethod
    def from_docker_image(
        name: str, image: str, container_registry: Any = None, **_: Any
    ) -> Environment:
        """Return an environment that records a Docker image."""
        environment = Environment._user_managed(name)
        environment.docker.base_image = image
        return environment

    @staticmethod
    def get(
        workspace: Workspace, name: str, version: Any = None, label: str | None = None
    ) -> Environment:
        """Return a registered environment; Azure's curated environments are only recorded.

        Raises
        ------
        UserErrorException
            The environment or version is not registered.
        """
        records = read_records(workspace, _FILE)
        versions = [
            record
            for record in records.get(name, ())
            if version is None or str(record["version"]) == str(version)
        ]
        if versions:
            return Environment._of(versions[-1])
        if name.startswith("AzureML-"):
            environment = Environment._user_managed(name)
            environment.version = str(version or 1)
            return environment
        names = ", ".join(sorted(records)) or "none"
        msg = f"environment {name!r} is not registered in {workspace.name!r} (registered: {names})."
        raise UserErrorException(msg)

    @staticmethod
    def list(workspace: Workspace) -> dict[str, Environment]:
        """Return the latest version of each registered environment, by name."""
        records = read_records(workspace, _FILE)
        return {name: Environment._of(versions[-1]) for name, versions in sorted(records.items())}

    def register(self, workspace: Workspace) -> Environment:
        """Register this environment as the next version of its name."""
        with changed_records(workspace, _FILE) as records:
            versions = records.setdefault(self.name, [])
            self.version = str(len(versions) + 1)
            versions.append({**self.record(), "version": self.version})
        return self

    def build(self, workspace: Workspace, image_build_compute: Any = None) -> Environment:
        """Return this environment; it is built when a step needs it."""
        return self

    def clone(self, new_name: str) -> Environment:
        """Return a copy with another name."""
        copy = Environment._of(self.record())
        copy.name = new_name
        return copy

    @staticmethod
    def _user_managed(name: str) -> Environment:
        environment = Environment(name)
        environment.python.user_managed_dependencies = True
        return environment

    @staticmethod
    def _of(record: dict[str, Any]) -> Environment:
        environment = Environment(record["name"])
        environment.version = record.get("version")
        environment.environment_variables = dict(record.get("variables") or {})
        structure = record.get("conda_dependencies")
        if structure is not None:
            packages = CondaDependencies(_underlying_structure=structure)
            if not record.get("python_version"):
                packages.forget_python_version()
            environment.python.conda_dependencies = packages
        environment.python.user_managed_dependencies = bool(record.get("user_managed"))
        environment.docker.base_image = record.get("base_image")
        return environment

    def record(self) -> dict[str, Any]:
        """Return the environment as JSON, for the record of a step."""
        packages = self.python.conda_dependencies
        user_managed = bool(self.python.user_managed_dependencies)
        record: dict[str, Any] = {
            "name": self.name,
            "variables": dict(self.environment_variables or {}),
            "base_image": self.docker.base_image,
            "docker_enabled": bool(self.docker.enabled),
            "user_managed": user_managed,
            "python_version": "",
            "pip": [],
            "conda": [],
        }
        if packages is not None:
            record["conda_dependencies"] = packages.as_dict()
            if not user_managed:
                record["python_version"] = packages.requested_python
                record["pip"] = list(packages.pip_packages)
                record["conda"] = list(packages.conda_packages)
        return record

    def save_to_directory(self, path: str, overwrite: bool = False) -> None:
        """Write the environment into a folder."""
        target = Path(path)
        target.mkdir(parents=True, exist_ok=overwrite)
        text = json.dumps(self.record(), indent=4)
        (target / "azureml_environment.json").write_text(text, encoding="utf-8")

    @staticmethod
    def load_from_directory(path: str) -> Environment:
        """Read an environment from a folder."""
        text = (Path(path) / "azureml_environment.json").read_text(encoding="utf-8")
        return Environment._of(json.loads(text))


class RunConfiguration:
    """The settings of a plain script step.

    Parameters
    ----------
    script, arguments, framework, communicator
        Only recorded.
    conda_dependencies
        The packages of the step's environment.
    """

    def __init__(
        self,
        script: str | None = None,
        arguments: list[str] | None = None,
        framework: str | None = None,
        communicator: str | None = None,
        conda_dependencies: CondaDependencies | None = None,
        _history_enabled: Any = None,
        _path: Any = None,
        _name: Any = None,
        command: Any = None,
    ) -> None:
        self.script = script
        self.arguments = arguments or []
        self.framework = framework or "Python"
        self.communicator = communicator or "None"
        self.target: Any = "local"
        self.node_count = 1
        self.environment = Environment("default-environment")
        self.environment_variables: dict[str, str] = {}
        self.docker = DockerConfiguration()
        self.history = _Section(output_collection=True)
        if conda_dependencies is not None:
            self.environment.python.conda_dependencies = conda_dependencies
