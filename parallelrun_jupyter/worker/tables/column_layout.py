"""Arranges the columns of a table's frame: those of the path, and those that are left out."""

from __future__ import annotations

from ..failures import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


def arrange_columns(pd: Any, frame: Any, table: dict[str, Any]) -> Any:
    """Return a frame with what a plan line's table says beside its file's columns.

    The keys of the path are the last columns, in place of columns of the same names; the path
    itself is the first one.

    Raises
    ------
    BadInput
        A column that is to be left out is not there.
    """
    keys = key_values(table.get("key_columns", {}))
    for name, value in keys.items():
        if name in frame:
            del frame[name]
        decided = table["key_types"][name]
        frame[name] = pd.Series([value] * len(frame), index=frame.index, dtype=_dtype(pd, decided))
    if "path_column" in table:
        name, path = table["path_column"]
        if name in frame:
            del frame[name]
        frame.insert(0, name, path)
    drops = table.get("drops", ())
    for name in drops:
        if name not in frame:
            columns = ", ".join(map(str, frame.columns[:20]))
            raise BadInput(
                "the column %r is to be left out, but the input does not have it. Its columns are: %s"
                % (name, columns)
            )
    return frame.drop(columns=drops) if drops else frame


def key_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of keys as a plan line has them, with times as ``datetime``."""
    return {
        key: _time(value["datetime"]) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _time(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


def _dtype(pd: Any, decided: str) -> Any:
    version = int(pd.__version__.split(".")[0])
    if decided.startswith("datetime"):
        is_exact = decided.startswith("datetime64[") and version >= 2
        return decided if is_exact else "datetime64[ns]"
    if decided == "str":
        return "str" if version >= 3 else object
    return decided
