"""Slices of encoded rows: rows of one or several mini-batches, encoded again as those of another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, count, pairwise
from operator import add
from typing import TYPE_CHECKING, Any

from ...worker.output.arrow_tables import ALL_MISSING, COLUMNS
from ...worker.output.formats import (
    CSV,
    PARQUET,
    TEXT,
    after_header,
    split_header,
    split_note,
    with_note,
    without_header,
)
from .row_notes import Kind, without_codes

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Slice:
    """Consecutive rows whose columns have the same kinds.

    Parameters
    ----------
    rows
        Their number.
    data
        Their text; unused for Parquet.
    lengths
        The length of each row, if some contain line ends; otherwise empty.
    header, kind, codes
        The header, the kinds of the columns, and a letter for each value of some columns, as
        `merge` describes them.
    table
        The rows, for Parquet.
    """

    rows: int
    data: bytes = b""
    lengths: list[int] = field(default_factory=list)
    header: bytes = b""
    kind: Kind = None
    codes: dict[str, str] = field(default_factory=dict)
    table: pa.Table = None

    def fits(self, other: Slice) -> bool:
        """Return whether one note can describe both."""
        if self.table is not None:
            return bool(self.table.schema.equals(other.table.schema, check_metadata=True))
        return (
            self.header == other.header
            and self.kind == other.kind
            and self.codes.keys() == other.codes.keys()
        )


class Rows:
    """Decoded rows of text, CSV or JSON lines.

    Parameters
    ----------
    data
        Their text.
    ends
        The offset after each row.
    header, kind, codes
        As in `Slice`.
    """

    def __init__(
        self,
        data: bytes,
        ends: list[int],
        header: bytes = b"",
        kind: Kind = None,
        codes: dict[str, str] | None = None,
    ) -> None:
        self._data = data
        self._ends = ends
        self._header, self._kind, self._codes = header, kind, codes or {}

    def __len__(self) -> int:
        return len(self._ends)

    def slice(self, first: int, end: int) -> Slice:
        """Return the rows from position ``first`` to ``end - 1``."""
        start = self._ends[first - 1] if first else 0
        data = self._data[start : self._ends[end - 1]]
        lengths: list[int] = []
        if data.count(b"\n") != end - first:
            ends = [start, *self._ends[first:end]]
            lengths = [after - before for before, after in pairwise(ends)]
        codes = {name: letters[first:end] for name, letters in self._codes.items()}
        return Slice(end - first, data, lengths, self._header, self._kind, codes)


class TableRows:
    """Rows of Parquet."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def slice(self, first: int, end: int) -> Slice:
        """Return the rows from position ``first`` to ``end - 1``."""
        return Slice(end - first, table=self._table.slice(first, end - first))


def decoded(data: bytes, form: str, rows: int) -> Rows | TableRows | None:
    """Return the rows that a worker encoded; None if it is unclear where one of them ends.

    Parameters
    ----------
    data
        The rows of a mini-batch.
    form
        The format of the output.
    rows
        Their number.
    """
    if form == PARQUET:
        import pyarrow as pa

        return TableRows(pa.ipc.open_stream(data).read_all())
    about, at = split_note(data)
    header, start = split_header(data, at)
    body = data[start:]
    kind: Kind = None
    codes: dict[str, str] = {}
    if form == TEXT and about is not None:
        ends = list(accumulate(about["lengths"]))
    else:
        if about is not None:
            kind, codes = without_codes(about)
        ends = row_ends(body, rows, is_quoted=form == CSV and kind is not None)
    return Rows(body, ends, header, kind, codes) if len(ends) == rows else None


def row_ends(data: bytes, rows: int, *, is_quoted: bool) -> list[int]:
    """Return the offset after each row, as far as it is clear.

    Parameters
    ----------
    data
        The rows.
    rows
        Their number, if it is known; -1 if not.
    is_quoted
        Whether line ends within quotation marks do not end a row.
    """
    if is_quoted and rows != data.count(b"\n") and b'"' in data:
        return _quoted_ends(data)
    lines = data.split(b"\n")
    return list(map(add, accumulate(map(len, lines[:-1])), count(1)))


def _quoted_ends(data: bytes) -> list[int]:
    ends: list[int] = []
    position = 0
    is_open = False
    for line in data.split(b"\n")[:-1]:
        position += len(line) + 1
        is_open ^= line.count(b'"') % 2 == 1
        if not is_open:
            ends.append(position)
    return ends


def encoded(slices: Iterable[Slice], form: str) -> Iterator[tuple[int, bytes]]:
    """Yield the number of rows and the rows, as a worker encodes them, of slices that fit together.

    Parameters
    ----------
    slices
        Consecutive rows of a mini-batch.
    form
        The format of the output.
    """
    group: list[Slice] = []
    for each in slices:
        if group and not group[0].fits(each):
            yield sum(part.rows for part in group), encoded_group(group, form)
            group = []
        group.append(each)
    if group:
        yield sum(part.rows for part in group), encoded_group(group, form)


def encoded_group(group: list[Slice], form: str) -> bytes:
    """Return the rows of slices that fit together, as a worker encodes them."""
    if form == PARQUET:
        return _arrow_stream([part.table for part in group])
    first = group[0]
    data = first.data if len(group) == 1 else b"".join([part.data for part in group])
    framed = after_header(first.header, data) if first.header else without_header(data)
    if form == TEXT:
        if not any(part.lengths for part in group):
            return framed
        lengths = [length for part in group for length in part.lengths or _line_lengths(part.data)]
        return with_note({"lengths": lengths}, framed)
    if first.kind is None:
        return framed
    codes = {name: "".join([part.codes[name] for part in group]) for name in first.codes}
    return with_note(_note(sum(part.rows for part in group), first.kind, codes), framed)


def _line_lengths(data: bytes) -> list[int]:
    return [len(line) + 1 for line in data.split(b"\n")[:-1]]


def _note(rows: int, kind: dict[str, Any], codes: dict[str, str]) -> dict[str, Any]:
    """Return the note of a table, as its worker writes it."""
    columns = []
    for name, type_name, extra in kind["columns"]:
        about = {**extra, "codes": codes[name]} if name in codes else extra
        columns.append([name, type_name, about] if about else [name, type_name])
    return {"rows": rows, **kind, "columns": columns}


def _arrow_stream(tables: list[pa.Table]) -> bytes:
    """Return tables with the same schema as a stream, with the metadata that a worker adds."""
    import pyarrow as pa

    table = pa.concat_tables(tables).combine_chunks()
    fields = []
    for item, column in zip(table.schema, table.itercolumns(), strict=True):
        is_missing = column.null_count == len(column) and not pa.types.is_null(item.type)
        mark = {ALL_MISSING: b"1"} if is_missing else None
        fields.append(pa.field(item.name, item.type, metadata=mark))
    about = json.loads((table.schema.metadata or {}).get(COLUMNS, b"{}"))
    about = {key: about[key] for key in ("kinds", "index") if about.get(key)}
    notes = {COLUMNS: json.dumps(about).encode("ascii")} if about else None
    table = pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata=notes))
    sink = pa.BufferOutputStream()
    with pa.RecordBatchStreamWriter(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
