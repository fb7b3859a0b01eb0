"""Atomic writes of files, and locks between processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PIECE_BYTES = 1 << 18
"""Large data is written in pieces of this size.

Linux caches a write of 2 MB or more in huge pages. In a virtual machine that returns free memory to its
host, the host has to provide these first: a gigabyte takes two seconds, and in pieces 0.2.
"""


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of some bytes to a file, in pieces."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view[:PIECE_BYTES]) :]


@contextmanager
def replacing(path: Path, owner: str = "") -> Iterator[Path]:
    """Yield a temporary path beside ``path``, which replaces it when the body succeeds.

    Readers see the old file or the new file, never a mixture. After an error the old file is
    unchanged and the temporary one is removed.

    Parameters
    ----------
    path
        The file to create or replace.
    owner
        The only writer of the file, as part of the temporary name: its next attempt overwrites
        the file of a killed one. Default: this process.
    """
    temporary = path.with_name(f".{path.name}.{owner or os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        remove_quietly(temporary)


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a small UTF-8 file atomically; ``mode`` is subject to the umask."""
    with (
        replacing(path) as temporary,
        open(temporary, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as file,
    ):
        file.write(text)


def remove_quietly(path: Path) -> None:
    """Remove a temporary file if it exists; an error to report is already being raised."""
    try:
        path.unlink()
    except OSError:
        pass  # never created, already renamed, or on a failing disk


@contextmanager
def lock(path: Path) -> Iterator[int]:
    """Hold the lock of a file, created if missing, and yield its descriptor; wait until it is free."""
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def try_lock(path: Path) -> int:
    """Lock a file, created if missing, and return its descriptor; closing it releases the lock.

    Raises
    ------
    BlockingIOError
        Another process holds the lock.
    """
    fd = _open(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
