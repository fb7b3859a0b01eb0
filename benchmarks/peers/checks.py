"""Checks outputs: the time of a wrong one is not reported."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from .workload import Workload


def what_is_wrong(workload: Workload, record: dict[str, Any]) -> tuple[str, bool]:
    """Return the fault of a measurement, empty if it is right, and whether its rows are in order.

    Parameters
    ----------
    workload
        The task.
    record
        The record written by `results.Results.save`.
    """
    expected = workload.expected()
    try:
        rows = Path(record["output"]).read_bytes().splitlines()
    except OSError as error:
        rows, record = [], {**record, "error": record["error"] or str(error)}
    found = []
    if rows != expected:
        missing = Counter(expected) - Counter(rows)
        beyond = Counter(rows) - Counter(expected)
        if missing:
            found.append(f"{missing.total():,} of {len(expected):,} rows are not there")
        if beyond:
            found.append(f"{beyond.total():,} rows should not be there")
    found += _misjudged(workload.failures, record["failures"])
    if record["error"]:
        found.append(record["error"])
    elif found and record["note"]:
        found.append(record["note"])
    return "; ".join(found), rows == expected


def _misjudged(expected: dict[str, str], found: dict[str, str]) -> list[str]:
    """Compare the reported failures with the expected ones."""
    said = []
    named = {k: how for k, how in found.items() if how != "lost"}
    silent = expected.keys() - named.keys()
    blamed = named.keys() - expected.keys()
    mistaken = [k for k in expected.keys() & named.keys() if named[k] != expected[k]]
    if silent:
        said.append(f"{len(silent)} of {len(expected)} failures are not named")
    if mistaken:
        said.append(f"{len(mistaken)} failures are given another cause")
    if blamed:
        said.append(f"{len(blamed)} mini-batches failed that need not have")
    return said
