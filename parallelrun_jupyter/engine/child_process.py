"""The parent's side of child processes: start, JSON lines, deadline, kill, cause of the end.

The child's side is ``worker/child_loop.py``.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ..worker.child_loop import serve_forked
from ..worker.protocol import encode

Message: TypeAlias = list[Any]

LOST = "ChildLost"
"""The error type of a process that died without an exception."""

_READ_BYTES = 1 << 18
_TAIL_BYTES = 4096
_FORWARD_BYTES = 1 << 16
_PATIENCE_S = 1.0
_POLL_S = 0.002


@dataclass(frozen=True, slots=True)
class ChildEnd:
    """Why a child process ended before its work was done.

    Parameters
    ----------
    error
        The type of the exception that ended it, or `LOST`.
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
        """The reason, and a pointer to the log if the driver has logged details there."""
        reason = self.reason.rstrip(".")
        if not self.traceback:
            return f"{reason}."
        details = "its last lines are" if self.error == LOST else "the traceback is"
        return f"{reason} ({details} in logs/driver.log of the run's folder)."


def exit_text(status: int) -> str:
    """Return how a process ended, by its exit code or the negative number of its signal."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def death_text(status: int) -> str:
    """Return how a process ended, as `exit_text`, with the usual cause of a kill."""
    text = exit_text(status)
    if status == -signal.SIGKILL:
        text += ": killed from outside, often because memory ran out"
    return text


def child_end(crash: Sequence[str] | None, status: int, last_lines: str) -> ChildEnd:
    """Return why a child process ended.

    Parameters
    ----------
    crash
        Error, message and traceback of its last message, ``crashed``; None without such a message.
    status
        The exit code of the process, or the negative number of its signal.
    last_lines
        The end of its standard error.
    """
    if crash is not None:
        error, message, traceback = crash
        return ChildEnd(error, f"{error}: {message}" if message else error, traceback)
    return ChildEnd(LOST, f"its process died with {death_text(status)}", last_lines)


def spawn(command: Sequence[str], **options: Any) -> int:
    """Start a process in a session of its own and return its id; the caller has to reap it.

    Parameters
    ----------
    command
        The program and its arguments.
    options
        Options of `subprocess.Popen`.
    """
    process = subprocess.Popen(command, start_new_session=True, **options)
    process.returncode = 0  # keeps Popen from reaping it
    return process.pid


def has_ended(pid: int) -> bool:
    """Return whether a child process has ended, without reaping it: its group can still be killed."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_group(pid: int) -> None:
    """Kill a process and its group; do nothing if the process has ended.

    A process that was just forked may not lead a group yet: then only the process is killed.
    Call this before the process is reaped: afterwards the number may belong to another one.
    """
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS raises the latter for a zombie
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # it has ended


