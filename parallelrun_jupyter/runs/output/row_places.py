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
        self._held = array("Q")  # ends with that of the last mini-batch, which may still move
        self._count = 0
        self._end = 0

    def add(self, mini_batch: int, end: int) -> None:
        """Add the end of the rows of a mini-batch, or of some of its items."""
        count = self._count
        if mini_batch == count:  # nearly always
            self._held.append(end)
            self._count = count + 1
        elif mini_batch < count:
            self._held[-1] = end
        else:  # those before it have no rows
            self._held.extend([self._end] * (mini_batch - count))
            self._held.append(end)
            self._count = mini_batch + 1
        self._end = end
        if len(self._held) > _HELD:
            self._flush(len(self._held) - 1)

    def _flush(self, count: int) -> None:
        ends = self._held[:count]
        if sys.byteorder == "big":
            ends.byteswap()
        self._write(ends.tobytes())
        del self._held[:count]

    def end(self) -> None:
        """Write the rest."""
        self._flush(len(self._held))


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
