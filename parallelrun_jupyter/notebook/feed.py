"""Follows each run once in this process, whatever the number of views of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import ParallelRunError
from ..runs.journal.state import RunState
from ..runs.run_folder import RunFolder
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import Snapshot
from ..views.mime_bundle import news

LIVE_S = 0.2
"""At most five looks a second, while somebody looks."""

QUIET_S = 1.0
"""While nobody looks: often enough to keep the saved output true."""

_SETTLED_S = 2.0


class Listener(Protocol):
    """Is told where a run stands."""

    def is_live(self) -> bool:
        """Say whether somebody is looking at it."""

    def show(self, snapshot: Snapshot) -> None:
        """Take a snapshot that has something new."""

    def end(self, problem: str) -> None:
        """Take the end of the following; ``problem`` says why, where the run has not ended."""


@dataclass(slots=True)
class _Subscription:
    """A listener and the last news it was told."""

    listener: Listener
    told: str = ""


class Feed:
    """One thread that follows one run and tells its listeners; it ends with the run.

    Use ``follow``, which finds the feed of a run or makes it.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._follower = Follower(folder)
        self._lock = threading.Lock()
        self._seats: list[_Subscription] = []
        self._hurry = threading.Event()
        #: set when there is nothing more to tell
        self._is_over = threading.Event()
        self._latest = self._follower.refresh()
        self._is_running = False
        self._has_ended = False

    @property
    def latest(self) -> Snapshot:
        """The last snapshot."""
        return self._latest

    @property
    def state(self) -> RunState:
        """The fold of the run's journal, to be read only."""
        return self._follower.state

    def add(self, listener: Listener) -> bool:
        """Tell this listener from now on; False when the feed has ended meanwhile."""
        with self._lock:
            if self._has_ended:
                return False
            self._seats.append(_Subscription(listener))
            starts, self._is_running = not self._is_running, True
        if starts:
            name = f"parallelrun feed {self._folder.run_id}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return True

    def hurry(self) -> None:
        """Look now: somebody has begun to."""
        self._hurry.set()

    def settle(self, limit_s: float) -> None:
        """Wait until the last listener was told of the end; return at once where there is none."""
        if self._is_running:
            self._hurry.set()
            self._is_over.wait(limit_s)

    def _run(self) -> None:
        problem = ""
        try:
            while True:
                self._latest = snapshot = self._follower.refresh()
                self._tell(snapshot)
                if snapshot["is_final"]:
                    break
                self._wait()
        except (ParallelRunError, OSError) as error:
            problem = f"the run can no longer be read: {error}"
        finally:
            for seat in self._close():
                seat.listener.end(problem)
            self._is_over.set()

    def _tell(self, snapshot: Snapshot) -> None:
        new = news(snapshot)
        for seat in self._current():
            if seat.told != new:
                seat.told = new
                seat.listener.show(snapshot)

    def _wait(self) -> None:
        if not any(seat.listener.is_live() for seat in self._current()):
            # A hello shortens this pause, but never the live one.
            self._hurry.wait(QUIET_S - LIVE_S)
            self._hurry.clear()
        time.sleep(LIVE_S)

    def _current(self) -> list[_Subscription]:
        with self._lock:
            return list(self._seats)

    def _close(self) -> list[_Subscription]:
        with _LOCK, self._lock:
            self._has_ended = True
            if _FEEDS.get(self._folder.path) is self:
                del _FEEDS[self._folder.path]
            seats, self._seats = self._seats, []
            return seats


_LOCK = threading.Lock()
_FEEDS: dict[Path, Feed] = {}


def follow(folder: RunFolder) -> Feed:
    """Return the one feed of a run in this process.

    Raises
    ------
    RunFolderError
        The run cannot be read.
    """
    with _LOCK:
        known = _FEEDS.get(folder.path)
    if known is not None:
        return known
    fresh = Feed(folder)  # reads the journal, so outside of the lock
    if fresh.latest["is_final"]:
        return fresh
    with _LOCK:
        return _FEEDS.setdefault(folder.path, fresh)


def settle(folder: RunFolder) -> None:
    """Wait, for a moment at most, until the end of a run is drawn: a notebook may end with it."""
    with _LOCK:
        feed = _FEEDS.get(folder.path)
    if feed is not None:
        feed.settle(_SETTLED_S)


def followed() -> int:
    """Return the number of runs that this process follows."""
    with _LOCK:
        return len(_FEEDS)
