"""Starts the process that sends the telemetry of a run; the driver does not wait for it."""

from __future__ import annotations

import logging
import os

from ...runs.run_folder import RunFolder
from ..detached import start_detached

_log = logging.getLogger(__name__)

_PROCESS = "parallelrun_jupyter.engine.telemetry.process"


def start_telemetry(folder: RunFolder) -> None:
    """Start the process for what this driver will write; an error is only logged."""
    offset = folder.journal.stat().st_size if folder.journal.exists() else 0
    try:
        start_detached(_PROCESS, [str(folder.path), str(offset), str(os.getpid())], folder.path)
    except OSError as error:  # no more processes
        _log.warning("no telemetry is sent: %s", error)
