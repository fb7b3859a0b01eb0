"""What this machine's files were when they were planned: no resume mixes rows of two versions.

To look at a file takes longer than to list it, on a network by far, and a run waits for the listing.
So files are looked at behind it, while mini-batches run, and what was found goes into a file beside
the plan: 16 bytes a file, its size and modification time, at the place of its number in the run.
Where a driver was killed before a file's turn came, the time of the plan itself has to do: what was
written after it has changed.
"""

from __future__ import annotations

import json
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_ONE = struct.Struct("<qq")
_UNKNOWN = (0, 0)
_GONE = (-1, 0)
_BURST_S = 0.001
_PAUSE_S = 0.02


class FileVersions:
    """The versions of the files of a plan.

    Parameters
    ----------
    plan
        The plan, which is there. Its modification time counts as it is now.
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
        """Forget the files from number ``first`` on, which are to be planned again."""
        if os.fstat(self._fd).st_size > first * _ONE.size:
            os.truncate(self._fd, first * _ONE.size)

    def changes(self, row: list[Any]) -> Iterator[tuple[str, bool]]:
        """Yield (path, whether it is gone) of the files of a plan line that are not what they were."""
        paths, sizes, times = row[2:5]
        # Of a table's files the line says it itself: planning has read them.
        planned = list(zip(sizes, times, strict=True)) if sizes else self._known(row)
        for path, version in zip(paths, planned, strict=True):
            now = _look(path)
            if now == version or (now == _GONE and self._never_was(path, version)):
                continue
            is_other = now[1] > self._planned_ns if version == _UNKNOWN else now != version
            if now == _GONE or is_other:
                yield path, now == _GONE

    def accept(self, row: list[Any]) -> None:
        """Take the files of a plan line as they are now for what was planned."""
        if row[0] == "f" and not row[3]:
            os.pwrite(self._fd, b"".join(_ONE.pack(*_look(path)) for path in row[2]), _place(row))

    def _never_was(self, path: str, version: tuple[int, int]) -> bool:
        """Say if a path that leads to no file has not done so when it was planned, either."""
        try:
            return version == _UNKNOWN and os.lstat(path).st_mtime_ns <= self._planned_ns
        except OSError:
            return False

    def note(self, is_left_out: Callable[[int], bool] | None = None) -> None:
        """Look at every file of the plan that was not looked at yet.

        Parameters
        ----------
        is_left_out
            Tells of a mini-batch whether it waits for a later resume. What its files were is then as
            unknown as before: they may have changed already.

        It takes about a twentieth of a core: it is there for the day of a resume, and mini-batches
        run beside it.
        """
        busy_until = time.process_time() + _BURST_S
        with open(self._plan, "rb") as lines:
            for mini_batch, line in enumerate(lines):
                row = json.loads(line)
                is_of_files = row[0] == "f" and not row[3]
                if is_of_files and not (is_left_out and is_left_out(mini_batch)):
                    self._note_files(row)
                if time.process_time() > busy_until:
                    time.sleep(_PAUSE_S)
                    busy_until = time.process_time() + _BURST_S

    def _note_files(self, row: list[Any]) -> None:
        known = self._known(row)
        if _UNKNOWN in known:
            now = [
                _look(path) if version == _UNKNOWN else version
                for path, version in zip(row[2], known, strict=True)
            ]
            os.pwrite(self._fd, b"".join(_ONE.pack(*one) for one in now), _place(row))

    def _known(self, row: list[Any]) -> list[tuple[int, int]]:
        """Return what is known of the files of a plan line."""
        size = len(row[2]) * _ONE.size
        data = os.pread(self._fd, size, _place(row))
        return list(_ONE.iter_unpack(data[: len(data) - len(data) % _ONE.size].ljust(size, b"\0")))


def _place(row: list[Any]) -> int:
    first: int = row[-1]["first"]
    return first * _ONE.size


def _look(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return _GONE
    if stat.S_ISDIR(found.st_mode):  # one that could not be listed
        return _GONE
    return found.st_size, found.st_mtime_ns
