"""Reads ranges of JSON lines: one object per row."""

from __future__ import annotations

import json

from ..failures import BadInput
from .delimited import SHOWN_CHARS
from .number_forms import FLOAT_HOLDS
from .pandas_types import ConversionError, dates_of, misfit, text_dtype
from .text_range import TextRange

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator


_NO_VALUE = frozenset([type(None)])
_CONFIRMS = {
    "str": _NO_VALUE | {str},
    "bool": frozenset([bool]),
    "int64": frozenset([int]),
    "Int64": _NO_VALUE | {int},
    "float64": _NO_VALUE | {int, float},
}
"""The Python types of the values that confirm an assumed type."""

_JSON = json.JSONDecoder()  # type: Any
"""Its scanner takes half the time of json.loads on a short line."""


def parse_lines(data: bytes, encoding: str) -> Iterator[tuple[int, Any]]:
    """Yield the offset and the JSON value of each line that is not blank.

    Planning infers types, and workers read rows, with this same function. A line that cannot be
    decoded or parsed yields its ValueError in place of a value.
    """
    end = 0
    for line in data.split(b"\n"):
        start, end = end, end + len(line) + 1
        try:
            value = json.loads(line.decode(encoding))
        except ValueError as error:
            if not line.strip(b" \t\r"):
                continue
            value = error
        yield start, value


def read_json_rows(pd: Any, path: str, range_: list[int], table: dict[str, Any]) -> Any:
    """Return the rows of a range as a DataFrame with the dataset's columns and types."""
    return json_frame(pd, TextRange(path, range_, table), table)


def line_bounds(data: bytes) -> list[tuple[int, int]]:
    """Return the start and the end of each line that is not blank."""
    bounds, end = [], 0
    for line in data.split(b"\n"):
        start, end = end, min(end + len(line) + 1, len(data))
        if line.strip(b" \t\r"):
            bounds.append((start, end))
    return bounds


def json_frame(pd: Any, text: TextRange, table: dict[str, Any]) -> Any:
    """Return the rows of a text as a DataFrame with the dataset's columns and types."""
    path, starts = text.path, []  # type: tuple[str, list[int]]
    rows = _plain_rows(text.data, text.encoding)
    if rows is None:
        rows, starts = _rows(text)
    if "assumed" in table:
        _check_assumed(rows, table)
    columns = {}
    for name, decided in zip(table["columns"], table["types"]):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = _column(pd, decided, values)
        except (ValueError, TypeError, OverflowError) as error:
            if isinstance(error, ConversionError):
                row, reason = error.row, str(error)
            else:
                row, reason = _first_misfit(pd, decided, values), misfit(decided)
            starts = starts or _rows(text)[1]
            raise BadInput(
                "%s: column %r contains %s in the line at byte %d, which %s"
                % (
                    path,
                    name,
                    repr(values[row])[:SHOWN_CHARS],
                    text.file_offset(starts[row]),
                    reason,
                )
            )
    return pd.DataFrame(columns, columns=table["columns"])


def _check_assumed(rows: list[dict[str, Any]], table: dict[str, Any]) -> None:
    """Check that rows have no other columns, and no value that allows for other types.

    Raises
    ------
    BadInput
        They do.
    """
    if "others" in table["assumed"]:
        names = dict.fromkeys([*table["columns"], *table["assumed"]["others"]]).keys()
        for row in rows:
            if not row.keys() <= names:
                raise BadInput("there is another column, %r" % min(row.keys() - names))
    given, empty = set(table["assumed"]["given"]), set(table["assumed"]["empty"])
    for name, decided in zip(table["columns"], table["types"]):
        allowed = _NO_VALUE if name in empty else _CONFIRMS.get(decided)
        if name in given or allowed is None:  # objects may be anything
            continue
        values = [row.get(name) for row in rows]
        types = set(map(type, values))
        is_large = (
            decided == "float64"
            and int in types
            and any(type(value) is int and abs(value) > FLOAT_HOLDS for value in values)
        )
        if is_large or not types <= allowed:
            raise BadInput("column %r may not be %s" % (name, decided))


def _plain_rows(data: bytes, encoding: str) -> list[dict[str, Any]] | None:
    """Return the objects of lines that are nothing but one object each; None if there are others."""
    rows = []  # type: list[dict[str, Any]]
    scan = _JSON.scan_once
    try:
        for line in data.decode(encoding).split("\n"):
            if line:
                row, end = scan(line, 0)
                if end != len(line) or row.__class__ is not dict:
                    return None
                rows.append(row)
    except (ValueError, StopIteration):
        return None
    return rows


def _rows(text: TextRange) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the objects, and the offsets of their lines in the text."""
    rows, starts = [], []
    for start, row in parse_lines(text.data, text.encoding):
        if not isinstance(row, dict):
            raise _not_an_object(text, start, row)
        rows.append(row)
        starts.append(start)
    return rows, starts


def _not_an_object(text: TextRange, start: int, value: Any) -> BadInput:
    if isinstance(value, UnicodeDecodeError):
        return text.undecodable(value)
    if isinstance(value, ValueError):
        at = text.file_offset(start + getattr(value, "pos", 0))
        return BadInput(
            "%s: the line at byte %d is not JSON at byte %d (%s)"
            % (text.path, text.file_offset(start), at, getattr(value, "msg", value))
        )
    return BadInput(
        "%s: the line at byte %d is a %s; expected a JSON object in every line"
        % (text.path, text.file_offset(start), type(value).__name__)
    )


def _column(pd: Any, decided: str, values: list[Any]) -> Any:
    """Return values as a column of a type.

    Raises
    ------
    ValueError, TypeError, OverflowError
        A value is not of the type.
    """
    if decided == "object":
        return pd.Series(values, dtype=object)
    if decided == "str":
        types = set(map(type, values))
        if not types <= {str, type(None)}:
            raise ValueError("not text")
        nan = float("nan")
        if len(types) > 1 or str not in types:
            values = [nan if v is None else v for v in values]
        return pd.Series(values, dtype=text_dtype(pd))
    if decided.startswith("datetime"):
        return dates_of(pd, pd.Series(_date_texts(pd, values), dtype=object), decided)
    if decided == "bool" and not set(map(type, values)) <= {bool}:
        raise ValueError("not a truth value")
    if decided.lower().startswith(("int", "uint")):
        _check_limits(decided, values)
    return pd.Series(values, dtype=decided)


def _check_limits(decided: str, values: list[Any]) -> None:
    """Raise OverflowError if a whole number does not fit its type: older pandas wraps it silently."""
    bits = int(decided.lower().lstrip("uint"))
    low, high = (0, 1 << bits) if decided.lower().startswith("u") else (-(1 << bits - 1), 1 << bits - 1)  # fmt: skip
    whole = [value for value in values if isinstance(value, int)]
    if whole and not low <= min(whole) <= max(whole) < high:
        raise OverflowError("a number does not fit %s" % decided)


def _date_texts(pd: Any, values: list[Any]) -> list[str | None]:
    """Return dates as texts; whole numbers are nanoseconds since 1970, as in pandas."""
    texts = []
    for row, value in enumerate(values):
        if value is None or isinstance(value, str):
            texts.append(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            texts.append(pd.Timestamp(value).isoformat())
        else:
            raise ConversionError(row, misfit("date"))
    return texts


def _first_misfit(pd: Any, decided: str, values: list[Any]) -> int:
    for row, value in enumerate(values):
        try:
            _column(pd, decided, [value])
        except (ValueError, TypeError, OverflowError):
            return row
    return 0
