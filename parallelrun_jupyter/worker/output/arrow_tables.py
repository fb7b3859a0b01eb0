"""Writes a DataFrame as an Arrow stream, with metadata for merging the streams of a run."""

from __future__ import annotations

import json

from ..failures import BadResult
from .column_notes import plain_column, with_columns
from .values import array_as_list, bad_frame, bad_value, is_array, is_frame

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

ALL_MISSING = b"parallelrun_all_missing"
"""Key in a field's metadata: all values are missing, so the type of another stream wins."""

_NULLABLE = {
    "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64",
    "uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64",
}  # fmt: skip
"""pandas' types of whole numbers with gaps."""

COLUMNS = b"parallelrun_columns"
"""Key in a schema's metadata. JSON: ``kinds``, pandas' extension types by column, and ``index``, pairs
of column and name."""


def arrow_stream(frame: Any, index: list[list[Any]]) -> bytes:
    """Return a DataFrame as an Arrow stream.

    Parameters
    ----------
    frame
        The columns, including the columns of the index.
    index
        (column, name or None) of each level of the index.

    Raises
    ------
    BadResult
        Arrow has no type for a column.
    """
    import pyarrow as pa

    try:
        table = pa.Table.from_pandas(_with_lists(frame), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise BadResult(
            "wrong_result", "run() returned a value that Parquet cannot represent: %s" % error
        )
    except OverflowError as error:
        raise _too_large(frame, error)
    about: dict[str, Any] = {}
    kinds = {name: str(dtype) for name, dtype in zip(frame.columns, frame.dtypes) if _is_noted(dtype)}  # fmt: skip
    if kinds:
        about["kinds"] = kinds
    if index:
        about["index"] = index
    table = _with_metadata(table, about)
    sink = pa.BufferOutputStream()
    with pa.RecordBatchStreamWriter(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _too_large(frame: Any, error: OverflowError) -> BadResult:
    """Return the error that locates a whole number that no Parquet type represents."""
    for name, dtype in zip(frame.columns, frame.dtypes):
        for row, value in enumerate(frame[name] if str(dtype) == "object" else ()):
            if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
                where = "in column %r, row %d" % (name, row)
                return bad_value(where, value, "Parquet cannot represent it; return str(value)")
    return BadResult(
        "wrong_result", "run() returned a value that Parquet cannot represent: %s" % error
    )


def _is_noted(dtype: Any) -> bool:
    """Return whether a dtype is pandas' own, so that only a note restores it."""
    name = str(dtype)
    is_own = not hasattr(dtype, "newbyteorder") and name not in ("category", "str")
    return is_own and not name.startswith(("datetime64", "Sparse"))


def _with_lists(frame: Any) -> Any:
    """Return a frame with plain columns, and with arrays of several dimensions in cells as lists."""
    changed: dict[int, Any] = {}
    for position, (name, dtype) in enumerate(zip(frame.columns, frame.dtypes)):
        column = frame.iloc[:, position]
        dense = plain_column(column)
        if dense is not column:
            changed[position] = dense
        if str(dtype) != "object":
            continue
        kinds = set(map(type, column))
        if any(map(is_frame, kinds)):
            value = next(value for value in column if is_frame(type(value)))
            raise bad_frame("in column %r" % name, value)
        if any(map(is_array, kinds)) and not all(map(_is_vector, column)):
            changed[position] = [
                array_as_list(value) if is_array(type(value)) else value for value in column
            ]
    return with_columns(frame, changed) if changed else frame


def _is_vector(value: Any) -> bool:
    """Return whether Arrow accepts a cell unchanged: not an array, or one with one dimension."""
    kind = type(value)
    return not is_array(kind) or (kind.__name__ == "ndarray" and value.ndim == 1)


def _with_metadata(table: Any, about: dict[str, Any]) -> Any:
    """Replace pandas' metadata of a table by the metadata of this package."""
    import pyarrow as pa

    fields = []
    kinds = about.get("kinds", {})
    for field, column in zip(table.schema, table.itercolumns()):
        is_missing = column.null_count == len(column) and not pa.types.is_null(field.type)
        mark = {ALL_MISSING: b"1"} if is_missing else None
        fields.append(pa.field(field.name, field.type, metadata=mark))
        if column.null_count and pa.types.is_integer(field.type):  # Python's integers and None
            kinds.setdefault(field.name, _NULLABLE[str(field.type)])
    if kinds:
        about = dict(about, kinds=kinds)
    notes = {COLUMNS: json.dumps(about).encode("ascii")} if about else None
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata=notes))
