"""Registered models in notebooks; scripts use ``worker/azureml/core.py``."""

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
        Name and version of the model. Default: the latest version.
    id
        ``name:version``, in place of name and version.

    Raises
    ------
    WebserviceException
        The model or version is not registered; the message names the registered models.
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
            ``model_path`` does not exist, or ``model_name`` or ``child_paths`` is invalid.
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
    def list(  # type: ignore[override] # returns models of this class
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
        """Return versions of models, newest first.

        Parameters
        ----------
        name, model_framework
            Only versions of this model or framework.
        tags, properties
            Only versions with all of these: names, or pairs of name and value.
        latest
            Only the latest version of each model.
        """
        workspace = as_workspace(workspace)
        store = workspace.model_store()
        models = []
        for model_name in [name] if name is not None else store.names():
            rows = store.versions(model_name)
            for row in rows[-1:] if latest else rows:
                is_framework = model_framework in {None, row.get("model_framework")}
                has_tags = _has(row["tags"], tags) and _has(row["properties"], properties)
                if is_framework and has_tags:
                    models.append(Model(workspace, model_name, version=row["version"]))
        return sorted(models, key=lambda model: model._row["created_at"], reverse=True)

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: Any = None) -> str:
        """Return the path of a model: the registered file or folder.

        The search order is ``./azureml-models``, then ``_workspace``, by default the workspace of
        the nearest ``config.json``.

        Raises
        ------
        ModelNotFoundException
            The model or version is not registered.
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
        """Remove tags by name."""
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
        """Replace the tags or the description."""
        changes = {"tags": tags, "description": description}
        self._change({key: value for key, value in changes.items() if value is not None})

    def _change(self, changes: dict[str, Any]) -> None:
        self._row = self._store.change(self.name, self.version, changes)
        self.tags, self.properties = self._row["tags"], self._row["properties"]
        self.description = self._row.get("description")

    def delete(self) -> None:
        """Delete this version and its files."""
        self._store.delete(self.name, self.version)

    def serialize(self) -> dict[str, Any]:
        """Return the version as plain values."""
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


def _has(tags: dict[str, str], required: Any) -> bool:
    """Return whether ``tags`` include all required tags: names, or pairs of a name and a value."""
    for tag in required.items() if isinstance(required, dict) else required or ():
        name, *value = [tag] if isinstance(tag, str) else list(tag)
        if name not in tags or (value and str(tags[name]) != str(value[0])):
            return False
    return True
