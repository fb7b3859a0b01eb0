"""The node's end of a template: a process that has the script's imports done and forks workers.

A process that is forked by another is that one's child. The template forks twice, and this process
takes in the orphan, so that it waits for the worker and kills it as for one that it started itself.
Only Linux lets a process take in orphans.
"""

from __future__ import annotations

import ctypes
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

from ..child_process import LastLines, death_text, kill_group

WORKER_FOLDER = Path(__file__).resolve().parents[2] / "worker"

CAN_FORK = sys.platform == "linux"

_PR_SET_CHILD_SUBREAPER = 36
_SEND_S = 1.0
_ENDS_S = 1.0
_OF_ONE_RUN = ("AZUREML_", "CUDA_VISIBLE_DEVICES", "PARALLELRUN_")
"""Variables that differ from run to run, or worker to worker, and that no import looks at."""


class PendingWorker(Protocol):
    """A worker that was asked for."""

    name: str
    pid: int

    def on_forked(self, pid: int) -> None:
        """Take note that it is there."""

    def on_lost(self) -> None:
        """Take note that it will never be there."""


class ForkServer:
    """A template, from its start to its end.

    Parameters
    ----------
    python
        The interpreter.
    modules
        What it imports.
    environ
        Its variables.
    """

    def __init__(self, python: str, modules: Sequence[str], environ: Mapping[str, str]) -> None:
        self._key = _key(python, modules, environ)
        self._environ = dict(environ)
        self._socket, theirs = socket.socketpair()
        self._selector: selectors.BaseSelector | None = None
        self._inbox = b""
        self._is_ready = False
        self._asked: deque[tuple[PendingWorker, bytes, tuple[int, ...]]] = deque()
        self._sent: deque[PendingWorker | None] = deque()
        #: why no worker is forked from it any more, and the last lines of a process that has died
        self.reason = ""
        self.traceback = ""
        self._last_lines = LastLines()
        with theirs:
            self._process = subprocess.Popen(
                [python, str(WORKER_FOLDER), "template", str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._last_lines.fileno(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=self._environ,
            )
        self._socket.settimeout(_SEND_S)

    def fits(self, python: str, modules: Sequence[str], environ: Mapping[str, str]) -> bool:
        """Say whether workers of such a run can be forked from it."""
        return not self.reason and self._key == _key(python, modules, environ)

    def begin(self, selector: selectors.BaseSelector) -> None:
        """Serve a run: its answers are ready to be handled when the selector says so."""
        self._selector = selector
        selector.register(self._socket, selectors.EVENT_READ, self)

    def end(self) -> None:
        """Let the run go."""
        if self._selector is not None:
            self._selector.unregister(self._socket)
            self._selector = None

    def ask(
        self, worker: PendingWorker, descriptors: Sequence[int], environ: Mapping[str, str]
    ) -> None:
        """Ask for a worker with these descriptors, which are duplicated, and these variables."""
        changes: dict[str, str | None] = dict.fromkeys(self._environ.keys() - environ.keys())
        changes.update((k, v) for k, v in environ.items() if self._environ.get(k) != v)
        line = json.dumps(["fork", changes]).encode("ascii") + b"\n"
        self._asked.append((worker, line, tuple(map(os.dup, descriptors))))
        self._send()

    def withdraw(self, worker: PendingWorker) -> None:
        """Take back what was asked; the worker is told that it is lost."""
        for entry in [entry for entry in self._asked if entry[0] is worker]:
            self._asked.remove(entry)
            _close(entry[2])
        for index, one in enumerate(self._sent):
            if one is worker:
                self._sent[index] = None  # it is killed as soon as it is there
        worker.on_lost()

    def _send(self) -> None:
        while self._is_ready and self._asked:
            worker, line, descriptors = self._asked[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
            _take_in_orphans(take=True)
            try:
                self._socket.sendmsg([line], rights)
            except OSError as error:
                if self._process_has_ended():
                    self._note_death()
                else:
                    self.give_up(f"it does not listen ({error})")
                return
            self._asked.popleft()
            self._sent.append(worker)
            _close(descriptors)

    def handle(self) -> list[PendingWorker]:
        """Take what it says; return the workers that are there now."""
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._note_death()
            return []
        *lines, self._inbox = (self._inbox + data).split(b"\n")
        born = []
        for line in lines:
            match json.loads(line):
                case ["ready", _]:
                    self._is_ready = True
                case ["forked", pid]:
                    worker = self._sent.popleft()
                    if worker is None:
                        _end_orphan(pid)
                    else:
                        worker.on_forked(pid)
                        born.append(worker)
        self._send()
        if not self._sent and not self._asked:
            _take_in_orphans(take=False)
        return born

    def _process_has_ended(self) -> bool:
        """Return whether the process has ended, or does so within a second."""
        try:
            self._process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _note_death(self) -> None:
        """Give up after the end of the stream: the process has died, as a rule."""
        if not self._process_has_ended():
            self.give_up("it has closed its socket")
            return
        self.traceback = self.traceback or self._last_lines.tail()
        self.give_up(f"it died with {death_text(self._process.returncode)}")

    def give_up(self, reason: str) -> None:
        """End it: whoever was asked for is told, and is started in another way."""
        if self.reason:
            return
        self.reason = reason
        self.close()

    def close(self) -> None:
        """End it, and wait for that."""
        self.end()
        self.reason = self.reason or "it was ended"
        if self._process.returncode is None:
            kill_group(self._process.pid)
            self._process.wait()
        self._socket.close()
        self._last_lines.close()
        lost = [worker for worker in self._sent if worker is not None]
        for worker, _, descriptors in self._asked:
            _close(descriptors)
            lost.append(worker)
        self._asked.clear()
        self._sent.clear()
        _take_in_orphans(take=False)
        for worker in lost:
            worker.on_lost()


class Templates:
    """Keeps a template from one run to the next of the same process."""

    def __init__(self) -> None:
        self._kept: ForkServer | None = None

    def take(self, python: str, modules: Sequence[str], environ: Mapping[str, str]) -> ForkServer:
        """Return a template for a run: the one that is kept, where it fits."""
        if self._kept is None or not self._kept.fits(python, modules, environ):
            self.close()
            self._kept = ForkServer(python, modules, environ)
        return self._kept

    @property
    def is_kept(self) -> bool:
        """Whether there is a template to fork from."""
        return self._kept is not None and not self._kept.reason

    def close(self) -> None:
        """End what is kept."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None


def _key(
    python: str, modules: Sequence[str], environ: Mapping[str, str]
) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]:
    lasting = sorted((k, v) for k, v in environ.items() if not k.startswith(_OF_ONE_RUN))
    return python, tuple(modules), tuple(lasting)


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _end_orphan(pid: int) -> None:
    """End a worker that nobody wants any more, which is a child of this process by now."""
    kill_group(pid)
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # it ended before it was taken in: another process has reaped it


def _take_in_orphans(*, take: bool) -> None:
    """Be the parent of processes below this one that lose theirs, or be that no more."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(take), 0, 0, 0)
