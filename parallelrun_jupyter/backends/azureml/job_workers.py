"""The nodes and workers of a job, as the files that they write tell of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...engine.node.worker_failure import failure_of
from ...engine.scheduling import signals
from ...engine.scheduling.signals import Failure, Signal
from ...runs.journal.events import WorkerSample
from ...worker import status_page
from .result_reader import STATUS, WORKERS, read_object

_WAITING = {"phase": status_page.PHASES[status_page.WAITING], "mini_batch": -1}
"""The activity of a worker between two mini-batches."""

_SAMPLED_WORKERS = 100
"""The activity of at most so many workers is read."""


class JobWorkers:
    """The workers that have started.

    Parameters
    ----------
    now_ms
        Returns the milliseconds since the run's creation.
    """

    def __init__(self, now_ms: Callable[[], float]) -> None:
        self._now_ms = now_ms
        self.nodes: list[str] = []
        #: the node of each worker that is ready
        self._ready: dict[str, str] = {}
        self._read: set[str] = set()
        self._samples: dict[str, WorkerSample] = {}
        #: when each worker has done its mini-batches
        self._done: dict[str, dict[int, int]] = {}
        #: the first failure of an ``init()``
        self.failure: Failure | None = None

    @property
    def has_ready(self) -> bool:
        """Whether a worker was ready."""
        return bool(self._ready)

    def unread(self, files: Mapping[str, int]) -> list[str]:
        """Return the files of workers that have not been read."""
        return [path for path in files if path.startswith(WORKERS) and path not in self._read]

    def statuses(self, files: Mapping[str, int]) -> list[str]:
        """Return the files with the activity of workers."""
        return [path for path in files if path.startswith(STATUS)][:_SAMPLED_WORKERS]

    def started(self, path: str, content: bytes, *, is_final: bool) -> list[Signal]:
        """Return the signals of a worker's file; none if it is not whole, and will not be (``is_final``)."""
        facts = read_object(content)
        worker, node = facts.get("worker"), facts.get("node")
        if not isinstance(worker, str) or not isinstance(node, str):
            if is_final:
                self._read.add(path)  # it stays incomplete
            return []
        if path in self._read:
            return []
        self._read.add(path)
        emitted: list[Signal] = []
        if node not in self.nodes:
            self.nodes.append(node)
            emitted.append(signals.NodeConnected(node, f"Azure ML node {node}"))
        emitted.append(signals.WorkerSpawned(node, worker, int(facts.get("pid", 0))))
        if "failure" in facts:
            failure = failure_of(facts["failure"])
            self.failure = self.failure or failure
            return [*emitted, signals.WorkerNotReady(node, worker, failure)]
        self._ready[worker] = node
        init_ms, run_line = int(facts.get("init_ms", 0)), str(facts.get("run_line", ""))
        return [*emitted, signals.WorkerInitialized(node, worker, init_ms, run_line)]

    def sampled(self, path: str, content: bytes) -> list[Signal]:
        """Return the signal of the activity of a worker, if that has changed."""
        worker = path[len(STATUS) :].removesuffix(".json")
        node, status = self._ready.get(worker), read_object(content)
        if node is None or not status:
            return []
        return self._sample(node, worker, status)

    def done(self, worker: str, mini_batch: int) -> None:
        """Note that a worker has done a mini-batch: a status that still names it is older."""
        self._done.setdefault(worker, {})[mini_batch] = int(self._now_ms())

    def idle(self) -> list[Signal]:
        """Return the signals that no worker is in a mini-batch: all are answered."""
        emitted: list[Signal] = []
        for worker, node in self._ready.items():
            if self._samples.get(worker, (worker, "", -1))[2] >= 0:
                emitted += self._sample(node, worker, _WAITING)
        return emitted

    def _sample(self, node: str, worker: str, status: Mapping[str, Any]) -> list[Signal]:
        phase, mini_batch = str(status.get("phase", "")), int(status.get("mini_batch", -1))
        last = self._samples.get(worker)
        if last is not None and last[1:3] == (phase, mini_batch):
            return []
        # The clocks of the job's nodes may differ from the driver's.
        since_ms = int(self._now_ms() - 1000 * float(status.get("since_s", 0.0)))
        since_ms = self._done.get(worker, {}).get(mini_batch, since_ms)  # it is in the next one
        self._samples[worker] = sample = (worker, phase, mini_batch, since_ms)
        return [signals.WorkersSampled(node, (sample,))]

    def ended(self) -> list[Signal]:
        """Return the signals of the end of all workers, when another job follows."""
        ready, self._ready = self._ready, {}
        return [
            signals.WorkerEnded(node, worker, "its job has ended") for worker, node in ready.items()
        ]
