"""The rows of a DataFrame as records: dicts of Python's own values."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


def records_of(frame: Any) -> list[dict[Any, Any]]:
    """Return a dict for each row, from the columns' names to values.

    Each column keeps its own type: an integer stays an ``int`` beside floats, where a row that is
    taken as a Series (``frame.iloc[0]``) makes floats of both. A missing value is None.
    """
    columns = [_values(frame.iloc[:, number]) for number in range(frame.shape[1])]
    if not columns:
        return [{} for _ in range(len(frame))]
    names = list(frame.columns)
    return [dict(zip(names, row)) for row in zip(*columns)]


def _values(column: Any) -> list[Any]:
    values: list[Any] = column.tolist()
    is_numpy = type(column.dtype).__module__.partition(".")[0] == "numpy"
    if not is_numpy or column.dtype == object:
        # A column of objects, and one of Int64 in old pandas, returns numbers of numpy's.
        values = [_plain(value) for value in values]
    missing = column.isna()
    if missing.any():
        values = [None if gap else value for value, gap in zip(values, missing.tolist())]
    return values


def _plain(value: Any) -> Any:
    is_scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
    return value.item() if is_scalar else value
