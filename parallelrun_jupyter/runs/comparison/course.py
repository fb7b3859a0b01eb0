"""The course of a run in numbers: counts, and the times of its parts."""

from __future__ import annotations

import statistics
from array import array

from ..journal.events import AttemptSucceeded, ItemsSucceeded, WorkerReady
from ..journal.files import JournalReader
from ..output.earlier_rows import Results
from ..run_folder import RunFolder
from ..snapshot.snapshot import Snapshot

COUNTS = {
    "items": "items",
    "items succeeded": "items_succeeded",
    "items failed": "items_failed",
    "items left": "items_left",
    "rows": "rows",
    "mini-batches": "mini_batches",
    "mini-batches succeeded": "succeeded",
    "mini-batches failed": "failed",
    "attempts failed": "attempts_failed",
    "workers lost": "workers_lost",
}
"""The counts that two runs are compared by, and their names in a snapshot."""


class Course:
    """The results of a run, and how long its parts took, from one reading of its journal."""

    def __init__(self, folder: RunFolder) -> None:
        self.results = Results()
        self._init_ms = array("q")
        #: of each attempt that had a result
        self._attempts_us = array("q")
        self._attempt = (-1, -1)
        for event in JournalReader(folder.journal).read():
            self.results.note(event)
            if isinstance(event, WorkerReady):
                self._init_ms.append(event.init_ms)
            elif isinstance(event, AttemptSucceeded):
                self._attempts_us.append(event.duration_us)
            elif isinstance(event, ItemsSucceeded) and event.worker:
                self._add_part(event)

    def _add_part(self, event: ItemsSucceeded) -> None:
        """Add the duration of an attempt that has an event for each range of its items."""
        attempt = event.mini_batch, event.attempt
        if attempt != self._attempt:
            self._attempt = attempt
            self._attempts_us.append(0)
        self._attempts_us[-1] += event.duration_us

    def times(self, snapshot: Snapshot) -> dict[str, float | None]:
        """Return the times and rates, by name; None if nothing was measured."""
        return {
            "elapsed (s)": snapshot["elapsed_s"],
            "items per second": snapshot["items_per_s"],
            "init(), median (s)": _median(self._init_ms, 1e3),
            "mini-batch, median (s)": _median(self._attempts_us, 1e6),
            "mini-batches, total (s)": sum(self._attempts_us) / 1e6,
        }


def _median(values: array[int], unit: float) -> float | None:
    return statistics.median(values) / unit if values else None
