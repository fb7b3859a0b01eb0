"""Datasets that a workspace knows by name: kept as JSON, with versions, for steps and notebooks."""

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
from ..data.local.listing import place_below
from ..data.staging.local_copies import local_copies
from ..errors import ConfigError
from .bindings import common_folder
from .record import StepRecord


@contextlib.contextmanager
def lock(workspace: Path) -> Iterator[None]:
    """Hold a workspace while something in it gets its next version."""
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    with files.lock(workspace / "workspace.lock"):
        yield


def check_name(name: object, what: str) -> None:
    """See that a name can be that of a file, in the folder that it is meant for.

    Parameters
    ----------
    name
        The name.
    what
        What it names, such as ``dataset``.

    Raises
    ------
    ConfigError
        It cannot.
    """
    is_name = isinstance(name, str) and name.strip() not in {"", ".", ".."}
    if not is_name or "/" in str(name) or "\0" in str(name):
        msg = (
            f"the {what}'s name is {name!r}; expected a text that is not empty, without '/', "
            "such as 'sales-2024'."
        )
        raise ConfigError(msg)


def dataset_versions(workspace: Path, name: str) -> list[dict[str, Any]]:
    """Return the versions of a dataset, the first one first.

    Raises
    ------
    ConfigError
        The name cannot be one of a dataset.
    """
    check_name(name, "dataset")
    try:
        kept = json.loads((workspace / "datasets" / f"{name}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    versions: list[dict[str, Any]] = kept["versions"]
    return versions


def dataset_names(workspace: Path) -> list[str]:
    """Return the names of the registered datasets."""
    try:
        names = os.listdir(workspace / "datasets")
    except FileNotFoundError:
        return []
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def add_dataset_version(workspace: Path, name: str, version: dict[str, Any]) -> int:
    """Register a dataset, or its next version; return the number of the version."""
    with lock(workspace):
        versions = dataset_versions(workspace, name)
        number = len(versions) + 1
        versions.append({**version, "version": number, "registered_at": time.time()})
        (workspace / "datasets").mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({"name": name, "versions": versions}, indent=1)
        files.write_atomically(workspace / "datasets" / f"{name}.json", text)
    return number


def remove_dataset(workspace: Path, name: str) -> None:
    """Forget a dataset with all of its versions; its files stay."""
    check_name(name, "dataset")
    with lock(workspace):
        (workspace / "datasets" / f"{name}.json").unlink(missing_ok=True)


def register_outputs(workspace: Path, step: StepRecord, outputs: dict[str, str]) -> None:
    """Register what a completed step wrote, where that was asked for."""
    for output in step.outputs:
        if output.register_as:
            spec: dict[str, Any] = {"kind": "files", "paths": [outputs[output.name]]}
            if output.storage:
                spec["storage"] = output.storage
            add_dataset_version(workspace, output.register_as, {"spec": spec})


def staged_datasets(workspace: Path, words: str, folder: Path) -> dict[str, Any]:
    """Return what scripts may open by name: the latest versions of the registered datasets.

    Parameters
    ----------
    workspace
        The workspace.
    words
        The text of the step's scripts and arguments. Datasets of stores that are named in it are
        brought here; the others are not.
    folder
        Where to put them.
    """
    found = {}
    for name in dataset_names(workspace):
        record = dict(dataset_versions(workspace, name)[-1])
        if record["spec"].get("storage") and name in words:
            record["local"] = [_brought(record["spec"], folder / name)]
        found[name] = record
    return found


def _brought(spec: dict[str, Any], folder: Path) -> str:
    """Bring the files of a dataset here; return the folder of them, as links."""
    dataset = dataset_of(spec)
    files: Any = getattr(dataset, "files", dataset)
    items = [item for found in files.folders() for item in found]
    here = local_copies(items, files.storage)
    common = common_folder(list(files.paths), [item[0] for item in items])
    for path, (url, _, _) in zip(here, items, strict=True):
        link = Path(place_below(str(folder), os.path.relpath(url, common), url))
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path)
    return str(folder)
