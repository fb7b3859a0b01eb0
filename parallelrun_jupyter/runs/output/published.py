"""Checksums of a published output file, so that an update never takes rows from a changed file."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import IO

from ...errors import OutputError
from ...files import write_atomically
from ..run_folder import RunFolder

BLOCK_BYTES = 1 << 20
"""Every block of this size has a checksum; the last one may be shorter."""


class BlockSums:
    """The checksum of each block of a file that is being written."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._sum = 0
        self._room = BLOCK_BYTES
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        """Add the next bytes of the file."""
        self.size_bytes += len(data)
        if len(data) < self._room:  # most pieces are short
            self._sum = zlib.crc32(data, self._sum)
            self._room -= len(data)
            return
        rest = memoryview(data)
        while rest:
            piece, rest = rest[: self._room], rest[self._room :]
            self._sum = zlib.crc32(piece, self._sum)
            self._room -= len(piece)
            if not self._room:
                self._sums.append(self._sum)
                self._sum, self._room = 0, BLOCK_BYTES

    def sums(self) -> list[int]:
        """Return the checksums, with that of a shorter last block."""
        return [*self._sums, self._sum] if self._room < BLOCK_BYTES else self._sums


@dataclass(frozen=True, slots=True)
class Published:
    """A published output file, as it was written.

    ``header`` is the offset and length of its header, empty without one.
    """

    size_bytes: int
    block_bytes: int
    sums: list[int]
    header: list[int] = field(default_factory=list)

    def check_size(self, file: IO[bytes]) -> None:
        """Compare the size of the file.

        Raises
        ------
        OutputError
            The file has changed since it was published.
        """
        if os.fstat(file.fileno()).st_size != self.size_bytes:
            raise _changed(file)

    def read(self, file: IO[bytes], offset: int, length: int) -> bytes:
        """Return bytes of the file, after the checksums of their blocks were compared.

        Raises
        ------
        OutputError
            The file has changed since it was published.
        """
        size = self.block_bytes
        first, end = offset // size, -(-(offset + length) // size)
        data = os.pread(file.fileno(), (end - first) * size, first * size)
        for number in range(first, end):
            start = (number - first) * size
            if number >= len(self.sums) or (
                zlib.crc32(memoryview(data)[start : start + size]) != self.sums[number]
            ):
                raise _changed(file)
        return data[offset - first * size : offset - first * size + length]

    def blocks(self, file: IO[bytes], offset: int, end: int, size: int) -> Iterator[bytes]:
        """Yield the bytes from an offset to ``end``, in pieces of ``size`` bytes."""
        for start in range(offset, end, size):
            yield self.read(file, start, min(size, end - start))


def _changed(file: IO[bytes]) -> OutputError:
    return OutputError(f"its output {file.name} has changed since it was published")


def write_published(folder: RunFolder, sums: BlockSums, header: list[int]) -> None:
    """Store the checksums of the output file that was just written."""
    published = Published(sums.size_bytes, BLOCK_BYTES, sums.sums(), header)
    write_atomically(folder.published, json.dumps(asdict(published)))


def read_published(folder: RunFolder) -> Published | None:
    """Return the checksums of the output file; None if an older version has published it."""
    try:
        return Published(**json.loads(folder.published.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
