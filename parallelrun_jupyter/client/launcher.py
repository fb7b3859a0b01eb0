"""Starts detached drivers and reuses idle ones; the only module that starts a driver.

A new driver spends a tenth of a second importing Python's modules and ours. So a driver stays
alive after its run, with its fork servers, and drives the next run of the same notebook: a warm
driver. It receives requests over a socket pair whose other end only the launching process holds,
and exits when that end closes.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import selectors
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..backends import find_backend
from ..engine.child_process import kill_group
from ..engine.driver import Driver
from ..engine.node.fork_server import WORKER_FOLDER, ForkServerCache
from ..errors import LaunchError
from ..runs.logs.reader import text_from
from ..runs.resume_request import read_resume
from ..runs.run_folder import RunFolder, find

_START_LIMIT_S = 60.0
_STANDBY_S = 600.0
"""An idle driver exits after this long without a request."""

_ANSWER_S = 1.0
_STARTUP_VARIABLES = ("PYTHON", "LD_", "DYLD_", "LC_", "LANG", "MALLOC_", "TZ")
"""Prefixes of variables that a process reads once, when it starts: a change needs a new process."""

_ENDING_S = 0.15
_ENDING_WITH_IMPORTS_S = 3.0
"""Maximum waits for a driver that is finishing: a new one takes as long to start or to import."""

_ENDING = b"ending\n"
_ENDING_WITH_IMPORTS = b"ending with imports\n"
_IDLE = b"idle\n"
_ACCEPTED = b"taken\n"


class Launchable(Protocol):
    """The folder of a run or of a pipeline."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def driver_log(self) -> Path:
        """The file that receives the driver's stdout and stderr."""


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

    def close(self) -> None:
        """Disconnect: the driver exits when its run has ended."""
        self._socket.close()

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
                    return self._received.endswith(_IDLE)
                _is_readable(self._socket, left_s)
                continue
            except OSError:
                return None
            if not data:
                return None
            self._received += data

    def _patience_s(self) -> float:
        if self._received.endswith(_ENDING_WITH_IMPORTS):
            return _ENDING_WITH_IMPORTS_S
        return _ENDING_S if self._received.endswith(_ENDING) else 0.0

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
        self._socket.settimeout(_ANSWER_S)
        try:
            line = json.dumps([path, dict(environ)]).encode("ascii") + b"\n"
            self._socket.sendall(line)
            answer = self._socket.recv(100)
        except OSError:
            return False
        self._received = answer
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        return answer.startswith(_ACCEPTED)


class WarmDrivers:
    """The reusable drivers of this process; at most one of them stays idle."""

    def __init__(self) -> None:
        self._drivers: list[WarmDriver] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def hand_over(self, path: str, python: str, environ: Mapping[str, str]) -> bool:
        """Hand the run in a folder to an idle driver; return whether one accepted it."""
        with self._lock:
            if self._pid != os.getpid():  # forked: the drivers are the parent's
                self._drivers, self._pid = [], os.getpid()
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


def detach() -> None:
    """Fork and end the parent: the driver is then independent of its launcher."""
    if os.fork() != 0:
        os._exit(0)


def drive(path: str, channel: int = -1) -> None:
    """Drive a run to its end, then each further run that is requested.

    Parameters
    ----------
    path
        The folder of the run.
    channel
        Descriptor on which further runs are requested; -1 for none.

    Raises
    ------
    RunNotFoundError
        The folder does not contain a run.
    RunFolderError
        Another driver is driving the run.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    fork_servers = ForkServerCache()
    requests = socket.socket(fileno=channel) if channel >= 0 else None
    if requests is not None:
        os.set_inheritable(requests.fileno(), False)  # noqa: FBT003 - os.set_inheritable's own signature
    next_path: str | None = path
    try:
        while next_path is not None:
            is_well = _drive(find(next_path), fork_servers, requests)
            # A backend's leftover threads would disturb the next run.
            can_stay = is_well and threading.active_count() == 1
            gc.collect()  # free the state of the last run
            next_path = _next_request(requests) if can_stay and requests is not None else None
    finally:
        fork_servers.close()


def _drive(
    folder: RunFolder, fork_servers: ForkServerCache, requests: socket.socket | None
) -> bool:
    record = read_resume(folder).applied_to(folder.read_record())
    logging.getLogger("parallelrun_jupyter").setLevel(record.script.logging_level)
    make_pool = partial(find_backend(record.placement.backend), fork_servers=fork_servers)
    driver = Driver(folder, make_pool)
    try:
        is_well = driver.run()
        if requests is not None:  # closing the last workers may take a second
            _announce_ending(requests, with_imports=fork_servers.is_filled)
    finally:
        driver.close()
    return is_well


def _announce_ending(channel: socket.socket, *, with_imports: bool) -> None:
    """Report that the run is over, and whether a fork server has imports for the next run."""
    try:
        channel.sendall(_ENDING_WITH_IMPORTS if with_imports else _ENDING)
    except OSError:
        pass  # the launching process has exited


def _next_request(channel: socket.socket) -> str | None:
    """Wait for the next run and adopt its environment variables and log file.

    Returns
    -------
    str or None
        The run's folder; None if the launching process has exited or sent no request in time.
    """
    try:
        os.environ.clear()  # an idle driver holds no credentials
        channel.sendall(_IDLE)
        request = b""
        while not request.endswith(b"\n"):
            if not _is_readable(channel, _STANDBY_S):
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
        channel.sendall(_ACCEPTED)
    except OSError:
        return None
    return str(path)


def _is_readable(channel: socket.socket, timeout_s: float) -> bool:
    """Wait until data or the end can be read; return False after ``timeout_s`` seconds."""
    with selectors.DefaultSelector() as selector:  # select() refuses descriptors above 1023
        selector.register(channel, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


def _key(python: str, environ: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the settings that a process cannot change after its start."""
    fixed = sorted((k, v) for k, v in environ.items() if k.startswith(_STARTUP_VARIABLES))
    return python, tuple(fixed)
