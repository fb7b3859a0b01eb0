"""A worker process from its node's side: pipes, status page, log, timeouts, cause of its end.

The other side is ``worker/serve.py``, the messages are in ``worker/protocol.py``.
"""

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
from typing import TYPE_CHECKING, Any, NamedTuple

from ...worker import protocol
from ...worker.log_limit import LogLimit
from ...worker.status_page import LOADING, RUNNING, SIZE, StatusPage
from ...worker.streams import OPEN_END, ShownLines, tag_lines
from ..child_process import Outbox, exit_text, has_ended, kill_group, spawn
from .fork_server import WORKER_FOLDER, ForkServerClient

if TYPE_CHECKING:  # slow to import: a new driver starts workers before it imports the rest
    from ..scheduling.limits import NodeLimits

_READ_BYTES = 1 << 16
"""What a pipe holds; the memory of a larger buffer is mapped for each message."""

_DUMP_BYTES = 1 << 15
_HELD_FOR_EACH_CALL = 2
"""A worker with several calls in flight holds this many for each: one in flight, and the next one."""

_CANCEL_PATIENCE_S = 5.0
"""Seconds that a call may go on after its limit, when the worker has canceled it."""

_LONGEST_BLOCK_S = 60.0
"""Seconds for which one call may block the event loop, and so all others of its worker."""

LATE_S = 0.1
"""Mini-batches wait at least so many seconds behind another one, until other workers get them.

It is longer than `protocol.LATEST_REPORT_S`, after which the worker looks if that has happened.
"""

_TERM_PATIENCE_S = 0.5
_STOP_PATIENCE_S = 10.0
CAN_WATCH_PIDS = hasattr(os, "pidfd_open")

