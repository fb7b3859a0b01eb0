"""A driver of a run on Azure ML whose jobs are in a folder: ``python -m tests.azureml_driver RUN ROOT``.

``start_driver`` starts it as a process that a test may kill.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from parallelrun_jupyter import ParallelRunConfig, ParallelRunStep, Run
from parallelrun_jupyter.backends.azureml.job_folder import write_job
from parallelrun_jupyter.backends.azureml.pool import AzureMLPool
from parallelrun_jupyter.backends.azureml.result_reader import KeepRows
from parallelrun_jupyter.backends.azureml.service import JobService
from parallelrun_jupyter.client.new_run import check_run, write_run
from parallelrun_jupyter.client.script import Script
from parallelrun_jupyter.config.azureml_compute import AzureMLCompute
from parallelrun_jupyter.engine.driver import Driver
from parallelrun_jupyter.engine.node_pool import PoolFactory
from parallelrun_jupyter.errors import RunFolderError
from parallelrun_jupyter.runs import run_folder
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.run_record import RunRecord
from tests.conftest import SCRIPTS
from tests.folder_jobs import FolderService

IDS = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}
COMPUTE = AzureMLCompute(IDS, compute="cpu")
POLL_S = 0.1


def new_run(script: str | Path, inputs: Any, arguments: Any = (), **settings: Any) -> RunFolder:
    """Write a run that no driver has started."""
    config = ParallelRunConfig(entry_script=str(SCRIPTS / script), **settings)
    step = ParallelRunStep(
        "score", parallel_run_config=config, inputs=inputs, arguments=list(arguments)
    )
    source = Script(SCRIPTS / script)
    checked = check_run(step, source, compute=COMPUTE, is_dry=True)
    folder = run_folder.create(checked.record.run_id)
    write_run(folder, checked, step, source)
    return folder


def _driver_of(folder: RunFolder, make_pool: PoolFactory) -> Driver:
    """Return a driver, once the helpers of one that was killed have ended."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return Driver(folder, make_pool)
        except RunFolderError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def drive(folder: RunFolder, connect: Callable[[], JobService], poll_s: float = POLL_S) -> Run:
    """Drive a run in this process to its end."""

    def make_pool(
        folder: RunFolder, record: RunRecord, keep_rows: KeepRows, fork_servers: object = None
    ) -> AzureMLPool:
        del fork_servers
        return AzureMLPool(
            folder, record, keep_rows, connect=connect, write_job=write_job, poll_s=poll_s
        )

    driver = _driver_of(folder, make_pool)
    try:
        driver.run()
    finally:
        driver.close()
    return Run(folder)


def start_driver(folder: RunFolder, root: Path, dies_at: str = "") -> subprocess.Popen[bytes]:
    """Start a driver process, which dies at a request: ``before submit 0``, ``after read_result 3``."""
    words = [sys.executable, "-m", "tests.azureml_driver", str(folder.path), str(root), dies_at]
    with open(folder.driver_log, "ab") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


class Deadly(FolderService):
    """Jobs in a folder that kill the process at one request."""

    def __getattribute__(self, name: str) -> Any:
        when, verb, number = (dies_at or "never - 0").split()
        method = super().__getattribute__(name)
        if name != verb:
            return method

        def call(*arguments: Any) -> Any:
            count = COUNTS[name]
            COUNTS[name] += 1
            if when == "after":
                method(*arguments)
            if count == int(number):
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments)

        return call


COUNTS: Counter[str] = Counter()
dies_at = ""

if __name__ == "__main__":
    logging.basicConfig()
    run, root, dies_at = sys.argv[1:]
    drive(RunFolder(Path(run)), partial(Deadly, Path(root)))
    os._exit(0)
