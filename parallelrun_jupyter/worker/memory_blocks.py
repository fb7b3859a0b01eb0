"""Reads blocks of pickled values: of each, a file has the pickle, and its large buffers beside it.

A block is::

    bytes of the block, number of buffers, bytes of the pickle
    offset in the file and size of each buffer
    the pickle
    the buffers, unless an earlier block has them already

Buffers are mapped from the file, page by page as they are used. The mapping is private: a script may
change its values, and the file stays as it is.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

HEAD = struct.Struct("<QIQ")
BUFFER = struct.Struct("<QQ")
ALIGNMENT = 64
"""Buffers begin at multiples of this number of bytes."""

_MAPPED_BYTES = 1 << 18
"""Fewer bytes are read, which takes less time than a mapping."""


class UnknownProtocol(ValueError):
    """A block was pickled by a newer Python."""


def private_bytes(file: int, start: int, size: int) -> memoryview:
    """Return bytes of a file, given by its descriptor, for changes that the file does not get.

    Raises
    ------
    OSError
        The file ends before.
    """
    if size < _MAPPED_BYTES:
        skipped = start % ALIGNMENT  # buffers stay aligned
        data = os.pread(file, size + skipped, start - skipped)
        if len(data) < size + skipped:
            raise OSError("the file ends before byte %d" % (start + size))
        return memoryview(bytearray(data))[skipped:]
    if os.fstat(file).st_size < start + size:
        raise OSError("the file ends before byte %d" % (start + size))
    skipped = start % mmap.ALLOCATIONGRANULARITY
    mapped = mmap.mmap(file, size + skipped, access=mmap.ACCESS_COPY, offset=start - skipped)
    return memoryview(mapped)[skipped:]


def read_blocks(path: str, start: int, end: int) -> Iterator[Any]:
    """Yield the values of the blocks between two bytes of a file.

    Raises
    ------
    OSError
        The file cannot be read.
    UnknownProtocol
        A newer Python wrote the blocks.
    """
    file = os.open(path, os.O_RDONLY)
    try:
        view = private_bytes(file, start, end - start)
        at = 0
        while at < len(view):
            size, count, pickled = HEAD.unpack_from(view, at)
            table = at + HEAD.size
            first = table + count * BUFFER.size
            buffers = []
            for number in range(count):
                offset, length = BUFFER.unpack_from(view, table + number * BUFFER.size)
                if start <= offset and offset + length <= end:
                    buffers.append(view[offset - start : offset - start + length])
                else:
                    buffers.append(private_bytes(file, offset, length))
            yield _loads(view[first : first + pickled], buffers)
            at += size
    finally:
        os.close(file)


def _loads(data: memoryview, buffers: list[memoryview]) -> Any:
    if data[1] > pickle.HIGHEST_PROTOCOL:
        raise UnknownProtocol("pickle protocol %d" % data[1])
    if buffers:
        return pickle.loads(data, buffers=buffers)  # noqa: S301 - the user's own notebook wrote it
    return pickle.loads(data)  # noqa: S301 - as above
