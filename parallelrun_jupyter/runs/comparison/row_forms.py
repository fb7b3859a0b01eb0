"""Rows of each output format, as bytes that are equal for equal rows, and as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ...worker.output.formats import CSV, JSONL, PARQUET, TEXT
from ..output.row_slices import Slice


class RowForm(NamedTuple):
    """How to compare the rows of a format.

    Parameters
    ----------
    keys
        Yields bytes for each row of a slice; they are equal if the rows are equal.
    texts
        Yields the text of each row, for display.
    """

    keys: Callable[[Slice], Iterable[bytes]]
    texts: Callable[[Slice], Iterable[str]]


def _pieces(rows: Slice) -> list[bytes]:
    """Return the text of each row, without its line end."""
    if not rows.lengths:
        return rows.data.split(b"\n")[:-1]
    pieces = []
    start = 0
    for length in rows.lengths:
        pieces.append(rows.data[start : start + length - 1])
        start += length
    return pieces


def _csv_keys(rows: Slice) -> Iterable[bytes]:
    """Yield the header before each row: other columns make other rows."""
    return [rows.header + piece for piece in _pieces(rows)]


def _texts(rows: Slice) -> Iterator[str]:
    return (piece.decode("utf-8", "replace") for piece in _pieces(rows))


def _table_keys(rows: Slice) -> Iterator[bytes]:
    names = repr(rows.table.column_names)
    for row in _values(rows):
        yield f"{names}{[_plain(value) for value in row]!r}".encode("utf-8", "backslashreplace")


def _table_texts(rows: Slice) -> Iterator[str]:
    names = rows.table.column_names
    for row in _values(rows):
        yield ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))


def _values(rows: Slice) -> Iterable[tuple[Any, ...]]:
    columns = [column.to_pylist() for column in rows.table.itercolumns()]
    return zip(*columns, strict=True) if columns else [()] * rows.rows


def _plain(value: Any) -> Any:
    """Return a value in which whole numbers are integers.

    They become floats in the file if other mini-batches have fractions, but not in part files.
    """
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() else value
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value


ROW_FORMS = {
    TEXT: RowForm(_pieces, _texts),
    JSONL: RowForm(_pieces, _texts),
    CSV: RowForm(_csv_keys, _texts),
    PARQUET: RowForm(_table_keys, _table_texts),
}
"""By the format of the output. A format that is missing here cannot be compared by item."""
