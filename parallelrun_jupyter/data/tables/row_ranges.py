"""Cuts text files into the row ranges of mini-batches, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from ...worker.tables.row_splitter import Marks, split_rows
from ..batching import BatchSpec
from .text_encoding import TextFile

Range = tuple[int, int, int]
"""Start and end of a mini-batch in its file, in bytes (in rows for Parquet), and its number of rows."""

_Lines = tuple[bytes, Any, Any, Any]
"""A text that begins with whole lines; their ends in it; which are rows; their ends in the file."""


class _Cutter:
    """Turns the lines of one file, block by block, into ranges of whole rows.

    A range has as many rows as fit into ``cut.size`` bytes, at least one; or ``cut.rows`` rows.
    """

    def __init__(self, cut: BatchSpec, start: int, *, is_whole: bool = False) -> None:
        self._size = 1 << 62 if is_whole else cut.size
        self._wanted = 0 if is_whole else cut.rows
        self._start = self._end = start
        self._rows = 0

    def add(self, ends: Any, is_row: Any) -> Iterator[Range]:
        """Add lines that end at these offsets of the file; yield the ranges that are complete."""
        import numpy as np

        counts = np.cumsum(is_row)
        line, before = 0, 0
        while line < len(ends):
            if self._wanted:
                last = int(np.searchsorted(counts, before + self._wanted - self._rows))
            else:
                limit = self._start + self._size
                last = int(np.searchsorted(ends, limit, side="right")) - 1
                if last < line and self._rows:
                    yield from self.finish()
                    continue
                last = max(last, line)
                if last == len(ends) - 1 and ends[last] < limit:
                    last = len(ends)  # the next block may have more rows for this range
            if last >= len(ends):
                self._rows += int(counts[-1]) - before
                self._end = int(ends[-1])
                return
            self._rows += int(counts[last]) - before
            self._end = int(ends[last])
            yield from self.finish()
            before, line = int(counts[last]), last + 1

    def finish(self) -> Iterator[Range]:
        """Yield the current range if it has rows, and begin the next one."""
        if self._rows:
            yield self._start, self._end, self._rows
        self._start, self._rows = self._end, 0


class RowScan:
    """One forward pass over the rows of a text file.

    Parameters
    ----------
    file
        The file.
    marks
        Its separator, quote and escape.
    """

    def __init__(self, file: TextFile, marks: Marks) -> None:
        self._file = file
        self._marks = marks
        self._callback: Callable[[bytes], None] | None = None
        self._blocks = file.blocks()
        self._base = file.start
        self._lines = self._read()

    def watch(self, callback: Callable[[bytes], None]) -> None:
        """Call ``callback`` with each block of whole lines that `ranges` reads."""
        self._callback = callback

    def _read(self) -> Iterator[_Lines]:
        import numpy as np

        base = self._base
        pending: list[bytes] = []
        size = wanted = 0
        for block, is_last in self._blocks:
            pending.append(block)
            size += len(block)
            if size < wanted and not is_last:
                continue  # a very long field: each try doubles the size, to stay linear
            data = b"".join(pending)
            ends, is_row, unclosed = split_rows(data, self._marks, is_last=is_last)
            if is_last and unclosed >= 0:  # keep the unclosed row: reading it reports the error
                ends, is_row = np.append(ends, len(data)), np.append(is_row, True)
            if not len(ends):
                pending, wanted = [data], 2 * size
                continue
            places = self._file.places(data, ends) + base
            stop = int(ends[-1])
            yield data, ends, is_row, places
            base = int(places[-1])
            pending, size, wanted = [data[stop:]], len(data) - stop, 0

    def first_row(self) -> tuple[bytes, int]:
        """Consume the first row; return its text, and the offset in the file after it.

        The text is empty if the file has no rows. Call this once, before `ranges`.
        """
        line = self._plain_first_line()
        if line:
            return line, self._base
        import numpy as np

        for data, ends, is_row, places in self._lines:
            if not is_row.any():
                continue
            index = int(np.argmax(is_row))
            begin = int(ends[index - 1]) if index else 0
            end, place = int(ends[index]), int(places[index])
            rest = (data[end:], ends[index + 1 :] - end, is_row[index + 1 :], places[index + 1 :])
            self._lines = chain([rest], self._lines)
            return data[begin:end], place
        return b"", self._file.start

    def _plain_first_line(self) -> bytes:
        """Consume the first line and return it, if it is clearly a row; otherwise return b"".

        A header mostly is. So a run is submitted without the import of numpy, a twentieth of a second.
        """
        block, is_last = next(self._blocks)
        line = block[: block.find(b"\n") + 1]
        text = line.removesuffix(b"\n").removesuffix(b"\r")
        special = "\r" + self._marks.quote + self._marks.escape
        is_plain = not any(mark.encode("ascii") in text for mark in special)
        if not (text[:1].strip() and is_plain and self._file.keeps_offsets):
            line = b""
        self._base += len(line)
        self._blocks = chain([(block[len(line) :], is_last)], self._blocks)
        return line

    def ranges(self, cut: BatchSpec, start: int) -> Iterator[Range]:
        """Yield the ranges of the rows that were not read yet, which begin at ``start``."""
        cutter = _Cutter(cut, start, is_whole=self._file.is_whole)
        for data, ends, is_row, places in self._lines:
            if not len(ends):
                continue
            if self._callback is not None:
                self._callback(data[: int(ends[-1])])
            yield from cutter.add(places, is_row)
        yield from cutter.finish()
