"""Starts detached drivers and reuses idle ones; the only module that starts a driver.

A new driver spends a tenth of a second importing Python's modules and ours. So a driver stays
alive after its run, with its fork servers, and drives the next run of the same notebook: a warm
driver. It receives requests over a socket pair whose other end only the launching process holds,
and exits when that end closes. The first driver of a notebook is started before its run is written
(`prepare`), and gets it as a warm one does. The driver's side is ``driving.py``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import LaunchError
from ..home import home
from .channel import ACCEPTED, ENDING, ENDING_WITH_IMPORTS, IDLE, is_readable

if TYPE_CHECKING:
    from pathlib import Path

    from ..runs.run_folder import RunFolder

_START_LIMIT_S = 60.0
_ANSWER_S = 1.0
_STARTUP_VARIABLES = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "MALLOC_", "TZ")
"""Prefixes of variables that a process reads once, when it starts: a change needs a new process."""

_ENDING_S = 0.15
_ENDING_WITH_IMPORTS_S = 3.0
"""Maximum waits for a driver that is finishing: a new one takes as long to start or to import."""


class Launchable(Protocol):
    """The folder of a run or of a pipeline."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def driver_log(self) -> Path:
        """The file that receives the driver's stdout and stderr."""


stand_in: Callable[[Launchable], None] | None = None
"""Called in place of `launch`, in a process that reads a notebook and starts nothing."""


def launch(folder: Launchable, python: str, variables: Mapping[str, str]) -> None:
    """Start the driver of a run or a pipeline, detached: it outlives this process.

    Parameters
    ----------
    folder
        The folder of the run or the pipeline.
    python
        The interpreter of the driver.
    variables
        Environment variables for the driver and its workers, added to this process's own.

    Raises
    ------
    LaunchError
        The interpreter did not start, or parallelrun-jupyter is not installed for it.
    """
    from ..runs.run_folder import RunFolder

    if stand_in is not None:
        stand_in(folder)
        return
    environ = {**os.environ, **variables}
    if not isinstance(folder, RunFolder):
        _start(folder, python, environ)
    elif not warm_drivers.hand_over(str(folder.path), python, environ):
        driver = WarmDriver(python, environ)
        try:
            _start(folder, python, environ, driver.remote_end.fileno())
        except LaunchError:
            driver.close()
            driver.remote_end.close()
            raise
        warm_drivers.add(driver)


def prepare(modules: Sequence[str], variables: Mapping[str, str]) -> None:
    """Start a driver for a run on this machine that is about to be submitted, unless one is there.

    It imports its modules, and its fork server those of the script, while the run is written. If it
    does not start, `launch` starts one, and reports why that does not start either.

    Parameters
    ----------
    modules
        The modules to import in the fork server, as in the run's record; none for no fork server.
    variables
        The variables of workers that differ from those of this process.
    """
    if stand_in is not None:
        return
    warm_drivers.prepare(modules, variables)


