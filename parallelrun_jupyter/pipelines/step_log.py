"""The log of a script or a command: what it prints, of bounded size."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

from ..worker.log_limit import KEPT_BYTES, LogLimit, keep_ends

_READ_BYTES = 1 << 16
"""What a pipe holds."""

_WAIT_S = 0.1
_PATIENCE_S = 2.0
"""Time to read the rest after the end, while a process outside of the step's group still prints."""


class StepLog:
    """Appends to a log what a script writes to a pipe, in a thread.

    Parameters
    ----------
    path
        The log. Of what is longer than 128 MiB, the first and the last 64 MiB are kept.

    Raises
    ------
    OSError
        The log cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by the thread
        self._output, self.descriptor = os.pipe()
        self._ended_at = float("inf")
        self._thread = threading.Thread(target=self._copy, name=f"log {path}", daemon=True)
        self._thread.start()

    def close_descriptor(self) -> None:
        """Close this process's end for writing, when the script has it."""
        os.close(self.descriptor)

    def finish(self) -> None:
        """Wait until all that the ended script printed is in the log."""
        self._ended_at = min(self._ended_at, time.monotonic())
        self._thread.join()

    def _copy(self) -> None:
        limit = LogLimit(str(self._path))
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        try:
            with self._file as log:
                while time.monotonic() < self._ended_at + _PATIENCE_S:
                    if not poll.poll(_WAIT_S * 1000):
                        if time.monotonic() > self._ended_at:
                            break
                        continue
                    data = os.read(self._output, _READ_BYTES)
                    if not data:
                        break
                    try:
                        limit.add(log.write(data) or 0)
                    except OSError:
                        pass  # a full disk loses text, but does not end the script that prints it
            keep_ends(str(self._path), 2 * KEPT_BYTES)
        finally:
            os.close(self._output)
