"""Windows of the workers' logs: filtered, searched, and followed, at a bounded cost."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...formatting import text_filter
from ...worker.streams import OPEN_END
from ..run_folder import RunFolder
from . import remote_logs
from .reader import LastStates, shown, worker_logs

LEVELS = {
    "DEBUG": 10,
    "INFO": 20,
    "STDOUT": 20,
    "WARNING": 30,
    "STDERR": 30,
    "ERROR": 40,
    "CRITICAL": 50,
}
"""How grave a line is; what is printed counts as said, what goes to stderr as a warning."""

SEARCHED_BYTES = 64 << 20
SEARCHED_S = 2.0
_BLOCK = 1 << 18
_LONGEST_LINE = 1 << 16
_TAGGED = re.compile(rb"\d{4}-\d\d-\d\dT\S+Z (\S+) #(\d+|-) ")


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines are wanted.

    ``since`` has, by worker, the byte up to which the log was read before; without it, the last
    lines are wanted. ``text`` is looked for as `formatting.text_filter` does: in time that grows with
    the text only, whatever is typed.
    """

    worker: str = ""
    mini_batch: int = -1
    level: str = ""
    text: str = ""
    lines: int = 200
    since: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class FoundLines:
    r"""The last lines that were wanted, each behind its worker, and where their logs end.

    A line that ends in ``\r`` is a state of a progress bar: a later line of the same worker and
    level replaces it.

    ``skipped`` lines came after those that were known and were left out; ``has_older`` when there
    are more before; ``is_partial`` when not all of the logs was searched.
    """

    lines: list[str] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    has_older: bool = False
    is_partial: bool = False


class _Search:
    """Goes through logs backwards, until it has enough or has read enough."""

    def __init__(self, query: LogQuery, clock: Callable[[], float]) -> None:
        self._wanted = query.lines
        self._accepts = _filter_of(query)
        self._room = SEARCHED_BYTES
        self._clock = clock
        self._until = clock() + SEARCHED_S
        self.is_partial = False

    def read(self, path: Path, start: int, end: int) -> tuple[list[bytes], int, int]:
        """Return the last lines wanted of a part of a log, where reading began, and how many others.

        The others were read and wanted, and are more than was asked for.
        """
        found: list[bytes] = []
        states = LastStates()
        rest = b""
        position = end
        with open(path, "rb") as file:
            while position > start and len(found) < self._wanted:
                if self._room <= 0 or self._clock() > self._until:
                    self.is_partial = True
                    break
                size = min(_BLOCK, position - start)
                position -= size
                self._room -= size
                block = os.pread(file.fileno(), size, position) + rest
                first, newline, whole = block.partition(b"\n")
                if position == start:
                    whole, first = block, b""
                elif not newline:
                    rest = block[:_LONGEST_LINE]
                    continue
                rest = first + newline if position > start else b""
                matching = [
                    line
                    for line in reversed(whole.split(b"\n"))
                    if line and not states.is_replaced(line) and self._accepts(shown(line))
                ]
                found = matching[::-1] + found
        dropped = max(0, len(found) - self._wanted)
        return found[dropped:], position + len(rest), dropped


def find_lines(
    folder: RunFolder, query: LogQuery, clock: Callable[[], float] = time.monotonic
) -> FoundLines:
    """Return a window of the logs."""
    remote_logs.bring(folder)
    search = _Search(query, clock)
    result = FoundLines()
    rows: list[tuple[bytes, str, bytes]] = []
    unread = 0
    for path in worker_logs(folder, query.worker or None):
        known = query.since.get(path.stem)
        end = _whole_lines(path)
        start = known if known is not None and known <= end else 0
        result.ends[path.stem] = end
        lines, read_from, dropped = search.read(path, start, end)
        result.has_older = result.has_older or read_from > start or dropped > 0
        if known is not None:
            unread += dropped + _count_lines(path, start, read_from)
        stamp = b""
        for line in lines:
            stamp = line[:24] if _TAGGED.match(line) else stamp
            rows.append((stamp, path.stem, line))
    rows.sort(key=lambda row: (row[0], row[1]))
    last = rows[-query.lines :]
    result.has_older = result.has_older or len(last) < len(rows)
    result.skipped = unread + (len(rows) - len(last) if query.since else 0)
    result.is_partial = search.is_partial
    result.lines = [f"{worker} {_text_of(line)}" for _, worker, line in last]
    return result


def _text_of(line: bytes) -> str:
    mark = "\r" if line.endswith(OPEN_END) else ""
    return shown(line).decode("utf-8", "replace") + mark


def _filter_of(query: LogQuery) -> Callable[[bytes], bool]:
    """Return the function that tells a wanted line from others."""
    least = LEVELS.get(query.level, 0)
    tag = b"%d" % query.mini_batch if query.mini_batch >= 0 else b""
    has_text = text_filter(query.text) if query.text else None

    def accepts(line: bytes) -> bool:
        match = _TAGGED.match(line)
        if tag and not (match and match[2] == tag):
            return False
        if least and LEVELS.get(match[1].decode("ascii", "replace") if match else "", 20) < least:
            return False
        said = line[match.end() if match else 0 :]
        return has_text is None or has_text(said.decode("utf-8", "replace"))

    return accepts


def _whole_lines(path: Path) -> int:
    """Return where the last whole line of a log ends."""
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        while end > 0:
            start = max(0, end - _BLOCK)
            newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def _count_lines(path: Path, start: int, end: int) -> int:
    """Return the number of lines in a part of a log."""
    count = 0
    with open(path, "rb") as file:
        file.seek(start)
        while start < end and (block := file.read(min(_BLOCK, end - start))):
            count += block.count(b"\n")
            start += len(block)
    return count
