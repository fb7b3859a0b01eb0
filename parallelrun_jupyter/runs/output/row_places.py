"""Where the rows of each mini-batch are in the output file: eight bytes for each mini-batch.

The number of a mini-batch is its position in this file, and the number there is the end of its rows: an
offset in bytes, in Parquet a number of rows. Its rows begin where those of the previous mini-batch
end. Only views of single rows read it.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BYTES = 8
_HELD = 1 << 13


class PlaceWriter:
    """Writes the places of rows, in input order.

    Parameters
    ----------
    write
        Receives the bytes.
    """

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self._write = write
        self._held = array("Q")
        self._count = 0
        self._last = (-1, 0)  # the mini-batch whose end may still move, and its end

    def add(self, mini_batch: int, end: int) -> None:
        """Add the end of the rows of a mini-batch, or of some of its items."""
        if mini_batch != self._last[0]:
            self._add_last(mini_batch)
        self._last = mini_batch, end

    def _add_last(self, until: int) -> None:
        """Add the last end, also for the mini-batches without rows before ``until``."""
        end = self._last[1]
        missing = until - self._count
        self._held.extend([end] * missing)
        self._count += missing
        if len(self._held) >= _HELD:
            self._flush()

    def _flush(self) -> None:
        if sys.byteorder == "big":
            self._held.byteswap()
        self._write(self._held.tobytes())
        del self._held[:]

    def end(self) -> None:
        """Write the rest."""
        self._add_last(self._last[0] + 1)
        self._flush()


def read_place(path: Path, mini_batch: int) -> tuple[int, int] | None:
    """Return the start and end of the rows of a mini-batch; None if they are not known.

    Parameters
    ----------
    path
        The file.
    mini_batch
        Its number; -1 for the end of all rows, with the start of the last ones.
    """
    try:
        with open(path, "rb") as file:
            count = file.seek(0, 2) // _BYTES
            number = count - 1 if mini_batch < 0 else mini_batch
            if not 0 <= number < count:
                return None
            file.seek(max(0, number - 1) * _BYTES)
            data = file.read(_BYTES if number == 0 else 2 * _BYTES)
    except FileNotFoundError:
        return None
    end = int.from_bytes(data[-_BYTES:], "little")
    return (0 if number == 0 else int.from_bytes(data[:_BYTES], "little")), end
