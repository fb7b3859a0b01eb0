"""``data`` and ``models`` of the client."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from ...data.datasets.mltable import mltable_at
from ..execution.assets import Assets
from ..execution.registry import LATEST
from ..model.places import NOWHERE
from ..model.problems import JobFileError
from ..model.values import Input
from .asset_base import AssetOperations, facts_of


class DataOperations(AssetOperations):
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
        assets = Assets(self._registry.workspace)
        spec = assets.dataset(Input(path=path), name, NOWHERE, is_split=False)
        if spec is None:
            raise JobFileError(assets.problems)
        existing = self._existing(name, label)
        if existing is None:
            row = {"spec": spec, "type": str(data.type or _type_at(path)), **facts_of(data)}
            self._registry.add_data(name, label, row)
        elif existing["spec"] != spec:
            self._refuse_change(name, label, str(existing["spec"].get("paths")), path)
        return self.get(name, label)

    def _of(self, row: Mapping[str, Any]) -> Any:
        spec = row["spec"]
        paths = spec.get("paths") or (spec.get("files") or {}).get("paths") or [""]
        type_ = row.get("type") or _type_at(paths[0])
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


def _type_at(path: str) -> str:
    """Return the type of data that was registered without one."""
    if os.path.isfile(path):
        return "uri_file"
    return "uri_folder" if mltable_at(path) is None else "mltable"


def _name_of(row: Mapping[str, Any]) -> str:
    return str(row.get("name", ""))


class ModelOperations(AssetOperations):
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
            facts = {**facts_of(model), "source": path}
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
        path = self._registry.model_path(self._registry.find(self.kind, name, str(version)))
        target = os.path.join(os.fspath(download_path), name, os.path.basename(path))
        if os.path.isdir(path):
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
