"""Starts drivers: the only place that does."""

from __future__ import annotations

import gc
import logging
import os
import socket
import subprocess
import threading
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
from .warm_drivers import WarmDriver, WarmDrivers, say_ending, wait_for_folder

standbys = WarmDrivers()
"""The drivers of this process that have stayed for its next run."""

_START_LIMIT_S = 60.0


class Launched(Protocol):
    """The folder of what a driver is started for: a run, or a pipeline."""

    @property
    def path(self) -> Path:
        """The folder."""

    @property
    def driver_log(self) -> Path:
        """What the driver itself has to say."""


def launch(folder: Launched, python: str, variables: Mapping[str, str]) -> None:
    """Start the driver of a run, detached: it outlives this process.

    Parameters
    ----------
    folder
        The run.
    python
        The interpreter that runs the driver.
    variables
        Environment variables for the driver and its workers, on top of this process's.

    Raises
    ------
    LaunchError
        The interpreter did not start, or has no parallelrun-jupyter.
    """
    environ = {**os.environ, **variables}
    if not isinstance(folder, RunFolder):
        _start(folder, python, environ)
    elif not standbys.hand_over(str(folder.path), python, environ):
        standby = WarmDriver(python, environ)
        try:
            _start(folder, python, environ, standby.theirs.fileno())
        except LaunchError:
            standby.close()
            standby.theirs.close()
            raise
        standbys.add(standby)


def _start(folder: Launched, python: str, environ: Mapping[str, str], *channel: int) -> None:
    """Start a new driver; ``channel`` is the descriptor by which it is asked for further runs."""
    log_start = folder.driver_log.stat().st_size if folder.driver_log.exists() else 0
    try:
        with open(folder.driver_log, "ab") as log:
            # The started process forks and ends, so that no zombie is left in a notebook's kernel.
            # Its directory is the run's, since -m puts that first on sys.path: a random.py beside
            # the notebook must not become the driver's.
            done = subprocess.run(
                [
                    python,
                    "-m",
                    "parallelrun_jupyter",
                    "drive",
                    str(folder.path),
                    *map(str, channel),
                ],
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
        msg = f"the driver did not start with {python}: {error}. Is that interpreter still there?"
        raise LaunchError(msg) from error
    if done.returncode != 0:
        said = text_from(folder.driver_log, log_start).strip()
        msg = (
            f"the driver did not start with {python} (exit code {done.returncode}): "
            f"{said[-1000:] or 'it said nothing'}. It needs parallelrun-jupyter: "
            f"{python} -m pip install parallelrun-jupyter"
        )
        raise LaunchError(msg)


def end_leftovers(folder: RunFolder) -> None:
    """End workers that a dead driver of this run may have left, before another one starts.

    They end with their parent; this is for those that could not, such as stopped ones.
    """
    import psutil

    run = str(folder.path)
    for process in psutil.process_iter(["cmdline", "pid"]):
        words = process.info["cmdline"] or []
        try:
            if any(word == str(WORKER_FOLDER) for word in words) and _belongs(process, run):
                kill_group(process.info["pid"])
        except psutil.Error:
            continue  # gone by now, or somebody else's


def _belongs(process: Any, run: str) -> bool:
    """Say whether a process is a worker of the run in this folder, by the files it has open."""
    return any(file.path.startswith(run + os.sep) for file in process.open_files())


def detach() -> None:
    """Fork, and end the process that was started: the driver goes on without a parent."""
    if os.fork() != 0:
        os._exit(0)


def drive(path: str, channel: int = -1) -> None:
    """Be the driver of a run, to its end, and then of those that are asked for.

    Parameters
    ----------
    path
        The folder of the run.
    channel
        Descriptor by which other runs are asked for; -1 for none.

    Raises
    ------
    RunNotFoundError
        There is no run in that folder.
    RunFolderError
        It has a driver already.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    fork_servers = ForkServerCache()
    asking = socket.socket(fileno=channel) if channel >= 0 else None
    if asking is not None:
        os.set_inheritable(asking.fileno(), False)  # noqa: FBT003 - os.set_inheritable's own signature
    found: str | None = path
    try:
        while found is not None:
            is_well = _drive(find(found), fork_servers, asking)
            # What a backend leaves running in this process is no start for another run.
            can_stay = is_well and asking is not None and threading.active_count() == 1
            gc.collect()  # what it knew of the last run
            found = wait_for_folder(asking) if can_stay and asking is not None else None
    finally:
        fork_servers.close()


def _drive(folder: RunFolder, fork_servers: ForkServerCache, asking: socket.socket | None) -> bool:
    record = read_resume(folder).applied_to(folder.read_record())
    logging.getLogger("parallelrun_jupyter").setLevel(record.logging_level)
    make_pool = partial(find_backend(record.backend), fork_servers=fork_servers)
    driver = Driver(folder, make_pool)
    try:
        is_well = driver.run()
        if asking is not None:  # the last workers may take a second for their ends
            say_ending(asking, with_imports=fork_servers.is_filled)
    finally:
        driver.close()
    return is_well
