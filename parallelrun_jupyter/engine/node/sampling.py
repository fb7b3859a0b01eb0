"""What the workers of a node are doing and use, as far as it has changed since the last look."""

from __future__ import annotations

from collections.abc import Sequence

from ...runs.journal.events import WorkerSample
from ...worker.status_page import PHASES
from .resources import ResourceMeter
from .worker_process import WorkerProcess


class Sampler:
    """Looks at workers.

    Parameters
    ----------
    gpus
        The GPUs of the node's worker slots.
    origin
        ``time.monotonic()`` at the run's creation.
    """

    def __init__(self, gpus: Sequence[str], origin: float) -> None:
        self._origin = origin
        self._meter = ResourceMeter(gpus)
        self._last: tuple[WorkerSample, ...] = ()

    def changes(self, workers: Sequence[WorkerProcess]) -> tuple[WorkerSample, ...]:
        """Return a row for each worker that does or uses something else than before."""
        rows = tuple(self._look_at(worker) for worker in workers)
        used = self._meter.changes({w.name: (w.pid, w.slot) for w in workers if w.pid})
        last, self._last = self._last, rows
        return tuple(
            (*row, *used[row[0]]) if row[0] in used else row
            for row in rows
            if row[0] in used or row not in last
        )

    def _look_at(self, worker: WorkerProcess) -> tuple[str, str, int, int]:
        phase, mini_batch, since = worker.page.read()
        since_ms = int((max(since, worker.started_at) - self._origin) * 1000)
        return worker.name, PHASES[phase], mini_batch, since_ms

    def close(self) -> None:
        """End what was started for measuring."""
        self._meter.close()
