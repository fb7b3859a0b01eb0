"""The text of a ``%%parallelrun`` cell: its place in the notebook, and the notebook's names that it uses."""

from __future__ import annotations

import builtins
import re
import shlex
import types
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.entry_script import notebook_names
from ..data.datasets.inputs import is_dataset
from ..errors import ConfigError, EntryScriptError
from ..formatting import nearest_hint

CELL = "%%parallelrun"

_ONLY_IN_NOTEBOOKS = ("display", "get_ipython")
_ABOVE = re.compile(r"\s*(?:#.*|%%.*)?")
"""A line that may precede the magic: blank, a comment or another cell magic."""

_OWN_LINE = re.compile(rf"{CELL}(?:\s|$)")
_LONGEST_JOINED = 300


def with_comments_below(lines: list[str]) -> list[str]:
    """Move comments above ``%%parallelrun`` below it: IPython accepts a magic in the first line only.

    The lines after the magic keep their numbers.
    """
    for number, line in enumerate(lines):
        if _OWN_LINE.match(line):
            return [line, *lines[:number], *lines[number + 1 :]]
        if line.strip() and not line.startswith("#"):
            return lines
    return lines


def padded(cell: str, typed: str) -> str:
    """Return a cell after the lines that precede it in the notebook, as blank lines.

    Line numbers of failures are then those of the notebook's cell. The options are left out, since
    they may contain secrets.

    Parameters
    ----------
    cell
        The text that IPython passed to the magic.
    typed
        The last cell of the notebook's history, as it was typed.
    """
    lines = typed.splitlines()
    text = f"# {CELL}\n{cell}"
    number = next((k for k, line in enumerate(lines) if _OWN_LINE.match(line.lstrip())), None)
    if number is None or not all(map(_ABOVE.fullmatch, lines[:number])):
        return text
    below = "\n".join(lines[number + 1 :]).rstrip()
    if not "\n".join(cell.splitlines()).rstrip().endswith(below):
        return text
    missing = len(typed.rstrip().splitlines()) - len(text.rstrip().splitlines())
    return "\n" * max(0, missing) + text


def uses_of(words: Sequence[str] | None, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables that ``--use`` names, and their values.

    Raises
    ------
    ConfigError
        The notebook has no such variable.
    """
    wanted = [name.strip() for word in words or () for name in word.split(",")]
    for name in wanted:
        if name not in names:
            hint = nearest_hint(name, [known for known in names if not known.startswith("_")])
            msg = (
                f"--use is {name!r}: the notebook has no variable of that name.{hint} Write the names "
                "of variables, separated by commas, such as --use weights,labels."
            )
            raise ConfigError(msg)
    return {name: names[name] for name in wanted}


def check_names(cell: str, name: str, names: Mapping[str, Any], given: Sequence[str]) -> None:
    """Check that a cell does not use variables of the notebook that it is not given.

    Parameters
    ----------
    cell, name
        Its text, and its name in messages.
    names
        The variables of the notebook.
    given
        The names that it gets by value.

    Raises
    ------
    EntryScriptError
        The cell uses others; its processes do not have them.
    """
    only = {} if "NameError" in cell else dict.fromkeys(_ONLY_IN_NOTEBOOKS)
    others = {key: value for key, value in {**only, **names}.items() if key not in given}
    uses = notebook_names(cell, others)
    if not uses:
        return
    by_value = [use for use in uses if how_to_define(use, others[use]) == ""]
    remedies = dict.fromkeys(how_to_define(use, others[use]) for use in uses if use not in by_value)
    if by_value:
        option = f"--use {','.join([*given, *by_value])}"
        remedies = {
            f"add {option} to the first line, which gives the cell their values": None,
            **remedies,
        }
    for use in uses:
        if hasattr(builtins, use) and use not in _ONLY_IN_NOTEBOOKS:
            remedies[
                f"or write 'from builtins import {use}' in the cell for Python's own {use}"
            ] = None
    listed = ", ".join(f"{use} (line {line})" for use, line in uses.items())
    msg = (
        f"{name} uses names that are defined in the notebook, not in the cell: {listed}. "
        "The cell runs in processes of its own, which do not see the notebook's variables: "
        f"{'; '.join(remedies)}."
    )
    raise EntryScriptError(msg)


def how_to_define(name: str, value: object) -> str:
    """Return how to make a variable of the notebook available to a cell; "" if ``--use`` gives it."""
    if name in _ONLY_IN_NOTEBOOKS:
        return f"remove {name}, which exists in notebooks only (print() writes to the log)"
    if isinstance(value, types.ModuleType):
        same = value.__name__ == name
        imported = f"import {name}" if same else f"import {value.__name__} as {name}"
        return f"write '{imported}' in the cell"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        module = value.__module__
        if module in {"__main__", "builtins", None}:
            return ""
        same = value.__name__ == name
        imported = name if same else f"{value.__name__} as {name}"
        return f"write 'from {module} import {imported}' in the cell"
    if is_dataset(value):
        return f"pass {name} with --input, and run() receives its items"
    return ""


def one_line(line: str, cell: str) -> str:
    """Return the options of a line that ends in a backslash and of the lines that continue it."""
    parts = []
    for part in (line, *cell.splitlines()):
        text = part.strip()
        parts.append(text.rstrip("\\").strip())
        if not text.endswith("\\"):
            break
    joined = " ".join(parts)
    return joined if len(joined) <= _LONGEST_JOINED else ""


def words_of(line: str, cell: str = "") -> list[str]:
    """Return the words of a magic's line.

    Parameters
    ----------
    line, cell
        The line after the magic, and the text below it.

    Raises
    ------
    ConfigError
        A quote is not closed, or the line ends in a backslash.
    """
    if line.rstrip().endswith("\\"):
        joined = one_line(line, cell)
        example = f": {CELL} {joined}" if cell and joined else "."
        msg = (
            "the line ends in a backslash, but a magic cannot continue on the next line: write all "
            f"options on one line{example}"
        )
        raise ConfigError(msg)
    try:
        return shlex.split(line)
    except ValueError as error:
        msg = f"the line could not be split into words ({error}); close every quote."
        raise ConfigError(msg) from error


def names_like(start: str, names: Mapping[str, Any]) -> list[str]:
    """Return the variables that begin with ``start``, for completion; those with _ only if asked."""
    return [
        name
        for name in names
        if name.startswith(start) and (start or not name.startswith("_")) and name.isidentifier()
    ]
