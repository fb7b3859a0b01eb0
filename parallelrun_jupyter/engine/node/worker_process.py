"""One worker process as its node sees it: pipes, status page, log, and how it ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...worker import protocol
from ...worker.status_page import SIZE, StatusPage
from ...worker.streams import OPEN_END, ShownLines, tag_lines
from ..child_process import exit_text, kill_group
from ..scheduling.signals import Failure
from .fork_server import WORKER_FOLDER, ForkServer

_READ_BYTES = 1 << 18
_DUMP_BYTES = 1 << 15
_LOG_TAIL_BYTES = 1 << 13
_STAMP_BYTES = len("2026-11-23T06:20:40.123Z")
_SHOWN_CHARS = 300
LOADING_TOOK = "loading the mini-batch took longer than"
CAN_WATCH_PIDS = hasattr(os, "pidfd_open")


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What every worker of a node is started with; ``start`` holds ``protocol.START_KEYS``."""

    python: str
    environ: Mapping[str, str]
    logs: Path
    start: Mapping[str, Any]
    gpus: Sequence[str] = ()
    template: ForkServer | None = None

    def environ_of(self, slot: int) -> dict[str, str]:
        """Return the variables of the worker in a slot: one GPU each, while they last."""
        if not self.gpus:
            return dict(self.environ)
        mine = self.gpus[slot] if slot < len(self.gpus) else ""
        return {**self.environ, "CUDA_VISIBLE_DEVICES": mine}


