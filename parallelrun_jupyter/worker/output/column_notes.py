"""Notes of a DataFrame's columns: the types that the text of CSV or JSON lines cannot express.

The note of a column is ``[name, kind, extra]``. The kind is the name of its dtype, or ``text``; a
column of Python objects that are not all text has the kind ``objects``. The keys of ``extra``:

``gap``
    the letter of all missing values, for a text column without empty text
``codes``
    a letter for each value, if one letter cannot describe them all
``array``
    the dtype of the arrays in its cells
"""

from __future__ import annotations

import json

from .values import (
    array_as_list,
    arrays_as_lists,
    bad_frame,
    bad_value,
    is_array,
    is_frame,
    is_missing,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

TEXT_KIND, OBJECTS_KIND = "text", "objects"

NONE, NAN, NAT, NA = "n", "x", "t", "a"
STRING, BOOL, INT, FLOAT, BYTES, DECIMAL, DATE, DATETIME, DURATION = "s", "b", "i", "f", "y", "m", "d", "D", "e"  # fmt: skip
JSON, TUPLE, ARRAY = "j", "u", "v"
"""The letters of value types; types on the last line are written as JSON."""

_LETTER_OF_TYPE = {
    "str": STRING, "bool": BOOL, "bool_": BOOL, "int": INT, "float": FLOAT, "bytes": BYTES,
    "NoneType": NONE, "NaTType": NAT, "NAType": NA, "Decimal": DECIMAL, "date": DATE,
    "datetime": DATETIME, "Timestamp": DATETIME, "timedelta": DURATION, "Timedelta": DURATION,
    "list": JSON, "dict": JSON, "tuple": TUPLE, "ndarray": ARRAY, "UUID": STRING,
}  # fmt: skip


def with_index(frame: Any) -> tuple[Any, list[str | None], list[str]]:
    """Return a frame with its index moved into the first columns, if the index is data.

    An index of whole numbers without a name is not data: it counts rows, perhaps filtered ones.

    Returns
    -------
    frame : pandas.DataFrame
        The frame.
    names : list
        The names of the index levels, None for a level without one; empty if nothing was moved.
    columns : list
        The columns of the index levels.
    """
    index = frame.index
    names = list(index.names)
    if names == [None] and getattr(index.dtype, "kind", "O") in ("i", "u"):
        return frame, [], []
    width = frame.shape[1]
    frame = frame.reset_index()
    columns = [str(name) for name in frame.columns[: frame.shape[1] - width]]
    return frame, [None if name is None else str(name) for name in names], columns


def note_columns(frame: Any, *, as_csv: bool) -> tuple[Any, list[list[Any]]]:
    """Return a frame whose cells can be written without loss, and the notes of its columns.

    Raises
    ------
    BadResult
        A cell has a value whose text cannot be read back.
    """
    changed = {}
    notes = []
    for position, name in enumerate(frame.columns):
        column = frame[name]
        dense = plain_column(column)
        kind, extra, cells = _note(dense, name, as_csv=as_csv)
        if cells is not None or dense is not column:
            changed[position] = dense if cells is None else cells
        notes.append([name, kind, extra] if extra else [name, kind])
    return with_columns(frame, changed) if changed else frame, notes


def with_columns(frame: Any, changed: dict[int, Any]) -> Any:
    """Return a new frame with some columns replaced, by position; a list becomes a column of objects.

    The frame is copied because older versions of pandas would change the user's own columns.
    """
    import pandas as pd

    columns = {}
    for position in range(frame.shape[1]):
        column = changed.get(position)
        if column is None:
            column = frame.iloc[:, position]
        elif isinstance(column, list):
            column = pd.Series(column, index=frame.index, dtype=object)
        columns[position] = column
    copy = pd.DataFrame(columns)
    copy.columns = frame.columns
    return copy


def plain_column(column: Any) -> Any:
    """Return a categorical or sparse column as a plain column of its values' type."""
    name = str(column.dtype)
    if name == "category":
        values = column.cat.categories.dtype
        holds_no_gaps = getattr(values, "kind", "O") in ("b", "i", "u")
        return column.astype(object if holds_no_gaps and column.isna().any() else values)
    if name.startswith("Sparse["):
        return column.sparse.to_dense()
    return column


def _note(column: Any, name: str, *, as_csv: bool) -> tuple[str, dict[str, Any], list[Any] | None]:
    """Return the kind of a column, the extra of its note, and its cells if they are rewritten."""
    from pandas.api.types import infer_dtype

    dtype = column.dtype
    kind = str(dtype)
    if kind.startswith("interval"):
        raise bad_value("in column %r" % name, column.iloc[0], "its text cannot be read back")
    if kind not in ("object", "str") and not kind.startswith("string"):
        return kind, {}, None
    kind = TEXT_KIND if kind == "object" else kind
    gaps = column.isna()
    if not gaps.any() and infer_dtype(column, skipna=False) == "string":
        return kind, {}, None
    values = column.tolist()
    letters = [_letter(value, name, row) for row, value in enumerate(values)]
    present = set(letters)
    missing = present & {NONE, NAN, NAT, NA}
    if not present - missing - {STRING}:
        holds_empty_text = any(isinstance(value, str) and not value for value in values)
        if len(missing) == 1 and not holds_empty_text:
            return kind, {"gap": letters[letters.index(missing.pop())]}, None
        if present == {STRING}:
            return kind, {}, [_cell(value, STRING, name, as_csv=as_csv) for value in values]
    else:
        kind = OBJECTS_KIND
    extra: dict[str, Any] = {"codes": "".join(letters)}
    if ARRAY in present:
        dtypes = {str(value.dtype) for value in values if is_array(type(value))}
        extra["array"] = dtypes.pop() if len(dtypes) == 1 else ""
    cells = [_cell(*pair, name, as_csv=as_csv) for pair in zip(values, letters)]
    return kind, extra, cells


def _letter(value: Any, name: str, row: int) -> str:
    kind = type(value)
    letter = _LETTER_OF_TYPE.get(kind.__name__)
    if letter == FLOAT and value != value:  # noqa: PLR0124 - NaN
        return NAN
    if letter is None:
        where = "in column %r, row %d" % (name, row)
        letter = _letter_of_other(value, kind, where)
    return letter


def _letter_of_other(value: Any, kind: type, where: str) -> str:
    if is_frame(kind):
        raise bad_frame(where, value)
    if is_array(kind):
        return ARRAY if hasattr(value, "dtype") and kind.__module__ == "numpy" else JSON
    if is_missing(value):
        return NAN if hasattr(value, "real") else NAT
    for base, letter in ((str, STRING), (bool, BOOL), (int, INT), (float, FLOAT), (dict, JSON)):
        if isinstance(value, base):
            return letter
    numpy_kind = getattr(getattr(value, "dtype", None), "kind", "")
    if numpy_kind in ("i", "u", "f"):
        return FLOAT if numpy_kind == "f" else INT
    if hasattr(value, "__fspath__"):
        return STRING
    raise bad_value(where, value, "its text cannot be read back; return str(value)")


def _cell(value: Any, letter: str, name: str, *, as_csv: bool) -> Any:
    """Return the content of the cell for a value."""
    if letter in (NONE, NAN, NAT, NA):
        return None
    if letter == STRING:
        return str(value)
    if letter == BYTES:
        return repr(value)
    if letter == DATETIME:
        return value.isoformat()
    if letter in (DECIMAL, DATE, DURATION):
        return str(value)
    if letter in (INT, FLOAT):
        return (int if letter == INT else float)(value)
    if letter not in (JSON, TUPLE, ARRAY):
        return value
    plain = (
        arrays_as_lists(value) if isinstance(value, (list, tuple, dict)) else array_as_list(value)
    )
    if not as_csv:
        return plain
    try:
        return json.dumps(plain, ensure_ascii=False, default=_scalar)
    except (TypeError, ValueError) as error:
        raise bad_value(
            "in column %r" % name, value, "JSON cannot represent the whole value (%s)" % error
        )


def _scalar(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError("a %s" % type(value).__name__)
