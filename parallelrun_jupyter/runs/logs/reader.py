"""The logs of a run's workers: tails, and the lines of one mini-batch."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...errors import ConfigError
from ...worker.streams import OPEN_END
from ..run_folder import RunFolder
from . import remote_logs

_TAIL_BYTES_PER_LINE = 400
_MOST_TAIL_BYTES = 64 << 20
_MOST_STATES = 1000
_TAGGED = re.compile(rb"\d{4}-\d\d-\d\dT\S+Z (\S+) #(\d+|-) ")
_STAMP_CHARS = 24


def worker_logs(folder: RunFolder, worker: str | None = None) -> list[Path]:
    """Return the log files of all workers, or of one."""
    names = sorted(folder.user_logs.glob("*.log"))
    return [path for path in names if worker is None or path.stem == worker]


class LastStates:
    """Leaves out the states of progress bars that a later line replaces. Takes lines backwards.

    A state is replaced by any later line of the same level in the same log, except by those that
    were written together with it: they are other bars.
    """

    def __init__(self) -> None:
        self._later: dict[bytes, bytes] = {}

    def is_replaced(self, line: bytes) -> bool:
        """Return whether a line, the one before the last that was asked about, is left out."""
        if line[_STAMP_CHARS - 1 : _STAMP_CHARS + 1] != b"Z ":
            return False  # another line of ours, such as the one about bytes that were not brought
        level = line[_STAMP_CHARS + 1 : line.find(b" ", _STAMP_CHARS + 1)]
        stamp = line[:_STAMP_CHARS] if line.endswith(OPEN_END) else b""
        if stamp and self._later.get(level, stamp) != stamp:
            return True
        self._later[level] = stamp
        return False


def without_states(lines: Iterable[bytes]) -> list[bytes]:
    """Return lines of one log without the states of bars that later ones of them replace."""
    states = LastStates()
    kept = [line for line in reversed(list(lines)) if not states.is_replaced(line)]
    return kept[::-1]


def shown(line: bytes) -> bytes:
    r"""Return a line of a log as it is shown, without any ``\r``.

    Logs of earlier versions hold every state of a bar in one line: the last one is shown.
    """
    if b"\r" not in line:
        return line
    match = _TAGGED.match(line)
    head, said = (line[: match.end()], line[match.end() :]) if match else (b"", line)
    if match and match[1] not in (b"STDOUT", b"STDERR"):
        return head + said.rstrip(b"\r").replace(b"\r", b" ")
    return head + last_state(said)


def last_state(text: bytes) -> bytes:
    """Return what is left of a line whose text went back to its start: the last that is not blank."""
    states = [state for state in text.split(b"\r") if state.strip()]
    return states[-1] if states else b""


def tail(folder: RunFolder, lines: int, worker: str | None = None) -> list[str]:
    """Return the last lines of the workers' logs, in order of time, each behind its worker."""
    _check_lines(lines)
    remote_logs.bring(folder)
    rows: list[tuple[bytes, str, bytes]] = []
    for path in worker_logs(folder, worker):
        stamp = b""
        for line in _last_lines(path, lines):
            stamp = line[:_STAMP_CHARS] if _TAGGED.match(line) else stamp
            rows.append((stamp, path.stem, line))
    return _texts(rows, lines)


def _check_lines(lines: int) -> None:
    if lines < 0:
        msg = f"lines is {lines}; expected the number of lines to show, such as 100."
        raise ConfigError(msg)


def _last_lines(path: Path, lines: int) -> list[bytes]:
    """Return the last lines of a log, looking at as little of it as that takes."""
    size = path.stat().st_size
    wanted = lines * _TAIL_BYTES_PER_LINE
    while True:
        start = max(0, size - wanted)
        with open(path, "rb") as file:
            data = os.pread(file.fileno(), size - start, start)
        rows = data.split(b"\n")
        if not rows[-1]:
            rows.pop()
        kept = without_states(rows[1 if start else 0 :])
        if len(kept) >= lines or not start or wanted >= _MOST_TAIL_BYTES:
            return kept[-lines:] if lines > 0 else []
        wanted *= 8


def of_mini_batch(folder: RunFolder, mini_batch: int, lines: int) -> list[str]:
    """Return the last lines that were logged while a mini-batch ran, by whichever worker."""
    _check_lines(lines)
    remote_logs.bring(folder)
    tag = b"%d" % mini_batch
    rows: list[tuple[bytes, str, bytes]] = []
    for path in worker_logs(folder):
        last = deque(_lines_tagged(path, tag), maxlen=lines + _MOST_STATES)
        kept = without_states(last)[-lines:]
        rows += [(line[:_STAMP_CHARS], path.stem, line) for line in kept]
    return _texts(rows, lines)


def _texts(rows: list[tuple[bytes, str, bytes]], lines: int) -> list[str]:
    rows.sort(key=lambda row: (row[0], row[1]))
    last = rows[-lines:] if lines > 0 else []
    return [f"{worker} {shown(line).decode('utf-8', 'replace')}" for _, worker, line in last]


def _lines_tagged(path: Path, tag: bytes) -> Iterator[bytes]:
    inside = False
    with open(path, "rb") as file:
        for line in file:
            match = _TAGGED.match(line)
            if match:
                inside = match[2] == tag
            if inside:
                yield line.rstrip(b"\n")


def text_from(path: Path, offset: int, limit_bytes: int = 1 << 16) -> str:
    """Return at most ``limit_bytes`` of a log from a byte offset on."""
    try:
        with open(path, "rb") as file:
            return os.pread(file.fileno(), limit_bytes, offset).decode("utf-8", "replace")
    except OSError:
        return ""
