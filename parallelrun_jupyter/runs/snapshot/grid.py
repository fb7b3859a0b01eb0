"""The mini-batches of a run as a grid of cells: the same cost for a hundred and a million."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from ..journal.state import FAILED, LEFT, RETRYING, SUCCEEDED, RunState

MOST_CELLS = 1024
LEVELS = 9
"""A cell says how much of it is done in eighths."""

_FIRST = 35  # "#": the first of 72 characters that JSON leaves as they are
_SKIPPED = 92  # the backslash


class Grid(TypedDict):
    """Mini-batches from ``first`` on, ``per_cell`` of them in each cell, one character a cell.

    A character stands for a number: eighths done (0 to 8, all only where all are), plus 9 where
    one has failed, 18 where one is to be retried, 36 where one is running.
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
    """Return the number of a cell, without what is running in it."""
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


_CHARS = [chr(code + (code >= _SKIPPED)) for code in range(_FIRST, _FIRST + 8 * LEVELS)]
