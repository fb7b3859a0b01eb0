"""Reads the mini-batches of tables: a range of a file becomes a DataFrame of the decided types.

pandas is imported here, on the first table; pyarrow only for Parquet.
"""

from __future__ import annotations

import os

from ..failures import BadInput
from .column_layout import arrange_columns

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from ..plan_line import PlanLine


def load_table(line: PlanLine) -> Any:
    """Return the DataFrame of a plan line ``["t", ...]``, with a fresh index.

    Raises
    ------
    BadInput
        A file is gone or was changed, or it holds what cannot be read as the decided types.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise BadInput(
            "tables are read with pandas, which this interpreter cannot import (%s); "
            "add pandas to the run's environment" % error
        )
    each = line.table.get("each") or [{}] * len(line.paths)
    frames = []
    for path, size, time, part, own in zip(
        line.paths, line.sizes, line.versions, line.ranges, each
    ):
        table = dict(line.table, **own)
        _check_unchanged(path, size, None if table.get("is_copy") else time)
        frame = _reader(table["format"])(pd, path, part, table)
        frames.append(arrange_columns(pd, frame, table))
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def _check_unchanged(path: str, size: int, time: Any) -> None:
    try:
        found = os.stat(path)
    except OSError as error:
        raise BadInput("the input %s is gone (%s)" % (path, error.strerror))
    if (size >= 0 and found.st_size != size) or (
        isinstance(time, int) and found.st_mtime_ns != time
    ):
        raise BadInput(
            "the input %s was changed after the run had been planned: its rows are elsewhere now. "
            "Start a new run" % path
        )


def _unreadable(_: Any, __: str, ___: list[int], table: dict[str, Any]) -> Any:
    raise BadInput(table["why"])


def _reader(form: str) -> Any:
    """Return what reads a format; its module is imported when it is first needed."""
    if form == "json_lines":
        from .json_lines import read_json_rows

        return read_json_rows
    if form == "parquet":
        from .parquet import read_row_groups

        return read_row_groups
    if form == "delimited":
        from .delimited import read_delimited

        return read_delimited
    return _unreadable
