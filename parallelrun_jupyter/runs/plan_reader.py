"""The plan of a run, read in order, and the names of its items."""

from __future__ import annotations

from ..errors import visible
from ..formatting import plural
from ..worker.memory_items import is_memory, located
from ..worker.memory_names import memory_item_name
from ..worker.plan_line import END_MARK, PlanLine
from .run_folder import RunFolder


class PlanReader:
    """The lines of a plan, read once, in increasing order."""

    def __init__(self, folder: RunFolder) -> None:
        path = folder.plan
        self._data = str(folder.data)
        #: None if the driver has not created it yet
        self._file = open(path, "rb") if path.exists() else None  # noqa: SIM115 - see close
        self._next = 0
        self._line: PlanLine | None = None
        self._first_row = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def line(self, mini_batch: int) -> tuple[PlanLine | None, int]:
        """Return the line of a mini-batch, and the number of its first row in its only file."""
        while self._next <= mini_batch and self._file is not None:
            text = self._file.readline()
            if not text.endswith(b"\n") or text.startswith(END_MARK):
                return None, 0
            is_wanted = self._next == mini_batch
            self._next += 1
            if is_wanted or text.startswith(b'["t"'):
                self._advance(located(PlanLine.decode(text), self._data))
        return (self._line, self._first_row) if self._next == mini_batch + 1 else (None, 0)

    def _advance(self, line: PlanLine) -> None:
        before, self._line = self._line, line
        if before is not None and _continues(line, before):
            self._first_row += before.rows
        else:
            self._first_row = 0


def _continues(line: PlanLine, before: PlanLine) -> bool:
    """Return whether the rows of a plan line follow those of another one in the same file."""
    is_same = (line.input_number, line.paths) == (before.input_number, before.paths)
    if not is_same or len(line.ranges) != 1 or len(before.ranges) != 1:
        return False
    return bool(line.ranges[0][0] == before.ranges[0][1])


def partition_of(line: PlanLine) -> str:
    """Return the partition of a mini-batch: ``store=1001, brand=tropicana``; empty without keys."""
    keys = line.extra.get("keys") or {}
    return visible(", ".join(f"{name}={value}" for name, value in keys.items()))


def with_partition(name: str, line: PlanLine) -> str:
    """Return the name of a row with the partition that it is in."""
    partition = partition_of(line)
    return f"{name} ({partition})" if partition else name


def item_name(line: PlanLine, position: int, first_row: int = 0) -> str | None:
    """Return the name of an item as in `FailedItem`; None if the line has no such item.

    Parameters
    ----------
    line
        The mini-batch.
    position
        Position of the item in the mini-batch.
    first_row
        Number of the mini-batch's first row in its only text file.
    """
    if not line.is_table:
        return visible(line.paths[position]) if position < len(line.paths) else None
    if line.table.get("format") == "unreadable":
        return visible(line.paths[0])
    if is_memory(line):
        return visible(memory_item_name(line, position)) if position < line.rows else None
    if line.table.get("by") == "rows":
        row = position
        for path, (start, end) in zip(line.paths, line.ranges, strict=False):
            if row < end - start:
                return with_partition(f"{visible(path)}: row {start + row}", line)
            row -= end - start
        return None
    if position >= line.rows:
        return None
    if len(line.paths) == 1:
        return with_partition(f"{visible(line.paths[0])}: row {first_row + position}", line)
    others = plural(len(line.paths) - 1, "other file")
    return with_partition(f"{visible(line.paths[0])} and {others}: row {position}", line)
