"""Drivers that stay when their run has ended, for the next run of the same notebook.

A driver that is started anew reads Python's and our own modules for a tenth of a second. One that
stays has done that, and keeps what it has of a template. It is asked over a pair of sockets that only
the process which started it holds: that one's end is its own.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from ..runs.run_folder import RunFolder

STAND_BY_S = 600.0
"""A driver waits so long for another run."""

_ANSWER_S = 1.0
_OF_A_PROCESS = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "MALLOC_", "TZ")
"""Variables that a process reads when it starts: where they have changed, so must the process."""

_ENDING_S = 0.15
_ENDING_WITH_IMPORTS_S = 3.0
"""What a new driver takes to start, and one that has to import again: so long one is waited for."""

_ENDING = b"ending\n"
_ENDING_WITH_IMPORTS = b"ending with imports\n"
_IDLE = b"idle\n"
_TAKEN = b"taken\n"


class WarmDriver:
    """The starter's end of a driver that stays.

    Parameters
    ----------
    python
        The interpreter that it runs in.
    environ
        The variables that it was started with.
    """

    def __init__(self, python: str, environ: Mapping[str, str]) -> None:
        self._key = _key(python, environ)
        self._socket, self.theirs = socket.socketpair()
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._said = b""

    def started(self) -> None:
        """Take note that the driver has its end."""
        self.theirs.close()

    def close(self) -> None:
        """Let it go: it ends when its run has ended."""
        self._socket.close()

    def listen(self) -> bool | None:
        """Say whether it is idle; None where it is gone.

        One that is about to be idle is waited for, the longer the more it has.
        """
        began = time.monotonic()
        while True:
            try:
                data = self._socket.recv(100)
            except BlockingIOError:
                left_s = began + self._worth_s() - time.monotonic()
                if left_s <= 0:
                    return self._said.endswith(_IDLE)
                _is_readable(self._socket, left_s)
                continue
            except OSError:
                return None
            if not data:
                return None
            self._said += data

    def _worth_s(self) -> float:
        if self._said.endswith(_ENDING_WITH_IMPORTS):
            return _ENDING_WITH_IMPORTS_S
        return _ENDING_S if self._said.endswith(_ENDING) else 0.0

    def hand_over(self, path: str, python: str, environ: Mapping[str, str]) -> bool:
        """Ask it to drive the run in a folder; say whether it does.

        Parameters
        ----------
        path
            The folder.
        python, environ
            What a new driver would be started with.
        """
        if self._key != _key(python, environ):
            return False
        self._socket.settimeout(_ANSWER_S)
        try:
            line = json.dumps([path, dict(environ)]).encode("ascii") + b"\n"
            self._socket.sendall(line)
            answer = self._socket.recv(100)
        except OSError:
            return False
        self._said = answer
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        return answer.startswith(_TAKEN)


class WarmDrivers:
    """The drivers of this process that stay: at most one that is idle."""

    def __init__(self) -> None:
        self._known: list[WarmDriver] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def hand_over(self, path: str, python: str, environ: Mapping[str, str]) -> bool:
        """Let an idle driver drive the run in a folder; say whether one does."""
        with self._lock:
            if self._pid != os.getpid():  # they are the parent's
                self._known, self._pid = [], os.getpid()
            states = [(one, one.listen()) for one in self._known]
            idle = [one for one, state in states if state]
            self._known = [one for one, state in states if state is False]
            for one in [one for one, state in states if state is None]:
                one.close()
            is_driven = False
            for one in idle:
                if not is_driven and one.hand_over(path, python, environ):
                    self._known.append(one)
                    is_driven = True
                else:  # of several that are idle, one stays
                    one.close()
            return is_driven

    def add(self, one: WarmDriver) -> None:
        """Keep the starter's end of a driver."""
        one.started()
        with self._lock:
            self._known.append(one)

    def dismiss(self) -> None:
        """Let all of them go: they end when their runs have ended."""
        with self._lock:
            for one in self._known:
                one.close()
            self._known = []


def say_ending(channel: socket.socket, *, with_imports: bool) -> None:
    """Say, as a driver, that the run is over, and whether imports are kept for the next."""
    try:
        channel.sendall(_ENDING_WITH_IMPORTS if with_imports else _ENDING)
    except OSError:
        pass  # nobody asks any more


def wait_for_folder(channel: socket.socket) -> str | None:
    """Wait, as a driver that has nothing to do, for the next folder; take on its variables.

    Parameters
    ----------
    channel
        The driver's end.

    Returns
    -------
    str or None
        The folder; nothing where nobody asks any more.
    """
    try:
        os.environ.clear()  # a credential of the last run is nobody's business now
        channel.sendall(_IDLE)
        request = b""
        while not request.endswith(b"\n"):
            if not _is_readable(channel, STAND_BY_S):
                return None
            data = channel.recv(1 << 16)
            if not data:
                return None
            request += data
        path, environ = json.loads(request)
        os.chdir(path)
        fd = os.open(
            RunFolder(Path(path)).driver_log,
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)
        os.environ.update(environ)
        channel.sendall(_TAKEN)
    except OSError:
        return None
    return str(path)


def _is_readable(channel: socket.socket, timeout_s: float) -> bool:
    """Wait until there is something to read, or the end; False after ``timeout_s`` seconds."""
    with selectors.DefaultSelector() as selector:  # select() refuses descriptors above 1023
        selector.register(channel, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _key(python: str, environ: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    lasting = sorted((k, v) for k, v in environ.items() if k.startswith(_OF_A_PROCESS))
    return python, tuple(lasting)
