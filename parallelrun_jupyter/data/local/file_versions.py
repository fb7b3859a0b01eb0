"""Planned versions of local files, so that a resume never mixes rows of two versions.

Reading a file's status takes longer than listing it, especially on a network, and a run waits for the
listing. So the versions are recorded later, while mini-batches run, in a file beside the plan: size
and modification time, 16 bytes per file, at the position of its number in the run. If the driver was
killed before a file's version was recorded, the time of the plan decides: a file that was written
later has changed.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

from ...worker.plan_line import PlanLine

Version: TypeAlias = tuple[int, int]
"""Size in bytes, and modification time in nanoseconds."""

_RECORD = struct.Struct("<qq")
_UNKNOWN: Version = (0, 0)
_GONE: Version = (-1, 0)
_BURST_S = 0.001
_PAUSE_S = 0.02


class FileVersions:
    """The recorded versions of the files of a plan.

    Parameters
    ----------
    plan
        Path of the plan, which exists. Its modification time is read now.
    """

    def __init__(self, plan: Path) -> None:
        self._plan = plan
        self._planned_ns = os.stat(plan).st_mtime_ns
        path = plan.with_name("versions")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def forget(self, first: int = 0) -> None:
        """Delete the versions of all files from number ``first``."""
        if os.fstat(self._fd).st_size > first * _RECORD.size:
            os.truncate(self._fd, first * _RECORD.size)

    def changes(self, line: PlanLine) -> Iterator[tuple[int, bool]]:
        """Yield (position, is_gone) for each file of a plan line whose version has changed."""
        # Planning has read tables, so their lines have the versions.
        planned = [(size, time) for _, size, time in line.files] or self._recorded(line)
        for position, (path, version) in enumerate(zip(line.paths, planned, strict=True)):
            now = _version_of(path)
            if now == version or (now == _GONE and self._never_existed(path, version)):
                continue
            is_other = now[1] > self._planned_ns if version == _UNKNOWN else now != version
            if now == _GONE or is_other:
                yield position, now == _GONE

    def keep(self, first: int, versions: array[int]) -> None:
        """Record the size and time of consecutive files, the first of which has number ``first``."""
        os.pwrite(self._fd, _in_file_order(versions).tobytes(), first * _RECORD.size)

    def accept(self, line: PlanLine, positions: Iterable[int]) -> None:
        """Record the current versions of some files of a plan line as the planned versions."""
        if _needs_record(line):
            for position in positions:
                self._write(line.first + position, [_version_of(line.paths[position])])

    def record(
        self,
        is_left_out: Callable[[int, int], bool] | None = None,
        is_urgent: Callable[[], bool] = lambda: False,
    ) -> None:
        """Record the version of every file of the plan that has none yet.

        This uses about a twentieth of a core: mini-batches run at the same time, and only a later
        resume or update needs the versions.

        Parameters
        ----------
        is_left_out
            Returns whether the item at a position of a mini-batch waits for a later resume: its
            file may have changed already, so its version stays unknown. Default: none is left out.
        is_urgent
            Returns whether to record the rest without pauses, because the run is over.
        """
        busy_until = time.process_time() + _BURST_S
        with open(self._plan, "rb") as lines:
            for mini_batch, text in enumerate(lines):
                if text.startswith(b'["f"'):
                    is_out = is_left_out and partial(is_left_out, mini_batch)
                    self._record_line(PlanLine.decode(text), is_out)
                if time.process_time() > busy_until and not is_urgent():
                    time.sleep(_PAUSE_S)
                    busy_until = time.process_time() + _BURST_S

    def _record_line(self, line: PlanLine, is_left_out: Callable[[int], bool] | None) -> None:
        versions = self._recorded(line) if _needs_record(line) else []
        if _UNKNOWN in versions:
            is_wanted = [v == _UNKNOWN for v in versions]
            if is_left_out:
                is_wanted = [w and not is_left_out(k) for k, w in enumerate(is_wanted)]
            triples = zip(line.paths, versions, is_wanted, strict=True)
            self._write(line.first, (_version_of(p) if w else v for p, v, w in triples))

    def _never_existed(self, path: str, version: Version) -> bool:
        """Return whether a path was already a broken link when it was planned."""
        try:
            return version == _UNKNOWN and os.lstat(path).st_mtime_ns <= self._planned_ns
        except OSError:
            return False

    def _recorded(self, line: PlanLine) -> list[Version]:
        size = len(line.paths) * _RECORD.size
        data = os.pread(self._fd, size, line.first * _RECORD.size)
        whole = data[: len(data) - len(data) % _RECORD.size]
        return list(_RECORD.iter_unpack(whole.ljust(size, b"\0")))

    def _write(self, first: int, versions: Iterable[Version]) -> None:
        """Write versions of consecutive files, from file number ``first`` of the run."""
        data = b"".join(_RECORD.pack(*version) for version in versions)
        os.pwrite(self._fd, data, first * _RECORD.size)


def versions_of_plan(plan: Path) -> array[int]:
    """Return the recorded size and time of every file of a plan; 0 and 0 if they are unknown.

    There are fewer than files if the last ones are unknown, or have their versions in the plan.
    """
    versions = array("q")
    try:
        data = plan.with_name("versions").read_bytes()
    except FileNotFoundError:
        return versions
    versions.frombytes(data[: len(data) - len(data) % _RECORD.size])
    return _in_file_order(versions)


def _in_file_order(versions: array[int]) -> array[int]:
    """Convert numbers from or to the order of bytes in the file."""
    if sys.byteorder == "big":
        versions = versions[:]
        versions.byteswap()
    return versions


def _needs_record(line: PlanLine) -> bool:
    """Return whether a line has files without their versions."""
    return not line.is_table and not line.sizes


def _version_of(path: str) -> Version:
    try:
        status = os.stat(path)
    except OSError:
        return _GONE
    if stat.S_ISDIR(status.st_mode):  # a folder that could not be listed
        return _GONE
    return status.st_size, status.st_mtime_ns
