"""The list of runs as it is asked for, in a cell and in a terminal."""

from __future__ import annotations

import argparse

from ..client.run import Run
from ..views.run_list import json_lines, table

_LIMIT = 20


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``list``."""
    add = parser.add_argument
    add("--limit", "-n", type=int, default=_LIMIT, metavar="N",
        help=f"At most N runs, the newest. Default: {_LIMIT}.")  # fmt: skip
    add("--state", action="append", metavar="STATE",
        help="Only runs in this state, such as Failed. Repeatable.")  # fmt: skip
    add("--name", metavar="TEXT",
        help="Only runs with this text in their name or id; * stands for any characters.")  # fmt: skip
    add("--json", action="store_true", help="One JSON object a line, for programs.")


def listing(given: argparse.Namespace) -> str:
    """Return the runs that were asked for: a table, or JSON; '' for no run as JSON.

    Raises
    ------
    ConfigError
        A state that no run has, or a limit below 0.
    """
    rows = [run.row() for run in Run.list(given.limit, state=given.state, name=given.name)]
    return json_lines(rows) if given.json else table(rows)
