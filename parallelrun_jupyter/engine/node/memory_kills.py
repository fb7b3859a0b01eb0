"""Counts the processes that the kernel killed for lack of memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_KEY = "oom_kill "


def own_counters(membership: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Return the files with the count, in order of preference.

    The file of the own cgroup (version 2) counts the kills in it and below it only. Machines without
    cgroups, and processes in the root cgroup, have the machine's count alone.
    """
    counters = []
    try:
        lines = membership.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("0::/"):
            folder = _CGROUPS / line.removeprefix("0::/")
            counters.append(folder / "memory.events")
    return [*counters, Path("/proc/vmstat")]


class MemoryKills:
    """The kernel's counter of killed processes, and the deaths that it explains.

    The counter tells neither which process was killed nor why memory ran out. A death by SIGKILL is
    explained by it if the counter has risen since the worker's start by a kill that no other worker's
    death has used. This is wrong if someone else kills the worker after the kernel has killed another
    process: one of the script's own children, another process of the cgroup or, with the machine's
    counter, of the machine or another container. A process that kills by itself, such as
    systemd-oomd or an agent of a cluster, does not raise the counter: its kills are not recognized.
    Neither are those on systems without these files, such as macOS.

    Parameters
    ----------
    counters
        Files with a line ``oom_kill N``; the first that has one is read. Default: `own_counters`.
    """

    def __init__(self, counters: Sequence[Path] | None = None) -> None:
        paths = own_counters() if counters is None else counters
        self._path = next((path for path in paths if _read(path) is not None), None)
        self._used = self.count()

    def count(self) -> int:
        """Return the number of kills so far; 0 if the system does not count them."""
        return (_read(self._path) or 0) if self._path is not None else 0

    def explain_death(self, count_before: int) -> bool:
        """Return whether a kill explains the death of a process by SIGKILL, and use that kill up.

        Parameters
        ----------
        count_before
            The count at the start of the process.
        """
        used = max(self._used, count_before)
        if self.count() <= used:
            return False
        self._used = used + 1
        return True


def _read(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(_KEY):
            return int(line.removeprefix(_KEY))
    return None
