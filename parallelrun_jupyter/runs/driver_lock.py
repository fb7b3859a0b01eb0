"""Is the driver of a run alive? Judged by process identity here, by heartbeat on another host."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
from pathlib import Path
from typing import Protocol

from ..errors import RunFolderError
from ..files import try_lock, write_atomically

HEARTBEAT_S = 1.0
HEARTBEAT_LIMIT_S = 30.0
"""Another host's driver counts as lost when its heartbeat is older; clocks may differ a little."""

_IS_LINUX = platform.system() == "Linux"

START_LIMIT_S = 15.0
"""A run whose driver has said nothing for so long after its creation never had one."""


class Driven(Protocol):
    """The folder of what has a driver: a run, or a pipeline."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def run_id(self) -> str:
        """Its name."""

    @property
    def driver(self) -> Path:
        """The file that says which process drives it."""


class DriverLock:
    """Holds a run for this process, as its driver, and keeps its heartbeat."""

    def __init__(self, folder: Driven) -> None:
        self._path = folder.driver
        self._lock = _lock(folder.path / "driver.lock", folder.run_id)
        self._beaten = time.monotonic()
        record = {**identity(os.getpid()), "started_at": time.time()}
        write_atomically(self._path, json.dumps(record))

    def beat(self) -> None:
        """Renew the heartbeat, when it is time to."""
        now = time.monotonic()
        if now - self._beaten >= HEARTBEAT_S:
            self._beaten = now
            os.utime(self._path)

    def release(self) -> None:
        """Let another driver take the run."""
        os.close(self._lock)


def _lock(path: Path, run_id: str) -> int:
    try:
        return try_lock(path)
    except OSError as error:
        msg = f"run {run_id} already has a driver; watch it with 'parallelrun watch {run_id}'."
        raise RunFolderError(msg) from error


def identity(pid: int) -> dict[str, str | int | None]:
    """Return what tells a process from every other, on any host and after any reboot."""
    return {
        "host": socket.gethostname(),
        "boot_id": _boot_id(),
        "pid": pid,
        "process_start": _process_start(pid),
    }


def driver_is_alive(folder: Driven, created_at: float, now: float) -> bool:
    """Say whether the run has a living driver, or may still be getting one.

    Parameters
    ----------
    folder
        The run.
    created_at, now
        When the run was created, and the time, in seconds since the epoch.
    """
    try:
        record = json.loads(folder.driver.read_text(encoding="utf-8"))
        beaten = folder.driver.stat().st_mtime
    except (OSError, ValueError):
        return now - created_at < START_LIMIT_S
    if record["host"] != socket.gethostname():
        return now - beaten < HEARTBEAT_LIMIT_S
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
    """Return when a living process started, by the kernel's count; None for a dead or a zombie."""
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
