"""Merges the rows of mini-batches into one file, with notes on rows that it cannot represent.

The results of one mini-batch, for ranges of its items, may have different columns; those of different
mini-batches may not.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ...worker.output.formats import CSV, OBJECTS, PARQUET, TEXT, split_header, split_note
from .joined_columns import joined_csv
from .schemas import conflict, filled, fitted, promoted, unify_schemas

if TYPE_CHECKING:
    import pyarrow as pa

Pieces = Callable[[], Iterator[tuple[int, bytes]]]
"""Returns (mini_batch, rows) in input order; may be called more than once."""

AddNote = Callable[[dict[str, Any]], None]

AddPlace = Callable[[int, int], None]
"""Receives a mini-batch and the end of its rows: an offset in bytes, in Parquet a number of rows."""

_ROW_GROUP_BYTES = 1 << 26


def merge_rows(
    pieces: Pieces, form: str, note: AddNote | None = None, place: AddPlace | None = None
) -> Iterator[bytes]:
    """Yield the bytes of the output file.

    Parameters
    ----------
    pieces
        The rows of each mini-batch, as its worker wrote them.
    form
        ``text``, ``csv``, ``jsonl``, ``parquet`` or ``objects``.
    note
        Receives the notes on rows that the file cannot represent, see `row_notes`, and the place
        of the header.
    place
        Receives the end of the rows of each result, in input order.

    Raises
    ------
    OutputError
        Mini-batches have different columns or incompatible types.
    """
    if form == PARQUET:
        yield from _parquet(pieces, place)
    elif form == OBJECTS:
        yield from _objects(pieces, place)
    else:
        yield from _with_one_header(pieces, form, note, place)


def _objects(pieces: Pieces, place: AddPlace | None) -> Iterator[bytes]:
    offset = 0
    for mini_batch, data in pieces():
        offset += len(data)
        if place is not None:
            place(mini_batch, offset)
        yield data


def _with_one_header(
    pieces: Pieces, form: str, note: AddNote | None, place: AddPlace | None
) -> Iterator[bytes]:
    first: tuple[int, bytes] | None = None
    offset = 0
    for mini_batch, data in joined_csv(pieces()) if form == CSV else pieces():
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
        if place is not None:
            place(mini_batch, offset)
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


def _parquet(pieces: Pieces, place: AddPlace | None) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _common_schema(pieces) or pa.schema([])  # a Parquet file, even without rows
    sink = _Sink()
    writer = pq.ParquetWriter(sink, schema)
    held: list[pa.Table] = []
    size_bytes = 0
    rows = 0
    for mini_batch, table in _tables(pieces, schema):
        rows += table.num_rows
        if place is not None:
            place(mini_batch, rows)
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


def _tables(pieces: Pieces, schema: pa.Schema) -> Iterator[tuple[int, pa.Table]]:
    """Yield each mini-batch and its rows as one table, even if they are in several pieces."""
    import pyarrow as pa

    for mini_batch, group in groupby(pieces(), key=itemgetter(0)):
        tables = [
            fitted(filled(pa.ipc.open_stream(data).read_all(), schema), schema, _named(mini_batch))
            for _, data in group
        ]
        # One chunk, so that the size does not depend on the pieces.
        yield (
            mini_batch,
            tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks(),
        )


def _write_row_group(writer: Any, tables: list[pa.Table]) -> None:
    """Write tables as one chunk: the pages of the file do not depend on how rows were divided."""
    import pyarrow as pa

    writer.write_table(pa.concat_tables(tables).combine_chunks())


def _common_schema(pieces: Pieces) -> pa.Schema | None:
    return unify_schemas(_schemas(pieces))


def _schemas(pieces: Pieces) -> Iterator[tuple[str, pa.Schema]]:
    """Yield the schemas of each mini-batch, all with the same columns."""
    import pyarrow as pa

    for mini_batch, group in groupby(pieces(), key=itemgetter(0)):
        for schema in promoted([pa.ipc.open_stream(data).schema for _, data in group]):
            yield _named(mini_batch), schema
