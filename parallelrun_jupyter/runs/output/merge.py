"""Merges the rows of mini-batches into one file, with notes on rows that it cannot represent.

The notes are types of columns, and rows that contain line ends. They are lines of JSON, in the order
of the rows. For text, one line for each mini-batch with a line end inside a row::

    {"offset": 120, "lengths": [18, 7]}         offset of its first row, length of each row (bytes)

For CSV and JSON lines, one line for each new kind of table, and one for consecutive rows of the
same kind::

    {"kind": {"columns": [["id", "text"], ["n", "int64"]], "sep": ",", "header": true}}
    [4000, 0]                                   number of rows, number of their kind
    [3, 0, {"id": "sns"}]                       with a letter for each value of a column

A null kind means that the kind of the rows is unknown. The last line has the size of the file:
``{"size_bytes": ...}``.
"""

from __future__ import annotations

import io
import json
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ...worker.output.formats import CSV, PARQUET, TEXT, split_header, split_note
from .schemas import conflict, fitted, unify_schemas

if TYPE_CHECKING:
    import pyarrow as pa

Kind = dict[str, Any] | None

Pieces = Callable[[], Iterator[tuple[int, bytes]]]
"""Returns (mini_batch, rows) in input order; may be called more than once."""

AddNote = Callable[[dict[str, Any]], None]

_ROW_GROUP_BYTES = 1 << 26


def merge_rows(pieces: Pieces, form: str, note: AddNote | None = None) -> Iterator[bytes]:
    """Yield the bytes of the output file.

    Parameters
    ----------
    pieces
        The rows of each mini-batch, as its worker wrote them.
    form
        ``text``, ``csv``, ``jsonl`` or ``parquet``.
    note
        Receives the notes on rows that the file cannot represent, see the module, and the place
        of the header.

    Raises
    ------
    OutputError
        Mini-batches have different columns or incompatible types.
    """
    if form == PARQUET:
        yield from _parquet(pieces)
    else:
        yield from _with_one_header(pieces, form, note)


def _with_one_header(pieces: Pieces, form: str, note: AddNote | None) -> Iterator[bytes]:
    first: tuple[int, bytes] | None = None
    offset = 0
    for mini_batch, data in pieces():
        about, at = split_note(data)
        header, start = split_header(data, at)
        if header and first is None:
            first = (mini_batch, header)
            yield header
            if note is not None:
                note({"header_at": [offset, len(header)]})
            offset += len(header)
        elif header and form == CSV and first is not None:
            check_header(_named(mini_batch), header, _named(first[0]), first[1])
        rows = data[start:] if start else data
        if note is not None:
            if form == TEXT and about is not None:
                note({"offset": offset, **about})
            elif form != TEXT:
                note(about or {"rows": rows.count(b"\n"), "columns": None})
        offset += len(rows)
        yield rows


def check_header(source: str, header: bytes, earlier: str, earlier_header: bytes) -> None:
    """Check that the header of a CSV equals that of an earlier mini-batch.

    Raises
    ------
    OutputError
        The headers differ.
    """
    if header != earlier_header:
        raise conflict(source, _shown(header), earlier, _shown(earlier_header))


def _shown(header: bytes) -> str:
    return repr(header.decode("utf-8").strip()[:300])


def _named(mini_batch: int) -> str:
    return f"mini-batch {mini_batch}"


class _Sink(io.RawIOBase):
    """A file for the Parquet writer, whose bytes are forwarded piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._position += len(self._pieces[-1])
        return len(self._pieces[-1])

    def read_new(self) -> bytes:
        """Return the bytes written since the last call."""
        data, self._pieces = b"".join(self._pieces), []
        return data


def _parquet(pieces: Pieces) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _common_schema(pieces) or pa.schema([])  # a Parquet file, even without rows
    sink = _Sink()
    writer = pq.ParquetWriter(sink, schema)
    held: list[pa.Table] = []
    size_bytes = 0
    for table in _tables(pieces, schema):
        held.append(table)
        size_bytes += table.nbytes
        if size_bytes >= _ROW_GROUP_BYTES:
            _write_row_group(writer, held)
            held, size_bytes = [], 0
            yield sink.read_new()
    if held:
        _write_row_group(writer, held)
    writer.close()
    yield sink.read_new()


def _tables(pieces: Pieces, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of each mini-batch as one table, even if they are in several pieces."""
    import pyarrow as pa

    for mini_batch, group in groupby(pieces(), key=itemgetter(0)):
        tables = [
            fitted(pa.ipc.open_stream(data).read_all(), schema, _named(mini_batch))
            for _, data in group
        ]
        # One chunk, so that the size does not depend on the pieces.
        yield tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()


