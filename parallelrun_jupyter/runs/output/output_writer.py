"""Writes the output file of a run, with its notes, the places of its rows and its checksums."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ...files import PIECE_BYTES, replacing
from ..run_folder import RunFolder
from .published import BlockSums, write_published
from .row_notes import NoteLines
from .row_places import PlaceWriter

_FLUSHED_BYTES = 1 << 23


class OutputWriter:
    """An output file that is being written; `writing` makes one.

    Attributes
    ----------
    notes, places
        Receive the notes on rows, and the places of rows.
    size_bytes
        The bytes written so far.
    """

    def __init__(self, file: IO[bytes], notes: NoteLines, places: PlaceWriter) -> None:
        self._file = file
        self.notes = notes
        self.places = places
        self.sums = BlockSums()
        self.size_bytes = 0
        self._flushed = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        for at in range(0, len(data), PIECE_BYTES):
            self.size_bytes += self._file.write(data[at : at + PIECE_BYTES])
        self.sums.add(data)

    def start_flush(self) -> None:
        """Let the disk begin to write what was appended, so that little is left for the end."""
        if self.size_bytes - self._flushed < _FLUSHED_BYTES or not hasattr(os, "posix_fadvise"):
            return
        self._file.flush()
        fd, length = self._file.fileno(), self.size_bytes - self._flushed
        # Linux writes such pages without waiting; those that are not written yet stay in memory.
        os.posix_fadvise(fd, self._flushed, length, os.POSIX_FADV_DONTNEED)
        self._flushed = self.size_bytes


@contextmanager
def writing(folder: RunFolder, temporary: Path) -> Iterator[OutputWriter]:
    """Yield a writer of a file, which is on the disk after the body, with all that belongs to it."""
    with (
        replacing(folder.row_notes, owner=folder.run_id) as notes_temporary,
        open(notes_temporary, "w", encoding="ascii") as notes_file,
        replacing(folder.row_places, owner=folder.run_id) as places_temporary,
        open(places_temporary, "wb") as places_file,
        open(temporary, "wb", buffering=PIECE_BYTES) as file,
    ):
        writer = OutputWriter(file, NoteLines(notes_file.write), PlaceWriter(places_file.write))
        yield writer
        notes = writer.notes
        notes.end(writer.size_bytes)
        writer.places.end()
        for each in (notes_file, file) if notes.is_needed else (file,):
            each.flush()
            os.fsync(each.fileno())
    if not notes.is_needed:
        folder.row_notes.unlink(missing_ok=True)
    write_published(folder, writer.sums, notes.header)
