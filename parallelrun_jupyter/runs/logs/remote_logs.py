"""Logs that are written on other machines: their ends come here when somebody wants to see them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..driver_lock import driver_is_alive
from ..run_folder import RunFolder

REQUEST = "logs"
"""Name of the request that asks the driver for them."""

FRESH_S = 1.0
_PATIENCE_S = 2.0
_LOOK_S = 0.02


def _mark(folder: RunFolder) -> Path:
    return folder.path / "logs" / "brought"


def begin(folder: RunFolder) -> None:
    """Note that the logs of this run are elsewhere; nothing was brought yet."""
    path = _mark(folder)
    path.touch(mode=0o600)
    os.utime(path, (0, 0))


def mark(folder: RunFolder) -> None:
    """Note that the ends of the logs were brought just now."""
    _mark(folder).touch(mode=0o600)


def bring(folder: RunFolder, patience_s: float = _PATIENCE_S) -> None:
    """Ask the driver for what is new, and wait a little for it; nothing where the logs are here."""
    path = _mark(folder)
    try:
        before = path.stat().st_mtime_ns
    except FileNotFoundError:
        return
    now = time.time()
    if now - before / 1e9 < FRESH_S or not driver_is_alive(folder, 0, now):
        return
    folder.request(REQUEST)
    until = time.monotonic() + patience_s
    while path.stat().st_mtime_ns == before and time.monotonic() < until:
        time.sleep(_LOOK_S)


def store(folder: RunFolder, worker: str, text: bytes, skipped_bytes: int) -> None:
    """Append what came of a worker's log; say how much before it was left out."""
    path = folder.user_logs / f"{worker}.log"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    try:
        if skipped_bytes > 0:
            os.write(fd, b"... %d bytes of this log were not brought here ...\n" % skipped_bytes)
        os.write(fd, text)
    finally:
        os.close(fd)
