"""The lock of a run's driver, and whether the driver is alive: its process, or its heartbeat."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from pathlib import Path

from ..errors import RunFolderError
from ..files import try_lock, write_atomically
from .run_folder import Folder

HEARTBEAT_S = 1.0
HEARTBEAT_LIMIT_S = 30.0
"""A driver on another host is lost if its heartbeat is older; clocks may differ slightly."""

_IS_LINUX = platform.system() == "Linux"

_POLL_S = 0.02

START_LIMIT_S = 15.0
"""A run without ``driver.json`` counts as interrupted this long after its creation."""


class DriverLock:
    """Marks this process as the driver of a run or pipeline, and renews its heartbeat."""

    def __init__(self, folder: Folder) -> None:
        self._path = folder.driver
        self._lock = _lock(folder.path / "driver.lock", folder.run_id)
        self._last_beat = time.monotonic()
        record = {**identity(os.getpid()), "started_at": time.time()}
        write_atomically(self._path, json.dumps(record))

    def heartbeat(self) -> None:
        """Renew the heartbeat, at most once per `HEARTBEAT_S`."""
        now = time.monotonic()
        if now - self._last_beat >= HEARTBEAT_S:
            self._last_beat = now
            os.utime(self._path)

    def fileno(self) -> int:
        """Return the descriptor that holds the lock: so does each copy of it in another process."""
        return self._lock

    def release(self) -> None:
        """Release the run to another driver."""
        os.close(self._lock)


def _lock(path: Path, run_id: str) -> int:
    try:
        return try_lock(path)
    except OSError as error:
        msg = f"run {run_id} already has a driver; watch it with 'parallelrun watch {run_id}'."
        raise RunFolderError(msg) from error


def is_driven(folder: Folder) -> bool:
    """Return whether a driver on this machine holds the lock of a run."""
    try:
        os.close(try_lock(folder.path / "driver.lock"))
    except OSError:
        return True
    return False


def wait_for_release(folder: Folder, limit_s: float) -> None:
    """Wait until no driver works on a run, at most ``limit_s`` seconds."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        try:
            os.close(try_lock(folder.path / "driver.lock"))
        except OSError:
            time.sleep(_POLL_S)
        else:
            return


def identity(pid: int) -> dict[str, str | int | None]:
    """Return the identity of a process, unique across hosts and reboots."""
    return {
        "host": socket.gethostname(),
        "boot_id": _boot_id(),
        "pid": pid,
        "process_start": _process_start(pid),
    }


def driver_is_alive(folder: Folder, created_at: float, now: float) -> bool:
    """Return whether the run has a living driver, or one may still be starting.

    Parameters
    ----------
    folder
        The run or pipeline.
    created_at, now
        Time of the run's creation, and the current time, in seconds since the epoch.
    """
    try:
        record = json.loads(folder.driver.read_text(encoding="utf-8"))
        last_beat = folder.driver.stat().st_mtime
    except (OSError, ValueError):
        return now - created_at < START_LIMIT_S
    if record["host"] != socket.gethostname():
        return now - last_beat < HEARTBEAT_LIMIT_S
    return bool(
        record["boot_id"] == _boot_id()
        and record["process_start"] is not None
        and record["process_start"] == _process_start(record["pid"])
    )


def _boot_id() -> str:
    if _IS_LINUX:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return ""
    import psutil

    return str(int(psutil.boot_time()))


def _process_start(pid: int) -> str | None:
    """Return the kernel's start time of a process; None if it is dead or a zombie."""
    if _IS_LINUX:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in {"Z", "X"} else fields[19]
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None
