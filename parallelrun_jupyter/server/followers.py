"""A cache of followed runs: each journal is folded once, then read from its last offset."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import ParallelRunError
from ..runs import run_folder
from ..runs.journal.events import FINAL_STATES
from ..runs.journal.state import RunState
from ..runs.run_folder import RunFolder
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import Snapshot
from ..views.run_list import RunList, RunRow, run_row, unread_row

T = TypeVar("T")

KEPT_RUNS = 200
IDLE_S = 600.0
SIZE_S = 10.0
OLD_SIZE_S = 300.0
LIST_BUDGET_S = 1.0
"""A list is returned after this long; the remaining journals are read at the next request."""


class _CachedRun:
    """One run; the lock admits one reading request at a time."""

    def __init__(self, folder: RunFolder) -> None:
        self.lock = threading.Lock()
        self.follower = Follower(folder)
        self.latest: Snapshot | None = None
        self.used_at = 0.0
        self._size = (float("-inf"), "", 0)  # time, state, bytes

    def refresh(self) -> Snapshot:
        with self.lock:
            self.latest = self.follower.refresh()
            return self.latest

    def size_bytes(self, now: float) -> int:
        """Return the size of the run on disk, measured seldom since it may have many files."""
        state = self.latest["state"] if self.latest else ""
        measured_at, last_state, size = self._size
        age_s = now - measured_at
        if state != last_state or age_s > (OLD_SIZE_S if state in FINAL_STATES else SIZE_S):
            size = self.follower.folder.size_bytes()
            self._size = (now, state, size)
        return size


class Followers:
    """Reads runs for requests; thread-safe.

    Parameters
    ----------
    clock
        Returns seconds; used to evict idle runs.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[Path, _CachedRun] = {}

    def snapshot(self, folder: RunFolder) -> Snapshot:
        """Return the current snapshot of a run.

        Raises
        ------
        RunFolderError
            The run cannot be read.
        """
        return self._find(folder).refresh()

    def ask(self, folder: RunFolder, question: Callable[[RunState], T]) -> T:
        """Return the result of ``question``, called with the current state of a run.

        Raises
        ------
        RunFolderError
            The run cannot be read.
        """
        run = self._find(folder)
        run.refresh()
        with run.lock:
            return question(run.follower.state)

    def rows(self, limit: int) -> RunList:
        """Return the newest runs, without damaged folders."""
        folders = run_folder.list_runs()
        until = self._clock() + LIST_BUDGET_S
        rows = []
        for folder in folders[:limit]:
            try:
                rows.append(self._row(folder, until))
            except (ParallelRunError, OSError):
                continue  # 'parallelrun list' reports it; a bad folder must not hide the others
        return RunList(runs=rows, hidden=max(0, len(folders) - limit))

    def _row(self, folder: RunFolder, until: float) -> RunRow:
        run = self._find(folder)
        record = run.follower.record
        if run.latest is None and self._clock() > until:
            return unread_row(record)
        snapshot = run.refresh()  # cheap after the first time; a resume can change a final state
        return run_row(record, snapshot, run.size_bytes(self._clock()))

    def _find(self, folder: RunFolder) -> _CachedRun:
        now = self._clock()
        with self._lock:
            run = self._runs.get(folder.path)
        if run is None:
            run = _CachedRun(folder)
        with self._lock:
            run = self._runs.setdefault(folder.path, run)
            run.used_at = now
            self._evict(now)
        return run

    def _evict(self, now: float) -> None:
        """Evict idle runs, and the least recently used above the limit."""
        by_age = sorted(self._runs.items(), key=lambda pair: pair[1].used_at)
        for path, run in by_age:
            if len(self._runs) > KEPT_RUNS or now - run.used_at > IDLE_S:
                del self._runs[path]
