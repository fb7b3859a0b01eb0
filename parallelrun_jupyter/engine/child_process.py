"""A helper process as the driver or a node sees it: messages, last lines, and the cause of its end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOST = "HelperLost"
"""Stands for the type of the exception where a process died without one."""

_READ_BYTES = 1 << 18
_TAIL_BYTES = 4096
_FORWARD_BYTES = 1 << 16
_PATIENCE_S = 1.0
_LOOK_S = 0.002


@dataclass(frozen=True, slots=True)
class HelperEnd:
    """Why a helper process ended before its work was done.

    Parameters
    ----------
    error
        The type of the exception that ended it; ``HelperLost`` where the process died without one.
    reason
        The exception in one line, or the exit code or signal.
    traceback
        The exception's traceback, or else the last lines that the process wrote to standard error.
    """

    error: str
    reason: str
    traceback: str

    @property
    def sentence(self) -> str:
        """The reason, and where more of it is; the driver logs the tracebacks that it receives."""
        reason = self.reason.rstrip(".")
        if not self.traceback:
            return f"{reason}."
        what = "its last lines are" if self.error == LOST else "the traceback is"
        return f"{reason} ({what} in logs/driver.log of the run's folder)."


def exit_text(status: int) -> str:
    """Return how a process ended, by its exit code or minus the number of its signal."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def death_text(status: int) -> str:
    """Return how a process ended, as `exit_text`; of a kill with its usual cause."""
    text = exit_text(status)
    if status == -signal.SIGKILL:
        text += ": killed from outside, often for want of memory"
    return text


def helper_end(crash: Sequence[str] | None, status: int, last_lines: str) -> HelperEnd:
    """Return why a helper ended.

    Parameters
    ----------
    crash
        Error, message and traceback of its last message, ``crashed``; None where it sent none.
    status
        Its exit code, or minus the number of its signal.
    last_lines
        The end of what it wrote to standard error.
    """
    if crash is not None:
        error, message, traceback = crash
        return HelperEnd(error, f"{error}: {message}" if message else error, traceback)
    return HelperEnd(LOST, f"its process died with {death_text(status)}", last_lines)


def kill_group(pid: int) -> None:
    """End a process and everything in its group, at once; one that has ended is left alone.

    A process that was just forked may not lead a group yet: it is killed by its own number then.
    Call it before the process is reaped: afterwards the number may be another's.
    """
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended


class LastLines:
    """Standard error of a process: passed on to this process's own, with the last lines at hand."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._passed_on = 0

    def fileno(self) -> int:
        """Return the descriptor that the process writes to."""
        return self._file.fileno()

    def pass_on(self) -> None:
        """Copy new text to this process's own standard error."""
        while data := os.pread(self.fileno(), _FORWARD_BYTES, self._passed_on):
            self._passed_on += len(data)
            try:
                os.write(2, data)
            except OSError:
                return  # a full disk loses these lines, and nothing else

    def tail(self) -> str:
        """Return the last lines."""
        size = os.fstat(self.fileno()).st_size
        data = os.pread(self.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return data.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Forget them."""
        self._file.close()


class ChildProcess:
    """A module of ours that runs as a process of its own, in a session of its own.

    Parameters
    ----------
    module
        The module, whose main is ``worker.helper.serve``.
    cwd
        Its working directory, which Python searches for modules: no folder of the user's.
    environ
        Its environment variables. Default: those of this process.
    """

    def __init__(
        self, module: str, cwd: str | Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self._last_lines = LastLines()
        self._crash: Sequence[str] | None = None
        self._inbox = bytearray()
        self._ending: HelperEnd | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", module, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_lines.fileno(),
            env=None if environ is None else dict(environ),
            cwd=cwd,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        #: the descriptors of its standard input and output
        self.commands = self._process.stdin.fileno()
        self.replies = self._process.stdout.fileno()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended; it is not reaped, so that its group can still be ended."""
        if self._process.returncode is not None:
            return False
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is None

    def send(self, message: list[Any]) -> None:
        """Send a message, and wait until the pipe has taken it; to a dead process it is lost."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode("ascii") + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is seen where its replies end

    def close_commands(self) -> None:
        """Tell the process that no more messages come."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended

    def exchange(self, message: Any, timeout_s: float) -> list[list[Any]]:
        """Send the only message, and return the replies when the process has ended.

        Raises
        ------
        subprocess.TimeoutExpired
            It has not ended in time; it is still running.
        """
        data = json.dumps(message).encode("ascii") + b"\n"
        replies, _ = self._process.communicate(data, timeout_s)
        return self._take(replies)

    def receive(self, timeout_s: float) -> list[list[Any]] | None:
        """Return the next replies; an empty list after ``timeout_s`` seconds, None at their end."""
        with selectors.DefaultSelector() as selector:  # select() refuses descriptors above 1023
            selector.register(self.replies, selectors.EVENT_READ)
            while selector.select(timeout_s):
                messages = self.read()
                if messages != []:  # else half a line: the rest is on its way
                    return messages
        return []

    def read(self) -> list[list[Any]] | None:
        """Return the replies that can be read now; None at their end."""
        try:
            data = os.read(self.replies, _READ_BYTES)
        except BlockingIOError:
            return []
        self._last_lines.pass_on()
        return self._take(data) if data else None

    def _take(self, data: bytes) -> list[list[Any]]:
        self._inbox += data
        *lines, rest = self._inbox.split(b"\n")
        self._inbox = bytearray(rest)
        messages = [json.loads(line) for line in lines]
        for message in messages:
            if message[0] == "crashed":
                self._crash = message[1:4]
        return [message for message in messages if message[0] != "crashed"]

    def kill(self) -> None:
        """End the process and its whole group, at once."""
        if self._process.returncode is None:
            kill_group(self._process.pid)

    def end(self, *, patience_s: float = 0.0) -> HelperEnd:
        """End the process, where it has not ended, and return why it did; again, the same.

        Parameters
        ----------
        patience_s
            Seconds that the process has to end by itself.
        """
        if self._ending is not None:
            return self._ending
        until = time.monotonic() + patience_s
        while self.is_running and time.monotonic() < until:
            time.sleep(_LOOK_S)
        self.kill()
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # unsent messages are lost with the process
        self._last_lines.pass_on()
        self._ending = helper_end(self._crash, status, self._last_lines.tail())
        self._last_lines.close()
        return self._ending

    def died(self) -> HelperEnd:
        """Return why the process ended, after the end of its replies."""
        return self.end(patience_s=_PATIENCE_S)
