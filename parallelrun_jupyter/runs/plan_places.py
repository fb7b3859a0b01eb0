"""Where every 1,024th line of a plan begins, so that a look at a few lines need not read the others.

The planner writes these places to a file beside the plan, eight bytes each. Plans of older versions,
and those that were planned again in part, have none: then the lines are counted.
"""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_right
from pathlib import Path
from typing import IO

EVERY = 1024
_BYTES = 8


def places_path(plan: Path) -> Path:
    """Return the path of the places of a plan."""
    return plan.with_name("plan_places.bin")


class PlanPlaceWriter:
    """Writes the places of the lines of a plan, from its first line on.

    Parameters
    ----------
    plan
        Path of the plan. The places of an earlier one are deleted.
    """

    def __init__(self, plan: Path) -> None:
        self._file = open(places_path(plan), "wb", buffering=0)  # noqa: SIM115 - see close
        self._lines = 0
        self._end = 0
        self._held = array("Q")

    def add(self, line: bytes) -> None:
        """Add the next line of the plan, with its line end."""
        self._lines += 1
        self._end += len(line)
        if self._lines % EVERY == 0:
            self._held.append(self._end)

    def write(self) -> None:
        """Write the places so far; the plan has these lines."""
        if self._held:
            self._file.write(_in_file_order(self._held).tobytes())
            self._held = array("Q")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def place_before(plan: IO[bytes], number: int) -> tuple[int, int]:
    """Return (number, offset) of the last line up to line ``number`` with a place; (0, 0) if none has.

    Parameters
    ----------
    plan
        The plan, open.
    number
        The number of a line, from 0.
    """
    try:
        with open(places_path(Path(plan.name)), "rb", buffering=0) as file:
            index = min(number // EVERY, file.seek(0, os.SEEK_END) // _BYTES)
            if index <= 0:
                return 0, 0
            file.seek((index - 1) * _BYTES)
            offset = int.from_bytes(file.read(_BYTES), "little")
    except FileNotFoundError:
        return 0, 0
    return (index * EVERY, offset) if _begins_line(plan, offset) else (0, 0)


def place_at(plan: IO[bytes], offset: int) -> tuple[int, int]:
    """Return (number, offset) of the last line with a place that begins at an offset or before it."""
    try:
        data = places_path(Path(plan.name)).read_bytes()
    except FileNotFoundError:
        return 0, 0
    places = array("Q", data[: len(data) // _BYTES * _BYTES])
    places = _in_file_order(places)
    index = bisect_right(places, offset)
    is_known = index > 0 and _begins_line(plan, places[index - 1])
    return (index * EVERY, places[index - 1]) if is_known else (0, 0)


def _begins_line(plan: IO[bytes], offset: int) -> bool:
    """Return whether a line of a plan begins at an offset; the plan may have been replaced."""
    return os.pread(plan.fileno(), 1, offset - 1) == b"\n"


def _in_file_order(places: array[int]) -> array[int]:
    """Convert numbers from or to the order of bytes in the file."""
    if sys.byteorder == "big":
        places = places[:]
        places.byteswap()
    return places
