"""``parallelrun list`` and ``%parallelrun list``: the runs of this home, newest first."""

from __future__ import annotations

import argparse

from ..client.run_selection import ListedRun, selected_runs
from ..views.run_list import json_lines, table
from .option_parser import OptionParser

_LISTED_RUNS = 20


def list_parser() -> OptionParser:
    """Return the parser of ``parallelrun list``."""
    parser = OptionParser(prog="parallelrun list")
    add_list_options(parser)
    parser.set_defaults(parser=parser, command=print_list)
    return parser


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``list``."""
    add = parser.add_argument
    add("--limit", "-n", type=int, default=_LISTED_RUNS, metavar="N",
        help=f"Maximum number of runs. Default: {_LISTED_RUNS}.")  # fmt: skip
    add("--state", action="append", metavar="STATE",
        help="Only runs in this state, such as Failed. Repeatable.")  # fmt: skip
    add("--name", metavar="TEXT",
        help="Only runs with this text in their name or id; * matches any characters.")  # fmt: skip
    add("--json", action="store_true", help="Print a JSON object per line, for programs.")


def list_of_runs(options: argparse.Namespace) -> str:
    """Return the selected runs as a table or as JSON lines; "" for no run as JSON.

    Raises
    ------
    ConfigError
        The state is unknown, or the limit is below 0.
    """
    runs = selected_runs(ListedRun, options.limit, state=options.state, name=options.name)
    rows = [run.row() for run in runs]
    return json_lines(rows) if options.json else table(rows)


def print_list(options: argparse.Namespace) -> int:
    """Print the selected runs; return the exit status."""
    text = list_of_runs(options)
    if text:
        print(text)
    return 0
