"""The rows of a mini-batch as texts, for views: the cells of a table, or one text for each row.

`row_texts` is the only place where views decode rows; it has one function for each format.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import OutputError
from ...worker.output.formats import CSV, JSONL, OBJECTS, PARQUET, TEXT, split_header, split_note
from ...worker.output.objects import block_at
from .row_slices import row_ends

if TYPE_CHECKING:
    import pyarrow as pa

CELL_CHARS = 1000
"""Longest text of a cell; the rest is cut."""

COLUMNS = 30
"""Most columns of a table; the others are only counted."""

_LIST_VALUES = 20


class RowTexts(NamedTuple):
    """Some rows; without columns, each has one text. ``columns_hidden`` counts those left out."""

    columns: list[str]
    rows: list[list[str]]
    columns_hidden: int = 0


def row_texts(data: bytes, form: str, rows: int, first: int, end: int) -> RowTexts:
    """Return the texts of the rows from position ``first`` to ``end - 1``.

    Parameters
    ----------
    data
        The rows of a mini-batch, as a worker encoded them.
    form
        The format of the output.
    rows
        Their number.

    Raises
    ------
    OutputError
        The package that reads the format is not installed.
    """
    if form == PARQUET:
        return table_texts(arrow().ipc.open_stream(data).read_all().slice(first, end - first))
    if form == OBJECTS:
        texts = block_at(data, 0)[0].texts
        return RowTexts([], [[text] for text in texts[first:end]])
    about, at = split_note(data)
    header, start = split_header(data, at)
    body = data[start:]
    lengths = about["lengths"] if form == TEXT and about is not None else None
    ends = _ends(body, rows, lengths, is_quoted=form == CSV)
    texts = _pieces(body, ends, first, end)
    if form == JSONL:
        return _json_texts(texts)
    if form == CSV:
        return _csv_texts(header, about or {}, texts)
    names = [_shortened(header.decode("utf-8", "replace").strip())] if header else []
    return RowTexts(names, [[_shortened(text)] for text in texts])


def arrow() -> Any:
    """Return pyarrow.

    Raises
    ------
    OutputError
        It is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError as error:
        msg = (
            "rows of Parquet are shown with pyarrow, which is not installed here: "
            'pip install "parallelrun-jupyter[parquet]", and restart the kernel or the server.'
        )
        raise OutputError(msg) from error
    return pa


def _ends(body: bytes, rows: int, lengths: list[int] | None, *, is_quoted: bool) -> list[int]:
    """Return the offset after each row; all bytes as one row if it is unclear where rows end."""
    ends = list(accumulate(lengths)) if lengths else row_ends(body, rows, is_quoted=is_quoted)
    return ends if len(ends) == rows else [len(body)]


def _pieces(body: bytes, ends: list[int], first: int, end: int) -> list[str]:
    starts = [0, *ends]
    return [
        body[starts[k] : ends[k]].decode("utf-8", "replace").removesuffix("\n")
        for k in range(first, min(end, len(ends)))
    ]


def _csv_texts(header: bytes, about: dict[str, Any], texts: list[str]) -> RowTexts:
    separator = str(about.get("sep", ","))
    names = [str(name) for name, *_ in about.get("columns") or ()]
    try:
        if header:
            names = _cells(header.decode("utf-8", "replace"), separator)
        cells = [_cells(text, separator) for text in texts]
    except (csv.Error, TypeError):  # a cell of more than 131,072 characters, or an odd separator
        return RowTexts([], [[_shortened(text)] for text in texts])
    width = max(map(len, cells), default=0)
    names += [str(number) for number in range(len(names), width)]
    return _table(names, [row + [""] * (len(names) - len(row)) for row in cells])


def _cells(row: str, separator: str) -> list[str]:
    return next(csv.reader(io.StringIO(row, newline=""), delimiter=separator), [""])


def _json_texts(lines: list[str]) -> RowTexts:
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        records.append(record if isinstance(record, dict) else {"": line})
    names = list(dict.fromkeys(name for record in records for name in record))
    cells = [
        [_json_text(record[name]) if name in record else "" for name in names[:COLUMNS]]
        for record in records
    ]
    return _table(names, cells)


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(_with_few(value), ensure_ascii=False)


def table_texts(table: pa.Table) -> RowTexts:
    """Return the texts of the rows of an Arrow table."""
    names = [str(name) for name in table.column_names]
    columns = [_values(table.column(number)) for number in range(min(len(names), COLUMNS))]
    cells = [
        ["" if value is None else _value_text(value) for value in row]
        for row in zip(*columns, strict=True)
    ]
    return _table(names, cells)


def _values(column: Any) -> list[Any]:
    """Return the values of a column; question marks if Python has no such values, as of the year 20000."""
    try:
        values: list[Any] = column.to_pylist()
    except (ArithmeticError, LookupError, NotImplementedError, TypeError, ValueError):
        values = ["?"] * len(column)
    return values


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else str(_with_few(value))


def _with_few(value: Any) -> Any:
    """Return a long list with its first values: the text of all of them may take long."""
    if isinstance(value, list):
        few = [_with_few(each) for each in value[:_LIST_VALUES]]
        return [*few, "..."] if len(value) > _LIST_VALUES else few
    return value[:CELL_CHARS] if isinstance(value, bytes) else value


def _table(names: list[str], rows: Iterable[list[str]]) -> RowTexts:
    shown = [[_shortened(cell) for cell in row[:COLUMNS]] for row in rows]
    hidden = max(0, len(names) - COLUMNS)
    return RowTexts([_shortened(name) for name in names[:COLUMNS]], shown, hidden)


def _shortened(text: str) -> str:
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 3] + "..."
