"""Bounds a log: of a long one, the first and the last 64 MiB are kept."""

from __future__ import annotations

import fcntl
import os

KEPT_BYTES = 64 << 20
"""Bytes that are kept of the start of a log, and of its end."""

LIMIT_BYTES = 3 * KEPT_BYTES
"""Size at which the middle is left out: the last 64 MiB are then moved once for 64 MiB of new text."""

_NOTE = b"\n[%15d bytes of this log were left out here]\n"
_NOTE_BYTES = len(_NOTE % 0)
_CHECK_EVERY_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 20
_LINE_BYTES = 1 << 16


class LogLimit:
    """Counts what a process appends to a log, and leaves out the middle of a log that is too long.

    Parameters
    ----------
    path
        The log. Other processes may append to it as well.
    """

    __slots__ = ("_path", "_unchecked_bytes")

    def __init__(self, path: str) -> None:
        self._path = path
        self._unchecked_bytes = 0

    def add(self, size: int) -> None:
        """Count appended bytes, and look at the size of the log now and then."""
        self._unchecked_bytes += size
        if self._unchecked_bytes < _CHECK_EVERY_BYTES:
            return
        self._unchecked_bytes = 0
        keep_ends(self._path)


def keep_ends(path: str, limit_bytes: int = LIMIT_BYTES, kept_bytes: int = KEPT_BYTES) -> None:
    """Leave out the middle of a log that is longer than a limit, and note there how much it was.

    The start of the file stays as it is. A log that cannot be changed stays whole.

    Parameters
    ----------
    path
        The log.
    limit_bytes
        Default: 192 MiB.
    kept_bytes
        Kept at the start and at the end, there from the next whole line on. Default: 64 MiB.
    """
    try:
        if os.stat(path).st_size <= max(limit_bytes, 2 * kept_bytes + _NOTE_BYTES):
            return
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _cut(fd, kept_bytes)
    except OSError:
        pass  # another process does it, or the disk fails
    finally:
        os.close(fd)


def _cut(fd: int, kept_bytes: int) -> None:
    import re  # json has imported it

    start = os.fstat(fd).st_size - kept_bytes
    note = os.pread(fd, _NOTE_BYTES, kept_bytes)
    before = re.fullmatch(rb"\n\[ *(\d+) bytes of this log were left out here\]\n", note)
    target = kept_bytes + _NOTE_BYTES
    if start <= target:
        return  # another process has done it
    start += os.pread(fd, _LINE_BYTES, start).find(b"\n") + 1
    earlier = int(before.group(1)) - _NOTE_BYTES if before else 0
    os.pwrite(fd, _NOTE % (start - kept_bytes + earlier), kept_bytes)
    while True:  # also what is appended meanwhile
        block = os.pread(fd, _BLOCK_BYTES, start)
        if not block:
            break
        os.pwrite(fd, block, target)
        start += len(block)
        target += len(block)
    os.ftruncate(fd, target)
