"""Joins the rows of mini-batches into the bytes of one file, in the format that was asked for."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from ..worker.formats import CSV, PARQUET, split_frame

if TYPE_CHECKING:
    import pyarrow as pa

Pieces = Callable[[], Iterator[tuple[int, bytes]]]
"""Reads (mini_batch, rows) in input order; may be called more than once."""

_ROW_GROUP_BYTES = 1 << 26


def joined(pieces: Pieces, form: str) -> Iterator[bytes]:
    """Yield the bytes of the final file.

    Parameters
    ----------
    pieces
        The rows of each mini-batch, as its worker wrote them.
    form
        ``text``, ``csv``, ``jsonl`` or ``parquet``.

    Raises
    ------
    OutputError
        Mini-batches have other columns or types than those before them.
    """
    if form == PARQUET:
        yield from _parquet(pieces)
    else:
        yield from _with_one_header(pieces, form)


def _with_one_header(pieces: Pieces, form: str) -> Iterator[bytes]:
    first: tuple[int, bytes] | None = None
    for mini_batch, data in pieces():
        header, start = split_frame(data)
        if header and first is None:
            first = (mini_batch, header)
            yield header
        elif header and form == CSV and first is not None and header != first[1]:
            raise _conflict(_named(mini_batch), _shown(header), _named(first[0]), _shown(first[1]))
        yield data[start:] if start else data


def _shown(header: bytes) -> str:
    return repr(header.decode("utf-8").strip()[:300])


def _named(mini_batch: int) -> str:
    return f"mini-batch {mini_batch}"


def _conflict(whose: str, what: str, before: str, what_before: str) -> OutputError:
    msg = (
        f"run() returned for {whose} the columns {what}, but for "
        f"{before} {what_before}; one file has one set of columns and types. Let run() return the "
        "same for every mini-batch (astype, reindex), and run.resume(entry_script=...) or submit "
        "again."
    )
    return OutputError(msg)


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

    schema = _one_schema(pieces)
    if schema is None:
        return
    sink = _Sink()
    writer = pq.ParquetWriter(sink, schema)
    held: list[pa.Table] = []
    size_bytes = 0
    for mini_batch, data in pieces():
        table = pa.ipc.open_stream(data).read_all()
        try:
            held.append(table.select(schema.names).cast(schema))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            msg = f"the rows of mini-batch {mini_batch} do not fit the output's types: {error}"
            raise OutputError(msg) from error
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

    return one_schema((_named(k), pa.ipc.open_stream(data).schema) for k, data in pieces())


def one_schema(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema | None:
    """Return the schema that fits all: gaps and whole numbers give way to floats.

    Parameters
    ----------
    schemas
        Each with what it is of, such as "mini-batch 7".

    Raises
    ------
    OutputError
        Two of them have other columns, or types that do not fit together.
    """
    import pyarrow as pa

    schema: pa.Schema | None = None
    begun = ""
    for whose, found in schemas:
        if schema is None:
            schema, begun = found, whose
        elif found != schema:
            if set(found.names) != set(schema.names):
                raise _conflict(whose, f"{found.names}", begun, f"{schema.names}")
            try:
                schema = pa.unify_schemas([schema, found], promote_options="permissive")
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                now, before = _differing(found, schema)
                raise _conflict(whose, now, begun, before) from error
    return schema


def _differing(found: pa.Schema, schema: pa.Schema) -> tuple[str, str]:
    """Return the first column of two types, as each of two schemas has it."""
    for name in schema.names:
        now, before = found.field(name).type, schema.field(name).type
        if now != before and "null" not in {str(now), str(before)}:
            return f"{name!r} as {now}", f"{name!r} as {before}"
    return f"{found.names}", f"{schema.names}"
