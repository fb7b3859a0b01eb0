"""Joins the rows of mini-batches into the bytes of one file, in the format that was asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...worker.output.formats import CSV, PARQUET, TEXT, split_header, split_note
from .schemas import conflict, fitted, unify_schemas

if TYPE_CHECKING:
    import pyarrow as pa

Pieces = Callable[[], Iterator[tuple[int, bytes]]]
"""Reads (mini_batch, rows) in input order; may be called more than once."""

TakeNote = Callable[[dict[str, Any]], None]

_ROW_GROUP_BYTES = 1 << 26


def merge_rows(pieces: Pieces, form: str, note: TakeNote | None = None) -> Iterator[bytes]:
    """Yield the bytes of the final file.

    Parameters
    ----------
    pieces
        The rows of each mini-batch, as its worker wrote them.
    form
        ``text``, ``csv``, ``jsonl`` or ``parquet``.
    note
        Takes what the file itself does not say of its rows, as `row_notes` describes it.

    Raises
    ------
    OutputError
        Mini-batches have other columns or types than those before them.
    """
    if form == PARQUET:
        yield from _parquet(pieces)
    else:
        yield from _with_one_header(pieces, form, note)


def _with_one_header(pieces: Pieces, form: str, note: TakeNote | None) -> Iterator[bytes]:
    first: tuple[int, bytes] | None = None
    offset = 0
    for mini_batch, data in pieces():
        about, at = split_note(data)
        header, start = split_header(data, at)
        if header and first is None:
            first = (mini_batch, header)
            yield header
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


def check_header(whose: str, header: bytes, before: str, header_before: bytes) -> None:
    """See that the header of a CSV is that of an earlier mini-batch.

    Raises
    ------
    OutputError
        It is not.
    """
    if header != header_before:
        raise conflict(whose, _shown(header), before, _shown(header_before))


def _shown(header: bytes) -> str:
    return repr(header.decode("utf-8").strip()[:300])


def _named(mini_batch: int) -> str:
    return f"mini-batch {mini_batch}"


class _Sink(io.RawIOBase):
    """Takes what the Parquet writer writes, to be passed on piece by piece."""

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

    def take(self) -> bytes:
        """Return what was written since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _parquet(pieces: Pieces) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _one_schema(pieces) or pa.schema([])  # without any row it is still a Parquet file
    sink = _Sink()
    writer = pq.ParquetWriter(sink, schema)
    held: list[pa.Table] = []
    size_bytes = 0
    for mini_batch, data in pieces():
        table = pa.ipc.open_stream(data).read_all()
        held.append(fitted(table, schema, _named(mini_batch)))
        size_bytes += table.nbytes
        if size_bytes >= _ROW_GROUP_BYTES:
            writer.write_table(pa.concat_tables(held))
            held, size_bytes = [], 0
            yield sink.take()
    if held:
        writer.write_table(pa.concat_tables(held))
    writer.close()
    yield sink.take()


def _one_schema(pieces: Pieces) -> pa.Schema | None:
    """Return the schema that fits all mini-batches."""
    import pyarrow as pa

    return unify_schemas((_named(k), pa.ipc.open_stream(data).schema) for k, data in pieces())
