"""A process with azure-ai-ml that runs cells one after the other, as a notebook's kernel does."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_KERNEL = """
import contextlib, io, json, os, sys, traceback, warnings
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
warnings.simplefilter("ignore")
names = {"__name__": "__main__"}
for line in sys.stdin:
    folder, code, values = json.loads(line)
    os.chdir(folder)
    names.update(values, value=None)
    out, error = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(code, "<cell>", "exec"), names)
    except BaseException:
        error = traceback.format_exc()
    reply = {"out": out.getvalue(), "error": error, "value": names["value"]}
    replies.write(json.dumps(reply, default=str) + "\\n")
    replies.flush()
"""


@dataclass(frozen=True)
class Cell:
    """A cell that has run.

    Parameters
    ----------
    out
        The text that it printed.
    error
        The traceback of its exception.
    value
        The value that it assigned to the name ``value``, as JSON gives it back.
    """

    out: str
    error: str
    value: Any


class Notebook:
    """A process of a python with azure-ai-ml, whose names stay from cell to cell.

    Parameters
    ----------
    python
        The python.
    environ
        Variables beside those of this process, such as `AzureMLService.environ`.
    """

    def __init__(self, python: str, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, "-c", _KERNEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, **environ},
        )  # fmt: skip

    def run(self, code: str, folder: Path, *, fails: bool = False, **values: Any) -> Cell:
        """Run a cell in a folder; return it with its output.

        Parameters
        ----------
        code
            The cell.
        folder
            The current folder.
        fails
            Whether an exception is expected.
        values
            Names that it has.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(folder), code, values]) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        cell = Cell(**reply)
        assert bool(cell.error) == fails, cell.error or f"no exception; it printed {cell.out}"
        return cell

    def close(self) -> None:
        """Kill the process, which has nothing to save."""
        self._process.kill()
        self._process.communicate()
