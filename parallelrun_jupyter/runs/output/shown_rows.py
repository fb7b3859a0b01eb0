"""Reads the rows of single mini-batches for views, from part files or from the output file."""

from __future__ import annotations

import json
import mmap
import os
import re
import zlib
from pathlib import Path

from ...errors import OutputError
from ...formatting import format_bytes
from ...worker.output.formats import CSV, JSONL, PARQUET, TEXT, after_header, with_note
from ..journal.events import AttemptSucceeded, ItemsSucceeded
from ..run_folder import RunFolder
from ..run_record import RunRecord
from .committed_rows import part_path
from .published import Published, read_published
from .row_places import read_place
from .row_texts import COLUMNS, RowTexts, arrow, row_texts, table_texts

LARGEST_BYTES = 64 << 20
"""Most bytes of a mini-batch that are read for a view."""

_NOTE_BYTES = 1 << 20


class ShownRows:
    """The rows of a run, as texts. Nothing is kept open.

    Parameters
    ----------
    folder, record
        The run.
    """

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        self._folder = folder
        self._form = record.output.format
        self._final = folder.final_file(record)
        self._published: Published | None = None
        #: bytes read so far
        self.read_bytes = 0

    def texts(
        self, results: list[AttemptSucceeded] | list[ItemsSucceeded], first: int, end: int
    ) -> RowTexts:
        """Return rows of one mini-batch, from position ``first`` to ``end - 1`` in it.

        Parameters
        ----------
        results
            All committed results of the mini-batch, in the order of their items.

        Raises
        ------
        OutputError
            They are not there anymore, were changed, or are too large to be shown.
        """
        size = sum(result.length for result in results)
        if size > LARGEST_BYTES:
            msg = (
                f"the rows of mini-batch {results[0].mini_batch:,} have {format_bytes(size)}, too "
                "many to be shown here; run.to_pandas() reads them."
            )
            raise OutputError(msg)
        self.read_bytes += size
        try:
            return self._of_parts(results, first, end)
        except FileNotFoundError:  # the parts are removed when a run completes
            return self._of_file(results[0].mini_batch, sum(r.rows for r in results), first, end)

    def _of_parts(
        self, results: list[AttemptSucceeded] | list[ItemsSucceeded], first: int, end: int
    ) -> RowTexts:
        texts: list[RowTexts] = []
        start = 0
        for result in results:
            inside = max(first - start, 0), min(end - start, result.rows)
            if inside[0] < inside[1]:
                data = _read_part(part_path(self._folder, result.part), result)
                texts.append(row_texts(data, self._form, result.rows, *inside))
            start += result.rows
        return joined(texts)

    def _of_file(self, mini_batch: int, rows: int, first: int, end: int) -> RowTexts:
        place = read_place(self._folder.row_places, mini_batch)
        if self._published is None:
            self._published = read_published(self._folder)
        if place is None or self._published is None:
            msg = (
                "an earlier version of parallelrun-jupyter wrote this output, without the places of "
                "single rows; run.to_pandas() reads all of them."
            )
            raise OutputError(msg)
        if self._form == PARQUET:
            arrow()
        try:
            if self._form == PARQUET:
                return self._of_parquet(place[0] + first, place[0] + min(end, rows))
            data = self._encoded(self._published, *place)
        except FileNotFoundError as error:
            msg = (
                f"the output file {self._final} was moved or deleted, so its rows cannot be shown."
            )
            raise OutputError(msg) from error
        except OSError as error:
            msg = f"the output file {self._final} could not be read ({error.strerror or error})."
            raise OutputError(msg) from error
        except (OutputError, ValueError) as error:  # a ValueError of pyarrow
            msg = (
                f"the output file {self._final} was changed after the run wrote it, so its rows "
                "cannot be shown."
            )
            raise OutputError(msg) from error
        return row_texts(data, self._form, rows, first, min(end, rows))

    def _encoded(self, published: Published, start: int, end: int) -> bytes:
        """Return rows of the output file as a worker encodes them, with their header and a note."""
        with open(self._final, "rb") as file:
            published.check_size(file)
            data = published.read(file, start, end - start)
            at, size = published.header or (0, 0)
            header = published.read(file, at, size) if size else b""
        if size and start <= at < end:  # the header is before the rows of the first mini-batch
            data = data[: at - start] + data[at - start + size :]
            start += size
        if self._form not in {TEXT, CSV, JSONL}:  # the file has the rows as they were encoded
            return data
        framed = after_header(header, data)
        if self._form == CSV:
            return with_note(self._first_note(), framed)
        if self._form == TEXT and (lengths := self._lengths(data, start)):
            return with_note({"lengths": lengths}, framed)
        return framed

    def _first_note(self) -> dict[str, object]:
        """Return the separator and the columns of a CSV, as far as they are noted."""
        try:
            with open(self._folder.row_notes, encoding="ascii") as file:
                line = file.readline(_NOTE_BYTES)
        except FileNotFoundError:
            return {}
        match = re.search(r'"sep":"((?:[^"\\]|\\.)+)"', line)
        kind = json.loads(line).get("kind") if line.endswith("\n") and match else None
        return {key: kind[key] for key in ("sep", "columns")} if kind else {}

    def _lengths(self, data: bytes, start: int) -> list[int]:
        """Return the length of each row of text; nothing if every line is a row."""
        try:
            file = open(self._folder.row_notes, "rb")  # noqa: SIM115 - closed by the with below
        except FileNotFoundError:
            return []
        lengths: list[int] = []
        position = start
        with file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as notes:
            for match in re.finditer(rb'\{"offset":(\d+),', notes):
                offset = int(match[1])
                if offset >= start + len(data):
                    break
                if offset >= start:
                    note = json.loads(notes[match.start() : notes.find(b"\n", match.start())])
                    lengths += _line_lengths(data[position - start : offset - start])
                    lengths += note["lengths"]
                    position = offset + sum(note["lengths"])
        return [*lengths, *_line_lengths(data[position - start :])] if lengths else []

    def _of_parquet(self, first: int, end: int) -> RowTexts:
        import pyarrow.parquet as pq

        assert self._published is not None
        with open(self._final, "rb") as file:
            self._published.check_size(file)
            parquet = pq.ParquetFile(file)
            start, texts = 0, []
            for number in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(number).num_rows
                inside = max(first - start, 0), min(end - start, rows)
                if inside[0] < inside[1]:
                    names = parquet.schema_arrow.names
                    table = parquet.read_row_group(number, columns=names[:COLUMNS])
                    made = table_texts(table.slice(inside[0], inside[1] - inside[0]))
                    texts.append(made._replace(columns_hidden=max(0, len(names) - COLUMNS)))
                start += rows
        return joined(texts)


def _read_part(path: Path, result: AttemptSucceeded | ItemsSucceeded) -> bytes:
    with open(path, "rb") as file:
        data = os.pread(file.fileno(), result.length, result.offset)
    if zlib.crc32(data) != result.crc:
        msg = (
            f"the rows of mini-batch {result.mini_batch:,} in {path} are not the committed rows: the "
            "file was changed, or the disk is failing."
        )
        raise OutputError(msg)
    return data


def _line_lengths(data: bytes) -> list[int]:
    return [len(line) + 1 for line in data.split(b"\n")[:-1]]


def joined(texts: list[RowTexts]) -> RowTexts:
    """Return rows of several results as those of one table, with the columns of all of them."""
    if len(texts) == 1:
        return texts[0]
    names = list(dict.fromkeys(name for each in texts for name in each.columns))
    rows = []
    for each in texts:
        for row in each.rows:
            cells = dict(zip(each.columns or names[:1], row, strict=False))
            rows.append([cells.get(name, "") for name in names] if names else row)
    hidden = max([each.columns_hidden for each in texts], default=0)
    hidden += max(0, len(names) - COLUMNS)
    return RowTexts(names[:COLUMNS], [row[:COLUMNS] if names else row for row in rows], hidden)
