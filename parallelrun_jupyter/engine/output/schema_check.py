"""Detects early that results have columns or types that do not fit into one file."""

from __future__ import annotations

import struct

from ...errors import OutputError
from ...runs.output.merge import check_header
from ...runs.output.schemas import unify_schemas
from ...worker.output.formats import CSV, PARQUET, split_header, split_note

_MAX_SCHEMAS = 100
"""Number of different schemas to compare; later ones are compared when the file is written."""

_CONTINUATION = 0xFFFFFFFF
"""The first four bytes of a message of an Arrow stream; its length follows."""


class SchemaCheck:
    """Compares the columns of results as they arrive, of the first mini-batch in each bundle.

    Long mini-batches arrive one in a bundle, and they are the ones for which an early end saves time.
    Only results of whole mini-batches are compared: those of one mini-batch, for ranges of its items, may
    have different columns. All results are checked when the file is written.

    Parameters
    ----------
    form
        The format of the output.
    """

    def __init__(self, form: str) -> None:
        #: whether rows of the format have columns that may conflict
        self.is_needed = form in (CSV, PARQUET)
        self._form = form
        #: the first mini-batch with each schema
        self._first: dict[bytes, int] = {}
        #: schemas by the location of their rows, whose mini-batch is not known yet
        self._pending: dict[tuple[int, int], bytes] = {}

    def add_rows(self, rows: bytes, place: tuple[int, int]) -> None:
        """Record the schema of rows that were stored at a location, (part, offset)."""
        if not self.is_needed or len(self._first) >= _MAX_SCHEMAS:
            return
        schema = _csv_header(rows) if self._form == CSV else _arrow_schema(rows)
        if schema and schema not in self._first:
            self._pending[place] = schema

    def conflict(self, mini_batch: int, place: tuple[int, int]) -> str:
        """Return why the rows at a location conflict with earlier rows; "" if they do not."""
        schema = self._pending.pop(place, b"") if self._pending else b""
        if not schema or schema in self._first:
            return ""
        self._first[schema] = mini_batch
        if len(self._first) == 1:
            return ""
        try:
            self._compare()
        except OutputError as error:
            return str(error)
        return ""

    def forget(self, place: tuple[int, int]) -> None:
        """Forget the rows at a location: those of some items need not have all the columns."""
        self._pending.pop(place, None)

    def _compare(self) -> None:
        ordered = sorted((number, schema) for schema, number in self._first.items())
        named = [(f"mini-batch {number}", schema) for number, schema in ordered]
        if self._form == CSV:
            check_header(*named[1], *named[0])
            return
        import pyarrow as pa  # not needed before the end if all schemas are equal

        unify_schemas((name, pa.ipc.read_schema(pa.py_buffer(schema))) for name, schema in named)


def _csv_header(rows: bytes) -> bytes:
    return split_header(rows, split_note(rows)[1])[0]


def _arrow_schema(rows: bytes) -> bytes:
    if len(rows) < 8:
        return b""
    mark, length = struct.unpack_from("<II", rows)
    return rows[: 8 + length] if mark == _CONTINUATION else b""
