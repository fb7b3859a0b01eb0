"""An output in parts: a folder in an object store with part files and their manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import OutputError

PART_NAME = "part-{:09d}-{}.parquet"
"""With the number of the first mini-batch: names sort in input order."""

MANIFEST = "_manifest.json"
"""Readers of such folders skip names that start with an underscore."""

MANIFEST_SCHEMA = 1


def manifest_text(
    run_id: str, parts: Iterable[Mapping[str, Any]], columns: list[Any], mini_batches: int
) -> str:
    """Return the manifest of a run's parts, one part per line.

    Parameters
    ----------
    run_id
        The run.
    parts
        ``name``, ``first``, ``mini_batches``, ``rows`` and ``size_bytes`` of each part, in input order.
    columns
        (name, type) of each column.
    mini_batches
        Number of mini-batches; a few may be in two parts.
    """
    parts = list(parts)
    head = {
        "schema": MANIFEST_SCHEMA,
        "run_id": run_id,
        "rows": sum(part["rows"] for part in parts),
        "mini_batches": mini_batches,
        "size_bytes": sum(part["size_bytes"] for part in parts),
        "columns": [{"name": name, "type": kind} for name, kind in columns],
    }
    lines = ",\n".join(json.dumps(part) for part in parts)
    return f'{json.dumps(head)[:-1]}, "parts": [\n{lines}\n]}}\n'


def read_manifest(text: str | bytes, run_id: str, url: str) -> list[str]:
    """Return the names of a run's parts, in input order.

    Raises
    ------
    OutputError
        The manifest is damaged, or belongs to another run, which has replaced the output.
    """
    try:
        manifest = json.loads(text)
        owner_id, names = manifest["run_id"], [part["name"] for part in manifest["parts"]]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{url}/{MANIFEST} is not the manifest of an output in parts ({error!r})."
        raise OutputError(msg) from error
    if owner_id != run_id:
        msg = f"the output of run {run_id} is gone: run {owner_id} has replaced it in {url}."
        raise OutputError(msg)
    return names
