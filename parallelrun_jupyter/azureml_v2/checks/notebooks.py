"""Checks notebooks: cells with ``%%parallelrun``, and the calls of Azure's SDK v1 (and of this package)."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ...errors import ConfigError, ParallelRunError
from ..model.places import Place
from .code import VALUE, check_arguments, check_entry_script
from .findings import Findings
from .step_calls import Calls, check_calls

MAGIC = "%%parallelrun"
CellOptions: TypeAlias = Callable[[str, str], list[str]]
"""Checks the options of a cell's first line (given the line and the text below), and returns the
arguments of its script. It raises a `ParallelRunError` for wrong ones."""

_WRITEFILE = re.compile(r"%%writefile\s+(?:-a\s+)?(?P<path>\S+)")
_IPYTHON = re.compile(
    r"^(\s*)(?:[%!?]|\w+(?:\s*,\s*\w+)*\s*=\s*[%!]|(?:pip|conda|mamba) +install\b)"
)
_VARIABLE = re.compile(r"\{[^{}]*\}|\$\w+")


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell: its text, and the name of its file in messages."""

    text: str
    file: str


def check_notebook(path: str, findings: Findings, cell_options: CellOptions | None) -> None:
    """Check a notebook.

    Parameters
    ----------
    path
        The ``.ipynb`` file.
    findings
        Receives the mistakes. The line of a mistake is that in its cell.
    cell_options
        Checks the options of ``%%parallelrun``; None to check only the script below them.
    """
    cells = _cells(path, findings)
    calls = Calls(os.path.dirname(os.path.abspath(path)))
    for cell in cells:
        start = _first_magic(cell.text)
        if start is not None:
            _check_magic(cell, start, findings, cell_options)
        elif match := _WRITEFILE.match(cell.text.lstrip()):
            calls.written[os.path.normpath(match["path"].strip("\"'"))] = cell.text
        elif not cell.text.lstrip().startswith("%%"):
            tree = _parsed(cell.text)
            if tree is not None:
                calls.add(tree, cell.text, cell.file)
    check_calls(calls, findings)


def _cells(path: str, findings: Findings) -> list[Cell]:
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        cells = content["cells"]
        return [
            Cell("".join(cell["source"]), f"{path}:cell {number}")
            for number, cell in enumerate(cells, start=1)
            if cell["cell_type"] == "code"
        ]
    except json.JSONDecodeError as error:
        place = Place(path, error.lineno, error.colno)
        findings.error(place, f"this is not JSON: {error.msg}. Open the notebook in Jupyter and save it again.")  # fmt: skip
    except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
        findings.error(Place(path, 1, 1), f"this is not a notebook: {error!r}. Open it in Jupyter and save it again.")  # fmt: skip
    return []


def _first_magic(text: str) -> int | None:
    """Return the line of ``%%parallelrun``, from 0; only comments and other cell magics precede it."""
    for number, line in enumerate(text.splitlines()):
        if re.match(rf"{MAGIC}(?:\s|$)", line):
            return number
        if line.strip() and not line.startswith(("#", "%%")):
            return None
    return None


def _check_magic(
    cell: Cell, start: int, findings: Findings, cell_options: CellOptions | None
) -> None:
    lines = cell.text.splitlines()
    line = lines[start].removeprefix(MAGIC)
    body = "\n".join(lines[start + 1 :])
    source = "\n" * (start + 1) + body
    check_entry_script(source, cell.file, findings, for_azure=False)
    place = Place(cell.file, start + 1, 1)
    try:
        words = _words(line, body) if cell_options is None else cell_options(line, body)
    except ParallelRunError as error:
        findings.error(place, error.worded("cell"))
        return
    shown = [_VARIABLE.sub(VALUE, word) for word in words]
    check_arguments(source, shown, (place, "the cell", "the words after --"), findings)


def _words(line: str, body: str) -> list[str]:  # noqa: ARG001 - as CellOptions
    try:
        words = shlex.split(line)
    except ValueError as error:
        msg = f"the line could not be split into words ({error}); close every quote."
        raise ConfigError(msg) from error
    return words[words.index("--") + 1 :] if "--" in words else []


def _parsed(text: str) -> ast.Module | None:
    """Return the code of a cell, with the lines that only IPython accepts replaced; None if unclear."""
    lines = [_IPYTHON.sub(r"\1pass  # ", line) for line in text.splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except (SyntaxError, ValueError):
        return None
