"""The committed rows of a run, in part files, and the output file with all of them."""

from __future__ import annotations

import io
import json
import os
import warnings
import zlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ...errors import OutputError
from ...files import replacing
from ...worker.output.formats import CSV, JSONL, TEXT
from ..journal.events import IN_STORE, AttemptSucceeded, Event, ItemsSucceeded, RowsDropped
from ..run_folder import RunFolder
from .merge import AddNote, AddPlace, merge_rows
from .output_writer import writing
from .row_notes import NoteLines, RowNotes, read_notes
from .typed_rows import csv_table, frame_of_records, json_table, lines_of

if TYPE_CHECKING:
    import pandas as pd

_READ_LIMIT_BYTES = 1 << 22
_READ_LIMIT_RANGES = 1 << 13
"""Ranges that are read together. Rows may be a few bytes long, and each range needs more in memory."""


class CommittedRows:
    """The location of the rows of each succeeded mini-batch, in 18 bytes per mini-batch.

    The rows of a mini-batch that was not answered at once are in several places, one for each range
    of its items.

    Attributes
    ----------
    drops
        How often rows were dropped, which run again.
    """

    def __init__(self) -> None:
        self.drops = 0
        self._offsets = array("q")  # -1 for no rows at one place
        self._lengths = array("I")  # workers reject 4 GB or more of rows per mini-batch
        self._crcs = array("I")
        self._parts = array("H")
        #: part, offset, length and crc of the results for some items, by mini-batch and position
        #: of the first item
        self._of_items: dict[int, dict[int, tuple[int, int, int, int]]] = {}

    def __len__(self) -> int:
        return len(self._offsets)

    def note(self, event: Event) -> None:
        """Add or remove the rows of an event; other events are ignored."""
        if isinstance(event, AttemptSucceeded):
            if event.part != IN_STORE:
                self.add(event)
        elif isinstance(event, ItemsSucceeded):
            if event.part != IN_STORE:
                self._reserve(event.mini_batch)
                place = event.part, event.offset, event.length, event.crc
                self._of_items.setdefault(event.mini_batch, {})[event.first] = place
        elif isinstance(event, RowsDropped):
            self._drop(event)

    def add(self, event: AttemptSucceeded) -> None:
        """Add the rows of a committed attempt."""
        index = event.mini_batch
        if index == len(self._offsets):  # most often
            self._offsets.append(event.offset)
            self._lengths.append(event.length)
            self._crcs.append(event.crc)
            self._parts.append(event.part)
            return
        self._reserve(index)
        self._offsets[index] = event.offset
        self._lengths[index] = event.length
        self._crcs[index] = event.crc
        self._parts[index] = event.part

    def _reserve(self, mini_batch: int) -> None:
        missing = mini_batch + 1 - len(self._offsets)
        if missing > 0:
            self._offsets.extend([-1] * missing)
            for column in (self._lengths, self._crcs, self._parts):
                column.extend([0] * missing)

    def _drop(self, event: RowsDropped) -> None:
        self.drops += 1
        of_items = self._of_items.get(event.mini_batch, {})
        for first in [k for k in of_items if event.first <= k < event.first + event.items]:
            del of_items[first]
        if event.items == event.of and event.mini_batch < len(self._offsets):
            self._offsets[event.mini_batch] = -1

    def size_bytes(self, first: int, end: int) -> int:
        """Return the bytes of consecutive mini-batches, without those that were not answered at once."""
        return sum(self._lengths[first:end])

    def ranges(
        self, first: int = 0, end: int | None = None
    ) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (mini_batch, part, offset, length, crc) in input order, without empty ranges.

        ``first`` and ``end`` limit the mini-batches.
        """
        for index in range(first, len(self) if end is None else min(end, len(self))):
            offset = self._offsets[index]
            if offset >= 0:
                if self._lengths[index]:
                    yield index, self._parts[index], offset, self._lengths[index], self._crcs[index]
                continue
            for _, place in sorted(self._of_items.get(index, {}).items()):
                part, start, length, crc = place
                if length:
                    yield index, part, start, length, crc


def committed_rows(events: Iterable[Event]) -> CommittedRows:
    """Return the committed rows of a journal."""
    rows = CommittedRows()
    for event in events:
        rows.note(event)
    return rows


def part_path(folder: RunFolder, part: int) -> Path:
    """Return the path of a part file."""
    return folder.output / f"part-{part}.rows"


def final_bytes(
    folder: RunFolder,
    rows: CommittedRows,
    form: str = TEXT,
    note: AddNote | None = None,
    place: AddPlace | None = None,
) -> Iterator[bytes]:
    """Yield the bytes of the output file: the rows of all succeeded mini-batches, in input order.

    ``note`` and ``place`` are the parameters of `merge_rows`.

    Raises
    ------
    OutputError
        As `read_committed` and `merge_rows`.
    """
    return merge_rows(lambda: read_committed(folder, rows), form, note, place)


def read_committed(
    folder: RunFolder, rows: CommittedRows, first: int = 0, end: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield (mini_batch, rows) of all succeeded mini-batches, in input order.

    ``first`` and ``end`` limit the mini-batches.

    Raises
    ------
    OutputError
        A part file is missing, or differs from the committed bytes.
    """
    files: dict[int, IO[bytes]] = {}
    try:
        for part, offset, pieces in _adjacent(rows.ranges(first, end)):
            if part not in files:
                files[part] = _open_part(folder, part)
            data = os.pread(files[part].fileno(), sum(length for _, length, _ in pieces), offset)
            start = 0
            for mini_batch, length, crc in pieces:
                piece = data[start : start + length]
                start += length
                if len(piece) != length or zlib.crc32(piece) != crc:
                    msg = (
                        f"the rows of mini-batch {mini_batch} in {part_path(folder, part)} are "
                        "not the committed rows: the file was changed or the disk is failing. "
                        "Start a new run; its inputs and script are unchanged."
                    )
                    raise OutputError(msg)
                yield mini_batch, piece
    finally:
        for file in files.values():
            file.close()


