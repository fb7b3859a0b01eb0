"""The driver's process: detaches, drives a run, and waits for the next one of the same notebook.

``launcher.py`` is the side of the notebook. What takes long to import is imported after the fork server
or the workers were started, which import at the same time.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.node.fork_server import CAN_FORK, ForkServerCache
from .channel import ACCEPTED, ENDING, ENDING_WITH_IMPORTS, IDLE, is_readable

if TYPE_CHECKING:
    from ..backends.azureml.foreign.driver import ForeignDriver
    from ..backends.early_workers import EarlyWorkers
    from ..runs.run_folder import RunFolder

_STANDBY_S = 600.0
"""An idle driver exits after this long without a request."""


def import_driver() -> None:
    """Import the driver's modules: the launcher of a new driver waits for it, to report a failure."""
    gc.disable()  # nothing that an import makes is garbage
    from ..backends import local  # noqa: F401 - the backend of most runs
    from ..engine import driver  # noqa: F401

    gc.enable()


def detach() -> None:
    """Fork and end the parent: the driver is then independent of its launcher."""
    if os.fork() != 0:
        os._exit(0)


def detach_when_started() -> Callable[[], None]:
    """Fork; the parent ends when the driver has started, or fails if the driver ends before that.

    Returns
    -------
    function
        To be called when the driver has started.
    """
    started_out, started = os.pipe()
    if os.fork() != 0:
        os.close(started)
        os._exit(0 if os.read(started_out, 1) else 1)
    os.close(started_out)

    def report() -> None:
        os.write(started, b"!")
        os.close(started)

    return report


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
    report_start = detach_when_started()
    from ..backends.early_workers import start_early

    with ExitStack() as held:
        early = start_early(path)
        if early is not None:
            held.callback(early.close)
        import_driver()
        report_start()
        requests = _channel(channel) if channel >= 0 else None
        _drive_all(path, ForkServerCache(), requests, early)


def stand_by(channel: int, begin: str) -> None:
    """Prepare for a run that is being written, then drive it, and further ones.

    Parameters
    ----------
    channel
        Descriptor on which runs are requested.
    begin
        JSON of the modules that a fork server imports for it, and of the variables of its workers.
    """
    requests = _channel(channel)
    modules, variables = map(json.loads(begin).get, ("modules", "variables"))
    fork_servers = ForkServerCache()
    if modules and CAN_FORK:  # first: it starts while this process imports
        fork_servers.get(sys.executable, modules, {**os.environ, **variables})
    import_driver()
    _drive_all(_next_request(requests), fork_servers, requests)


def _channel(descriptor: int) -> socket.socket:
    channel = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - os.set_inheritable's own signature
    return channel


def _drive_all(
    path: str | None,
    fork_servers: ForkServerCache,
    requests: socket.socket | None,
    early: EarlyWorkers | None = None,
) -> None:
    """Drive a run, whose workers may be started already, then each further one that is requested."""
    import logging

    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from ..runs.run_folder import find

    next_path = path
    try:
        while next_path is not None:
            is_well = _drive(find(next_path), fork_servers, requests, early)
            early = None
            # A backend's leftover threads would disturb the next run.
            can_stay = is_well and threading.active_count() == 1
            gc.collect()  # free the state of the last run
            next_path = _next_request(requests) if can_stay and requests is not None else None
    finally:
        fork_servers.close()


def _drive(
    folder: RunFolder,
    fork_servers: ForkServerCache,
    requests: socket.socket | None,
    early: EarlyWorkers | None,
) -> bool:
    from ..backends import find_module
    from ..engine.driver import Driver
    from ..runs.resume_request import read_resume

    record = read_resume(folder).applied_to(folder.read_record())
    import logging

    logging.getLogger("parallelrun_jupyter").setLevel(record.script.logging_level)
    backend = find_module(record.placement.backend)

    def announce() -> None:
        if requests is not None:
            _announce_ending(requests, with_imports=fork_servers.is_filled)

    driver: Driver | ForeignDriver
    if hasattr(backend, "make_driver"):  # it drives one run, and announces nothing
        driver = backend.make_driver(folder)
    else:
        make_pool = partial(backend.make_pool, fork_servers=fork_servers)
        if early is not None:
            make_pool = partial(make_pool, early=early)
        driver = Driver(folder, make_pool, on_end=announce)
    if os.environ.get("PARALLELRUN_TELEMETRY"):
        from ..engine.telemetry.start import start_telemetry

        start_telemetry(folder)
    try:
        return driver.run()
    finally:
        driver.close()


def _announce_ending(channel: socket.socket, *, with_imports: bool) -> None:
    """Report that the run is over, and whether a fork server has imports for the next run.

    The launching process reads this before it sees the end in the journal. It then waits for this
    driver, which has reports to write and workers to close, rather than start another one.
    """
    try:
        channel.sendall(ENDING_WITH_IMPORTS if with_imports else ENDING)
    except OSError:
        pass  # the launching process has exited


def _next_request(channel: socket.socket) -> str | None:
    """Wait for the next run and adopt its environment variables and log file.

    Returns
    -------
    str or None
        The run's folder; None if the launching process has exited or sent no request in time.
    """
    from ..runs.run_folder import RunFolder

    try:
        os.environ.clear()  # an idle driver holds no credentials
        channel.sendall(IDLE)
        request = b""
        while not request.endswith(b"\n"):
            if not is_readable(channel, _STANDBY_S):
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
        channel.sendall(ACCEPTED)
    except OSError:
        return None
    return str(path)
