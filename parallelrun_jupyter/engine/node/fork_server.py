"""The node's side of a fork server: a process that imports the script's modules once, then forks workers.

A forked process is a child of the process that forked it. So the fork server forks twice, and this
process adopts the orphan: it can then wait for the worker and kill it like one that it started
itself. Only Linux lets a process adopt orphans. The other side is ``worker/fork_server.py``.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..child_process import ChildProcess, StderrTail, kill_group, spawn

WORKER_FOLDER = Path(__file__).resolve().parents[2] / "worker"

CAN_FORK = sys.platform == "linux"

_PR_SET_CHILD_SUBREAPER = 36
_SEND_TIMEOUT_S = 1.0
_PATIENCE_S = 1.0
_VOLATILE_VARIABLES = ("AZUREML_", "CUDA_VISIBLE_DEVICES", "PARALLELRUN_")
"""Prefixes of variables that differ between runs or workers, and that no import reads."""


class PendingWorker(Protocol):
    """A worker requested from a fork server."""

    node: str
    name: str
    pid: int

    def on_forked(self, pid: int) -> None:
        """Handle the start of the worker's process."""

    def on_lost(self) -> None:
        """Handle that the worker will never be forked."""


class ForkServerClient:
    """Starts a fork server and requests workers from it.

    Parameters
    ----------
    python
        The interpreter.
    modules
        The modules to import.
    environ
        Its environment variables.
    """

    def __init__(self, python: str, modules: Sequence[str], environ: Mapping[str, str]) -> None:
        self._key = _key(python, environ)
        self._modules = frozenset(modules)
        self._environ = dict(environ)
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_SEND_TIMEOUT_S)
        self._is_ready = False
        self._requests: deque[tuple[PendingWorker, bytes, tuple[int, ...]]] = deque()
        self._sent: deque[PendingWorker | None] = deque()
        #: why it forks no more workers, with the last lines of a process that died
        self.reason = ""
        self.traceback = ""
        stderr = StderrTail()
        with theirs:
            pid = spawn(
                [python, str(WORKER_FOLDER), "fork_server", str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr.fileno(),
                pass_fds=(theirs.fileno(),),
                env=self._environ,
            )
        self._child = ChildProcess(pid, os.dup(self._socket.fileno()), stderr)

    def fits(self, python: str, modules: Sequence[str], environ: Mapping[str, str]) -> bool:
        """Return whether this fork server fits a run with these settings; it may have more modules."""
        has_modules = self._modules.issuperset(modules)
        return not self.reason and has_modules and self._key == _key(python, environ)

    def attach(self, selector: selectors.BaseSelector) -> None:
        """Serve a run: register with its selector, with this object as the data."""
        self._child.listen(selector, self)

    def detach(self) -> None:
        """Leave the selector of a run that has ended."""
        self._child.unlisten()

    def request(
        self, worker: PendingWorker, descriptors: Sequence[int], environ: Mapping[str, str]
    ) -> None:
        """Request a worker with these descriptors, which are duplicated, and these variables."""
        changes: dict[str, str | None] = dict.fromkeys(self._environ.keys() - environ.keys())
        changes.update((k, v) for k, v in environ.items() if self._environ.get(k) != v)
        line = json.dumps(["fork", changes]).encode("ascii") + b"\n"
        self._requests.append((worker, line, tuple(map(os.dup, descriptors))))
        self._send_requests()

    def withdraw(self, worker: PendingWorker) -> None:
        """Withdraw the request for a worker, which is lost."""
        for request in [request for request in self._requests if request[0] is worker]:
            self._requests.remove(request)
            _close(request[2])
        for index, sent in enumerate(self._sent):
            if sent is worker:
                self._sent[index] = None  # it is killed as soon as it is forked
        worker.on_lost()

    def _send_requests(self) -> None:
        while self._is_ready and self._requests:
            worker, line, descriptors = self._requests[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
            _adopt_orphans(adopt=True)
            try:
                self._socket.sendmsg([line], rights)
            except OSError as error:
                self._on_broken(f"it does not read from its socket ({error})")
                return
            self._requests.popleft()
            self._sent.append(worker)
            _close(descriptors)

    def handle(self, fd: int) -> list[PendingWorker]:
        """Read the replies from a ready descriptor; return the workers that were forked."""
        if self.reason:  # closed since the selector reported the descriptor
            return []
        replies = self._child.handle(fd)
        if replies is None:
            self._on_broken("it has closed its socket")
            return []
        forked = []
        for reply in replies:
            match reply:
                case ["ready", _]:
                    self._is_ready = True
                case ["forked", pid]:
                    worker = self._sent.popleft()
                    if worker is None:
                        _kill_orphan(pid)
                    else:
                        worker.on_forked(pid)
                        forked.append(worker)
        self._send_requests()
        if not self._sent and not self._requests:
            _adopt_orphans(adopt=False)
        return forked

    def _on_broken(self, reason: str) -> None:
        """Stop using the process because it has died or cannot be reached for another reason."""
        if self._child.wait(_PATIENCE_S):
            end = self._child.end()
            self.traceback, reason = end.traceback, end.reason
        self.give_up(reason)

    def give_up(self, reason: str) -> None:
        """End the process for a reason; workers that were requested are lost."""
        if not self.reason:
            self.reason = reason
            self.close()

    def close(self) -> None:
        """End the process; workers that were requested are lost."""
        self.reason = self.reason or "it was closed"
        self._child.end()
        self._socket.close()
        lost = [worker for worker in self._sent if worker is not None]
        for worker, _, descriptors in self._requests:
            _close(descriptors)
            lost.append(worker)
        self._requests.clear()
        self._sent.clear()
        _adopt_orphans(adopt=False)
        for worker in lost:
            worker.on_lost()


class ForkServerCache:
    """Caches the fork server of a run for the next run of the same process."""

    def __init__(self) -> None:
        self._server: ForkServerClient | None = None

    def get(
        self, python: str, modules: Sequence[str], environ: Mapping[str, str]
    ) -> ForkServerClient:
        """Return a fork server for a run: the cached one if it fits, else a new one."""
        if self._server is None or not self._server.fits(python, modules, environ):
            self.close()
            self._server = ForkServerClient(python, modules, environ)
        return self._server

    @property
    def is_filled(self) -> bool:
        """Whether a usable fork server is cached."""
        return self._server is not None and not self._server.reason

    def close(self) -> None:
        """End the cached fork server."""
        if self._server is not None:
            self._server.close()
            self._server = None


def _key(python: str, environ: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    lasting = sorted((k, v) for k, v in environ.items() if not k.startswith(_VOLATILE_VARIABLES))
    return python, tuple(lasting)


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _kill_orphan(pid: int) -> None:
    """Kill a worker whose request was withdrawn; this process has adopted it."""
    kill_group(pid)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # it ended before it was adopted, and another process has reaped it


def _adopt_orphans(*, adopt: bool) -> None:
    """Start or stop being the parent of descendants whose own parent has ended."""
    import ctypes  # only for forked workers

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)
