"""Tells MLTables from files: batch deployments take files alone, here as in Azure."""

from __future__ import annotations

from pathlib import Path

from ...data.datasets.mltable import mltable_at
from .assets import name_and_version
from .registry import AssetNotFoundError, Registry


def is_mltable(path: str, workspace: Path) -> bool:
    """Return whether a local path, or the name of registered data, is that of an MLTable."""
    if not path.startswith("azureml:"):
        return "://" not in path and mltable_at(path) is not None
    if "/datastores/" in path:
        return False
    name, version = name_and_version(path)
    try:
        return Registry(workspace).find("data", name, version).get("type") == "mltable"
    except AssetNotFoundError:
        return False


def mltable_sentence(path: str) -> str:
    """Return the error about an MLTable."""
    return (
        f"the input is {path}, an MLTable; a batch deployment takes files, here as in Azure. Give the "
        "files that the table is made of, such as 'data/*.csv', or read the table in a parallel step, with "
        "'type: mltable'."
    )
