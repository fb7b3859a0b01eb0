"""What the client's ``data``, ``models``, ``environments`` and ``components`` have in common."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ConfigError, RunNotFoundError
from ...formatting import nearest_hint
from ..execution.job_run import JobRun
from ..execution.registry import LATEST, Registry

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


class AssetOperations:
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


def facts_of(entity: Any) -> dict[str, Any]:
    """Return the description, tags and properties of an entity, as far as it has them."""
    names = ("description", "tags", "properties")
    return {name: value for name in names if (value := getattr(entity, name, None))}
