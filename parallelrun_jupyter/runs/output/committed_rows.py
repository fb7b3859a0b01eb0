"""The rows of a run: which bytes of the parts are committed, and the file they make."""

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
from ...files import remove_quietly
from ...worker.output.formats import CSV, JSONL, TEXT
from ..journal.events import AttemptSucceeded, Event
from ..run_folder import RunFolder
from .merge import TakeNote, merge_rows
from .row_notes import NoteLines, RowNotes, read_notes
from .typed_rows import csv_table, frame_of_records, json_table, lines_of

if TYPE_CHECKING:
    import pandas as pd

_COPY_BYTES = 1 << 22


class CommittedRows:
    """Where the rows of each succeeded mini-batch are, in 18 bytes a mini-batch."""

    def __init__(self) -> None:
        self._places = array("q")  # offset, -1 for none
        self._lengths = array("I")  # the worker refuses rows of 4 GB and more for one mini-batch
        self._crcs = array("I")
        self._parts = array("H")

    def __len__(self) -> int:
        return len(self._places)

    def add(self, event: AttemptSucceeded) -> None:
        """Take a committed range into account."""
        missing = event.mini_batch + 1 - len(self._places)
        if missing > 0:
            self._places.extend([-1] * missing)
            for column in (self._lengths, self._crcs, self._parts):
                column.extend([0] * missing)
        index = event.mini_batch
        self._places[index] = event.offset
        self._lengths[index] = event.length
        self._crcs[index] = event.crc
        self._parts[index] = event.part

    def ranges(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield (mini_batch, part, offset, length, crc) in input order, the empty ones left out."""
        for index, place in enumerate(self._places):
            if place >= 0 and self._lengths[index]:
                yield index, self._parts[index], place, self._lengths[index], self._crcs[index]


def committed_rows(events: Iterable[Event]) -> CommittedRows:
    """Collect the committed ranges of a journal."""
    rows = CommittedRows()
    for event in events:
        if isinstance(event, AttemptSucceeded):
            rows.add(event)
    return rows


def part_path(folder: RunFolder, part: int) -> Path:
    """Return the path of a part file."""
    return folder.output / f"part-{part}.rows"


def final_bytes(
    folder: RunFolder, rows: CommittedRows, form: str = TEXT, note: TakeNote | None = None
) -> Iterator[bytes]:
    """Yield the bytes of the final file: the rows of every succeeded mini-batch, in input order.

    ``note`` takes what the file itself does not say of them, as of `merge_rows`.

    Raises
    ------
    OutputError
        As `read_committed` and `merge_rows`.
    """
    return merge_rows(lambda: read_committed(folder, rows), form, note)


def read_committed(folder: RunFolder, rows: CommittedRows) -> Iterator[tuple[int, bytes]]:
    """Yield (mini_batch, rows) of every succeeded mini-batch, in input order.

    Raises
    ------
    OutputError
        A part file is missing or its bytes are not those that were committed.
    """
    files: dict[int, IO[bytes]] = {}
    try:
        for part, offset, stretch in _stretches(rows):
            if part not in files:
                files[part] = _open_part(folder, part)
            data = os.pread(files[part].fileno(), sum(row[1] for row in stretch), offset)
            start = 0
            for mini_batch, length, crc in stretch:
                piece = data[start : start + length]
                start += length
                if len(piece) != length or zlib.crc32(piece) != crc:
                    msg = (
                        f"the rows of mini-batch {mini_batch} in {part_path(folder, part)} are not "
                        "those that were committed: the file was changed or the disk is failing. "
                        "Start the run anew; its inputs and script are unchanged."
                    )
                    raise OutputError(msg)
                yield mini_batch, piece
    finally:
        for file in files.values():
            file.close()


def _stretches(rows: CommittedRows) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
    """Yield (part, offset, [(mini_batch, length, crc), ...]) of ranges that follow one another.

    Mini-batches that were finished together lie together: a read for each would cost more than the
    reading. A stretch has at most four megabytes, or one mini-batch.
    """
    stretch: list[tuple[int, int, int]] = []
    first = (-1, -1)
    size = 0
    for mini_batch, part, offset, length, crc in rows.ranges():
        if (part, offset) != (first[0], first[1] + size) or size + length > _COPY_BYTES:
            if stretch:
                yield *first, stretch
            stretch, first, size = [], (part, offset), 0
        stretch.append((mini_batch, length, crc))
        size += length
    if stretch:
        yield *first, stretch


def _open_part(folder: RunFolder, part: int) -> IO[bytes]:
    path = part_path(folder, part)
    try:
        return open(path, "rb")
    except OSError as error:
        msg = f"the part file {path} could not be read ({error.strerror}); start the run anew."
        raise OutputError(msg) from error


def publish(folder: RunFolder, rows: CommittedRows, target: Path, form: str = TEXT) -> int:
    """Write the final file, in input order, and let it appear by rename; return its bytes.

    What it cannot say of its rows is noted beside it, in the run's folder.

    Raises
    ------
    OutputError
        The target cannot be written; the parts stay, and nothing is lost.
    """
    temporary = target.with_name(f".{target.name}.{folder.run_id}.tmp")
    notes_temporary = folder.row_notes.with_suffix(".tmp")
    written = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            open(notes_temporary, "w", encoding="ascii") as notes_file,
            open(temporary, "wb", buffering=_COPY_BYTES) as file,
        ):
            notes = NoteLines(notes_file.write)
            for data in final_bytes(folder, rows, form, notes.take):
                written += file.write(data)
            notes.end(written)
            for each in (notes_file, file) if notes.is_needed else (file,):
                each.flush()
                os.fsync(each.fileno())
        if notes.is_needed:
            notes_temporary.replace(folder.row_notes)
        else:
            folder.row_notes.unlink(missing_ok=True)
        temporary.replace(target)
    except OSError as error:
        msg = (
            f"the output {target} could not be written ({error.strerror or error}). "
            f"The rows are safe in {folder.output}; make room or give another output."
        )
        raise OutputError(msg) from error
    finally:
        remove_quietly(temporary)
        remove_quietly(notes_temporary)
    return written


def remove_parts(folder: RunFolder) -> None:
    """Delete the part files: the final file holds their rows."""
    for path in folder.parts():
        path.unlink()


def published_notes(folder: RunFolder) -> RowNotes | None:
    """Return the notes of a run's final file; None where it needs none, or is of an old version."""
    try:
        with open(folder.row_notes, encoding="ascii") as file:
            return read_notes(file)
    except FileNotFoundError:
        return None


def committed_table(folder: RunFolder, rows: CommittedRows, form: str) -> pd.DataFrame:
    """Return the rows that are committed by now, as `read_rows` those of the final file.

    Raises
    ------
    OutputError
        As `read_committed` and `merge_rows`.
    """
    lines: list[str] = []
    notes = NoteLines(lines.append)
    data = b"".join(final_bytes(folder, rows, form, notes.take))
    notes.end(len(data))
    return read_rows(data, form, read_notes(lines) if notes.is_needed else None)


def read_rows(data: bytes, form: str, notes: RowNotes | None = None) -> pd.DataFrame:
    """Return the rows of a final file of a format; rows of text are one column ``row``.

    Where the notes are not of these bytes, since somebody has changed the file, a warning says so,
    and pandas guesses.
    """
    if notes is not None:
        try:
            return _noted_rows(data, form, notes)
        except (ValueError, KeyError) as error:
            warnings.warn(
                f"the output is not the one that the run wrote ({error}): its rows are read "
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
