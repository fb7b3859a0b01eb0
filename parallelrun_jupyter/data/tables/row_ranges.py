"""Cuts text into the ranges of mini-batches, while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...worker.tables.row_splitter import split_rows
from ..batching import BatchSpec
from .text_encoding import TextFile

Range = tuple[int, int, int]
"""Where the rows of a mini-batch begin and end in their file, in bytes, and how many there are."""


class Cutter:
    """Takes the lines of one file, block by block, and gives ranges of whole rows.

    A range holds as many rows as fit into ``cut.size`` bytes, at least one; or ``cut.rows`` rows.
    """

    def __init__(self, cut: BatchSpec, start: int, *, is_whole: bool = False) -> None:
        self._size = 1 << 62 if is_whole else cut.size
        self._wanted = 0 if is_whole else cut.rows
        self._start = self._end = start
        self._rows = 0

    def take(self, ends: Any, is_row: Any) -> Iterator[Range]:
        """Take lines that end at these places; yield the ranges that are complete."""
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
                    last = len(ends)  # what comes next may fit as well
            if last >= len(ends):
                self._rows += int(counts[-1]) - before
                self._end = int(ends[-1])
                return
            self._rows += int(counts[last]) - before
            self._end = int(ends[last])
            yield from self.finish()
            before, line = int(counts[last]), last + 1

    def finish(self) -> Iterator[Range]:
        """Yield the range that is open, where it holds rows."""
        if self._rows:
            yield self._start, self._end, self._rows
        self._start, self._rows = self._end, 0


class RowScan:
    """One forward pass over a text file.

    Parameters
    ----------
    file
        What to read.
    separator, quote, escape
        As for `split_rows`.
    """

    def __init__(self, file: TextFile, separator: str, quote: str, escape: str = "") -> None:
        self._file = file
        self._dialect = (separator, quote)
        self._escape = escape
        self._see: Callable[[bytes], None] | None = None
        self._lines = self._read()

    def watch(self, see: Callable[[bytes], None]) -> None:
        """Call ``see`` with each block of whole lines that is read from now on."""
        self._see = see

    def _read(self) -> Iterator[tuple[bytes, Any, Any, Any]]:
        """Yield (text, ends, is_row, places): whole lines, ends in the text and in the file."""
        base = self._file.start
        rest: list[bytes] = []
        held = wanted = 0
        for block, is_last in self._file.blocks():
            rest.append(block)
            held += len(block)
            if held < wanted and not is_last:
                continue  # a very long field: not looked at again for every block
            data = b"".join(rest)
            ends, is_row, unclosed = split_rows(
                data, *self._dialect, is_last=is_last, escape=self._escape
            )
            if is_last and unclosed >= 0:
                ends, is_row = _with_last(ends, is_row, len(data))
            if not len(ends):
                rest, wanted = [data], 2 * held
                continue
            places = self._file.places(data, ends) + base
            stop = int(ends[-1])
            yield data[:stop] if stop < len(data) else data, ends, is_row, places
            base = int(places[-1])
            rest, held, wanted = [data[stop:]], len(data) - stop, 0

    def first_row(self) -> tuple[bytes, int]:
        """Return the first row as text and the place behind it; leave it out of what follows.

        Of a file without rows the text is empty.
        """
        import numpy as np

        for data, ends, is_row, places in self._lines:
            if not is_row.any():
                continue
            index = int(np.argmax(is_row))
            begin = int(ends[index - 1]) if index else 0
            end, place = int(ends[index]), int(places[index])
            rest = (data[end:], ends[index + 1 :] - end, is_row[index + 1 :], places[index + 1 :])
            self._lines = _chain(rest, self._lines)
            return data[begin:end], place
        return b"", self._file.start

    def ranges(self, cut: BatchSpec, start: int) -> Iterator[Range]:
        """Yield the ranges of what was not read yet, which begins at ``start``."""
        cutter = Cutter(cut, start, is_whole=self._file.is_whole)
        for data, ends, is_row, places in self._lines:
            if not len(ends):
                continue
            if self._see is not None:
                self._see(data)
            yield from cutter.take(places, is_row)
        yield from cutter.finish()


def _chain(
    first: tuple[bytes, Any, Any, Any], rest: Iterator[tuple[bytes, Any, Any, Any]]
) -> Iterator[tuple[bytes, Any, Any, Any]]:
    yield first
    yield from rest


def _with_last(ends: Any, is_row: Any, end: int) -> tuple[Any, Any]:
    """Add the row of a quote that is never closed: reading it says so."""
    import numpy as np

    return np.append(ends, end), np.append(is_row, True)