def _adjacent(
    ranges: Iterable[tuple[int, int, int, int, int]],
) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
    """Yield (part, offset, [(mini_batch, length, crc), ...]) of ranges to be read together.

    They are adjacent in a part, as rows of mini-batches that ended together are: a read for each
    would be slow. Together they are at most 8,192 mini-batches and 4 MB, unless it is one mini-batch.
    """
    pieces: list[tuple[int, int, int]] = []
    first = (-1, -1)
    size = 0
    for mini_batch, part, offset, length, crc in ranges:
        is_next = (part, offset) == (first[0], first[1] + size)
        is_full = size + length > _READ_LIMIT_BYTES or len(pieces) == _READ_LIMIT_RANGES
        if not is_next or is_full:
            if pieces:
                yield *first, pieces
            pieces, first, size = [], (part, offset), 0
        pieces.append((mini_batch, length, crc))
        size += length
    if pieces:
        yield *first, pieces


def _open_part(folder: RunFolder, part: int) -> IO[bytes]:
    path = part_path(folder, part)
    try:
        return open(path, "rb")
    except OSError as error:
        msg = f"the part file {path} could not be read ({error.strerror}); start a new run."
        raise OutputError(msg) from error


def publish(folder: RunFolder, rows: CommittedRows, target: Path, form: str = TEXT) -> int:
    """Write the output file atomically, in input order; return its size in bytes.

    Notes on rows that it cannot represent, and the places of the rows in it, are written to the run's
    folder.

    Raises
    ------
    OutputError
        The target cannot be written; the parts are kept.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            replacing(target, owner=folder.run_id) as temporary,
            writing(folder, temporary) as writer,
        ):
            for data in final_bytes(folder, rows, form, writer.notes.add, writer.places.add):
                writer.write(data)
    except OSError as error:
        msg = (
            f"the output {target} could not be written ({error.strerror or error}). "
            f"The rows are safe in {folder.output}. Free disk space, or give another output."
        )
        raise OutputError(msg) from error
    return writer.size_bytes


def remove_parts(folder: RunFolder) -> None:
    """Delete the part files after their rows were published."""
    for path in folder.parts():
        path.unlink()


def published_notes(folder: RunFolder) -> RowNotes | None:
    """Return the notes of the output file; None if it has none or is of an older version."""
    try:
        with open(folder.row_notes, encoding="ascii") as file:
            return read_notes(file)
    except FileNotFoundError:
        return None


def committed_table(folder: RunFolder, rows: CommittedRows, form: str) -> pd.DataFrame:
    """Return the rows committed so far, with the types of `read_rows`.

    Raises
    ------
    OutputError
        As `read_committed` and `merge_rows`.
    """
    lines: list[str] = []
    notes = NoteLines(lines.append)
    data = b"".join(final_bytes(folder, rows, form, notes.add))
    notes.end(len(data))
    return read_rows(data, form, read_notes(lines) if notes.is_needed else None)


def read_rows(data: bytes, form: str, notes: RowNotes | None = None) -> pd.DataFrame:
    """Return the rows of an output file as a table; rows of text are one column ``row``.

    If the notes do not fit the bytes, since the file was changed, pandas infers the types, after a
    warning.
    """
    if notes is not None:
        try:
            return _noted_rows(data, form, notes)
        except (ValueError, KeyError) as error:
            warnings.warn(
                f"the output file is not as the run wrote it ({error}): its rows are read "
                "without their types",
                stacklevel=4,
            )
    return _plain_rows(data, form)


def _noted_rows(data: bytes, form: str, notes: RowNotes) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame
    if len(data) != notes.size_bytes:
        msg = f"it has {len(data):,} bytes, not {notes.size_bytes:,}"
        raise ValueError(msg)
    if form == TEXT:
        frame = pd.DataFrame({"row": lines_of(data, notes)}, dtype="str")
    else:
        frame = csv_table(data, notes) if form == CSV else json_table(data, notes)
    return frame


def _plain_rows(data: bytes, form: str) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame
    if form == TEXT:
        frame = pd.DataFrame({"row": data.decode("utf-8").split("\n")[:-1]}, dtype="str")
    elif not data:
        frame = pd.DataFrame()
    elif form == CSV:
        frame = pd.read_csv(io.BytesIO(data))
    elif form == JSONL:
        frame = frame_of_records([json.loads(line) for line in data.split(b"\n")[:-1]])
    else:
        frame = pd.read_parquet(io.BytesIO(data))
    return frame