@dataclass(slots=True)
class Given:
    """A mini-batch that was sent to a worker."""

    attempt: int
    line: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One message of a worker, and the raw bytes that came with it."""

    message: list[Any]
    payload: bytes


def last_error_line(log: Path, mini_batch: int) -> str:
    """Return the last line that a worker wrote to stderr in a mini-batch, -1 for outside of any.

    What C code says before it ends the process is there, and nowhere else.
    """
    tag = b" STDERR #%d " % mini_batch if mini_batch >= 0 else b" STDERR #- "
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return ""
    said = [line.partition(tag)[2] for line in lines if line.find(tag) == _STAMP_BYTES]
    return said[-1].decode("utf-8", "replace").strip()[:_SHOWN_CHARS] if said else ""


class WorkerProcess:
    """Starts a worker in a session of its own and talks to it without ever blocking."""

    def __init__(
        self, name: str, spec: WorkerSpec, selector: selectors.BaseSelector, slot: int = 0
    ) -> None:
        self.name = name
        self.slot = slot
        self.log = spec.logs / f"{name}.log"
        self.given: dict[int, Given] = {}
        self.depth = 1
        self.is_ready = False
        self.stop_asked_at = 0.0
        self.has_stopped = False
        self.has_reported = False
        self.given_at = 0.0
        self.kill_reason = ""
        self.started_at = time.monotonic()
        self._term_at: float | None = None
        self._selector = selector
        self._inbox = bytearray()
        self._outbox = bytearray()
        self._writing = False
        self._texts = {b"STDOUT": ShownLines(), b"STDERR": ShownLines()}
        #: 0 until it is there, where it is forked from a template
        self.pid = 0
        self.pidfd = -1
        self.has_vanished = False
        self._template: ForkServer | None = None
        self._spawn(spec)
        agent = f"process{name.rpartition('w')[2]:0>3}"  # as Azure names its processes
        self.send(["start", {**spec.start, "log": str(self.log), "agent_name": agent}])

    def _spawn(self, spec: WorkerSpec) -> None:
        commands_out, self._commands = os.pipe()
        self._replies, replies_in = os.pipe()
        self._stdout, stdout_in = os.pipe()
        self._stderr, stderr_in = os.pipe()
        self._dump = tempfile.TemporaryFile()  # noqa: SIM115 - read when the worker has ended
        with tempfile.TemporaryFile() as page:
            page.truncate(SIZE)
            self.page = StatusPage(page.fileno())
            passed = (commands_out, replies_in, page.fileno(), self._dump.fileno())
            try:
                self._start(spec, passed, stdout_in, stderr_in)
            finally:
                for fd in (commands_out, replies_in, stdout_in, stderr_in):
                    os.close(fd)
        self._log_fd = os.open(
            self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        for fd in (self._commands, self._replies, self._stdout, self._stderr):
            os.set_blocking(fd, False)
        for fd in (self._replies, self._stdout, self._stderr):
            self._selector.register(fd, selectors.EVENT_READ, self)

    def _start(
        self, spec: WorkerSpec, passed: tuple[int, ...], stdout_in: int, stderr_in: int
    ) -> None:
        environ = spec.environ_of(self.slot)
        if spec.template is not None and not spec.template.reason:
            self._template = spec.template
            self._template.ask(self, (*passed, stdout_in, stderr_in), environ)
            return
        process = subprocess.Popen(
            [spec.python, str(WORKER_FOLDER), *map(str, passed)],
            stdin=subprocess.DEVNULL,
            stdout=stdout_in,
            stderr=stderr_in,
            pass_fds=passed,
            start_new_session=True,
            env=environ,
        )
        process.returncode = 0  # this class waits for it, as it does for forked ones
        self.on_forked(process.pid)

    def on_forked(self, pid: int) -> None:
        """Take note of the process, which is there now."""
        self.pid = pid
        if CAN_WATCH_PIDS:
            self.pidfd = os.pidfd_open(pid)
            self._selector.register(self.pidfd, selectors.EVENT_READ, self)

    def on_lost(self) -> None:
        """Take note that there will be no process; the node sees it as its pipes end."""
        self.has_vanished = True

    # To the worker

    def send(self, message: list[Any]) -> None:
        """Send a message, now or as soon as the pipe takes it."""
        self.send_line(protocol.encode(message))

    def send_line(self, line: bytes) -> None:
        """Send a line that is already a message."""
        self._outbox += line
        self._write()

    def give(self, bundle: list[tuple[int, Given]]) -> None:
        """Send mini-batches to run; plan lines travel as they are."""
        rows = b",".join(b"[%d,%d,%b]" % (k, given.attempt, given.line) for k, given in bundle)
        self.given.update(bundle)
        self.given_at = time.monotonic()
        self.send_line(b'["run",[%b]]\n' % rows)

    def _write(self) -> None:
        while self._outbox:
            try:
                written = os.write(self._commands, self._outbox)
            except BlockingIOError:
                break
            except BrokenPipeError:
                self._outbox.clear()  # it is dead or dying: its end is seen by wait
                break
            del self._outbox[:written]
        if bool(self._outbox) != self._writing:
            self._writing = bool(self._outbox)
            if self._writing:
                self._selector.register(self._commands, selectors.EVENT_WRITE, self)
            else:
                self._selector.unregister(self._commands)

    # From the worker

    def handle(self, fd: int) -> list[Reply]:
        """Deal with a descriptor that is ready; return the replies that came."""
        if fd == self._commands:
            self._write()
        elif fd == self._replies:
            return self._read_replies()
        elif fd == self._stdout:
            self._read_text(fd, b"STDOUT")
        elif fd == self._stderr:
            self._read_text(fd, b"STDERR")
        return []

    def _read(self, fd: int) -> bytes | None:
        """Return what there is to read; nothing at the end; None where there is nothing yet."""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self._forget(fd)
        return data

    def _read_replies(self) -> list[Reply]:
        data = self._read(self._replies)
        if data:
            self._inbox += data
        return self._parse()

    def _parse(self) -> list[Reply]:
        replies = []
        start = 0
        while True:
            newline = self._inbox.find(b"\n", start)
            if newline < 0:
                break
            message = json.loads(bytes(self._inbox[start:newline]))
            end = newline + 1
            length = message[2] if message[0] == "done" else 0
            if len(self._inbox) < end + length:
                break
            replies.append(Reply(message, bytes(self._inbox[end : end + length])))
            start = end + length
        del self._inbox[:start]
        return replies

    def _read_text(self, fd: int, level: bytes) -> bool:
        # Looked at before reading: a worker waits in its mini-batch until its pipes are empty.
        mini_batch = self.page.read()[1]
        data = self._read(fd)
        if not data:
            return False
        lines, states = self._texts[level].feed(data)
        if lines is not None:
            self.log_text(level, mini_batch, lines)
        if states is not None:
            self.log_text(level, mini_batch, states, OPEN_END)
        return True

    def log_text(self, level: bytes, mini_batch: int, text: bytes, end: bytes = b"") -> None:
        """Write lines to the worker's log on its behalf."""
        tag = b"#%d" % mini_batch if mini_batch >= 0 else b"#-"
        try:
            os.write(self._log_fd, tag_lines(level, tag, text, time.time(), end))
        except OSError:
            pass  # a full disk loses log lines, and nothing else

    def read_dump(self) -> str:
        """Return the stack that the worker wrote when it crashed or was asked to end."""
        size = os.fstat(self._dump.fileno()).st_size
        data = os.pread(self._dump.fileno(), _DUMP_BYTES, max(0, size - _DUMP_BYTES))
        return data.decode("utf-8", "replace")

    def drain_pipes(self) -> list[Reply]:
        """Read what a dead worker left in its pipes."""
        replies = []
        while self._replies >= 0 and (data := self._read(self._replies)):
            self._inbox += data
            replies += self._parse()
        for fd, level in ((self._stdout, b"STDOUT"), (self._stderr, b"STDERR")):
            while fd >= 0 and fd in (self._stdout, self._stderr) and self._read_text(fd, level):
                pass
            text = self._texts[level].end()
            if text is not None:
                self.log_text(level, self.page.read()[1], text)
        return replies

    # Its end

    def terminate(self, reason: str, now: float) -> None:
        """Ask it to end, which makes it write where it is; ``kill`` follows when it does not."""
        if not self.pid and self._template is not None:
            self._template.give_up(reason)
        elif not self.kill_reason:
            self.kill_reason = reason
            self._term_at = now
            self._signal(signal.SIGTERM)

    def kill(self, reason: str) -> None:
        """End it and everything that it started, at once."""
        self.kill_reason = self.kill_reason or reason
        if not self.pid:
            if self._template is not None and not self.has_vanished:
                self._template.withdraw(self)
            return
        kill_group(self.pid)

    def kill_at(self, patience_s: float) -> float | None:
        """Return when a worker that was asked to end will have had ``patience_s`` for it."""
        return None if self._term_at is None else self._term_at + patience_s

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def has_ended(self) -> bool:
        """Say whether the process is over, without waiting and without reaping it."""
        if not self.pid:
            return self.has_vanished
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def failure(self, ending: str, where: str, stack: str, mini_batch: int) -> Failure:
        """Describe the end of a worker that could not describe it itself.

        Parameters
        ----------
        ending, where, stack
            How it ended, and the line of the user's code and the stack where it was, if known.
        mini_batch
            What it was running; -1 for none.
        """
        place = where or ("run()" if self.is_ready else "init()")
        if self.kill_reason.startswith(LOADING_TOOK):
            kind, error, message, place = "load_timeout", "Timeout", self.kill_reason, "loading"
        elif self.kill_reason:
            kind, error, message = "timeout", "Timeout", self.kill_reason
        else:
            kind, error = "worker_lost", "WorkerLost"
            message = f"the worker process died with {ending}"
            if ending.startswith("signal 9 "):  # the kernel's way of ending who takes too much
                message += ": killed from outside, often for want of memory"
            elif ending.startswith("exit code"):
                message += ": something called os._exit(), or a library ended the process"
            said = last_error_line(self.log, mini_batch)
            message += f"; the last line on stderr: {said}" if said else ""
        return Failure(kind, error, message, f"{error} at {place}", stack)

    def blamed_for(self, told: Failure, mini_batch: int) -> Failure:
        """Return the failure of an attempt that the worker told of, which may be a timeout.

        A script that takes SIGTERM for an exception ends its ``run()`` with that one when its time
        is over; the reason is the timeout.
        """
        if not self.kill_reason or self.kill_reason == "stopped":
            return told
        return self.failure("", told.group.partition(" at ")[2], told.traceback, mini_batch)

    def _disable_fork_server(self) -> None:
        """Fork no more where a forked worker has hung or crashed before it had done anything."""
        was_well = self.has_reported or self.has_stopped
        was_ended = self.kill_reason in {"stopped", "init failed"}
        if self._template is not None and self.pid and not (was_well or was_ended):
            self._template.give_up(f"{self.name}, forked from it, ended and had done nothing")

    def close(self) -> str:
        """Reap an ended worker, end what it started, and return how it ended."""
        self._disable_fork_server()
        self.kill("")  # its group, while its zombie still holds the number
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) if self.pid else 0
        for fd in (self._commands, self._replies, self._stdout, self._stderr, self.pidfd):
            self._forget(fd)
        os.close(self._log_fd)
        self._dump.close()
        self.page.close()
        return exit_text(status)

    def _forget(self, fd: int) -> None:
        if fd < 0:
            return
        try:
            self._selector.unregister(fd)
        except KeyError:
            pass  # the command pipe is registered only while it is full
        os.close(fd)
        for name in ("_commands", "_replies", "_stdout", "_stderr", "pidfd"):
            if getattr(self, name) == fd:
                setattr(self, name, -1)
