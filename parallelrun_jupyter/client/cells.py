"""The cells of the notebook that this process runs: its file name, their text and line numbers."""

from __future__ import annotations

import linecache
import os
import sys
from typing import Any


def notebook_name() -> str:
    """Return the file name of the notebook of this kernel, or ``notebook`` if it is unknown."""
    name = os.path.basename(os.environ.get("JPY_SESSION_NAME", ""))
    return name if name.endswith(".ipynb") else "notebook"


def text_of(filename: str) -> str:
    """Return the text of a cell by the file name of its code; "" for code of a file."""
    if os.path.exists(filename):
        return ""
    text = "".join(linecache.getlines(filename))
    return "\n" * blank_lines_above(filename) + text if text else ""


def blank_lines_above(filename: str) -> int:
    """Return the number of blank lines at the start of a cell, which IPython does not count."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    numbers = getattr(getattr(shell, "compile", None), "_filename_map", {})
    raw = getattr(getattr(shell, "history_manager", None), "input_hist_raw", ())
    number = numbers.get(filename, 0)
    text = raw[number] if 0 < number < len(raw) else ""
    lines = text.splitlines()
    return next((count for count, line in enumerate(lines) if line.strip()), 0)
