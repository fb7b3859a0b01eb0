"""``data``, ``models``, ``environments`` and ``components`` of the client."""

from __future__ import annotations

import os
import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ConfigError, RunNotFoundError
from ...formatting import nearest_hint
from ..execution.assets import conda_record
from ..execution.job_run import JobRun
from ..execution.registry import LATEST, Registry
from ..model.jobs import Component
from ..model.places import NOWHERE
from ..model.problems import JobFileError, Problem
from ..reader.jobs import load_component
from .azure_objects import component_record, environment_record, is_azures
from .component_files import record_of_component

_ENTITIES = "azure.ai.ml.entities"
_JOB_OUTPUT = re.compile(
    r"(?:azureml:/|runs:)/(?:jobs/)?(?P<job>[^/]+)/(?:outputs/)?(?P<output>[^/]+)(?:/paths)?(?P<rest>/.*)?"
)


@dataclass
class Asset:
    """A version of data, of a model or of an environment, where azure-ai-ml is not loaded.

    Parameters
    ----------
    name, version
        Its name and version.
    type
        ``uri_file``, ``uri_folder``, ``mltable``, ``custom_model``, ``mlflow_model``, ...
    path
        The file or folder; empty for environments.
    id
        The reference of job files: ``azureml:NAME:VERSION``.
    """

    name: str = ""
    version: str = ""
    type: str = ""
    path: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    conda_file: Any = None

    @property
    def id(self) -> str:
        """The reference of job files: ``azureml:NAME:VERSION``."""
        return f"azureml:{self.name}:{self.version}"


class _Assets:
    """The methods that all kinds have in common."""

    kind = ""
    azures_class = ""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Any:
        """Return a version.

        Parameters
        ----------
        name, version
            Its name and version. Default: the latest one.
        label
            ``latest``, in place of a version.

        Raises
        ------
        AssetNotFoundError
            It is not registered; the message has what is.
        """
        return self._of(self._registry.find(self.kind, name, str(version or label or LATEST)))

    def list(self, name: str | None = None, **_: Any) -> Iterator[Any]:
        """Yield the latest version of each asset; or all versions of one, newest first."""
        if name is not None:
            yield from (self._of(row) for row in reversed(self._registry.versions(self.kind, name)))
            return
        for each in self._registry.names(self.kind):
            yield self._of(self._registry.find(self.kind, each))

    def _of(self, row: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def _made(self, **values: Any) -> Any:
        """Return the object of azure-ai-ml if that is loaded, else an `Asset`."""
        given = {name: value for name, value in values.items() if value}
        azures = getattr(sys.modules.get(_ENTITIES), self.azures_class, None)
        if azures is None:
            return Asset(**given)
        made = azures(**given)
        made._id = f"azureml:{values['name']}:{values['version']}"
        return made

    def _label(self, name: str, version: Any) -> str:
        return str(version) if version else self._registry.next_label(self.kind, name)

    def _existing(self, name: str, label: str) -> dict[str, Any] | None:
        rows = self._registry.versions(self.kind, name)
        return next((row for row in rows if row["label"] == label), None)

    def _refuse_change(self, name: str, label: str, old: str, new: str) -> None:
        msg = (
            f"the {self.kind} {name!r} has version {label!r} already, of {old}; the new one is {new}. "
            "A version does not change: give another version, or none for the next one."
        )
        raise ConfigError(msg)

    def _path(self, entity: Any) -> str:
        """Return the path of an entity; the output of a job is that on this machine."""
        text = os.fspath(getattr(entity, "path", None) or "")
        if not text:
            msg = f"the {self.kind} {entity.name!r} has no path; expected a file or a folder."
            raise ConfigError(msg)
        match = _JOB_OUTPUT.fullmatch(text)
        if match and "/datastores/" not in text:
            return self._output_of_job(match)
        if "://" in text or text.startswith("azureml:"):
            return text
        base = getattr(entity, "base_path", None) or "."
        path = os.path.abspath(os.path.join(base, os.path.expanduser(text)))
        if not os.path.exists(path):
            msg = f"the {self.kind} {entity.name!r} is {path}, which does not exist."
            raise ConfigError(msg)
        return path

    @staticmethod
    def _output_of_job(match: re.Match[str]) -> str:
        outputs = JobRun(match["job"]).outputs
        if match["output"] not in outputs:
            hint = nearest_hint(match["output"], outputs)
            names = ", ".join(outputs) or "none"
            msg = (
                f"job {match['job']} has no output {match['output']!r}.{hint} Its outputs: {names}."
            )
            raise RunNotFoundError(msg)
        return outputs[match["output"]] + (match["rest"] or "").rstrip("/")


def _facts(entity: Any) -> dict[str, Any]:
    names = ("description", "tags", "properties")
    return {name: value for name in names if (value := getattr(entity, name, None))}


class DataOperations(_Assets):
    """Registered data, with the methods of ``MLClient.data``."""

    kind = "data"
    azures_class = "Data"

    def create_or_update(self, data: Any) -> Any:
        """Register a file, a folder or a URL, in place; return the version.

        Raises
        ------
        ConfigError
            It does not exist, or this version is of another path.
        """
        name = data.name or str(uuid.uuid4())
        path, label = self._path(data), self._label(name, data.version)
        existing = self._existing(name, label)
        if existing is None:
            self._registry.add_data(name, label, path, str(data.type or "uri_folder"), _facts(data))
        elif existing["spec"].get("paths") != [path]:
            self._refuse_change(name, label, str(existing["spec"].get("paths")), path)
        return self.get(name, label)

    def _of(self, row: Mapping[str, Any]) -> Any:
        spec = row["spec"]
        paths = spec.get("paths") or (spec.get("files") or {}).get("paths") or [""]
        type_ = row.get("type") or ("uri_file" if os.path.isfile(paths[0]) else "uri_folder")
        return self._made(
            name=_name_of(row), version=row["label"], path=paths[0], type=type_,
            description=row.get("description"), tags=row.get("tags"),
        )  # fmt: skip

    def get(self, name: str, version: str | None = None, label: str | None = None) -> Any:
        """Return a version of data; see the other kinds."""
        row = self._registry.find(self.kind, name, str(version or label or LATEST))
        return self._of({**row, "name": name})

    def list(self, name: str | None = None, **_: Any) -> Iterator[Any]:
        """Yield the latest version of all data; or all versions of one, newest first."""
        for each in [name] if name is not None else self._registry.names(self.kind):
            rows = self._registry.versions(self.kind, each)
            for row in reversed(rows if name is not None else rows[-1:]):
                yield self._of({**row, "name": each})


def _name_of(row: Mapping[str, Any]) -> str:
    return str(row.get("name", ""))


class ModelOperations(_Assets):
    """Registered models, with the methods of ``MLClient.models``."""

    kind = "model"
    azures_class = "Model"

    def create_or_update(self, model: Any) -> Any:
        """Register a copy of a file or folder; return the version.

        Raises
        ------
        ConfigError
            It does not exist.
        """
        name = model.name or str(uuid.uuid4())
        path, label = self._path(model), self._label(name, model.version)
        existing = self._existing(name, label)
        if existing is None:
            facts = {**_facts(model), "source": path}
            type_ = str(getattr(model, "type", None) or "custom_model")
            self._registry.add_model(name, label, path, type_, facts)
        elif existing.get("source", path) != path:
            self._refuse_change(name, label, str(existing["source"]), path)
        return self.get(name, label)

    def _of(self, row: Mapping[str, Any]) -> Any:
        return self._made(
            name=row["name"], version=row["label"], path=self._registry.model_path(row),
            type=row.get("type") or "custom_model", description=row.get("description"),
            tags=row.get("tags"),
        )  # fmt: skip

    def download(
        self, name: str, version: str, download_path: str | os.PathLike[str] = "."
    ) -> None:
        """Copy the files of a model to ``NAME/`` in a folder."""
        import shutil

        path = self._registry.model_path(self._registry.find(self.kind, name, str(version)))
        target = os.path.join(os.fspath(download_path), name, os.path.basename(path))
        if os.path.isdir(path):
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)


