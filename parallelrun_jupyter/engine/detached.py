"""Starts processes that go on by themselves, when the process that starts them ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .child_process import has_ended, spawn

_children: list[int] = []
"""Processes that were started and not reaped yet."""


def start_detached(module: str, words: Sequence[str], cwd: Path) -> None:
    """Start a module of this package in a process of its own; its output goes where this one's goes.

    Parameters
    ----------
    module
        Its full name.
    words
        Its arguments.
    cwd
        Its working directory. Python searches it for modules, so it must not be a folder of the user.

    Raises
    ------
    OSError
        There can be no more processes.
    """
    _reap()
    command = [sys.executable, "-m", module, *words]
    _children.append(spawn(command, stdin=subprocess.DEVNULL, cwd=cwd))


def _reap() -> None:
    """Let go of the processes that have ended."""
    for pid in [pid for pid in _children if has_ended(pid)]:
        os.waitpid(pid, 0)
        _children.remove(pid)
