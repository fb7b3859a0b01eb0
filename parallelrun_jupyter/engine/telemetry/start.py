"""Starts the process that sends the telemetry of a run; the driver does not wait for it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

from ...runs.run_folder import RunFolder
from ..child_process import has_ended, spawn

_log = logging.getLogger(__name__)

_PROCESS = "parallelrun_jupyter.engine.telemetry.process"
_children: list[int] = []
"""Processes that were started and not reaped yet."""


def start_telemetry(folder: RunFolder) -> None:
    """Start the process for what this driver will write; an error is only logged."""
    reap()
    offset = folder.journal.stat().st_size if folder.journal.exists() else 0
    command = [sys.executable, "-m", _PROCESS, str(folder.path), str(offset), str(os.getpid())]
    try:
        _children.append(spawn(command, stdin=subprocess.DEVNULL, cwd=folder.path))
    except OSError as error:  # no more processes
        _log.warning("no telemetry is sent: %s", error)


def reap() -> None:
    """Let go of the processes that have ended."""
    for pid in [pid for pid in _children if has_ended(pid)]:
        os.waitpid(pid, 0)
        _children.remove(pid)
