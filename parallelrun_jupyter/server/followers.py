"""The runs that the server is asked about, each folded once and then read on from there."""

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
"""A list says what it knows after so long, and reads the other journals at the next request."""


class _CachedRun:
    """One run; the lock lets one request read on at a time."""

    def __init__(self, folder: RunFolder) -> None:
        self.lock = threading.Lock()
        self.follower = Follower(folder)
        self.latest: Snapshot | None = None
        self.used_at = 0.0
        self._size = (float("-inf"), "", 0)  # when, in which state, bytes

    def look(self) -> Snapshot:
        with self.lock:
            self.latest = self.follower.refresh()
            return self.latest

    def size_bytes(self, now: float) -> int:
        """Return what the run takes on the disk, which is looked at seldom: there may be many files."""
        state = self.latest["state"] if self.latest else ""
        at, state_then, size = self._size
        age_s = now - at
        if state != state_then or age_s > (OLD_SIZE_S if state in FINAL_STATES else SIZE_S):
            size = self.follower.folder.size_bytes()
            self._size = (now, state, size)
        return size


class Followers:
    """Reads runs for requests; for use by any number of threads.

    Parameters
    ----------
    clock
        Seconds, for forgetting runs that nobody asks about.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._followed: dict[Path, _CachedRun] = {}

    def snapshot(self, folder: RunFolder) -> Snapshot:
        """Return where a run stands now.

        Raises
        ------
        RunFolderError
            The run cannot be read.
        """
        return self._find(folder).look()

    def ask(self, folder: RunFolder, question: Callable[[RunState], T]) -> T:
        """Return what a question makes of where a run stands now.

        Raises
        ------
        RunFolderError
            The run cannot be read.
        """
        followed = self._find(folder)
        followed.look()
        with followed.lock:
            return question(followed.follower.state)

    def rows(self, limit: int) -> RunList:
        """Return the newest runs; damaged folders are left out."""
        folders = run_folder.list_runs()
        until = self._clock() + LIST_BUDGET_S
        rows = []
        for folder in folders[:limit]:
            try:
                rows.append(self._row(folder, until))
            except (ParallelRunError, OSError):
                continue  # 'parallelrun list' names it; one bad folder must not hide the others
        return RunList(runs=rows, hidden=max(0, len(folders) - limit))

    def _row(self, folder: RunFolder, until: float) -> RunRow:
        followed = self._find(folder)
        record = followed.follower.record
        if followed.latest is None and self._clock() > until:
            return unread_row(record)
        snapshot = followed.look()  # cheap once read; a resume changes final states too
        return run_row(record, snapshot, followed.size_bytes(self._clock()))

    def _find(self, folder: RunFolder) -> _CachedRun:
        now = self._clock()
        with self._lock:
            followed = self._followed.get(folder.path)
        if followed is None:
            followed = _CachedRun(folder)
        with self._lock:
            followed = self._followed.setdefault(folder.path, followed)
            followed.used_at = now
            self._forget(now)
        return followed

    def _forget(self, now: float) -> None:
        """Drop what nobody asked about for long, and the oldest above the limit."""
        by_age = sorted(self._followed.items(), key=lambda pair: pair[1].used_at)
        for path, followed in by_age:
            if len(self._followed) > KEPT_RUNS or now - followed.used_at > IDLE_S:
                del self._followed[path]
