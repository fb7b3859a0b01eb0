"""Registered models, in notebooks."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from ...worker.azureml import core
from ...worker.azureml.model_store import ModelNotFound
from ..exceptions import ModelNotFoundException, WebserviceException
from .workspace import Workspace, as_workspace


class Model(core.Model):
    """A version of a registered model.

    Parameters
    ----------
    workspace
        The workspace.
    name, version
        Which one; the latest version by default.
    id
        The same as ``name:version``.

    Raises
    ------
    WebserviceException
        There is no such model; the message names those that are registered.
    """

    def __init__(
        self,
        workspace: Workspace,
        name: str | None = None,
        id: str | None = None,
        tags: Any = None,
        properties: Any = None,
        version: int | None = None,
        run_id: str | None = None,
        model_framework: str | None = None,
        expand: bool = True,
        **_: Any,
    ) -> None:
        try:
            super().__init__(as_workspace(workspace), name, id, version=version)
        except ModelNotFound as error:
            msg = f"ModelNotFound: {error}"
            raise WebserviceException(msg) from error
        self.created_time = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._row["created_at"]))
        self.model_framework = self._row.get("model_framework")
        self.model_framework_version = self._row.get("model_framework_version")
        self.run_id = self._row.get("run_id")
        self.url = f"aml://asset/{self.id}"

    def __repr__(self) -> str:
        return (
            f"Model(workspace={self.workspace!r}, name={self.name}, id={self.id}, "
            f"version={self.version}, tags={self.tags}, properties={self.properties})"
        )

    @staticmethod
    def register(
        workspace: Workspace,
        model_path: str,
        model_name: str,
        tags: Any = None,
        properties: dict[str, Any] | None = None,
        description: str | None = None,
        datasets: Any = None,
        model_framework: str | None = None,
        model_framework_version: str | None = None,
        child_paths: list[str] | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
        **_: Any,
    ) -> Model:
        """Register a file or a folder as the next version of a model.

        Raises
        ------
        WebserviceException
            ``model_path`` is not there, or ``model_name`` or ``child_paths`` leads elsewhere.
        """
        workspace = as_workspace(workspace)
        print(f"Registering model {model_name}")
        facts = {
            "tags": _as_tags(tags),
            "properties": properties or {},
            "description": description,
            "model_framework": model_framework,
            "model_framework_version": model_framework_version,
        }
        try:
            row = workspace.model_store().register(
                model_name, os.path.expanduser(os.fspath(model_path)), facts, child_paths or ()
            )
        except (FileNotFoundError, ValueError) as error:
            raise WebserviceException(str(error)) from error
        return Model(workspace, model_name, version=row["version"])

    @staticmethod
    def list(  # type: ignore[override] # Models of this class
        workspace: Workspace,
        name: str | None = None,
        tags: Any = None,
        properties: Any = None,
        run_id: str | None = None,
        latest: bool = False,
        dataset_id: str | None = None,
        expand: bool = True,
        page_count: int = 255,
        model_framework: str | None = None,
    ) -> list[Model]:
        """Return the versions of models, the newest first.

        Parameters
        ----------
        tags, properties
            Only those that have them: texts (the name) or pairs (name and value).
        latest
            Only the latest version of each.
        """
        workspace = as_workspace(workspace)
        store = workspace.model_store()
        found = []
        for one in [name] if name is not None else store.names():
            rows = [row for row in reversed(store.versions(one)) if not row.get("deleted")]
            for row in rows[:1] if latest else rows:
                framework = model_framework in {None, row.get("model_framework")}
                if framework and _has(row["tags"], tags) and _has(row["properties"], properties):
                    found.append(Model(workspace, one, version=row["version"]))
        return sorted(found, key=lambda model: model._row["created_at"], reverse=True)

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: Any = None) -> str:
        """Return where a model is: a file for a file, a folder for a folder.

        Without a workspace it is looked for in ``./azureml-models``, then in the workspace of the
        nearest ``config.json``.

        Raises
        ------
        ModelNotFoundException
            There is no such model.
        """
        local = core._in_working_directory(model_name, version)
        if local is not None:
            return local
        workspace = _workspace if _workspace is not None else Workspace.from_config()
        try:
            return str(workspace.model_store().path(model_name, version))
        except ModelNotFound as error:
            raise ModelNotFoundException(str(error)) from error

    def add_tags(self, tags: dict[str, str]) -> None:
        """Add tags."""
        self._change({"tags": {**self.tags, **tags}})

    def remove_tags(self, tags: Sequence[str]) -> None:
        """Remove tags, by their names."""
        self._change({"tags": {k: v for k, v in self.tags.items() if k not in tags}})

    def add_properties(self, properties: dict[str, str]) -> None:
        """Add properties."""
        self._change({"properties": {**self.properties, **properties}})

    def update(
        self,
        tags: dict[str, str] | None = None,
        description: str | None = None,
        sample_input_dataset: Any = None,
        sample_output_dataset: Any = None,
        resource_configuration: Any = None,
    ) -> None:
        """Change the tags or the description."""
        given = {"tags": tags, "description": description}
        self._change({key: value for key, value in given.items() if value is not None})

    def _change(self, changes: dict[str, Any]) -> None:
        self._row = self._store.change(self.name, self.version, changes)
        self.tags, self.properties = self._row["tags"], self._row["properties"]
        self.description = self._row.get("description")

    def delete(self) -> None:
        """Remove this version and its files."""
        self._store.delete(self.name, self.version)

    def serialize(self) -> dict[str, Any]:
        """Return what is known of the version."""
        return {
            "name": self.name,
            "version": self.version,
            "id": self.id,
            "tags": self.tags,
            "properties": self.properties,
            "description": self.description,
            "createdTime": self.created_time,
            "framework": self.model_framework,
            "frameworkVersion": self.model_framework_version,
        }


def _as_tags(tags: Any) -> dict[str, str]:
    if isinstance(tags, dict):
        return {str(key): str(value) for key, value in tags.items()}
    return {str(tag): "" for tag in tags or ()}


def _has(known: dict[str, str], wanted: Any) -> bool:
    """Say whether a model has what is asked for: names, or pairs of a name and a value."""
    pairs = wanted.items() if isinstance(wanted, dict) else wanted or ()
    for one in pairs:
        name, *value = [one] if isinstance(one, str) else list(one)
        if name not in known or (value and str(known[name]) != str(value[0])):
            return False
    return True