STOPPED = "stopped"
INIT_FAILED = "init failed"
"""Reasons for a kill that are not failures of the worker."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """How to start the workers of a node; ``start`` has the keys ``protocol.START_KEYS``."""

    python: str
    environ: Mapping[str, str]
    logs: Path
    start: Mapping[str, Any]
    gpus: Sequence[str] = ()
    fork_server: ForkServerClient | None = None

    @property
    def concurrency(self) -> int:
        """Calls in flight at once in each worker."""
        return int(self.start.get("calls", {}).get("concurrency", 1))

    def environ_of(self, slot: int) -> dict[str, str]:
        """Return the variables of the worker in a slot; slots beyond the number of GPUs get no GPU."""
        if not self.gpus:
            return dict(self.environ)
        gpu = self.gpus[slot] if slot < len(self.gpus) else ""
        # Without this, CUDA counts from the fastest GPU, and nvidia-smi by the places on the bus.
        is_numbered = "CUDA_VISIBLE_DEVICES" not in self.environ
        order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if is_numbered else {}
        return {**order, **self.environ, "CUDA_VISIBLE_DEVICES": gpu}


@dataclass(slots=True)
class Assignment:
    """An attempt of a mini-batch to run on the node: its number and its plan line."""

    attempt: int
    line: bytes
    #: the earliest start by ``time.monotonic()``, and the seconds between two starts; 0 for now
    start_at: float = 0.0
    every_s: float = 0.0

    def row(self, mini_batch: int) -> bytes:
        """Return its row in the message "run"; the plan line is sent unchanged."""
        pace = b",%.4f,%.6f" % (self.start_at, self.every_s) if self.start_at else b""
        return b"[%d,%d,%b%b]" % (mini_batch, self.attempt, self.line, pace)


@dataclass(frozen=True, slots=True)
class Reply:
    """A message from a worker, and the bytes that follow it."""

    message: list[Any]
    payload: bytes


class Timeout(NamedTuple):
    """The time at which to end a worker, and the reason; no reason if it is already ending."""

    at: float
    reason: str = ""
    kind: str = "timeout"


class WorkerProcess:
    """Starts a worker in a session of its own, and exchanges messages with it without blocking.

    Parameters
    ----------
    node
        The name of its node.
    number
        Its number on the node; its name is ``<node>w<number>``.
    spec
        How it is started.
    selector
        Reports ready descriptors, with this object as their data, for `handle`.
    slot
        Its slot on the node, which determines its GPU.
    kills_before
        The count of `MemoryKills` at its start.
    waits
        Whether it waits for `start`, without a place in the selector, and runs no code of the user's.
    """

    def __init__(
        self,
        node: str,
        number: int,
        spec: WorkerSpec,
        selector: selectors.BaseSelector,
        slot: int = 0,
        *,
        kills_before: int = 0,
        waits: bool = False,
    ) -> None:
        self.node = node
        self.name = f"{node}w{number}"
        self.log = spec.logs / f"{self.name}.log"
        self.assigned: dict[int, Assignment] = {}
        self.assigned_at = 0.0
        #: how many mini-batches it may hold
        self.concurrency: int = spec.concurrency
        self.prefetch = 1 if self.concurrency == 1 else _HELD_FOR_EACH_CALL * self.concurrency
        #: seconds after which the mini-batches behind the running one are withdrawn
        self.late_after_s = LATE_S
        self.is_ready = False
        self.can_withdraw = False
        #: whether it ends calls at their limit itself: it has an event loop, or several threads
        self.ends_calls = self.concurrency > 1
        self.stop_requested_at = 0.0
        self.has_stopped = False
        self.has_reported = False
        #: whether it runs a long mini-batch, so that others got what it held, and it gets nothing
        self.is_late = False
        #: how many bundles it has got, and how many of these were withdrawn
        self._bundles = self._withdrawn = 0
        #: the long mini-batch behind which others were withdrawn last
        self._late_in: Assignment | None = None
        self.kill_reason = ""
        self.kill_kind = "timeout"
        self._terminated_at: float | None = None
        #: 0 until the fork server has forked it
        self.pid = 0
        self.pidfd = -1
        #: whether the fork server will never fork it
        self.is_lost = False
        self._fork_server: ForkServerClient | None = None
        self._selector = selector
        self._open: set[int] = set()
        self._is_listening = False
        self._inbox = bytearray()
        self._log_fd = -1
        self._agent = f"process{number:03}"  # named as in Azure
        self.slot = slot
        self._spawn(spec)
        if not waits:
            self.start(spec, slot, kills_before=kills_before)

    def start(self, spec: WorkerSpec, slot: int, *, kills_before: int) -> None:
        """Let the process become a worker: it runs ``init()``, and reports in the selector."""
        self.slot = slot
        self.kills_before = kills_before
        self.started_at = time.monotonic()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._log_fd = os.open(self.log, flags, 0o600)
        self._log_limit = LogLimit(str(self.log))
        self._is_listening = True
        for fd in self._open:
            self._selector.register(fd, selectors.EVENT_READ, self)
        self._outbox.attach(self._selector, self)
        self.send(["start", {**spec.start, "log": str(self.log), "agent_name": self._agent}])

    def _spawn(self, spec: WorkerSpec) -> None:
        commands_out, commands = os.pipe()
        self._replies, replies_in = os.pipe()
        stdout, stdout_in = os.pipe()
        stderr, stderr_in = os.pipe()
        self._dump = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        with tempfile.TemporaryFile() as page:
            page.truncate(SIZE)
            self.page = StatusPage(page.fileno())
            passed = (commands_out, replies_in, page.fileno(), self._dump.fileno())
            try:
                self._start(spec, passed, stdout_in, stderr_in)
            finally:
                for fd in (commands_out, replies_in, stdout_in, stderr_in):
                    os.close(fd)
        self._outbox = Outbox(commands)
        self._texts = {stdout: (b"STDOUT", ShownLines()), stderr: (b"STDERR", ShownLines())}
        for fd in (self._replies, stdout, stderr):
            os.set_blocking(fd, False)
            self._open_for_reading(fd)

    def _start(
        self, spec: WorkerSpec, passed: tuple[int, ...], stdout_in: int, stderr_in: int
    ) -> None:
        environ = spec.environ_of(self.slot)
        if spec.fork_server is not None and not spec.fork_server.reason:
            self._fork_server = spec.fork_server
            self._fork_server.request(self, (*passed, stdout_in, stderr_in), environ)
            return
        pid = spawn(
            [spec.python, str(WORKER_FOLDER), *map(str, passed)],
            stdin=subprocess.DEVNULL,
            stdout=stdout_in,
            stderr=stderr_in,
            pass_fds=passed,
            env=environ,
        )
        self.on_forked(pid)

    def on_forked(self, pid: int) -> None:
        """Watch the process that was started."""
        self.pid = pid
        if CAN_WATCH_PIDS:
            self.pidfd = os.pidfd_open(pid)
            self._open_for_reading(self.pidfd)

    def on_lost(self) -> None:
        """Handle that it will never be forked; the end of its pipes wakes the node."""
        self.is_lost = True

    def _open_for_reading(self, fd: int) -> None:
        self._open.add(fd)
        if self._is_listening:
            self._selector.register(fd, selectors.EVENT_READ, self)

    def _close_for_reading(self, fd: int) -> None:
        self._open.discard(fd)
        if self._is_listening:
            self._selector.unregister(fd)
        os.close(fd)

    # To the worker

    def send(self, message: list[Any]) -> None:
        """Send a message, now or when the pipe is ready."""
        self._outbox.send(protocol.encode(message))

    def assign(self, bundle: list[tuple[int, Assignment]]) -> None:
        """Send mini-batches to run."""
        rows = b",".join(task.row(mini_batch) for mini_batch, task in bundle)
        self.assigned.update(bundle)
        self.assigned_at = time.monotonic()
        self._bundles += 1
        # Half of what it may hold is reported together: the node sends as many, while it runs the others.
        report_after = self.prefetch - self.prefetch // 2
        self._outbox.send(b'["run",[%b],%d]\n' % (rows, report_after))

    def withdraws_at(self) -> float:
        """Return the time, by ``time.monotonic()``, at which to withdraw what waits for a long mini-batch."""
        return self._running()[1]

    def _running(self) -> tuple[int, float]:
        """Return the mini-batch that runs, and the time at which to withdraw what waits for it."""
        if self.prefetch == 1 or self.is_late or self.kill_reason or not self.can_withdraw:
            return -1, float("inf")
        phase, mini_batch, since = self.page.read()
        running = self.assigned.get(mini_batch)
        if phase not in (LOADING, RUNNING) or running is None or running is self._late_in:
            return -1, float("inf")
        return mini_batch, float("inf") if running.every_s else since + self.late_after_s

    def withdraw(self, now: float) -> list[tuple[int, Assignment]]:
        """Withdraw and return the mini-batches that it has not begun, if it is time to.

        If the long one ends in the same moment, none are returned here: those that the worker does not run
        are in its reply, for `take_returned`. Those before the long one are done, and are reported with it.
        """
        running, due_at = self._running()
        if now < due_at:
            return []
        self._late_in = self.assigned[running]
        self.page.withdraw(self._bundles)
        phase, mini_batch, _ = self.page.read()
        if phase not in (LOADING, RUNNING) or mini_batch != running:
            return []
        self.is_late, self._withdrawn = True, self._bundles
        held = list(self.assigned)
        return [(k, self.assigned.pop(k)) for k in held[held.index(running) + 1 :]]

    def take_returned(self, bundle: int, mini_batches: list[int]) -> list[tuple[int, Assignment]]:
        """Return those of a withdrawn bundle that the worker has returned, and that it still holds."""
        if bundle >= self._withdrawn:
            self.is_late = False
        return [(k, self.assigned.pop(k)) for k in mini_batches if k in self.assigned]

    # From the worker

    def handle(self, fd: int) -> list[Reply]:
        """Serve a ready descriptor; return the replies that are complete."""
        if fd == self._replies:
            self._inbox += self._read(fd)
            return self._split()
        if fd in self._texts:
            self._read_text(fd)
        elif fd == self._outbox.fd:
            self._outbox.flush()
        return []

    def _read(self, fd: int) -> bytes:
        """Return the readable bytes; b"" if none are available, or at the end."""
        if fd not in self._open:
            return b""
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            self._close_for_reading(fd)
        return data

    def _split(self) -> list[Reply]:
        replies = []
        start = 0
        while True:
            newline = self._inbox.find(b"\n", start)
            if newline < 0:
                break
            message = json.loads(bytes(self._inbox[start:newline]))
            end = newline + 1
            length = message[2] if message[0] in ("done", "answered") else 0
            if len(self._inbox) < end + length:
                break
            replies.append(Reply(message, bytes(self._inbox[end : end + length])))
            start = end + length
        del self._inbox[:start]
        return replies

    def _read_text(self, fd: int) -> bool:
        """Log the output of the script; return whether it printed any."""
        # The page is read first: the worker stays in its mini-batch until its pipes are empty.
        mini_batch = self.page.read()[1]
        data = self._read(fd)
        if not data:
            return False
        level, shown = self._texts[fd]
        lines, states = shown.feed(data)
        if lines is not None:
            self.log_text(level, mini_batch, lines)
        if states is not None:
            self.log_text(level, mini_batch, states, OPEN_END)
        return True

    def log_text(self, level: bytes, mini_batch: int, text: bytes, end: bytes = b"") -> None:
        """Write lines to the worker's log on its behalf."""
        tag = b"#%d" % mini_batch if mini_batch >= 0 else b"#-"
        try:
            lines = tag_lines(level, tag, text, time.time(), end)
            self._log_limit.add(os.write(self._log_fd, lines))
        except OSError:
            pass  # a full disk loses log lines, and nothing else

    def drain_pipes(self) -> list[Reply]:
        """Read the rest of a dead worker's pipes; return its last replies."""
        while data := self._read(self._replies):
            self._inbox += data
        for fd, (level, shown) in self._texts.items():
            while self._read_text(fd):
                pass
            text = shown.end()
            if text is not None:
                self.log_text(level, self.page.read()[1], text)
        return self._split()

    # The end

    def timeout(self, limits: NodeLimits) -> Timeout:
        """Return the time, by ``time.monotonic()``, at which to end the worker."""
        if self._terminated_at is not None:
            return Timeout(self._terminated_at + _TERM_PATIENCE_S)
        phase, _, since = self.page.read()
        if not self.is_ready:
            text = f"it was not ready after first_task_creation_timeout = {limits.init_s:g} s"
            return Timeout(self.started_at + limits.init_s, text)
        if phase == RUNNING and self.ends_calls:
            return self._timeout_of_calls(since, limits)
        if phase == RUNNING:
            text = f"run() took longer than run_invocation_timeout = {limits.run_s:g} s"
            progress = self.page.read_progress()
            if progress is not None and progress[4]:  # the clock of a single item
                since, text = progress[4], f"{text} for one item"
            return Timeout(since + limits.run_s, text)
        if phase == LOADING:
            text = (
                "loading the mini-batch took longer than "
                f"task_overhead_timeout = {limits.overhead_s:g} s"
            )
            return Timeout(since + limits.overhead_s, text, "load_timeout")
        if self.stop_requested_at:
            begun = max(since, self.stop_requested_at)
            return Timeout(begun + _STOP_PATIENCE_S, "it did not end after the request to stop")
        if self.assigned:
            text = f"it did not start a mini-batch within {limits.overhead_s:g} s"
            return Timeout(max(since, self.assigned_at) + limits.overhead_s, text)
        return Timeout(float("inf"))

    def _timeout_of_calls(self, since: float, limits: NodeLimits) -> Timeout:
        """Return the time at which to end a worker whose calls do not end by themselves.

        The worker itself ends single calls at their limit.
        """
        text = f"run() took longer than run_invocation_timeout = {limits.run_s:g} s"
        late = Timeout(since + limits.run_s + _CANCEL_PATIENCE_S, text)
        beat = self.page.read_beat()[1]
        if not beat:  # it has no event loop
            return late
        block_s = min(limits.run_s, _LONGEST_BLOCK_S)
        text = f"a call blocked the event loop for {block_s:g} s, so that no other call went on"
        return min(late, Timeout(beat + block_s, text))

    def terminate(self, timeout: Timeout) -> None:
        """Ask the worker to dump its stack and end; its next timeout is a short time later."""
        if not self.pid and self._fork_server is not None:
            self._fork_server.give_up(timeout.reason)
        elif not self.kill_reason:
            self.kill_reason, self.kill_kind = timeout.reason, timeout.kind
            self._terminated_at = time.monotonic()
            try:
                os.kill(self.pid, signal.SIGTERM)
            except ProcessLookupError:
                pass

    def kill(self, reason: str) -> None:
        """Kill the worker and everything that it started."""
        self.kill_reason = self.kill_reason or reason
        if self.pid:
            kill_group(self.pid)
        elif self._fork_server is not None and not self.is_lost:
            self._fork_server.withdraw(self)

    def has_ended(self) -> bool:
        """Return whether the process has ended, without waiting for it or reaping it."""
        return has_ended(self.pid) if self.pid else self.is_lost

    def read_dump(self) -> str:
        """Return the stack that the worker dumped when it crashed or was terminated."""
        size = os.fstat(self._dump.fileno()).st_size
        data = os.pread(self._dump.fileno(), _DUMP_BYTES, max(0, size - _DUMP_BYTES))
        return data.decode("utf-8", "replace")

    def close(self) -> int:
        """Reap an ended worker, kill the processes that it started, and return its exit status."""
        self._give_up_fork_server()
        self.kill("")  # the group: the zombie still reserves its number
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) if self.pid else 0
        for fd in list(self._open):
            self._close_for_reading(fd)
        self._outbox.close()
        if self._log_fd >= 0:
            os.close(self._log_fd)
        self._dump.close()
        self.page.close()
        return status

    def _give_up_fork_server(self) -> None:
        """Stop using the fork server if this worker hung or crashed before it reported anything."""
        worked = self.has_reported or self.has_stopped
        was_ended = self.kill_reason in {STOPPED, INIT_FAILED}
        if self._fork_server is not None and self.pid and not (worked or was_ended):
            self._fork_server.give_up(f"{self.name}, forked from it, ended without any result")

    def end_reason(self, status: int) -> str:
        """Return why the worker was killed, or how it ended."""
        return self.kill_reason or exit_text(status)
