"""Reads the logs of a run's workers from their ends, filtered or searched, at a bounded cost."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ConfigError
from ...formatting import text_filter
from ...worker.streams import OPEN_END
from ..run_folder import RunFolder
from . import remote_logs

LOG_LEVELS = {
    "DEBUG": 10,
    "INFO": 20,
    "STDOUT": 20,
    "WARNING": 30,
    "STDERR": 30,
    "ERROR": 40,
    "CRITICAL": 50,
}
"""Severity of a line; text on standard error counts as a warning."""

SEARCH_LIMIT_BYTES = 64 << 20
SEARCH_LIMIT_S = 2.0
LOG_PIECE_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 18
_LINE_LIMIT_BYTES = 1 << 16
_STAMP_CHARS = 24
_TAGGED = re.compile(rb"\d{4}-\d\d-\d\dT\S+Z (\S+) #(\d+|-) ")
"""Start of a line: its time, level and mini-batch. Matched in linear time: no part is ambiguous."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines to return.

    Parameters
    ----------
    worker
        Only the lines of this worker.
    mini_batch
        Only the lines logged while this mini-batch ran; -1 for all.
    level
        Only lines of this level or above; a key of `LOG_LEVELS`.
    text
        Only lines that contain this text, see `formatting.text_filter`.
    lines
        At most this many lines, the last ones.
    times
        Only lines logged from the first of these times to the second, as in the log.
    since
        For each worker, the byte up to which its log has been read; only later lines are returned.
    """

    worker: str = ""
    mini_batch: int = -1
    level: str = ""
    text: str = ""
    lines: int = 200
    times: tuple[str, str] = ("", "")
    since: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class FoundLines:
    r"""The last lines that match a query, each after its worker's name, ordered by time.

    A line that ends in ``\r`` is an intermediate state of a progress bar: a later line of the same
    worker and level replaces it.

    Parameters
    ----------
    ends
        The byte up to which each worker's log was read.
    skipped
        Number of lines after ``since`` that were left out.
    has_older
        Whether earlier lines match, or were not searched.
    is_partial
        Whether a limit ended the search.
    """

    lines: list[str] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    has_older: bool = False
    is_partial: bool = False


def worker_logs(folder: RunFolder, worker: str | None = None) -> list[Path]:
    """Return the log files of all workers, or of one."""
    paths = sorted(folder.user_logs.glob("*.log"))
    return [path for path in paths if worker is None or path.stem == worker]


def tail(folder: RunFolder, lines: int, worker: str | None = None) -> list[str]:
    """Return the last lines of the workers' logs, or of one worker's.

    Raises
    ------
    ConfigError
        ``lines`` is negative.
    """
    return _last_lines(folder, LogQuery(worker=worker or "", lines=lines))


def of_mini_batch(folder: RunFolder, mini_batch: int, lines: int) -> list[str]:
    """Return the last lines that were logged while a mini-batch ran, by any worker.

    Raises
    ------
    ConfigError
        ``lines`` is negative.
    """
    return _last_lines(folder, LogQuery(mini_batch=mini_batch, lines=lines))


def of_attempt(
    folder: RunFolder, worker: str, mini_batch: int, times: tuple[str, str], lines: int
) -> list[str]:
    """Return the last lines that a worker logged while it ran a mini-batch between two times."""
    query = LogQuery(worker=worker, mini_batch=mini_batch, lines=lines, times=times)
    return _last_lines(folder, query)


def _last_lines(folder: RunFolder, query: LogQuery) -> list[str]:
    """Return matching lines however long the search takes, a last line without its end included."""
    if query.lines < 0:
        msg = f"lines is {query.lines}; expected the number of lines to show, such as 100."
        raise ConfigError(msg)
    remote_logs.fetch(folder)
    search = _Search(query, limit_bytes=math.inf, limit_s=math.inf)
    rows: list[_Row] = []
    for path in worker_logs(folder, query.worker or None):
        lines, _, _ = search.read(path, 0, path.stat().st_size)
        rows += _rows(path.stem, lines)
    return [
        f"{worker} {shown(line).decode('utf-8', 'replace')}"
        for _, worker, line in _last_rows(rows, query.lines)
    ]


def find_lines(
    folder: RunFolder, query: LogQuery, clock: Callable[[], float] = time.monotonic
) -> FoundLines:
    """Return the whole lines that match a query, after a search of bounded bytes and seconds."""
    remote_logs.fetch(folder)
    search = _Search(query, limit_bytes=SEARCH_LIMIT_BYTES, limit_s=SEARCH_LIMIT_S, clock=clock)
    result = FoundLines()
    rows: list[_Row] = []
    for path in worker_logs(folder, query.worker or None):
        known_end = query.since.get(path.stem)
        end = _end_of_lines(path)
        start = known_end if known_end is not None and known_end <= end else 0
        result.ends[path.stem] = end
        lines, read_from, dropped = search.read(path, start, end)
        result.has_older = result.has_older or read_from > start or dropped > 0
        if known_end is not None:
            result.skipped += dropped + _count_lines(path, start, read_from)
        rows += _rows(path.stem, lines)
    last = _last_rows(rows, query.lines)
    result.has_older = result.has_older or len(last) < len(rows)
    if query.since:
        result.skipped += len(rows) - len(last)
    result.is_partial = search.is_partial
    for _, worker, line in last:
        mark = "\r" if line.endswith(OPEN_END) else ""
        result.lines.append(f"{worker} {shown(line).decode('utf-8', 'replace')}{mark}")
    return result


_Row = tuple[bytes, str, bytes]  # time, worker, line


def _rows(worker: str, lines: list[bytes]) -> list[_Row]:
    """Return the lines of a log with their times; a line without a time gets the previous time."""
    rows = []
    stamp = b""
    for line in lines:
        stamp = line[:_STAMP_CHARS] if _TAGGED.match(line) else stamp
        rows.append((stamp, worker, line))
    return rows


def _last_rows(rows: list[_Row], count: int) -> list[_Row]:
    rows.sort(key=lambda row: row[:2])
    return rows[-count:] if count > 0 else []


class _Search:
    """Reads logs backward, block by block, until it has enough lines or reaches a limit."""

    def __init__(
        self,
        query: LogQuery,
        *,
        limit_bytes: float,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lines = query.lines
        self._tag = b"%d" % query.mini_batch if query.mini_batch >= 0 else b""
        self._from, self._to = (stamp.encode("ascii") for stamp in query.times)
        self._level = LOG_LEVELS.get(query.level, 0)
        self._has_text = text_filter(query.text) if query.text else None
        self._bytes_left = limit_bytes
        self._clock = clock
        self._deadline = clock() + limit_s
        self.is_partial = False

    def read(self, path: Path, start: int, end: int) -> tuple[list[bytes], int, int]:
        """Search a range of bytes of a log.

        Returns
        -------
        tuple
            The last matching lines; the byte that the search got back to; and how many more lines
            match from there on.
        """
        lines: list[bytes] = []
        bars = _BarStates()
        rest = b""
        position = end
        with open(path, "rb") as file:
            while position > start and len(lines) < self._lines:
                if self._bytes_left <= 0 or self._clock() > self._deadline:
                    self.is_partial = True
                    break
                size = min(_BLOCK_BYTES, position - start)
                position -= size
                self._bytes_left -= size
                block = os.pread(file.fileno(), size, position) + rest
                first, newline, whole = block.partition(b"\n")
                if position == start:
                    whole, first = block, b""
                elif not newline:
                    rest = block[:_LINE_LIMIT_BYTES]
                    continue
                rest = first + newline if position > start else b""
                matching = [
                    line for line in reversed(whole.split(b"\n")) if self._accepts(line, bars)
                ]
                lines = matching[::-1] + lines
        dropped = max(0, len(lines) - self._lines)
        return lines[dropped:], position + len(rest), dropped

    def _accepts(self, line: bytes, bars: _BarStates) -> bool:
        """Return whether a line matches the query; called with the lines of a log in reverse."""
        if not line:
            return False
        match = _TAGGED.match(line)
        if self._tag and not (match and match[2] == self._tag):
            return False
        if self._to and not self._from <= line[:_STAMP_CHARS] <= self._to:
            return False
        if bars.is_replaced(line):
            return False
        if self._level:
            level = match[1].decode("ascii", "replace") if match else ""
            if LOG_LEVELS.get(level, 20) < self._level:
                return False
        if self._has_text is None:
            return True
        text = shown(line)[match.end() if match else 0 :]
        return self._has_text(text.decode("utf-8", "replace"))


class _BarStates:
    """Finds the states of progress bars that a later line replaces. Receives lines in reverse.

    A state is replaced by any later line of the same level in the same log, except by lines that
    were written together with it: they belong to other bars.
    """

    def __init__(self) -> None:
        self._later: dict[bytes, bytes] = {}

    def is_replaced(self, line: bytes) -> bool:
        """Return whether a later line replaces this one."""
        if line[_STAMP_CHARS - 1 : _STAMP_CHARS + 1] != b"Z ":
            return False  # not written by the worker, such as the note about skipped bytes
        level = line[_STAMP_CHARS + 1 : line.find(b" ", _STAMP_CHARS + 1)]
        stamp = line[:_STAMP_CHARS] if line.endswith(OPEN_END) else b""
        if stamp and self._later.get(level, stamp) != stamp:
            return True
        self._later[level] = stamp
        return False


def shown(line: bytes) -> bytes:
    r"""Return a line of a log as it is displayed, without any ``\r``.

    In logs of earlier versions one line has all states of a bar: the last one is displayed.
    """
    if b"\r" not in line:
        return line
    match = _TAGGED.match(line)
    head, text = (line[: match.end()], line[match.end() :]) if match else (b"", line)
    if match and match[1] not in (b"STDOUT", b"STDERR"):
        return head + text.rstrip(b"\r").replace(b"\r", b" ")
    return head + last_state(text)


def last_state(text: bytes) -> bytes:
    r"""Return the last part of a text with carriage returns that is not blank."""
    states = [state for state in text.split(b"\r") if state.strip()]
    return states[-1] if states else b""


def bytes_from(path: Path, offset: int, limit_bytes: int = LOG_PIECE_BYTES) -> bytes:
    """Return at most ``limit_bytes`` of a log from a byte offset on; nothing if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return os.pread(file.fileno(), limit_bytes, offset)
    except OSError:
        return b""


def text_from(path: Path, offset: int, limit_bytes: int = LOG_PIECE_BYTES) -> str:
    """Return at most ``limit_bytes`` of a log from a byte offset on; "" if it cannot be read."""
    return bytes_from(path, offset, limit_bytes).decode("utf-8", "replace")


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a script's output, of each the part that a terminal shows.

    A progress bar writes its line again and again, after carriage returns.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return []
    text = text_from(path, max(0, size - _LINE_LIMIT_BYTES))
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line.rstrip("\r").rpartition("\r")[2] for line in lines[-count:]]


def _end_of_lines(path: Path) -> int:
    """Return the byte after the last whole line of a log."""
    with open(path, "rb") as file:
        end = os.fstat(file.fileno()).st_size
        while end > 0:
            start = max(0, end - _BLOCK_BYTES)
            newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def _count_lines(path: Path, start: int, end: int) -> int:
    count = 0
    with open(path, "rb") as file:
        file.seek(start)
        while start < end and (block := file.read(min(_BLOCK_BYTES, end - start))):
            count += block.count(b"\n")
            start += len(block)
    return count
