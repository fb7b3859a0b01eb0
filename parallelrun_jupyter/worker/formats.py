"""Writes what ``run()`` returned as a table: CSV with one header, JSON lines or Parquet.

The rows of a mini-batch stand alone: a CSV's header travels before them, framed, and whoever joins
the mini-batches keeps the first one. Parquet travels as an Arrow stream.
"""

from __future__ import annotations

import json
import struct

from .failures import BadResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

HEADER_MARK = b"\x00\x93header\x1a\n"
"""What a framed header begins with: this, its length in four bytes, the header, then the rows."""

TEXT, CSV, JSONL, PARQUET = "text", "csv", "jsonl", "parquet"
FORMATS = (CSV, JSONL, PARQUET)

ONLY_COLUMN = "result"
"""The column of results that are single values."""


def framed(header: str, rows: str) -> bytes:
    """Return rows behind their header."""
    head = header.encode("utf-8")
    return HEADER_MARK + struct.pack(">I", len(head)) + head + rows.encode("utf-8")


def split_frame(data: bytes) -> tuple[bytes, int]:
    """Return a header, empty where there is none, and the offset of the rows behind it."""
    if not data.startswith(HEADER_MARK):
        return b"", 0
    start = len(HEADER_MARK) + 4
    length = struct.unpack_from(">I", data, start - 4)[0]
    return data[start : start + length], start + length


def frame_text(frame: Any, options: dict[str, Any], form: str = TEXT) -> bytes:
    """Return the ``to_csv`` of a DataFrame; where a header is asked for, it is framed."""
    rows = _csv_rows(frame, dict(options, header=False), form)
    if not options.get("header"):
        return unframed(rows.encode("utf-8"))
    return framed(_csv_rows(frame.head(0), options, form), rows)


def unframed(rows: bytes) -> bytes:
    """Return rows that have no header, so that nobody takes their beginning for one."""
    return HEADER_MARK + bytes(4) + rows if rows.startswith(HEADER_MARK) else rows


def _csv_rows(frame: Any, options: dict[str, Any], form: str) -> str:
    text: str = frame.to_csv(**options)
    own = {"quoting", "lineterminator", "line_terminator"} & set(options)
    if form == CSV and "\r" in text and not own:
        # pandas leaves lone carriage returns bare, where they would end a row.
        text = frame.to_csv(**dict(options, quoting=2))  # all that is no number
    return text


def encode_table(result: Any, form: str, options: dict[str, Any]) -> bytes:
    """Return a result as a table of a format.

    Parameters
    ----------
    result
        A DataFrame, a Series, an array, or a list of values, tuples or dicts.
    form
        One of ``FORMATS``.
    options
        Keyword arguments of ``to_csv``, for CSV.

    Raises
    ------
    BadResult
        The result makes no table, or what writes the format is missing.
    """
    if form == JSONL and isinstance(result, (list, tuple)):
        return _json_lines(
            value if isinstance(value, dict) else {ONLY_COLUMN: value} for value in result
        )
    try:
        frame = _as_frame(result)
    except ImportError as error:
        raise BadResult("wrong_result", _missing(form, "pandas", error))
    except (TypeError, ValueError) as error:
        raise BadResult("wrong_result", "run() returned what makes no table: %s" % error)
    if form == CSV:
        return frame_text(frame, options, form)
    if form == JSONL:
        return _json_lines(_records(frame))
    return _arrow_stream(frame)


def _missing(form: str, package: str, error: Exception) -> str:
    return "output_format is %r, for which the run's interpreter needs %s (%s)" % (
        form,
        package,
        error,
    )


def _as_frame(result: Any) -> Any:
    import pandas as pd

    if isinstance(result, pd.DataFrame):
        frame = result
    elif isinstance(result, pd.Series):
        frame = result.to_frame(ONLY_COLUMN if result.name is None else result.name)
    else:
        values = list(result)
        is_plain = not values or not isinstance(values[0], (dict, list, tuple))
        is_plain = is_plain and getattr(result, "ndim", 1) == 1
        frame = pd.DataFrame({ONLY_COLUMN: values}) if is_plain else pd.DataFrame(values)
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have the same name, of %s" % ", ".join(names[:20]))
    if list(frame.columns) != names:
        frame = frame.copy(deep=False)
        frame.columns = names
    return frame


def _records(frame: Any) -> Any:
    """Yield the rows of a DataFrame as dicts; a missing value is None."""
    columns = []
    for name in frame.columns:
        column = frame[name]
        values = column.tolist()
        if column.isna().any():
            values = [None if gap else v for v, gap in zip(values, column.isna().tolist())]
        columns.append(values)
    names = list(frame.columns)
    return (dict(zip(names, row)) for row in zip(*columns))


def _json_lines(records: Any) -> bytes:
    try:
        lines = [
            json.dumps(_without_nan(r), ensure_ascii=False, allow_nan=False, default=_plain)
            for r in records
        ]
    except ValueError as error:
        raise BadResult("wrong_result", "run() returned a value that JSON has not: %s" % error)
    return ("\n".join(lines) + "\n").encode("utf-8")


def _without_nan(record: dict[Any, Any]) -> dict[Any, Any]:
    if any(isinstance(v, float) and v != v for v in record.values()):  # noqa: PLR0124 - is it NaN?
        return {
            k: None if isinstance(v, float) and v != v else v  # noqa: PLR0124 - is it NaN?
            for k, v in record.items()
        }
    return record


def _plain(value: Any) -> Any:
    """Return what JSON has for a value that it does not know: numpy's numbers, arrays, dates."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _arrow_stream(frame: Any) -> bytes:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise BadResult("wrong_result", _missing(PARQUET, "pyarrow", error))
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise BadResult("wrong_result", "run() returned what Parquet cannot hold: %s" % error)
    sink = pa.BufferOutputStream()
    with pa.RecordBatchStreamWriter(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
