"""Environments and their packages, as notebooks write them down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...files import write_atomically
from ...pipelines import registered_datasets
from ..exceptions import UserErrorException
from ..loader.missing import Partial
from .conda import CondaDependencies
from .workspace import Workspace, as_workspace

DEFAULT_CPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu20.04"
DEFAULT_GPU_IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.1-cudnn8-ubuntu20.04"
MPI_CPU_IMAGE, MPI_GPU_IMAGE = DEFAULT_CPU_IMAGE, DEFAULT_GPU_IMAGE


class _Section:
    """Settings that are recorded; any may be set."""

    def __init__(self, **settings: Any) -> None:
        self.__dict__.update(settings)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__dict__})"


class DockerSection(_Section):
    """What Azure does with Docker; recorded, since workers run on this machine as they are."""

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
    """What Azure does with Docker; recorded."""

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
    """Where images come from; recorded, without what it takes to log in."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.username: str | None = None
        self.password: str | None = None


class PythonSection(_Section):
    """The packages of an environment."""

    def __init__(self, **settings: Any) -> None:
        self.user_managed_dependencies = False
        self.interpreter_path = "python"
        self.conda_dependencies_file: str | None = None
        self.conda_dependencies: CondaDependencies | None = CondaDependencies()
        super().__init__(**settings)


class SparkSection(_Section):
    """What Azure does with Spark; recorded."""

    def __init__(self, **settings: Any) -> None:
        self.repositories: list[str] = []
        self.packages: list[str] = []
        self.precache_packages = True
        super().__init__(**settings)


class Environment(Partial):
    """The environment of a step: packages, and settings for Docker and Spark that are recorded.

    Which interpreter runs a step is the setting ``PARALLELRUN_ENVIRONMENT`` when the pipeline is
    submitted: ``current`` (the default), ``build``, or the path of a python.
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
        made = Environment(name)
        made.python.conda_dependencies = CondaDependencies(file_path)
        return made

    @staticmethod
    def from_pip_requirements(
        name: str, file_path: str, pip_version: str | None = None
    ) -> Environment:
        """Return an environment with the packages of a requirements file."""
        lines = (line.split("#")[0].strip() for line in Path(file_path).read_text().splitlines())
        packages = [line for line in lines if line]
        made = Environment(name)
        made.python.conda_dependencies = CondaDependencies.create(pip_packages=packages)
        return made

    @staticmethod
    def from_existing_conda_environment(name: str, conda_environment_name: str) -> Environment:
        """Return an environment for an interpreter that is set by ``PARALLELRUN_ENVIRONMENT``."""
        made = Environment(name)
        made.python.user_managed_dependencies = True
        return made

    @staticmethod
    def from_docker_image(
        name: str, image: str, container_registry: Any = None, **_: Any
    ) -> Environment:
        """Return an environment that records a Docker image."""
        made = Environment(name)
        made.docker.base_image = image
        made.python.user_managed_dependencies = True
        return made

    @staticmethod
    def get(
        workspace: Workspace, name: str, version: Any = None, label: str | None = None
    ) -> Environment:
        """Return a registered environment; Azure's curated ones are recorded by name only.

        Raises
        ------
        UserErrorException
            There is none of that name.
        """
        rows = _read(as_workspace(workspace)).get(name, [])
        found = [row for row in rows if version is None or str(row["version"]) == str(version)]
        if found:
            return Environment._of(found[-1])
        if name.startswith("AzureML-"):
            made = Environment(name)
            made.version = str(version or 1)
            made.python.user_managed_dependencies = True
            return made
        known = ", ".join(sorted(_read(workspace))) or "none"
        msg = f"environment {name!r} is not registered in {workspace.name!r} (registered: {known})."
        raise UserErrorException(msg)

    @staticmethod
    def list(workspace: Workspace) -> dict[str, Environment]:
        """Return the latest version of each registered environment, by name."""
        rows = _read(as_workspace(workspace))
        return {name: Environment._of(versions[-1]) for name, versions in sorted(rows.items())}

    def register(self, workspace: Workspace) -> Environment:
        """Register this environment as the next version of its name."""
        with registered_datasets.lock(as_workspace(workspace).folder):
            rows = _read(workspace)
            versions = rows.setdefault(self.name, [])
            self.version = str(len(versions) + 1)
            versions.append({**self.record(), "version": self.version})
            write_atomically(workspace.folder / "environments.json", json.dumps(rows, indent=1))
        return self

    def build(self, workspace: Workspace, image_build_compute: Any = None) -> Environment:
        """Return this environment: it is built when a step needs it."""
        return self

    def clone(self, new_name: str) -> Environment:
        """Return a copy with another name."""
        made = Environment._of(self.record())
        made.name = new_name
        return made

    @staticmethod
    def _of(record: dict[str, Any]) -> Environment:
        made = Environment(record["name"])
        made.version = record.get("version")
        made.environment_variables = dict(record.get("variables") or {})
        structure = record.get("conda_dependencies")
        if structure is not None:
            packages = CondaDependencies(_underlying_structure=structure)
            if not record.get("python_version"):
                packages.forget_python_version()
            made.python.conda_dependencies = packages
        made.python.user_managed_dependencies = bool(record.get("user_managed"))
        made.docker.base_image = record.get("base_image")
        return made

    def record(self) -> dict[str, Any]:
        """Return what a step's record says of this environment."""
        given = self.python.conda_dependencies
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
        if given is not None:
            record["conda_dependencies"] = given.as_dict()
            if not user_managed:
                record["python_version"] = given.asked_python
                record["pip"], record["conda"] = (
                    list(given.pip_packages),
                    list(given.conda_packages),
                )
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
        Recorded.
    conda_dependencies
        The packages of its environment.
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


def _read(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    try:
        text = (workspace.folder / "environments.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    rows: dict[str, list[dict[str, Any]]] = json.loads(text)
    return rows
