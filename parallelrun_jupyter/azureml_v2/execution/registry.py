"""Data, models, environments and components of a workspace on this machine, by name and version.

Names of job files, such as ``azureml:sales:3``, lead here; so do the names of notebooks of SDK v1, whose
versions are numbers from 1. In v2 a version may be any text, such as ``initial``: it is a label of the
number.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ...errors import ConfigError
from ...files import write_atomically
from ...formatting import nearest_hint
from ...pipelines.registered_datasets import (
    add_dataset_version,
    check_name,
    dataset_names,
    dataset_versions,
    lock,
)
from ...pipelines.workspaces import read_workspace_file
from ...runs.source_copy import copy_source, ignored_in
from ...worker.azureml.model_store import ModelStore

LATEST = "latest"
KINDS = ("data", "model", "environment", "component")
_ENVIRONMENTS = "environments.json"
_COMPONENTS = "components"


class AssetNotFoundError(ConfigError, LookupError):
    """Nothing with this name and version is registered in the workspace."""


class Registry:
    """The registered assets of a workspace.

    Parameters
    ----------
    workspace
        Its folder.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self._models = ModelStore(str(workspace))

    def names(self, kind: str) -> list[str]:
        """Return the names of the assets of a kind, sorted."""
        if kind == "data":
            return dataset_names(self.workspace)
        if kind == "model":
            return [name for name in self._models.names() if self._models.versions(name)]
        if kind == "environment":
            return sorted(read_workspace_file(self.workspace, _ENVIRONMENTS))
        return sorted(_entries(self.workspace / _COMPONENTS))

    def versions(self, kind: str, name: str) -> list[dict[str, Any]]:
        """Return the records of an asset's versions, oldest first; each has its ``label``."""
        check_name(name, kind)
        rows: Iterable[dict[str, Any]]
        if kind == "data":
            rows = dataset_versions(self.workspace, name)
        elif kind == "model":
            rows = self._models.versions(name)
        elif kind == "environment":
            rows = read_workspace_file(self.workspace, _ENVIRONMENTS).get(name, [])
        else:
            rows = self._component_versions(name)
        return [{**row, "label": str(row.get("label") or row["version"])} for row in rows]

    def find(self, kind: str, name: str, version: str = "") -> dict[str, Any]:
        """Return the record of a version.

        Parameters
        ----------
        kind
            One of `KINDS`.
        name, version
            Its name and version. Default: the latest version.

        Raises
        ------
        AssetNotFoundError
            It is not registered; the message has what is.
        """
        rows = self.versions(kind, name)
        found = [row for row in rows if row["label"] == version]
        if not found and version in {"", LATEST}:
            found = rows
        if found:
            return found[-1]
        names = self.names(kind)
        where = f"in the workspace {self.workspace.name!r} of this machine"
        if rows:
            labels = ", ".join(row["label"] for row in rows)
            msg = f"the {kind} {name!r} has no version {version!r} {where}; it has: {labels}."
        else:
            listed = ", ".join(names) or "none"
            hint = nearest_hint(name, names)
            msg = f"no {kind} {name!r} is registered {where}.{hint} Registered: {listed}."
        raise AssetNotFoundError(msg)

    def next_label(self, kind: str, name: str) -> str:
        """Return the version that an asset without one gets."""
        labels = [row["label"] for row in self.versions(kind, name)]
        return str(max([len(labels), *(int(text) for text in labels if text.isdecimal())]) + 1)

    def add_data(self, name: str, label: str, row: Mapping[str, Any]) -> None:
        """Register data by the spec of a dataset; it is used in place, not copied."""
        add_dataset_version(self.workspace, name, {**row, "label": label})

    def add_model(
        self, name: str, label: str, path: str, type_: str, facts: Mapping[str, Any]
    ) -> None:
        """Register a copy of a file or folder."""
        row = {"tags": {}, "properties": {}, **facts, "label": label, "type": type_}
        self._models.register(name, path, row)

    def model_path(self, row: Mapping[str, Any]) -> str:
        """Return the path of the files of a model's version."""
        return self._models.path(row["name"], row["version"])

    def add_environment(self, name: str, label: str, record: Mapping[str, Any]) -> None:
        """Register an environment, or replace this version of it."""
        check_name(name, "environment")
        with lock(self.workspace):
            records = read_workspace_file(self.workspace, _ENVIRONMENTS)
            rows = [row for row in records.get(name, []) if str(row["version"]) != label]
            records[name] = [*rows, {**record, "name": name, "version": label}]
            text = json.dumps(records, indent=1)
            write_atomically(self.workspace / _ENVIRONMENTS, text)

    def add_component(self, name: str, label: str, record: Mapping[str, Any]) -> Path:
        """Register a component with a copy of its code; return the path of its file.

        Parameters
        ----------
        name, label
            Its name and version.
        record
            Its fields, with absolute paths.

        Raises
        ------
        ConfigError
            The code does not exist, or is too large.
        """
        check_name(name, "component")
        check_name(label, "component's version")
        folder = self.workspace / _COMPONENTS / name / label
        with lock(self.workspace):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, parents=True)
            content = {**with_copies(record, folder, folder), "name": name, "version": label}
            path = folder / "component.yml"
            write_atomically(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
            write_atomically(folder / "facts.json", json.dumps({"registered_at": time.time()}))
        return path

    def _component_versions(self, name: str) -> list[dict[str, Any]]:
        rows = []
        for label in _entries(self.workspace / _COMPONENTS / name):
            folder = self.workspace / _COMPONENTS / name / label
            try:
                facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # a registration that was interrupted
            file = str(folder / "component.yml")
            rows.append({**facts, "name": name, "version": label, "file": file})
        return sorted(rows, key=lambda row: float(row["registered_at"]))


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def with_copies(record: Mapping[str, Any], folder: Path, root: Path) -> dict[str, Any]:
    """Return a component whose code, and that of its steps, is copied below a folder."""
    copied = dict(record)
    for name, item in record.items():
        if name == "code" and isinstance(item, str) and os.path.exists(item):
            copied[name] = _copy(item, folder, root)
        elif name == "additional_includes":
            copied[name] = [_copy(path, folder / "includes", root) for path in item]
        elif name in {"task", "component", "code_configuration"} and isinstance(item, Mapping):
            copied[name] = with_copies(item, folder, root)
        elif name == "jobs":
            copied[name] = {
                step: with_copies(fields, folder / "steps" / step, root)
                for step, fields in item.items()
            }
    return copied


def _copy(source: str, folder: Path, root: Path) -> str:
    """Copy a file or folder into a folder; return its path relative to the root."""
    target = folder / (os.path.basename(source.rstrip("/")) or "code")
    folder.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(source):
        copy_source(Path(source), target, ignored_in(source))
    else:
        shutil.copyfile(source, target)
    return f"./{target.relative_to(root)}"
