"""The plan of an earlier driver, read line by line: it may be larger than the memory."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import overload

from ...worker.plan_line import END_MARK

_MARK_EVERY = 64


class EarlierPlan(Sequence[bytes]):
    """The lines of the mini-batches of an earlier plan, with their line ends.

    An incomplete last line, which a killed driver may have left, is removed from the file. Lines
    appended later are not part of it.

    Parameters
    ----------
    path
        The plan file, which exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = end = 0
        #: the offset of every 64th line
        self._marks = array("Q")
        #: mini-batches and items of a complete plan; None if listing has not ended
        self.totals: tuple[int, int] | None = None
        with open(path, "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                if line.startswith(END_MARK):
                    _, mini_batches, items = json.loads(line)
                    self.totals = mini_batches, items
                else:
                    if self._count % _MARK_EVERY == 0:
                        self._marks.append(end)
                    self._count += 1
                end += len(line)
        if end < os.path.getsize(path):  # otherwise the file keeps the time of its last line
            os.truncate(path, end)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return self._from(0)

    def _from(self, index: int) -> Iterator[bytes]:
        mark, skipped = divmod(index, _MARK_EVERY)
        with open(self._path, "rb") as file:
            if self._marks:
                file.seek(self._marks[mark])
            yield from islice(file, skipped, skipped + self._count - index)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(self._count))]
        return next(self._from(range(self._count)[index]))
