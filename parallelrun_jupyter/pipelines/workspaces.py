"""Workspaces of this machine: folders in the home, with the names that Azure gives them."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from ..files import write_atomically
from ..home import home
from .registered_datasets import lock

DEFAULT_NAME = "local"
CONFIG_FILES = ("config.json", ".azureml/config.json", "aml_config/config.json")
"""Files that name a workspace, in a folder or above it."""

DEFAULT_DATASTORE = "workspaceblobstore"
BUILT_IN_DATASTORES = (
    DEFAULT_DATASTORE, "workspacefilestore", "workspaceartifactstore", "workspaceworkingdirectory",
)  # fmt: skip
"""Datastores that every workspace has; here they are folders below it."""


def workspaces_folder() -> Path:
    """Return the folder of the workspaces of this home."""
    return home() / "workspaces"


def folder_of(subscription: str | None, group: str | None, name: str) -> Path:
    """Return the folder of a workspace: its name and a digest of subscription and resource group."""
    if not subscription and not group:
        return workspaces_folder() / name
    digest = hashlib.sha256(f"{subscription}/{group}".encode()).hexdigest()[:8]
    return workspaces_folder() / f"{name}-{digest}"


def read_facts(folder: Path) -> dict[str, Any] | None:
    """Return the facts of a workspace; None if there is none in the folder."""
    try:
        facts: dict[str, Any] = json.loads((folder / "workspace.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts


def create_workspace(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Create a workspace; return its facts, or those of one that another process created first."""
    with lock(folder):
        existing = read_facts(folder)
        if existing is not None:  # another process created it first
            return existing
        facts["created_at"] = time.time()
        write_atomically(folder / "workspace.json", json.dumps(facts, indent=1))
    return facts


def workspace_above(start: Path) -> Path:
    """Return the folder of the workspace that a ``config.json`` names in a folder or above it.

    Files of other programs with this name are skipped. Without one it is the workspace ``local``.
    The workspace is created if it does not exist.
    """
    names = {"name": DEFAULT_NAME, "subscription_id": "", "resource_group": ""}
    for file in (folder / name for folder in (start, *start.parents) for name in CONFIG_FILES):
        try:
            config = json.loads(file.read_text(encoding="utf-8-sig"))
            names["name"] = str(config["workspace_name"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        for key in ("subscription_id", "resource_group"):
            names[key] = str(config.get(key) or "")
        break
    folder = folder_of(names["subscription_id"], names["resource_group"], names["name"])
    if read_facts(folder) is None:
        create_workspace(folder, {**names, "location": "local", "tags": {}})
    return folder


def read_workspace_file(workspace: Path, name: str) -> dict[str, Any]:
    """Return the records in a JSON file of a workspace; empty if the file is missing."""
    try:
        records: dict[str, Any] = json.loads((workspace / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return records


def datastore_record(workspace: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a datastore, with ``folder``, or ``url`` and ``storage``; None if there is none.

    Parameters
    ----------
    workspace
        The workspace.
    name
        Its name; empty for the default datastore.
    """
    records = read_workspace_file(workspace, "datastores.json")
    name = name or str(records.get("default", DEFAULT_DATASTORE))
    record: dict[str, Any] | None = records.get("stores", {}).get(name)
    if record is None and name in BUILT_IN_DATASTORES:
        record = {"folder": str(workspace / "datastores" / name)}
    return None if record is None else {**record, "name": name}
