"""A run as a row of a list, for the terminal, the notebook and JupyterLab."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ..errors import visible
from ..formatting import format_bytes, format_duration, plural
from ..runs.run_record import RunRecord
from ..runs.snapshot.snapshot import Snapshot
from .call_texts import format_usd
from .text import headline, plain

_NAME_CHARS = 44
_MINUTE = "%Y-%m-%d %H:%M"
_VIEW_ONLY = ("is_read", "headline", "can_resume")


class RunRow(TypedDict):
    """A run in a list; ``is_read`` is False until its journal has been read, ``usd`` is what it spent."""

    run_id: str
    name: str
    created_at: float
    is_read: bool
    is_final: bool
    can_resume: bool
    state: str
    reason: str
    headline: str
    plan_finished: bool
    mini_batches: int
    succeeded: int
    failed: int
    items: int
    items_left: int
    items_failed: int
    rows: int
    usd: float
    elapsed_s: float
    size_bytes: int
    output: str


class RunList(TypedDict):
    """The newest runs, and the number of older ones."""

    runs: list[RunRow]
    hidden: int


def unread_row(record: RunRecord) -> RunRow:
    """Return the row of a run whose journal has not been read yet."""
    return RunRow(
        run_id=record.run_id,
        name=visible(record.name),
        created_at=record.created_at,
        is_read=False,
        is_final=False,
        can_resume=False,
        state="Queued",
        reason="",
        headline="reading",
        plan_finished=False,
        mini_batches=0,
        succeeded=0,
        failed=0,
        items=0,
        items_left=0,
        items_failed=0,
        rows=0,
        usd=0.0,
        elapsed_s=0.0,
        size_bytes=0,
        output="",
    )


def run_row(record: RunRecord, snapshot: Snapshot, size_bytes: int) -> RunRow:
    """Return the row of a run; ``size_bytes`` is the size of its folder on disk."""
    calls = snapshot["calls"]
    return RunRow(
        run_id=record.run_id,
        name=visible(record.name),
        created_at=record.created_at,
        is_read=True,
        is_final=snapshot["is_final"],
        can_resume=snapshot["can_resume"],
        state=snapshot["state"],
        reason=snapshot["reason"],
        headline=headline(snapshot),
        plan_finished=snapshot["plan_finished"],
        mini_batches=snapshot["mini_batches"],
        succeeded=snapshot["succeeded"],
        failed=snapshot["failed"],
        items=snapshot["items"],
        items_left=snapshot["items_left"],
        items_failed=snapshot["items_failed"],
        rows=snapshot["rows"],
        usd=calls["usd"] if calls else 0.0,
        elapsed_s=snapshot["elapsed_s"],
        size_bytes=size_bytes,
        output=snapshot["output"],
    )


def json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as JSON, one object per line."""
    return "\n".join(json.dumps(row) for row in rows)


def public(row: RunRow) -> dict[str, Any]:
    """Return the public values of a row, without the values that only views use."""
    return {key: value for key, value in row.items() if key not in _VIEW_ONLY}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a text table; the last column is the reason of a failure.

    It has a column of costs if any run has spent money.

    The last line has the number of runs and their size on disk.
    """
    if not rows:
        return "no runs"
    seconds = _same_minutes(rows)
    cost_head = ["COST"] if any(row["usd"] for row in rows) else []
    heads = ["RUN", "NAME", "STATE", "STARTED", "TOOK", "DONE", *cost_head, "SIZE", ""]
    cells = [
        [
            *_first_cells(row, seconds),
            format_duration(row["elapsed_s"]),
            _done(row),
            *([f"{format_usd(row['usd'])} USD" if row["usd"] else ""] if cost_head else ()),
            format_bytes(row["size_bytes"]),
            plain(row["reason"]),
        ]
        for row in rows
    ]
    return f"{aligned(heads, cells)}\n{total(rows)}"


def short_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a text table of runs and sizes."""
    seconds = _same_minutes(rows)
    cells = [[*_first_cells(row, seconds), format_bytes(row["size_bytes"])] for row in rows]
    return aligned(["RUN", "NAME", "STATE", "STARTED", "SIZE"], cells)


def total(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the number of runs and their size on disk: ``3 runs, 1.2 MB on disk``."""
    size = format_bytes(sum(row["size_bytes"] for row in rows))
    return f"{plural(len(rows), 'run')}, {size} on disk"


def aligned(heads: list[str], cells: list[list[str]]) -> str:
    """Return a text table."""
    widths = [max(len(row[k]) for row in [heads, *cells]) for k in range(len(heads))]
    lines = (
        "  ".join(f"{cell:<{widths[k]}}" for k, cell in enumerate(row)) for row in [heads, *cells]
    )
    return "\n".join(line.rstrip() for line in lines)


def _first_cells(row: Mapping[str, Any], seconds: set[tuple[str, str]]) -> list[str]:
    """Return the cells that runs are told apart by."""
    at = time.localtime(row["created_at"])
    started = time.strftime(_MINUTE, at)
    if (row["name"], started) in seconds:
        started += time.strftime(":%S", at)
    return [row["run_id"], _shortened(plain(row["name"])), row["state"], started]


def _shortened(name: str) -> str:
    """Return a name without its middle if it is long: names begin with the script, end with the input."""
    if len(name) <= _NAME_CHARS:
        return name
    kept = _NAME_CHARS - 3
    return f"{name[: kept // 2]}...{name[-(kept - kept // 2) :]}"


def _same_minutes(rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the names and minutes of runs of the same name that were started in the same minute."""
    minutes = Counter(
        (row["name"], time.strftime(_MINUTE, time.localtime(row["created_at"]))) for row in rows
    )
    return {key for key, number in minutes.items() if number > 1}


def _done(row: Mapping[str, Any]) -> str:
    done = row["items"] - row["items_left"]
    if row["plan_finished"]:
        text = f"{done:,} of {plural(row['items'], 'item')}"
    else:
        text = f"{plural(done, 'item')}, listing"
    return text + (f", {row['items_failed']:,} failed" if row["items_failed"] else "")
