"""The commands that keep the home in order: ``prune`` and ``config``, in the terminal and the notebook."""

from __future__ import annotations

import argparse
import sys

from ..client.kept_run import KeptRun
from ..errors import ConfigError
from ..formatting import format_bytes, nearest_hint, parse_size
from ..home import MAX_SIZE_VARIABLE, max_size, write_max_size
from ..runs.removal import remove_leftovers

_MAX_SIZE = "max-size"
_NO_LIMIT = "none"


def add_prune_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``prune``."""
    add = parser.add_argument
    add("--older-than", metavar="AGE",
        help="Only runs that were started longer ago, such as 12h, 30d or 2w.")  # fmt: skip
    add("--keep", type=int, metavar="N",
        help="The N newest runs stay, among those with the state and the name.")  # fmt: skip
    add("--max-size", metavar="SIZE", help="Only so many of the oldest that all runs together are"
        " at most this size, such as 5GB.")  # fmt: skip
    add("--state", action="append", metavar="STATE",
        help="Only runs in this state, such as Failed. Repeatable.")  # fmt: skip
    add("--name", metavar="TEXT",
        help="Only runs with this text in their name or id; * matches any characters.")  # fmt: skip
    add("--yes", "-y", action="store_true", help="Remove them without a question.")


def prune(options: argparse.Namespace) -> int:
    """Show the runs that pass the filters; remove them after ``--yes``, or a yes on a terminal.

    Returns
    -------
    int
        0; 1 if a run could not be removed.

    Raises
    ------
    ConfigError
        A filter is wrong, or there is none.
    """
    runs = KeptRun.prune(
        options.older_than,
        keep=options.keep,
        max_size=options.max_size,
        state=options.state,
        name=options.name,
    )
    print(runs)
    if not runs:
        freed = remove_leftovers()
        if freed:
            print(f"freed {format_bytes(freed)} that a removal which was stopped had left")
        return 0
    if not options.yes and not _is_terminal():
        print("nothing was removed: add --yes to remove them")
        return 0
    if not options.yes and not _agrees():
        print("nothing was removed")
        return 0
    result, *problems = runs.carry_out().split("\n")
    print(result)
    for problem in problems:
        print(f"parallelrun: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _agrees() -> bool:
    try:
        return input("Remove them? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``config``."""
    parser.add_argument("name", metavar="NAME", nargs="?", help=f"The setting: {_MAX_SIZE}.")
    parser.add_argument("value", metavar="VALUE", nargs="?",
                        help=f"Its new value, such as 20GB; {_NO_LIMIT} removes it.")  # fmt: skip


def configure(options: argparse.Namespace) -> int:
    """Show the settings of the home, or change one.

    Raises
    ------
    ConfigError
        The setting is unknown, or its value is wrong.
    """
    name, value = options.name, options.value
    if name not in {None, _MAX_SIZE}:
        msg = (
            f"there is no setting {name!r}; expected {_MAX_SIZE}.{nearest_hint(name, [_MAX_SIZE])}"
        )
        raise ConfigError(msg)
    if value is not None:
        if value.lower() != _NO_LIMIT:
            parse_size(value, _MAX_SIZE)
        write_max_size("" if value.lower() == _NO_LIMIT else value)
    size, source = max_size()
    if not size:
        print(f"{_MAX_SIZE}: {_NO_LIMIT} (runs are removed by 'prune' and Run.delete() only)")
        return 0
    limit = format_bytes(parse_size(size, f"{_MAX_SIZE} (of {source})"))
    print(f"{_MAX_SIZE}: {limit} ({source}); the oldest runs are removed when a run starts")
    if value is not None and source == MAX_SIZE_VARIABLE:
        print(f"the variable {MAX_SIZE_VARIABLE} overrides the stored setting")
    return 0
