"""Sees early that mini-batches have columns or types which one file cannot hold."""

from __future__ import annotations

import struct

from ...errors import OutputError
from ...runs.output.merge import check_header
from ...runs.output.schemas import unify_schemas
from ...worker.output.formats import CSV, PARQUET, split_header, split_note

_MOST_KINDS = 100
"""So many kinds of columns are compared; what comes after them is seen when the file is made."""

_CONTINUES = 0xFFFFFFFF
"""The first four bytes of a message of an Arrow stream; its length follows."""


class FirstClash:
    """Compares the columns of results as they come in, of those that begin a bundle.

    Mini-batches that take long come one in a bundle, and it is there that time is lost when a run
    goes on towards a file that cannot be made. Whatever is missed here is seen at the end.

    Parameters
    ----------
    form
        The format of the output.
    """

    def __init__(self, form: str) -> None:
        self._form = form
        #: what columns look like, and the first mini-batch that has them
        self._seen: dict[bytes, int] = {}
        #: those of rows that were kept, whose mini-batch will be told
        self._asked: dict[tuple[int, int], bytes] = {}

    def look(self, rows: bytes, place: tuple[int, int]) -> None:
        """Look at rows that were kept at a place, (part, offset)."""
        if self._form not in (CSV, PARQUET) or len(self._seen) >= _MOST_KINDS:
            return
        columns = _header(rows) if self._form == CSV else _schema_message(rows)
        if columns and columns not in self._seen:
            self._asked[place] = columns

    def reason(self, mini_batch: int, place: tuple[int, int]) -> str:
        """Return why the columns of a mini-batch fit no file; nothing where they do."""
        columns = self._asked.pop(place, b"") if self._asked else b""
        if not columns or columns in self._seen:
            return ""
        self._seen[columns] = mini_batch
        if len(self._seen) == 1:
            return ""
        try:
            self._compare()
        except OutputError as error:
            return str(error)
        return ""

    def _compare(self) -> None:
        ordered = sorted((number, columns) for columns, number in self._seen.items())
        named = [(f"mini-batch {number}", columns) for number, columns in ordered]
        if self._form == CSV:
            check_header(*named[1], *named[0])
            return
        import pyarrow as pa  # where all have the same columns, it is not needed before the end

        unify_schemas(
            (whose, pa.ipc.read_schema(pa.py_buffer(columns))) for whose, columns in named
        )


def _header(rows: bytes) -> bytes:
    return split_header(rows, split_note(rows)[1])[0]


def _schema_message(rows: bytes) -> bytes:
    if len(rows) < 8:
        return b""
    mark, length = struct.unpack_from("<II", rows)
    return rows[: 8 + length] if mark == _CONTINUES else b""
