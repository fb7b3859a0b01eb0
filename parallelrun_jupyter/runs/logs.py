"""The logs of a run's workers: tails, and the lines of one mini-batch."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from . import remote_logs
from .store import RunFolder

_TAIL_BYTES_PER_LINE = 400
_TAGGED = re.compile(rb"\d{4}-\d\d-\d\dT\S+Z \S+ #(\d+|-) ")


def worker_logs(folder: RunFolder, worker: str | None = None) -> list[Path]:
    """Return the log files of all workers, or of one."""
    names = sorted(folder.user_logs.glob("*.log"))
    return [path for path in names if worker is None or path.stem == worker]


def tail(folder: RunFolder, lines: int, worker: str | None = None) -> list[str]:
    """Return the last lines of the workers' logs, in order of time, each behind its worker."""
    remote_logs.bring(folder)
    found: list[tuple[bytes, str, bytes]] = []
    for path in worker_logs(folder, worker):
        size = path.stat().st_size
        start = max(0, size - lines * _TAIL_BYTES_PER_LINE)
        with open(path, "rb") as file:
            file.seek(start)
            data = file.read()
        kept = data.splitlines()[1 if start else 0 :][-lines:]
        stamp = b""
        for line in kept:
            stamp = line[:24] if _TAGGED.match(line) else stamp
            found.append((stamp, path.stem, line))
    found.sort(key=lambda row: (row[0], row[1]))
    return [f"{worker} {line.decode('utf-8', 'replace')}" for _, worker, line in found[-lines:]]


def of_mini_batch(folder: RunFolder, mini_batch: int, lines: int) -> list[str]:
    """Return the last lines that were logged while a mini-batch ran, by whichever worker."""
    remote_logs.bring(folder)
    tag = b"#%d" % mini_batch
    found: deque[tuple[bytes, str, bytes]] = deque(maxlen=lines)
    for path in worker_logs(folder):
        for line in _lines_tagged(path, tag):
            found.append((line[:24], path.stem, line))
    rows = sorted(found, key=lambda row: (row[0], row[1]))
    return [f"{worker} {line.decode('utf-8', 'replace')}" for _, worker, line in rows]


def _lines_tagged(path: Path, tag: bytes) -> Iterator[bytes]:
    inside = False
    with open(path, "rb") as file:
        for line in file:
            match = _TAGGED.match(line)
            if match:
                inside = b"#" + match[1] == tag
            if inside:
                yield line.rstrip(b"\n")


def text_from(path: Path, offset: int, limit_bytes: int = 1 << 16) -> str:
    """Return at most ``limit_bytes`` of a log from a byte offset on."""
    try:
        with open(path, "rb") as file:
            return os.pread(file.fileno(), limit_bytes, offset).decode("utf-8", "replace")
    except OSError:
        return ""
