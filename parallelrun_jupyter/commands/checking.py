"""The command ``check``: mistakes in files, before they run."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..azureml_v2.checks.findings import Finding
from ..views.text import plain

MISTAKES = 1


def add_check(commands: Any) -> None:
    """Add the command to the subparsers of ``parallelrun``."""
    check = commands.add_parser(
        "check",
        help="find mistakes in a file of Azure ML v2, a script, a notebook or an MLTable, before it runs",
        description="Print FILE:LINE:COLUMN, what is wrong and what to do, for each mistake. The exit "
        "status is 1 if there is an error; warnings alone do not change it.",
    )
    add_check_options(check)
    check.set_defaults(parser=check, command=check_files)


def add_check_options(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``check``."""
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="A pipeline job, component or batch deployment (.yml), an entry script (.py), a notebook "
        "(.ipynb), or an MLTable file or its folder.",
    )
    parser.add_argument("--json", action="store_true", help="Print a JSON object per mistake.")


def check_files(options: argparse.Namespace) -> int:
    """Check the files, and print their mistakes."""
    from ..azureml_v2.checks.files import check

    found: list[Finding] = []
    for file in options.files:
        found += check(file, cell_arguments)
    for finding in found:
        print(json.dumps(finding.to_dict()) if options.json else plain(str(finding)))
    if not found and not options.json:
        print("no mistakes found")
    return MISTAKES if any(finding.severity == "error" for finding in found) else 0


def cell_arguments(line: str, cell: str) -> list[str]:
    """Check the options of a ``%%parallelrun`` cell, without its inputs; return the script's arguments.

    Values in braces, such as ``{folder}``, are known only in the notebook and are not checked.

    Raises
    ------
    ConfigError
        An option is unknown, or a value is wrong.
    """
    from .cell import words_of
    from .option_parser import split_script_arguments
    from .options import cell_options, config_of

    words, script_words = split_script_arguments(words_of(line, cell))
    if any("{" in word or "$" in word for word in words):
        words = [word for pair in _without_variables(words) for word in pair]
    options = cell_options().parse_args(words)
    config_of(options, entry_script="cell.py")
    return [*(options.arg or ()), *script_words]


def _without_variables(words: list[str]) -> list[list[str]]:
    """Return the options whose values have no variable of the notebook, each with its values."""
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("-") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    return [group for group in groups if not any("{" in word or "$" in word for word in group)]
