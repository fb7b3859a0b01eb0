"""The rows of a run that has ended, by number, from its part files or its output file.

The rows of a run are numbered from 0 in the order of its output. An update takes the rows of unchanged
items from there. Part files are removed when a run completes without failures; then the rows come
from the output file, which must be the one that the run wrote.
"""

from __future__ import annotations

import os
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple, Protocol

from ...errors import OutputError
from ...worker.output.formats import CSV, PARQUET
from ..journal.events import (
    IN_STORE,
    AttemptSucceeded,
    Event,
    ItemsSucceeded,
    RowsDropped,
    RunResumed,
)
from ..run_folder import RunFolder
from ..run_record import RunRecord
from .committed_rows import part_path, published_notes
from .published import BLOCK_BYTES, Published, read_published
from .row_notes import Kind, RowNotes
from .row_slices import Rows, Slice, TableRows, decoded, encoded, encoded_group, row_ends

_KEPT_BLOCKS = 8
_PLACE = 5
_KEPT_BYTES = 16 << 20
_BLOCK_COST_BYTES = 8192
_READ_BYTES = 4 * BLOCK_BYTES


UPDATE_PART = 65535
"""Number of the part file with the rows that an update took, or that were copied to duplicates.

Drivers count theirs from 0."""


class UnclearRowsError(OutputError):
    """It is unclear where some rows end; others can be taken."""


class Result(NamedTuple):
    """The rows of consecutive items of a mini-batch; ``start`` is the number of the first row.

    ``is_current`` is false if an earlier version of the script made them.
    """

    mini_batch: int
    first: int
    items: int
    of: int
    start: int
    rows: int
    is_current: bool

    @property
    def has_row_per_item(self) -> bool:
        """Whether it is clear which row is made from which item."""
        return self.rows == self.items


class Results:
    """The committed results of a run, in the order of its output."""

    def __init__(self) -> None:
        self._whole = {name: array("q") for name in ("items", "rows", "offset", "length", "crc")}
        self._parts = array("H")
        self._of_items: dict[int, dict[int, ItemsSucceeded]] = {}
        #: (mini_batch, first) of the results that existed when the script was last corrected
        self._stale: set[tuple[int, int]] = set()

    def note(self, event: Event) -> None:
        """Add or remove the results of an event; other events are ignored."""
        if isinstance(event, AttemptSucceeded):
            if event.part != IN_STORE:
                self._add(event)
        elif isinstance(event, ItemsSucceeded):
            if event.part != IN_STORE:
                self._of_items.setdefault(event.mini_batch, {})[event.first] = event
        elif isinstance(event, RowsDropped):
            self._drop(event)
        elif isinstance(event, RunResumed) and event.script:
            self._stale = {(result.mini_batch, result.first) for result in self}

    def _add(self, event: AttemptSucceeded) -> None:
        missing = event.mini_batch + 1 - len(self._parts)
        if missing > 0:
            self._parts.extend([0] * missing)
            for name, column in self._whole.items():
                column.extend([-1 if name == "items" else 0] * missing)
        for name, column in self._whole.items():
            column[event.mini_batch] = getattr(event, name)
        self._parts[event.mini_batch] = event.part

    def _drop(self, event: RowsDropped) -> None:
        of_items = self._of_items.get(event.mini_batch, {})
        for first in [k for k in of_items if event.first <= k < event.first + event.items]:
            del of_items[first]
        if event.items == event.of and event.mini_batch < len(self._parts):
            self._whole["items"][event.mini_batch] = -1

    def __iter__(self) -> Iterator[Result]:
        start = 0
        count = max(len(self._parts), max(self._of_items, default=-1) + 1)
        for mini_batch in range(count):
            for result in self.of(mini_batch):
                yield result._replace(start=start)
                start += result.rows

    def of(self, mini_batch: int, first: int | None = None) -> Iterator[Result]:
        """Yield the results of a mini-batch, or the one whose first item is given.

        Their ``start`` counts from the mini-batch.
        """
        items, rows = self._whole["items"], self._whole["rows"]
        if mini_batch < len(items) and items[mini_batch] >= 0:
            ranges = [(0, items[mini_batch], items[mini_batch], rows[mini_batch])]
        else:
            events = sorted(self._of_items.get(mini_batch, {}).items())
            ranges = [(at, event.items, event.of, event.rows) for at, event in events]
        start = 0
        for at, count, of, number in ranges:
            is_current = not self._stale or (mini_batch, at) not in self._stale
            if first is None or at == first:
                yield Result(mini_batch, at, count, of, start, number, is_current)
            start += number

    def place(self, result: Result) -> tuple[int, int, int, int]:
        """Return the part, offset, length and checksum of a result."""
        event = self._of_items.get(result.mini_batch, {}).get(result.first)
        whole = self._whole
        k = result.mini_batch
        if event is None or (k < len(self._parts) and whole["items"][k] >= 0):
            return self._parts[k], whole["offset"][k], whole["length"][k], whole["crc"][k]
        return event.part, event.offset, event.length, event.crc


