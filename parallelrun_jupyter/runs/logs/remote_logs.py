"""Logs written on other machines: their ends are fetched when a view needs them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..driver_lock import driver_is_alive
from ..run_folder import RunFolder

REQUEST = "logs"
"""Name of the request to the driver to fetch them."""

FRESH_S = 1.0
_TIMEOUT_S = 2.0
_POLL_S = 0.02


def _time_file(folder: RunFolder) -> Path:
    """Return the file whose modification time is the time of the last fetch."""
    return folder.path / "logs" / "brought"


def mark_remote(folder: RunFolder) -> None:
    """Record that the logs of this run are on other machines and not fetched yet."""
    path = _time_file(folder)
    path.touch(mode=0o600)
    os.utime(path, (0, 0))


def mark_fetched(folder: RunFolder) -> None:
    """Record that the ends of the logs were fetched just now."""
    _time_file(folder).touch(mode=0o600)


def fetch(folder: RunFolder, timeout_s: float = _TIMEOUT_S) -> None:
    """Request new lines from the driver and wait for them; return immediately for local logs."""
    path = _time_file(folder)
    try:
        before = path.stat().st_mtime_ns
    except FileNotFoundError:
        return
    now = time.time()
    if now - before / 1e9 < FRESH_S or not driver_is_alive(folder, 0, now):
        return
    folder.request(REQUEST)
    deadline = time.monotonic() + timeout_s
    while path.stat().st_mtime_ns == before and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def append(folder: RunFolder, worker: str, text: bytes, skipped_bytes: int) -> None:
    """Append fetched text to a worker's log, after a note about skipped bytes before it."""
    path = folder.user_logs / f"{worker}.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        if skipped_bytes > 0:
            os.write(fd, b"... %d bytes of this log were not fetched ...\n" % skipped_bytes)
        os.write(fd, text)
    finally:
        os.close(fd)
