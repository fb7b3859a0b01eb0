"""The mini-batches of a run: a grid of cells for all, or the items and attempts of one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypedDict

from ...errors import visible
from ...formatting import plural
from ...worker.item_ranges import count_of, merged
from ...worker.memory_items import is_memory, located
from ...worker.memory_names import memory_item_names
from ...worker.plan_line import PlanLine
from ..journal.state import FAILED, LEFT, PARTLY, RETRYING, SUCCEEDED, RunState
from ..run_folder import RunFolder
from .attempts import AttemptRow, attempts_of
from .lookup import plan_lines

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
SHOWN_RANGES = 20
_WORDS = {
    LEFT: "left",
    SUCCEEDED: "succeeded",
    PARTLY: "partly failed",
    FAILED: "failed",
    RETRYING: "retrying",
}


class Grid(TypedDict):
    """Mini-batches from ``first`` on, ``per_cell`` of them in each cell, one character per cell.

    A character encodes a number: eighths done (0 to 8; 8 only if all are done), plus 9 if a
    mini-batch failed, or some of its items, 18 if one will be retried, 36 if one is running.
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
    failed = part.count(FAILED) + part.count(PARTLY)
    retrying = part.count(RETRYING) if succeeded + left + failed < size else 0
    level = (LEVELS - 1) * (succeeded + failed) // size
    return level + (LEVELS if failed else 0) + (2 * LEVELS if retrying else 0)


class MiniBatchDetail(TypedDict):
    """A mini-batch: its state, the worker that runs it, its first items, its attempts.

    ``failed_ranges`` are the first of its items that failed, if others did not: position of the
    first and number of consecutive ones; ``items_failed`` is the number of all.
    """

    mini_batch: int
    state: str
    worker: str
    items: list[str]
    items_count: int
    items_failed: int
    failed_ranges: list[list[int]]
    attempts: list[AttemptRow]


def mini_batch_detail(folder: RunFolder, state: RunState, mini_batch: int) -> MiniBatchDetail:
    """Return the state, items and attempts of a mini-batch."""
    [detail] = mini_batch_details(folder, state, [mini_batch])
    return detail


def mini_batch_details(
    folder: RunFolder, state: RunState, mini_batches: Collection[int]
) -> list[MiniBatchDetail]:
    """Return the state, items and attempts of mini-batches, from one read of plan and journal."""
    lines = plan_lines(folder.plan, mini_batches)
    attempts = attempts_of(folder.journal, state, mini_batches)
    running = {w.mini_batch: w.worker for w in state.workers.values() if w.phase == "running"}
    details = []
    for mini_batch in mini_batches:
        worker = running.get(mini_batch, "")
        items = _items(folder, lines.get(mini_batch))
        answers = state.answers.get(mini_batch)
        failed = merged((first, count) for first, count, _ in answers.failed) if answers else ()
        detail = MiniBatchDetail(
            mini_batch=mini_batch,
            state="running" if worker else _WORDS[state.status_of(mini_batch)],
            worker=worker,
            items=[visible(item)[:_SHOWN_CHARS] for item in items[:SHOWN_ITEMS]],
            items_count=len(items),
            items_failed=count_of(failed),
            failed_ranges=[list(pair) for pair in failed[:SHOWN_RANGES]],
            attempts=attempts[mini_batch][-SHOWN_ATTEMPTS:],
        )
        details.append(detail)
    return details


def _items(folder: RunFolder, line: PlanLine | None) -> list[str]:
    """Return the items of a mini-batch: paths, or ranges of rows; none without a plan line."""
    if line is None:
        return []
    if is_memory(line):
        return [memory_item_names(located(line, str(folder.data)))]
    if not line.is_table:
        return line.paths
    rows = plural(line.rows, "row")
    unit = "rows" if line.table.get("by") == "rows" else "bytes"
    ranges = zip(line.paths, line.ranges, strict=False)
    return [f"{rows}: {unit} {start:,} to {end:,} of {path}" for path, (start, end) in ranges]