def results_of(events: Iterable[Event]) -> Results:
    """Return the committed results of a journal."""
    results = Results()
    for event in events:
        results.note(event)
    return results


class EarlierRows(Protocol):
    """The rows of a run, by number."""

    def slices(self, first: int, end: int) -> list[Slice]:
        """Return the rows from number ``first`` to ``end - 1``.

        Raises
        ------
        OutputError
            They are not the rows that the run wrote, or it is unclear where one of them ends.
        """

    def close(self) -> None:
        """Close the files."""


def open_rows(folder: RunFolder, record: RunRecord, results: Results) -> EarlierRows:
    """Return the rows of a run.

    Raises
    ------
    OutputError
        Its part files are gone, and its output file as well, or that file has changed.
    """
    parts: set[int] = set()
    total = 0
    for result in results:
        total += result.rows
        if result.rows:
            parts.add(results.place(result)[0])
    if parts and all(part_path(folder, part).exists() for part in parts):
        return _PartRows(folder, record.output.format, results)
    return _open_published(folder, record, total)


class _Blocks:
    """Decoded blocks of rows, of which the last ones are kept; ``starts`` are their first rows."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.most_kept = _KEPT_BLOCKS
        self._kept: dict[int, Rows | TableRows] = {}

    def load(self, number: int) -> Rows | TableRows:
        raise NotImplementedError

    def slices(self, first: int, end: int) -> list[Slice]:
        number = bisect_right(self.starts, first) - 1
        slices: list[Slice] = []
        while first < end:
            block = self._kept.get(number) or self._block(number)
            start = self.starts[number]
            until = min(end, start + len(block))
            if until > first:
                slices.append(block.slice(first - start, until - start))
                first = until
            number += 1
        return slices

    def _block(self, number: int) -> Rows | TableRows:
        block = self._kept.get(number)
        if block is None:
            if len(self._kept) >= self.most_kept:
                del self._kept[next(iter(self._kept))]
            block = self._kept[number] = self.load(number)
        return block


class _PartRows(_Blocks):
    """Rows in part files; a block is one result."""

    def __init__(self, folder: RunFolder, form: str, results: Results) -> None:
        super().__init__()
        self._form = form
        #: number of rows, part, offset, length and checksum of each block
        self._places = array("q")
        for result in results:
            if result.rows:
                self.starts.append(result.start)
                self._places.extend((result.rows, *results.place(result)))
        # Duplicates need rows in any order, so as many small blocks are kept as memory allows.
        size = sum(self._places[3::_PLACE]) // max(1, len(self.starts))
        self.most_kept = max(_KEPT_BLOCKS, _KEPT_BYTES // (size + _BLOCK_COST_BYTES))
        parts = sorted(set(self._places[1::_PLACE]))
        self._files = {part: open(part_path(folder, part), "rb") for part in parts}  # noqa: SIM115 - closed by close()

    def load(self, number: int) -> Rows | TableRows:
        rows, part, offset, length, crc = self._places[number * _PLACE : (number + 1) * _PLACE]
        data = os.pread(self._files[part].fileno(), length, offset)
        if zlib.crc32(data) != crc:
            msg = f"{self._files[part].name} has changed"
            raise OutputError(msg)
        block = decoded(data, self._form, rows)
        if block is None:
            msg = f"it is unclear where the rows at byte {offset} of {self._files[part].name} end"
            raise UnclearRowsError(msg)
        return block

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _open_published(folder: RunFolder, record: RunRecord, total: int) -> EarlierRows:
    path = folder.final_file(record)
    published = read_published(folder)
    if published is None:
        msg = "an older version published it, without checksums of its output"
        raise OutputError(msg)
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the rows
    except OSError as error:
        msg = f"its output {path} could not be read ({error.strerror})"
        raise OutputError(msg) from error
    try:
        published.check_size(file)
        if record.output.format == PARQUET:
            return _ParquetRows(file, published, total)
        return _TextRows(file, published, record.output.format, published_notes(folder), total)
    except (OutputError, OSError, ValueError):
        file.close()
        raise


class _ParquetRows(_Blocks):
    """Rows of a published Parquet file; a block is a row group."""

    def __init__(self, file: IO[bytes], published: Published, total: int) -> None:
        super().__init__()
        import pyarrow.parquet as pq

        self._file = file
        for _ in published.blocks(file, 0, published.size_bytes, _READ_BYTES):
            pass  # compares the checksums
        self._parquet = pq.ParquetFile(file)
        start = 0
        for number in range(self._parquet.metadata.num_row_groups):
            self.starts.append(start)
            start += self._parquet.metadata.row_group(number).num_rows
        if start != total:
            msg = f"its output has {start:,} rows, not {total:,}"
            raise OutputError(msg)

    def load(self, number: int) -> TableRows:
        return TableRows(self._parquet.read_row_group(number))

    def close(self) -> None:
        self._file.close()


class _Segment(NamedTuple):
    """A part of a file with whole rows: offset, length, and the length of each row if it is noted."""

    offset: int
    length: int
    lengths: array[int] | None = None


class _TextRows(_Blocks):
    """Rows of a published file of text, CSV or JSON lines; a block is a few megabytes."""

    def __init__(
        self, file: IO[bytes], published: Published, form: str, notes: RowNotes | None, total: int
    ) -> None:
        super().__init__()
        self._file, self._published = file, published
        notes = notes or RowNotes()
        at, size = published.header or (published.size_bytes, 0)
        self._header_at = at
        self._header = published.read(file, at, size) if size else b""
        self._segments: list[_Segment] = []
        self._is_quoted = False
        rows = self._index(notes)
        if rows != total and form == CSV and notes.ranges:  # line ends within cells
            self._is_quoted = True
            rows = self._index(notes)
        noted = sum(count for count, _, _ in notes.ranges) if notes.ranges else total
        if not rows == total == noted:
            msg = f"its output has {rows:,} lines for {total:,} rows, so it is unclear where a row ends"
            raise OutputError(msg)
        self._kinds = notes.ranges or None
        self._kind_starts = array("q", [0])
        for count, _, _ in notes.ranges[:-1]:
            self._kind_starts.append(self._kind_starts[-1] + count)

    def _index(self, notes: RowNotes) -> int:
        """Find the segments and the number of rows before each; return the number of all rows."""
        self._segments.clear()
        del self.starts[:]
        rows = 0
        for segment, count in self._find_segments(notes):
            self.starts.append(rows)
            self._segments.append(segment)
            rows += count
        return rows

    def _find_segments(self, notes: RowNotes) -> Iterator[tuple[_Segment, int]]:
        header = [(self._header_at, len(self._header), None)] if self._header else []
        noted = [(offset, sum(lengths), lengths) for offset, lengths in notes.row_lengths]
        position = 0
        for offset, size, lengths in sorted([*header, *noted], key=lambda each: each[0]):
            yield from self._lines(position, offset)
            if lengths is not None:
                yield _Segment(offset, size, lengths), len(lengths)
            position = offset + size
        yield from self._lines(position, self._published.size_bytes)

    def _lines(self, start: int, end: int) -> Iterator[tuple[_Segment, int]]:
        """Yield segments of whole lines between two offsets, and their numbers of rows."""
        rest = b""
        for data in self._published.blocks(self._file, start, end, _READ_BYTES):
            ends = row_ends(rest + data, -1, is_quoted=True) if self._is_quoted else None
            size = ends[-1] if ends else (rest + data).rfind(b"\n") + 1
            whole, rest = (rest + data)[:size], (rest + data)[size:]
            if whole:
                yield _Segment(start, size), len(ends) if ends else whole.count(b"\n")
            start += size

    def load(self, number: int) -> Rows:
        offset, length, lengths = self._segments[number]
        data = self._published.read(self._file, offset, length)
        if lengths is None:
            ends = row_ends(data, -1, is_quoted=self._is_quoted)
        else:
            ends = []
            for size in lengths:
                ends.append((ends[-1] if ends else 0) + size)
        return Rows(data, ends, self._header if offset >= self._header_at else b"")

    def slices(self, first: int, end: int) -> list[Slice]:
        if self._kinds is None:
            return super().slices(first, end)
        slices: list[Slice] = []
        while first < end:
            number = bisect_right(self._kind_starts, first) - 1
            start = self._kind_starts[number]
            count, kind, codes = self._kinds[number]
            until = min(end, start + count)
            for each in super().slices(first, until):
                _describe(each, kind, codes, first - start)
                first += each.rows
                slices.append(each)
        return slices

    def close(self) -> None:
        self._file.close()


def _describe(each: Slice, kind: Kind, codes: dict[str, str], position: int) -> None:
    """Set the kinds of the columns of a slice, which begins at a position of a range of rows."""
    each.kind = kind
    end = position + each.rows
    each.codes = {name: letters[position:end] for name, letters in codes.items()}


def encoded_rows(
    rows: EarlierRows, spans: Iterable[tuple[int, int]], form: str
) -> list[tuple[int, bytes]]:
    """Return the number of rows and the encoded rows of spans (first, end) that fit together."""
    slices = [each for first, end in spans for each in rows.slices(first, end)]
    if len(slices) == 1:  # the usual case, of a million mini-batches
        return [(slices[0].rows, encoded_group(slices, form))]
    return list(encoded(slices, form))