def _start(folder: Launchable, python: str, environ: Mapping[str, str], *channel: int) -> None:
    """Start a new driver; ``channel`` is the descriptor on which it receives further requests."""
    log_start = folder.driver_log.stat().st_size if folder.driver_log.exists() else 0
    words = ["-m", "parallelrun_jupyter", "drive", str(folder.path), *map(str, channel)]
    try:
        with open(folder.driver_log, "ab") as log:
            # The process forks and exits, so that no zombie is left in a notebook's kernel.
            # It starts in the run's folder, since -m puts the current directory first on sys.path:
            # a random.py beside the notebook must not shadow the standard library.
            done = subprocess.run(
                [python, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                pass_fds=channel,
                cwd=folder.path,
                start_new_session=True,
                timeout=_START_LIMIT_S,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = (
            f"the driver did not start with {python}: {error}. Check that this interpreter exists."
        )
        raise LaunchError(msg) from error
    if done.returncode != 0:
        from ..runs.logs.reader import text_from

        output = text_from(folder.driver_log, log_start).strip()
        msg = (
            f"the driver did not start with {python} (exit code {done.returncode}): "
            f"{output[-1000:] or 'it printed nothing'}. It needs parallelrun-jupyter: "
            f"{python} -m pip install parallelrun-jupyter"
        )
        raise LaunchError(msg)


def end_leftovers(folder: RunFolder) -> None:
    """Kill workers that a dead driver of this run left behind, before another driver starts.

    Workers end with their parent; this is for those that could not, such as stopped ones.
    """
    import psutil

    from ..engine.child_process import kill_group
    from ..engine.node.fork_server import WORKER_FOLDER

    run = str(folder.path)
    for process in psutil.process_iter(["cmdline", "pid"]):
        words = process.info["cmdline"] or []
        try:
            if any(word == str(WORKER_FOLDER) for word in words) and _belongs(process, run):
                kill_group(process.info["pid"])
        except psutil.Error:
            continue  # it has ended, or belongs to another user


def _belongs(process: Any, run: str) -> bool:
    """Return whether a worker belongs to the run in this folder, judged by its open files."""
    return any(file.path.startswith(run + os.sep) for file in process.open_files())


class WarmDriver:
    """The launching process's end of a driver that can be reused.

    Parameters
    ----------
    python
        The driver's interpreter.
    environ
        The environment variables that the driver was started with.
    """

    def __init__(self, python: str, environ: Mapping[str, str]) -> None:
        self._key = _key(python, environ)
        self._socket, self.remote_end = socket.socketpair()
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._received = b""
        #: the process of a driver that has no run yet, until it is idle
        self._starting: subprocess.Popen[bytes] | None = None

    def start_ahead(
        self, python: str, environ: Mapping[str, str], begin: Mapping[str, Any], folder: Path
    ) -> None:
        """Start the driver without a run, in a folder from which it imports nothing.

        Raises
        ------
        OSError
            The interpreter does not start.
        """
        channel = self.remote_end.fileno()
        words = ["-m", "parallelrun_jupyter", "drive", "", str(channel), json.dumps(begin)]
        self._starting = subprocess.Popen(
            [python, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environ, pass_fds=(channel,), cwd=folder, start_new_session=True,
        )  # fmt: skip

    def is_busy(self) -> bool:
        """Return whether the driver is in the middle of a run, without waiting for it."""
        try:
            data = self._socket.recv(100)
        except BlockingIOError:
            data = b""
        except OSError:
            return True
        self._received += data
        return self._starting is None and not self._received.endswith(
            (IDLE, ENDING, ENDING_WITH_IMPORTS)
        )

    def close(self) -> None:
        """Disconnect: the driver exits when its run has ended."""
        self._socket.close()
        self._reap()

    def _reap(self) -> None:
        """Wait for the process that forks the driver, and ends at once."""
        if self._starting is None:
            return
        try:
            self._starting.wait(_ANSWER_S)
        except subprocess.TimeoutExpired:  # it has not forked yet
            self._starting.kill()
            self._starting.wait()
        self._starting = None

    def is_idle(self) -> bool | None:
        """Return whether the driver is idle; None if it has exited.

        Waits for a driver that is finishing its run, longer if its imports are worth keeping.
        """
        began = time.monotonic()
        while True:
            try:
                data = self._socket.recv(100)
            except BlockingIOError:
                left_s = began + self._patience_s() - time.monotonic()
                if left_s <= 0:
                    return self._received.endswith(IDLE)
                is_readable(self._socket, left_s)
                continue
            except OSError:
                return None
            if not data:
                return None
            self._received += data

    def _patience_s(self) -> float:
        if self._starting is not None and not self._received:
            return _START_LIMIT_S
        if self._received.endswith(ENDING_WITH_IMPORTS):
            return _ENDING_WITH_IMPORTS_S
        return _ENDING_S if self._received.endswith(ENDING) else 0.0

    def hand_over(self, path: str, python: str, environ: Mapping[str, str]) -> bool:
        """Request that the driver runs the run in a folder; return whether it accepted.

        Parameters
        ----------
        path
            The run's folder.
        python, environ
            The interpreter and the variables that a new driver would be started with.
        """
        if self._key != _key(python, environ):
            return False
        self._reap()
        self._socket.settimeout(_ANSWER_S)
        try:
            line = json.dumps([path, dict(environ)]).encode("ascii") + b"\n"
            self._socket.sendall(line)
            answer = self._socket.recv(100)
        except OSError:
            return False
        self._received = answer
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        return answer.startswith(ACCEPTED)


class WarmDrivers:
    """The reusable drivers of this process; at most one of them stays idle."""

    def __init__(self) -> None:
        self._drivers: list[WarmDriver] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def hand_over(self, path: str, python: str, environ: Mapping[str, str]) -> bool:
        """Hand the run in a folder to an idle driver; return whether one accepted it."""
        with self._lock:
            self._forget_those_of_a_parent()
            states = [(driver, driver.is_idle()) for driver in self._drivers]
            self._drivers = [driver for driver, is_idle in states if is_idle is False]
            is_accepted = False
            for driver, is_idle in states:
                if is_idle and not is_accepted and driver.hand_over(path, python, environ):
                    self._drivers.append(driver)
                    is_accepted = True
                elif is_idle is not False:
                    driver.close()
            return is_accepted

    def prepare(self, modules: Sequence[str], variables: Mapping[str, str]) -> None:
        """Start a driver ahead of its run, unless one is idle, or soon will be."""
        with self._lock:
            self._forget_those_of_a_parent()
            if not all(driver.is_busy() for driver in self._drivers):
                return
            environ = dict(os.environ)
            driver = WarmDriver(sys.executable, environ)
            begin = {"modules": list(modules), "variables": dict(variables)}
            try:
                # Not the current directory: see `_start`.
                home().mkdir(mode=0o700, parents=True, exist_ok=True)
                driver.start_ahead(sys.executable, environ, begin, home())
            except OSError:  # `launch` reports it
                driver.close()
                driver.remote_end.close()
                return
            driver.remote_end.close()
            self._drivers.append(driver)

    def _forget_those_of_a_parent(self) -> None:
        if self._pid != os.getpid():  # forked: the drivers are the parent's
            self._drivers, self._pid = [], os.getpid()

    def add(self, driver: WarmDriver) -> None:
        """Remember a driver that has just been started."""
        driver.remote_end.close()
        with self._lock:
            self._drivers.append(driver)

    def dismiss(self) -> None:
        """Disconnect from all drivers: they exit when their runs have ended."""
        with self._lock:
            for driver in self._drivers:
                driver.close()
            self._drivers = []


warm_drivers = WarmDrivers()
"""The reusable drivers of this process."""


def _key(python: str, environ: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the settings that a process cannot change after its start."""
    fixed = sorted((k, v) for k, v in environ.items() if k.startswith(_STARTUP_VARIABLES))
    return python, tuple(fixed)
