"""What surrounds the user's code in a job of Azure ML: its output goes to Azure's own logs, untouched."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


class PlainLog:
    """In place of a worker's log: tracebacks go to standard error."""

    tag = b"#-"

    def write_lines(self, _: bytes, text: bytes, end: bytes = b"") -> None:
        """Write the lines of a text."""
        if end:
            return  # a state of a progress bar
        try:
            sys.stderr.write(text.decode("utf-8", "replace").rstrip("\n") + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # the job's logs are gone; the result has the traceback as well


class PlainStreams:
    """In place of a worker's streams: ``sys.stdout`` and ``sys.stderr`` stay those of Azure."""

    def end_mini_batch(self, _: float = 1.0) -> None:
        """Write what the streams hold."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                pass  # closed by the script


class UserSurroundings:
    """The working directory and the arguments of the user's script, while its functions run.

    Parameters
    ----------
    cwd
        The folder.
    argv
        ``sys.argv``.
    """

    def __init__(self, cwd: str, argv: list[str]) -> None:
        self._users = cwd, argv
        self._others: Any = None

    def __enter__(self) -> None:
        self._others = os.getcwd(), list(sys.argv)
        os.chdir(self._users[0])
        sys.argv[:] = self._users[1]

    def __exit__(self, *_: object) -> None:
        self._users = os.getcwd(), list(sys.argv)  # the script may have changed them
        os.chdir(self._others[0])
        sys.argv[:] = self._others[1]
