"""Reads ranges of JSON lines."""

from __future__ import annotations

import json

from ..failures import BadInput
from .dates import DateError, dates_of
from .delimited import SHOWN, text_type
from .text_range import TextRange

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


def read_json_rows(pd: Any, path: str, part: list[int], table: dict[str, Any]) -> Any:
    """Return the rows of a range as a DataFrame of the dataset's columns and types."""
    text = TextRange(path, part, table)
    rows, starts = _rows(text)
    columns = {}
    for name, decided in zip(table["columns"], table["types"]):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = _column(pd, decided, values)
        except (ValueError, TypeError, OverflowError) as error:
            why = "is no %s; give the column another type in column_types=" % decided
            if isinstance(error, DateError):
                row, why = error.row, str(error)
            else:
                row = _first_bad(pd, decided, values)
            raise BadInput(
                "%s: column %r holds %s in the line at byte %d, which %s"
                % (path, name, repr(values[row])[:SHOWN], text.byte(starts[row]), why)
            )
    return pd.DataFrame(columns, columns=table["columns"])


def _rows(text: TextRange) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the objects, and where their lines begin in the text."""
    rows, starts = [], []
    start = 0
    for line in text.data.split(b"\n"):
        if line.strip(b" \t\r"):
            try:
                row = json.loads(line.decode(text.encoding))
            except UnicodeDecodeError as error:
                raise text.undecodable(error)
            except ValueError as error:
                at = text.byte(start + getattr(error, "pos", 0))
                raise BadInput(
                    "%s: the line at byte %d is not JSON at byte %d (%s)"
                    % (text.path, text.byte(start), at, getattr(error, "msg", error))
                )
            if not isinstance(row, dict):
                raise BadInput(
                    "%s: the line at byte %d is a %s; expected a JSON object in every line"
                    % (text.path, text.byte(start), type(row).__name__)
                )
            rows.append(row)
            starts.append(start)
        start += len(line) + 1
    return rows, starts


def _column(pd: Any, decided: str, values: list[Any]) -> Any:
    """Return values as a column of a type.

    Raises
    ------
    ValueError, TypeError, OverflowError
        One of them is of another type.
    """
    if decided == "object":
        return pd.Series(values, dtype=object)
    if decided == "str":
        if not all(value is None or isinstance(value, str) for value in values):
            raise ValueError("not text")
        nan = float("nan")
        return pd.Series([nan if v is None else v for v in values], dtype=text_type(pd))
    if decided.startswith("datetime"):
        return dates_of(pd, pd.Series(_date_texts(pd, values), dtype=object), decided)
    if decided == "bool" and not all(isinstance(value, bool) for value in values):
        raise ValueError("not a truth value")
    if decided.lower().startswith(("int", "uint")):
        _check_places(decided, values)
    return pd.Series(values, dtype=decided)


def _check_places(decided: str, values: list[Any]) -> None:
    """See that whole numbers have a place in their type: older pandas cuts them off silently."""
    bits = int(decided.lower().lstrip("uint"))
    low, high = (0, 1 << bits) if decided.lower().startswith("u") else (-(1 << bits - 1), 1 << bits - 1)  # fmt: skip
    whole = [value for value in values if isinstance(value, int)]
    if whole and not low <= min(whole) <= max(whole) < high:
        raise OverflowError("a number has no place in %s" % decided)


def _date_texts(pd: Any, values: list[Any]) -> list[str | None]:
    """Return dates as texts; whole numbers are nanoseconds since 1970, as in pandas."""
    texts = []
    for row, value in enumerate(values):
        if value is None or isinstance(value, str):
            texts.append(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            texts.append(pd.Timestamp(value).isoformat())
        else:
            what = "is no text with a date; give the column another type in column_types="
            raise DateError(row, what)
    return texts


def _first_bad(pd: Any, decided: str, values: list[Any]) -> int:
    for row, value in enumerate(values):
        try:
            _column(pd, decided, [value])
        except (ValueError, TypeError, OverflowError):
            return row
    return 0