def _write_row_group(writer: Any, tables: list[pa.Table]) -> None:
    """Write tables as one chunk: the pages of the file do not depend on how rows were divided."""
    import pyarrow as pa

    writer.write_table(pa.concat_tables(tables).combine_chunks())


def _common_schema(pieces: Pieces) -> pa.Schema | None:
    import pyarrow as pa

    return unify_schemas((_named(k), pa.ipc.open_stream(data).schema) for k, data in pieces())


class NoteLines:
    """Writes the notes of an output file; see the module.

    Parameters
    ----------
    write
        Receives each line with its line end.
    """

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._numbers: dict[str, int] = {}
        self._rows = 0
        self._number = -1
        #: whether any note is needed to read the file
        self.is_needed = False
        #: offset and length of the header; without one, empty
        self.header: list[int] = []

    def add(self, note: dict[str, Any]) -> None:
        """Add the note of the next mini-batch that has one, or the place of the header."""
        if "header_at" in note:
            self.header = note["header_at"]
            return
        if "lengths" in note:
            self.is_needed = True
            self._write_line(note)
            return
        kind, codes = without_codes(note)
        number = self._number_of(kind)
        if codes or number != self._number:
            self._end_range()
            self._number = number
        self._rows += note["rows"]
        if codes:
            self._write_line([self._rows, number, codes])
            self._rows = 0

    def end(self, size_bytes: int) -> None:
        """Write the last range, and the size of the file that the notes belong to."""
        self._end_range()
        self._write_line({"size_bytes": size_bytes})

    def _end_range(self) -> None:
        if self._rows:
            self._write_line([self._rows, self._number])
            self._rows = 0

    def _number_of(self, kind: Kind) -> int:
        text = json.dumps(kind)
        if text not in self._numbers:
            self._end_range()
            self._numbers[text] = len(self._numbers)
            self._write_line({"kind": kind})
            self.is_needed = self.is_needed or kind is not None
        return self._numbers[text]

    def _write_line(self, line: Any) -> None:
        self._write(json.dumps(line, separators=(",", ":")) + "\n")


def without_codes(note: dict[str, Any]) -> tuple[Kind, dict[str, str]]:
    """Return the kind of a table, and the letters of the values of each column."""
    if note["columns"] is None:
        return None, {}
    codes, columns = {}, []
    for name, kind, *extras in note["columns"]:
        extra = dict(extras[0]) if extras else {}
        if "codes" in extra:
            codes[name] = extra.pop("codes")
        columns.append([name, kind, extra])
    return {**{k: v for k, v in note.items() if k != "rows"}, "columns": columns}, codes


@dataclass(slots=True)
class RowNotes:
    """The notes of a file."""

    size_bytes: int = -1
    #: of text: offset of consecutive rows, and the length of each in bytes
    row_lengths: list[tuple[int, array[int]]] = field(default_factory=list)
    #: of tables: number of rows, kind, letters by column
    ranges: list[tuple[int, Kind, dict[str, str]]] = field(default_factory=list)


def read_notes(lines: Iterable[str]) -> RowNotes:
    """Parse the lines of notes."""
    notes = RowNotes()
    kinds: list[Kind] = []
    for line in lines:
        match json.loads(line):
            case {"offset": offset, "lengths": lengths}:
                notes.row_lengths.append((offset, array("L", lengths)))
            case {"kind": kind}:
                kinds.append(kind)
            case [rows, number, *codes]:
                notes.ranges.append((rows, kinds[number], codes[0] if codes else {}))
            case {"size_bytes": size_bytes}:
                notes.size_bytes = size_bytes
    return notes
