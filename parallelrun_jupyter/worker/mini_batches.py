"""Loads the mini-batch that ``run()`` is called with."""

from __future__ import annotations

import os
import stat

from .failures import BadInput

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from .plan_line import PlanLine


def load(line: PlanLine) -> Any:
    """Return the mini-batch of a plan line: a list of paths, or a DataFrame of rows.

    Raises
    ------
    BadInput
        A table cannot be read as it was planned, or a path could not be read when it was listed and
        still cannot.
    """
    if line.is_table:
        from .tables.reader import load_table

        try:
            return load_table(line)
        except BadInput:
            raise
        except Exception as error:  # pandas and pyarrow do not name the file
            more = " and %d more" % (len(line.paths) - 1) if len(line.paths) > 1 else ""
            raise BadInput(
                "the rows of %s%s could not be loaded: %s: %s"
                % (line.paths[0], more, type(error).__name__, error)
            ) from error
    if "unread" in line.extra:
        _check_repaired(line.paths[0], line.extra["unread"])
    return list(line.paths)


def _check_repaired(path: str, why: str) -> None:
    """Check that a path can be read now, which it could not when it was listed."""
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        raise BadInput("the input %s cannot be read: %s" % (path, error.strerror))
    if is_folder:
        raise BadInput(
            "the folder %s could not be listed when the run was planned (%s): its files are not in "
            "this run. Start a new run" % (path, why)
        )