class StderrTail:
    """The standard error of a child: copied to this process's own; its last lines are kept."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._copied = 0

    def fileno(self) -> int:
        """Return the descriptor that the child writes to."""
        return self._file.fileno()

    def forward(self) -> None:
        """Copy new text to this process's own standard error."""
        while data := os.pread(self.fileno(), _FORWARD_BYTES, self._copied):
            self._copied += len(data)
            try:
                os.write(2, data)
            except OSError:
                return  # a full disk loses these lines, and nothing else

    def read(self) -> str:
        """Return the last lines."""
        size = os.fstat(self.fileno()).st_size
        data = os.pread(self.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        return data.decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Delete the text."""
        self._file.close()


class Outbox:
    """Sends bytes to a pipe without blocking: the rest is sent when the pipe is ready.

    Parameters
    ----------
    fd
        The pipe's descriptor, which the outbox owns.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._data = bytearray()
        self._selector: selectors.BaseSelector | None = None
        self._owner: Any = None
        self._is_watched = False

    def attach(self, selector: selectors.BaseSelector, owner: Any) -> None:
        """Register the pipe, with ``owner`` as its data, whenever bytes are pending."""
        self._selector, self._owner = selector, owner
        self._watch()

    def detach(self) -> None:
        """Leave the selector."""
        if self._is_watched and self._selector is not None:
            self._selector.unregister(self.fd)
        self._selector, self._is_watched = None, False

    def send(self, data: bytes) -> None:
        """Send bytes, or store them until the pipe is ready; bytes for a dead process are lost."""
        self._data += data
        self.flush()

    def flush(self) -> None:
        """Write as many bytes as the pipe accepts."""
        while self._data:
            try:
                written = os.write(self.fd, self._data)
            except BlockingIOError:
                break
            except BrokenPipeError:
                self._data.clear()  # the process is dead or dying; its owner detects this elsewhere
                break
            del self._data[:written]
        self._watch()

    def _watch(self) -> None:
        if self._selector is None or bool(self._data) == self._is_watched:
            return
        self._is_watched = bool(self._data)
        if self._is_watched:
            self._selector.register(self.fd, selectors.EVENT_WRITE, self._owner)
        else:
            self._selector.unregister(self.fd)

    def close(self) -> None:
        """Drop the remaining bytes and close the pipe."""
        self.detach()
        self._data.clear()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class ChildProcess:
    """A process in a session of its own that replies in JSON lines.

    It is used in one of two ways: with a selector (`listen`, then `handle`), or by a thread that
    waits for replies (`receive`). Other threads may `kill` it.

    Parameters
    ----------
    pid
        Its process id.
    replies
        The descriptor to read replies from.
    stderr
        Its standard error.
    commands
        The descriptor to send messages to. Default: the process receives none.
    """

    def __init__(
        self, pid: int, replies: int, stderr: StderrTail, commands: int | None = None
    ) -> None:
        self.pid = pid
        #: the ``time.monotonic()`` by which the next reply must come
        self.deadline = float("inf")
        self.is_overdue = False
        self._replies = replies
        os.set_blocking(replies, False)
        self._outbox = None if commands is None else Outbox(commands)
        self._stderr = stderr
        self._selector: selectors.BaseSelector | None = None
        self._inbox = bytearray()
        self._crash: Sequence[str] | None = None
        self._end: ChildEnd | None = None
        self._is_reaped = False
        self._reaping = threading.Lock()

    @classmethod
    def start(
        cls, module: str, cwd: str | Path, environ: Mapping[str, str] | None = None
    ) -> ChildProcess:
        """Start a module of this package that calls ``serve_json_lines``.

        Parameters
        ----------
        module
            Its full name.
        cwd
            Its working directory. Python searches it for modules, so it must not be a folder of the
            user.
        environ
            Its environment variables. Default: the variables of this process.
        """
        stderr = StderrTail()
        commands_out, commands = os.pipe()
        replies, replies_in = os.pipe()
        try:
            pid = spawn(
                [sys.executable, "-X", "faulthandler", "-m", module, str(os.getpid())],
                stdin=commands_out,
                stdout=replies_in,
                stderr=stderr.fileno(),
                env=None if environ is None else dict(environ),
                cwd=cwd,
            )
        except OSError:
            os.close(commands)
            os.close(replies)
            stderr.close()
            raise
        finally:
            os.close(commands_out)
            os.close(replies_in)
        return cls(pid, replies, stderr, commands)

    @classmethod
    def fork(cls, work: Callable[[Callable[[Message], None]], None]) -> ChildProcess:
        """Fork a process that does some work; call it before other threads are started.

        Parameters
        ----------
        work
            Called in the child with a function that sends a message.
        """
        stderr = StderrTail()
        replies, replies_in = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(replies)
            serve_forked(work, parent, replies_in, stderr.fileno())
        os.close(replies_in)
        return cls(pid, replies, stderr)

    # Messages

    def listen(self, selector: selectors.BaseSelector, owner: Any) -> None:
        """Register with a selector, with ``owner`` as the data; ready descriptors go to `handle`."""
        self._selector = selector
        selector.register(self._replies, selectors.EVENT_READ, owner)
        if self._outbox is not None:
            self._outbox.attach(selector, owner)

    def unlisten(self) -> None:
        """Leave the selector."""
        if self._selector is not None:
            self._selector.unregister(self._replies)
            self._selector = None
            if self._outbox is not None:
                self._outbox.detach()

    def send(self, message: Any) -> None:
        """Send a message, now or when the pipe is ready; a message to a dead process is lost."""
        assert self._outbox is not None
        self._outbox.send(encode(message))

    def close_commands(self) -> None:
        """Close the pipe for messages; messages not sent yet are dropped."""
        if self._outbox is not None:
            self._outbox.close()

    def handle(self, fd: int) -> list[Message] | None:
        """Serve a ready descriptor; return the replies, or None after the last one."""
        if fd != self._replies:
            if self._outbox is not None:
                self._outbox.flush()
            return []
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return []
        except ConnectionResetError:  # a socket whose other end has died
            data = b""
        self._stderr.forward()
        return self._split(data) if data else None

    def receive(self, timeout_s: float | None = None) -> list[Message] | None:
        """Wait for replies; return an empty list after ``timeout_s`` seconds, None after the last one.

        Parameters
        ----------
        timeout_s
            Default: wait as long as the process runs.
        """
        until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:  # select() refuses descriptors above 1023
            self.listen(selector, None)
            try:
                while ready := selector.select(
                    None if timeout_s is None else max(0.0, until - time.monotonic())
                ):
                    for key, _ in ready:
                        replies = self.handle(key.fd)
                        if replies != []:
                            return replies
            finally:
                self.unlisten()
        return []

    def _split(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete; a crash message is stored instead."""
        self._inbox += data
        *lines, rest = self._inbox.split(b"\n")
        self._inbox = bytearray(rest)
        messages = [json.loads(line) for line in lines]
        for message in messages:
            if message[0] == "crashed":
                self._crash = message[1:4]
        return [message for message in messages if message[0] != "crashed"]

    # The end

    def enforce_deadline(self) -> None:
        """Kill the process if its deadline has passed; the end of its replies follows."""
        if time.monotonic() >= self.deadline:
            self.is_overdue, self.deadline = True, float("inf")
            self.kill()

    def kill(self) -> None:
        """Kill the process and its group."""
        with self._reaping:
            if not self._is_reaped:
                kill_group(self.pid)

    def wait(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` seconds for the process to end; return whether it has ended."""
        until = time.monotonic() + timeout_s
        while not (self._is_reaped or has_ended(self.pid)):
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_S)
        return True

    def end(self, *, patience_s: float = 0.0) -> ChildEnd:
        """Kill the process if it is running, and return why it ended; later calls return the same.

        Parameters
        ----------
        patience_s
            Seconds to wait for the process to exit before it is killed.
        """
        if self._end is not None:
            return self._end
        self.wait(patience_s)
        self.kill()
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with self._reaping:
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._is_reaped = True
        self.unlisten()
        self.close_commands()
        os.close(self._replies)
        self._stderr.forward()
        self._end = child_end(self._crash, status, self._stderr.read())
        self._stderr.close()
        return self._end

    def died(self) -> ChildEnd:
        """Return why the process ended, after the end of its replies."""
        return self.end(patience_s=_PATIENCE_S)
