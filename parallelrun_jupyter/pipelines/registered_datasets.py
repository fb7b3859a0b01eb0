"""Datasets registered in a workspace: JSON files with all versions, for steps and notebooks."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import files
from ..data.datasets.inputs import dataset_of
from ..data.staging.local_copies import local_copies
from ..errors import ConfigError
from .bindings import link_files
from .folder import StepRecord


@contextlib.contextmanager
def lock(workspace: Path) -> Iterator[None]:
    """Hold the lock of a workspace while its registrations are changed."""
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    with files.lock(workspace / "workspace.lock"):
        yield


def check_name(name: object, kind: str) -> None:
    """Check that a name can be a file name.

    Parameters
    ----------
    name
        The name.
    kind
        The kind of object, such as ``dataset``, for the error.

    Raises
    ------
    ConfigError
        The name is invalid.
    """
    is_name = isinstance(name, str) and name.strip() not in {"", ".", ".."}
    if not is_name or "/" in str(name) or "\0" in str(name):
        msg = (
            f"the {kind}'s name is {name!r}; expected a non-empty text without '/', such as "
            "'sales-2024'."
        )
        raise ConfigError(msg)


def dataset_versions(workspace: Path, name: str) -> list[dict[str, Any]]:
    """Return all versions of a dataset, oldest first; empty if the name is not registered.

    Raises
    ------
    ConfigError
        The name is invalid.
    """
    check_name(name, "dataset")
    try:
        record = json.loads((workspace / "datasets" / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    versions: list[dict[str, Any]] = record["versions"]
    return versions


def dataset_names(workspace: Path) -> list[str]:
    """Return the names of the registered datasets, sorted."""
    try:
        names = os.listdir(workspace / "datasets")
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def add_dataset_version(workspace: Path, name: str, version: dict[str, Any]) -> int:
    """Register a dataset, or its next version; return the version's number, from 1."""
    with lock(workspace):
        versions = dataset_versions(workspace, name)
        number = len(versions) + 1
        versions.append({**version, "version": number, "registered_at": time.time()})
        (workspace / "datasets").mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({"name": name, "versions": versions}, indent=1)
        files.write_atomically(workspace / "datasets" / f"{name}.json", text)
    return number


def remove_dataset(workspace: Path, name: str) -> None:
    """Unregister all versions of a dataset; its files are kept."""
    check_name(name, "dataset")
    with lock(workspace):
        (workspace / "datasets" / f"{name}.json").unlink(missing_ok=True)


def register_outputs(workspace: Path, step: StepRecord, outputs: dict[str, str]) -> None:
    """Register the outputs of a completed step that have a name to register them as."""
    for output in step.outputs:
        if output.register_as:
            spec: dict[str, Any] = {"kind": "files", "paths": [outputs[output.name]]}
            if output.storage:
                spec["storage"] = output.storage
            label = {"label": output.version} if output.version else {}
            add_dataset_version(workspace, output.register_as, {"spec": spec, **label})


def datasets_for_scripts(workspace: Path, text: str, folder: Path) -> dict[str, Any]:
    """Return the latest version of each registered dataset, which scripts open by name.

    Parameters
    ----------
    workspace
        The workspace.
    text
        The text of the step's scripts and arguments. Datasets of object stores are downloaded only
        if their name is in it.
    folder
        Folder for the downloads.
    """
    records = {}
    for name in dataset_names(workspace):
        record = dict(dataset_versions(workspace, name)[-1])
        if record["spec"].get("storage") and name in text:
            record["local"] = [_download(record["spec"], folder / name)]
        records[name] = record
    return records


def _download(spec: dict[str, Any], folder: Path) -> str:
    """Download the files of a dataset; return a folder of links to them."""
    dataset = dataset_of(spec)
    files: Any = getattr(dataset, "files", dataset)  # the files of a table, or a dataset of files
    items = [item for batch in files.folders() for item in batch]
    names = [item[0] for item in items]
    link_files(folder, list(files.paths), names, local_copies(items, files.storage))
    return str(folder)
