"""Where a worker was when it crashed or was ended: the stack that it wrote on the way out."""

from __future__ import annotations

import linecache
import os
import re
from collections.abc import Sequence

from ...worker.failures import is_under
from .fork_server import WORKER_FOLDER

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')


def read_stack(dump: str, roots: Sequence[str]) -> tuple[str, str]:
    """Return (where, text) of the last stack in what ``faulthandler`` wrote.

    Parameters
    ----------
    dump
        What it wrote: the innermost frame first.
    roots
        Folders of the user's own code.

    Returns
    -------
    tuple of str
        The innermost line of the user's code as ``file.py:12 in run``, and the stack in the order
        of a traceback; both empty where there is none.
    """
    frames = []
    for row in dump.rpartition("(most recent call first):\n")[2].splitlines():
        match = _FRAME.match(row)
        if match is None:
            break
        frames.append((match["file"], int(match["line"]), match["name"]))
    frames = [frame for frame in frames if not _is_ours(frame[0])]
    own = [frame for frame in frames if is_under(frame[0], list(roots))]
    if not frames:
        return "", ""
    file, line, name = (own or frames)[0]
    lines = ["Stack (most recent call last):"]
    for path, number, function in reversed(frames):
        lines.append(f'  File "{path}", line {number}, in {function}')
        source = linecache.getline(path, number).strip()
        if source:
            lines.append(f"    {source}")
    return f"{os.path.basename(file)}:{line} in {name}", "\n".join(lines) + "\n"


def _is_ours(path: str) -> bool:
    return path.startswith((f"{WORKER_FOLDER}{os.sep}", "<frozen "))
