"""Reads the mini-batches of tables: a range of a file as a DataFrame with the decided types.

pandas is imported on the first table; pyarrow only for Parquet.
"""

from __future__ import annotations

import os

from ..failures import BadInput
from ..item_ranges import items_in

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

    from ..plan_line import PlanLine
    from .selection import Source, TableParts


def load_table(line: PlanLine, parts: TableParts | None = None) -> Any:
    """Return the DataFrame of a plan line ``["t", ...]``, with a fresh index.

    With ``items``, it has only these rows. Others are not parsed if that is possible, as they may be
    broken.

    Parameters
    ----------
    line
        The plan line.
    parts
        The rows of the mini-batch, from `parts_of`, for several attempts with ``items``.

    Raises
    ------
    BadInput
        A file is gone, was changed, or cannot be read as the decided types.
    """
    pd = _pandas()
    if "items" not in line.extra:
        return _whole(pd, line)
    parts = parts or parts_of(line)
    if parts.is_counted:
        frames = [_arranged(pd, frame, table) for frame, table in parts.read(line.extra["items"])]
        return _joined(pd, frames)
    rows = list(items_in(line.ranges_of_items))
    return _whole(pd, line).iloc[rows].reset_index(drop=True)


def parts_of(line: PlanLine) -> TableParts:
    """Return the rows of a mini-batch, to load parts of it.

    Raises
    ------
    BadInput
        A file cannot be read.
    """
    from .selection import TableParts

    return TableParts(_pandas(), _sources(line), line.rows)


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise BadInput(
            "tables are read with pandas, which this interpreter cannot import (%s); "
            "add pandas to the run's environment" % error
        )
    return pd


def import_ahead() -> bool:
    """Import pandas before the first table; return whether that is possible. If not, the table tells why."""
    try:
        _pandas()
    except BaseException:  # a package of the run's environment, which may raise anything
        return False
    return True


def _whole(pd: Any, line: PlanLine) -> Any:
    frames = [
        _arranged(pd, _reader(table)(pd, path, range_, table), table)
        for path, range_, table in _sources(line)
    ]
    return _joined(pd, frames)


def _sources(line: PlanLine) -> Iterator[Source]:
    """Yield the path, the range and the table of each file, after a check that it is unchanged."""
    each = line.table.get("each") or [{}] * len(line.paths)
    for path, size, time, range_, own in zip(
        line.paths, line.sizes, line.versions, line.ranges, each
    ):
        table = dict(line.table, **own)
        _check_unchanged(path, size, None if table.get("is_copy") else time)
        yield path, range_, table


def _joined(pd: Any, frames: list[Any]) -> Any:
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _check_unchanged(path: str, size: int, time: Any) -> None:
    try:
        status = os.stat(path)
    except OSError as error:
        raise BadInput("the input %s no longer exists (%s)" % (path, error.strerror))
    if (size >= 0 and status.st_size != size) or (
        isinstance(time, int) and status.st_mtime_ns != time
    ):
        raise BadInput(
            "the input %s was changed after the run was planned, so its rows have moved. "
            "Start a new run" % path
        )


def _reader(table: dict[str, Any]) -> Any:
    """Return the function that reads a table; its module is imported on first use."""
    form = table["format"]
    if "assumed" in table:
        from .assumed_types import confirmed_frame

        return confirmed_frame
    if form == "json_lines":
        from .json_lines import read_json_rows

        return read_json_rows
    if form == "parquet":
        from .parquet import read_row_groups

        return read_row_groups
    if form == "delimited":
        from .delimited import read_delimited

        return read_delimited
    return _refuse


def _refuse(_: Any, __: str, ___: list[int], table: dict[str, Any]) -> Any:
    """Fail with the reason that planning found: the file could not be read then."""
    raise BadInput(table["why"])


def _arranged(pd: Any, frame: Any, table: dict[str, Any]) -> Any:
    """Add the keys and the path of the file to a frame, and remove the dropped columns.

    The keys are the last columns and the path is the first; each replaces a column of its name.

    Raises
    ------
    BadInput
        A column to keep does not exist.
    """
    from .pandas_types import dtype_of

    keys = key_values(table.get("key_columns", {}))
    for name, value in keys.items():
        if name in frame:
            del frame[name]
        dtype = dtype_of(pd, table["key_types"][name])
        frame[name] = pd.Series([value] * len(frame), index=frame.index, dtype=dtype)
    if "path_column" in table:
        name, path = table["path_column"]
        if name in frame:
            del frame[name]
        frame.insert(0, name, path)
    drops, keeps = table.get("drops", ()), table.get("keeps", ())
    for name in keeps:
        if name not in frame and name not in drops:  # the latter is perhaps not read at all
            columns = ", ".join(map(str, frame.columns[:20]))
            raise BadInput(
                "the column %r is to be kept, but the input does not have it. Its columns "
                "are: %s" % (name, columns)
            )
    if drops or keeps:
        drops = [name for name in frame.columns if name in drops or (keeps and name not in keeps)]
    return frame.drop(columns=drops) if drops else frame


def key_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the key values of a plan line, with times as ``datetime``."""
    return {
        key: _time(value["datetime"]) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _time(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)
