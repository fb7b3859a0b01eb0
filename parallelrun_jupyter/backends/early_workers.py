"""Starts the workers of a new run on this machine before its driver has imported its other modules.

That import takes a tenth of a second. Meanwhile the workers start to import the modules of the script.
"""

from __future__ import annotations

import os
import selectors
from pathlib import Path

from ..engine.node.memory_kills import MemoryKills
from ..engine.node.worker_process import STOPPED, WorkerProcess, WorkerSpec
from ..errors import ParallelRunError
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from .worker_spec import worker_spec

NODE = "n0"
"""The only node of most runs."""


class EarlyWorkers:
    """The workers of the only node of a run, until its pool takes them.

    Parameters
    ----------
    spec
        How they are started.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        #: the selector of the pool
        self.selector = selectors.DefaultSelector()
        self._workers: list[WorkerProcess] = []

    def start(self, count: int) -> None:
        """Start workers, in the first slots of the node.

        Raises
        ------
        OSError
            One cannot be started.
        """
        kills = MemoryKills().count()
        for number in range(count):
            worker = WorkerProcess(
                NODE, number, self.spec, self.selector, number, kills_before=kills
            )
            self._workers.append(worker)

    def take(self) -> list[WorkerProcess]:
        """Return the workers: they belong to the caller from now on."""
        workers, self._workers = self._workers, []
        return workers

    def close(self) -> None:
        """End the workers that nobody has taken."""
        for worker in self.take():
            worker.kill(STOPPED)
            worker.close()


def start_early(path: str) -> EarlyWorkers | None:
    """Start the workers of a run that has no driver yet; return None if its pool should start them.

    The pool does so for other kinds of runs, and for errors, which it reports.
    """
    folder = RunFolder(Path(path))
    try:
        if folder.journal.exists() or any(folder.control.iterdir()):
            return None  # it is resumed, or canceled
        record = folder.read_record()
        if not _are_plain(record):
            return None
        early = EarlyWorkers(worker_spec(folder, record, os.environ))
    except (OSError, ParallelRunError):
        return None
    try:
        early.start(record.placement.process_count_per_node)
    except OSError:
        early.close()
        return None
    return early


def _are_plain(record: RunRecord) -> bool:
    """Return whether the workers are on this machine alone, and need no fork server and no store."""
    inputs = (*record.inputs.datasets, *record.inputs.side_inputs)
    return (
        record.placement.backend == "local"
        and record.placement.node_count == 1
        and not record.script.preload
        and not any(spec.get("storage") for spec in inputs)
    )
