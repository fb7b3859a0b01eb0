"""Digests of the files of a plan, for updates that compare content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SIZE = 32
UNKNOWN = bytes(SIZE)

_READ_BYTES = 1 << 20
_THREADS = 4


class FileDigests:
    """The SHA-256 of the files of a plan: 32 bytes each, at the position of its number in the run.

    Parameters
    ----------
    plan
        The plan; the file is beside it.
    """

    def __init__(self, plan: Path) -> None:
        path = plan.with_name("digests")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._threads = ThreadPoolExecutor(_THREADS)  # reading and hashing release the GIL

    def keep(self, first: int, digests: Sequence[bytes]) -> None:
        """Record the digests of consecutive files, the first of which has number ``first``."""
        os.pwrite(self._fd, b"".join(digests), first * SIZE)

    def of_files(self, paths: Sequence[str]) -> list[bytes]:
        """Return the digest of each file, `UNKNOWN` if it cannot be read."""
        return list(self._threads.map(digest_of_file, paths))

    def close(self) -> None:
        """Close the file."""
        self._threads.shutdown()
        os.close(self._fd)


def digest_of_file(path: str) -> bytes:
    """Return the SHA-256 of a file, `UNKNOWN` if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
    except OSError:
        return UNKNOWN
    return digest.digest()


def digests_of_plan(plan: Path) -> bytes:
    """Return the recorded digests of the files of a plan, one after the other; perhaps not of all."""
    try:
        return plan.with_name("digests").read_bytes()
    except FileNotFoundError:
        return b""
