"""Makes what ``run()`` gets from a plan line."""

from __future__ import annotations

import os
import stat

from .failures import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

TABLE = "t"


def load(row: list[Any]) -> Any:
    """Return the mini-batch of a plan line: of files, the list of their paths; else a DataFrame.

    Raises
    ------
    BadInput
        The file of a table cannot be read as it was planned, or a path that could not be read then
        cannot be read now.
    """
    if row[0] == TABLE:
        from .tables.reader import load_table

        try:
            return load_table(row)
        except BadInput:
            raise
        except Exception as error:  # of pandas or pyarrow: neither says which file it was about
            more = " and %d more" % (len(row[2]) - 1) if len(row[2]) > 1 else ""
            raise BadInput(
                "the rows of %s%s could not be loaded: %s: %s"
                % (row[2][0], more, type(error).__name__, error)
            ) from error
    if "unread" in row[-1]:
        _read_again(row[2][0], row[-1]["unread"])
    return list(row[2])


def _read_again(path: str, why: str) -> None:
    """See that a path can be read that could not be when it was listed: it may be repaired."""
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        raise BadInput("the input %s cannot be read: %s" % (path, error.strerror))
    if is_folder:
        raise BadInput(
            "the folder %s could not be listed when the run was planned (%s): its files are not in "
            "this run. Start a new run" % (path, why)
        )


def count_items(row: list[Any]) -> int:
    """Return the number of items of a plan line: files, or rows."""
    return int(row[7]) if row[0] == TABLE else len(row[2])


def extra_of(row: list[Any]) -> dict[str, Any]:
    """Return what a plan line says beside its items: ``first`` and ``keys``."""
    extra: Any = row[-1]
    return extra if isinstance(extra, dict) else {}
