"""The mini-batches of a run: a grid of cells for all, or the items and attempts of one."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from ...errors import visible
from ...formatting import plural
from ...worker.plan_line import END_MARK, PlanLine
from ..journal.events import AttemptFailed, AttemptSucceeded, ItemsFailed
from ..journal.lines import decode
from ..journal.state import FAILED, LEFT, RETRYING, SUCCEEDED, RunState
from ..run_folder import RunFolder

MOST_CELLS = 1024
LEVELS = 9
"""A cell shows its share of done mini-batches in eighths."""

_FIRST_CHAR = 35  # "#", the first of 72 characters that JSON does not escape
_SKIPPED_CHAR = 92  # the backslash
_CHARS = [
    chr(code + (code >= _SKIPPED_CHAR)) for code in range(_FIRST_CHAR, _FIRST_CHAR + 8 * LEVELS)
]

SHOWN_ITEMS = 50
SHOWN_ATTEMPTS = 20
_SHOWN_CHARS = 1000
_WORDS = {LEFT: "left", SUCCEEDED: "succeeded", FAILED: "failed", RETRYING: "retrying"}
_BLOCK_BYTES = 1 << 20


class Grid(TypedDict):
    """Mini-batches from ``first`` on, ``per_cell`` of them in each cell, one character per cell.

    A character encodes a number: eighths done (0 to 8; 8 only if all are done), plus 9 if a
    mini-batch failed, 18 if one will be retried, 36 if one is running.
    """

    first: int
    count: int
    per_cell: int
    cells: str


def grid(state: RunState, running: Iterable[int], first: int = 0, count: int | None = None) -> Grid:
    """Return the cells of ``count`` mini-batches from ``first`` on (default: all of them)."""
    first = min(max(first, 0), state.planned)
    rest = state.planned - first
    count = rest if count is None else min(max(count, 0), rest)
    per_cell = 1
    while per_cell * MOST_CELLS < count:
        per_cell *= 2
    cells = [_code(state.statuses, k, min(k + per_cell, first + count))
             for k in range(first, first + count, per_cell)]  # fmt: skip
    for mini_batch in running:
        cell = (mini_batch - first) // per_cell
        if 0 <= cell < len(cells) and first <= mini_batch and cells[cell] < 4 * LEVELS:
            cells[cell] += 4 * LEVELS
    return Grid(
        first=first, count=count, per_cell=per_cell, cells="".join(map(_CHARS.__getitem__, cells))
    )


def _code(statuses: bytearray, start: int, end: int) -> int:
    """Return the number of a cell without running mini-batches."""
    size = end - start
    part = statuses[start:end]
    succeeded = part.count(SUCCEEDED)
    if succeeded == size:
        return LEVELS - 1
    left = part.count(LEFT) + size - len(part)
    if left == size:
        return 0
    failed = part.count(FAILED)
    retrying = part.count(RETRYING) if succeeded + left + failed < size else 0
    level = (LEVELS - 1) * (succeeded + failed) // size
    return level + (LEVELS if failed else 0) + (2 * LEVELS if retrying else 0)


class AttemptRow(TypedDict):
    """An attempt that has ended."""

    attempt: int
    worker: str
    succeeded: bool
    at_s: float
    duration_s: float
    rows: int
    group: str
    message: str


class MiniBatchDetail(TypedDict):
    """A mini-batch: its state, the worker that runs it, its first items, its attempts."""

    mini_batch: int
    state: str
    worker: str
    items: list[str]
    items_count: int
    attempts: list[AttemptRow]


def mini_batch_detail(folder: RunFolder, state: RunState, mini_batch: int) -> MiniBatchDetail:
    """Return the state, items and attempts of a mini-batch."""
    running = [w.worker for w in state.workers.values()
               if w.phase == "running" and w.mini_batch == mini_batch]  # fmt: skip
    word = "running" if running else _WORDS[state.status_of(mini_batch)]
    items = _items(folder, mini_batch)
    return MiniBatchDetail(
        mini_batch=mini_batch,
        state=word,
        worker=running[0] if running else "",
        items=[visible(item)[:_SHOWN_CHARS] for item in items[:SHOWN_ITEMS]],
        items_count=len(items),
        attempts=_attempts(folder.journal, state, mini_batch)[-SHOWN_ATTEMPTS:],
    )


def _items(folder: RunFolder, mini_batch: int) -> list[str]:
    """Return the items of a mini-batch: paths, or ranges of rows; none without a plan line."""
    text = _line_at(folder.plan, mini_batch)
    if not text.endswith(b"\n") or text.startswith(END_MARK):
        return []
    line = PlanLine.decode(text)
    if not line.is_table:
        return line.paths
    rows = plural(line.rows, "row")
    unit = "rows" if line.table.get("by") == "rows" else "bytes"
    ranges = zip(line.paths, line.ranges, strict=False)
    return [f"{rows}: {unit} {start:,} to {end:,} of {path}" for path, (start, end) in ranges]


def _line_at(path: Path, number: int) -> bytes:
    """Return a line of a file by its number; the lines before it are only counted."""
    passed = 0
    rest = b""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return b""
    with file:
        while block := file.read(_BLOCK_BYTES):
            count = block.count(b"\n")
            if passed + count > number:
                return (rest + block).split(b"\n", number - passed + 1)[number - passed] + b"\n"
            passed += count
            rest = (rest + block).rpartition(b"\n")[2]
    return b""


def _attempts(journal: Path, state: RunState, mini_batch: int) -> list[AttemptRow]:
    events = [decode(line) for line in _journal_lines(journal, mini_batch)]
    ended: list[AttemptSucceeded | AttemptFailed]
    ended = [event for event in events if isinstance(event, AttemptFailed)]
    if state.status_of(mini_batch) == SUCCEEDED:
        # Only the last one is committed: earlier ones belong to parts that were never stored.
        ended += [event for event in events if isinstance(event, AttemptSucceeded)][-1:]
    short = {event.attempt: event for event in events if isinstance(event, ItemsFailed)}
    ordered = sorted(ended, key=lambda event: event.at_ms)
    return [_attempt_row(event, short.get(event.attempt)) for event in ordered]


def _attempt_row(
    event: AttemptSucceeded | AttemptFailed, short: ItemsFailed | None = None
) -> AttemptRow:
    failed = isinstance(event, AttemptFailed)
    reason = event if isinstance(event, AttemptFailed) else short
    return AttemptRow(
        attempt=event.attempt,
        worker=event.worker,
        succeeded=not failed,
        at_s=event.at_ms / 1000,
        duration_s=event.duration_us / 1e6,
        rows=0 if isinstance(event, AttemptFailed) else event.rows,
        group=reason.group[:_SHOWN_CHARS] if reason is not None else "",
        message=reason.message[:_SHOWN_CHARS] if reason is not None else "",
    )


def _journal_lines(journal: Path, mini_batch: int) -> list[bytes]:
    """Return the journal's lines about a mini-batch, found by search instead of decoding all."""
    try:
        file = open(journal, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return []
    lines = []
    with file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return []
        with data:
            for letter in (b"s", b"f", b"i"):
                start = b'\n["%b",%d,' % (letter, mini_batch)
                position = data.find(start)
                while position >= 0:
                    end = data.find(b"\n", position + 1)
                    if end < 0:
                        break
                    lines.append(data[position + 1 : end])
                    position = data.find(start, end)
    return lines
