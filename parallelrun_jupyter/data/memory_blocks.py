"""Writes blocks of pickled values, with the buffers of arrays beside the pickles: they are not copied."""

from __future__ import annotations

import io
import pickle
from array import array
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from ..files import PIECE_BYTES, write_all
from ..worker.memory_blocks import ALIGNMENT, BUFFER, HEAD

_PLAIN = {str, int, float, bool, bytes, type(None)}
_PLAIN_PROTOCOL = 4
"""The newest protocol of Python 3.7, for values that it can read."""

_PROTOCOL = 5
"""The first protocol with buffers."""

_SHARED_BYTES = 1 << 14
_BUFFERED_BYTES = 1 << 20


def offsets_path(path: str | Path) -> Path:
    """Return the file with the places of the blocks of a file."""
    return Path(f"{path}.offsets")


def read_offsets(path: str | Path) -> tuple[array[int], array[int]]:
    """Return the number of the first item of each block, and its first byte; also those of the end."""
    numbers = array("q", offsets_path(path).read_bytes())
    half = len(numbers) // 2
    return numbers[:half], numbers[half:]


class Pickled:
    """A pickle, and the buffers that it refers to."""

    def __init__(self, value: Any) -> None:
        self.buffers: list[pickle.PickleBuffer] = []
        if type(value) is list and set(map(type, value)) <= _PLAIN:
            self.data = pickle.dumps(value, _PLAIN_PROTOCOL)
        else:
            self.data = _dumps(value, self.buffers)


def _dumps(value: Any, buffers: list[pickle.PickleBuffer]) -> bytes:
    file = io.BytesIO()
    _pickler()(file, protocol=_PROTOCOL, buffer_callback=buffers.append).dump(value)
    return file.getvalue()


@cache
def _pickler() -> Any:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
        """Makes arrays contiguous and writable: only then are their buffers beside the pickle."""

        def reducer_override(self, obj: Any) -> Any:
            is_array = type(obj).__name__ == "ndarray" and type(obj).__module__ == "numpy"
            if is_array and not obj.dtype.hasobject:
                flags = obj.flags
                if not (flags.forc and flags.writeable):
                    order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
                    return obj.copy(order=order).__reduce_ex__(_PROTOCOL)
            return super().reducer_override(obj)

    return Pickler


class BlockWriter:
    """Writes blocks to a file, and beside it their places.

    Parameters
    ----------
    path
        The file.
    shared
        Buffers that several blocks have, such as the categories of a column; they are written once.
    """

    def __init__(self, path: Path, shared: Iterable[pickle.PickleBuffer] = ()) -> None:
        self._path = path
        self._file = open(path, "wb", buffering=_BUFFERED_BYTES)  # noqa: SIM115 - see __exit__
        self._at = 0
        self._firsts = array("q", [0])
        self._starts = array("q", [0])
        #: the shared buffers by size, each with its offset; -1 before it is written
        self._shared: dict[int, list[tuple[memoryview, list[int]]]] = {}
        for view in (buffer.raw() for buffer in shared):
            if view.nbytes >= _SHARED_BYTES:
                self._shared.setdefault(view.nbytes, []).append((view, [-1]))

    def __enter__(self) -> BlockWriter:  # noqa: PYI034 - Python 3.10 has no Self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError:
            if kind is None:  # else the disk was full before
                raise
        if kind is None:
            places = self._firsts.tobytes() + self._starts.tobytes()
            offsets_path(self._path).write_bytes(places)

    @property
    def count(self) -> int:
        """Number of items written."""
        return self._firsts[-1]

    def add(self, block: Pickled, items: int) -> None:
        """Write a block with a number of items."""
        start = self._at
        if not block.buffers:
            size = HEAD.size + len(block.data)
            self._write(HEAD.pack(size, 0, len(block.data)) + block.data)
            self._end_block(items)
            return
        views = [buffer.raw() for buffer in block.buffers]
        head = start + HEAD.size + len(views) * BUFFER.size + len(block.data)
        places, new, end = self._placed(views, head)
        self._write(HEAD.pack(end - start, len(views), len(block.data)))
        for place, view in zip(places, views, strict=True):
            self._write(BUFFER.pack(place, view.nbytes))
        self._write(block.data)
        for view in new:
            self._write(bytes(-self._at % ALIGNMENT))
            self._write(view)
        self._end_block(items)

    def _end_block(self, items: int) -> None:
        self._firsts.append(self.count + items)
        self._starts.append(self._at)

    def _placed(
        self, views: Sequence[memoryview], at: int
    ) -> tuple[list[int], list[memoryview], int]:
        """Return the offset of each buffer, those to write from a byte on, and the byte after them."""
        places, new = [], []
        for view in views:
            shared = self._shared_like(view)
            if shared is not None and shared[0] >= 0:
                places.append(shared[0])
                continue
            start = at + -at % ALIGNMENT
            if shared is not None:
                shared[0] = start
            places.append(start)
            new.append(view)
            at = start + view.nbytes
        return places, new, at

    def _shared_like(self, view: memoryview) -> list[int] | None:
        """Return the offset of a shared buffer with the same bytes; it may lie elsewhere in memory."""
        for other, offset in self._shared.get(view.nbytes, ()):
            import numpy as np

            if np.array_equal(np.frombuffer(view, np.uint8), np.frombuffer(other, np.uint8)):
                return offset
        return None

    def _write(self, data: bytes | memoryview) -> None:
        size = len(data) if isinstance(data, bytes) else data.nbytes
        if size > PIECE_BYTES:
            self._file.flush()
            write_all(self._file.fileno(), data)
        else:
            self._file.write(data)
        self._at += size