class EnvironmentOperations(_Assets):
    """Registered environments, with the methods of ``MLClient.environments``."""

    kind = "environment"
    azures_class = "Environment"

    def create_or_update(self, environment: Any) -> Any:
        """Register the packages of a conda file, and the name of an image; return the version.

        Raises
        ------
        ConfigError
            The conda file cannot be read.
        """
        name = environment.name or str(uuid.uuid4())
        plain = environment._to_dict() if is_azures(environment) else vars(environment)
        fields = environment_record(
            dict(plain), str(getattr(environment, "base_path", None) or ".")
        )
        problems: list[Problem] = []
        packages = conda_record(fields.get("conda_file"), NOWHERE, problems)
        if problems:
            raise JobFileError(problems)
        conda = fields.get("conda_file")
        record = {
            "python_version": "", "pip": [], "conda": [], "variables": {}, "user_managed": False,
            "docker_enabled": False, **packages, "base_image": fields.get("image"), **_facts(environment),
        }  # fmt: skip
        if isinstance(conda, Mapping):
            record["conda_dependencies"] = dict(conda)
        label = self._label(name, environment.version)
        self._registry.add_environment(name, label, record)
        return self.get(name, label)

    def _of(self, row: Mapping[str, Any]) -> Any:
        return self._made(
            name=row["name"], version=row["label"], image=row.get("base_image") or "local",
            conda_file=row.get("conda_dependencies"), description=row.get("description"),
            tags=row.get("tags"),
        )  # fmt: skip


class ComponentOperations(_Assets):
    """Registered components, with the methods of ``MLClient.components``."""

    kind = "component"

    def create_or_update(self, component: Any, version: str | None = None, **_: Any) -> Any:
        """Register a component with a copy of its code; return the version.

        Parameters
        ----------
        component
            A component of azure-ai-ml, or what ``azureml_v2.load_component`` returns.
        version
            Its version. Default: that of the component, or the next one.

        Raises
        ------
        ConfigError
            It is no component, or has no name.
        """
        component = getattr(component, "component", None) or component  # a step has its component
        if isinstance(component, Component):
            record = record_of_component(component)
        elif is_azures(component) and type(component).__name__.endswith("Component"):
            record = component_record(component)
        else:
            msg = (
                f"the component is of type {type(component).__module__}.{type(component).__name__}; "
                "expected the result of load_component('component.yml'), or a step's .component."
            )
            raise ConfigError(msg)
        name = record.get("name")
        if not name:
            msg = "the component has no name; give its file a line 'name: prepare'."
            raise ConfigError(msg)
        label = self._label(name, version or record.get("version"))
        self._registry.add_component(name, label, record)
        return self.get(name, label)

    def _of(self, row: Mapping[str, Any]) -> Any:
        azures = getattr(sys.modules.get("azure.ai.ml"), "load_component", None)
        return azures(row["file"]) if azures is not None else load_component(row["file"])
