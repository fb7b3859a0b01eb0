"""Follows each run once in this process, for any number of views."""

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
"""Seconds between two polls while a view is open."""

QUIET_S = 1.0
"""Seconds between two polls without a view: often enough to keep the saved output current."""

_SETTLE_S = 2.0


class Listener(Protocol):
    """Receives the snapshots of a run."""

    def is_live(self) -> bool:
        """Return whether a view is open."""

    def show(self, snapshot: Snapshot) -> None:
        """Receive a snapshot that differs from the previous one."""

    def end(self, problem: str) -> None:
        """Receive the end of the feed; ``problem`` is its cause if the run has not ended."""


@dataclass(slots=True)
class _Subscription:
    """A listener, and the digest of the last snapshot that it received."""

    listener: Listener
    sent: str = ""


class Feed:
    """One thread that follows one run and notifies its listeners; it ends with the run.

    Use ``follow``, which returns the existing feed of a run or makes one.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._follower = Follower(folder)
        self._lock = threading.Lock()
        self._subscriptions: list[_Subscription] = []
        self._poll_now = threading.Event()
        #: set once the last listener has received the end
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
        """Notify a listener from now on; return False if the feed has ended meanwhile."""
        with self._lock:
            if self._has_ended:
                return False
            self._subscriptions.append(_Subscription(listener))
            starts, self._is_running = not self._is_running, True
        if starts:
            name = f"parallelrun feed {self._folder.run_id}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        return True

    def wake(self) -> None:
        """Poll now: a view was opened."""
        self._poll_now.set()

    def wait_for_end(self, timeout_s: float) -> None:
        """Wait until the last listener has received the end; without a listener, do not wait."""
        if self._is_running:
            self._poll_now.set()
            self._is_over.wait(timeout_s)

    def _run(self) -> None:
        problem = ""
        try:
            while True:
                self._latest = snapshot = self._follower.refresh()
                self._notify(snapshot)
                if snapshot["is_final"]:
                    break
                self._pause()
        except (ParallelRunError, OSError) as error:
            problem = f"the run can no longer be read: {error}"
        finally:
            for subscription in self._close():
                subscription.listener.end(problem)
            self._is_over.set()

    def _notify(self, snapshot: Snapshot) -> None:
        digest = news(snapshot)
        for subscription in self._current():
            if subscription.sent != digest:
                subscription.sent = digest
                subscription.listener.show(snapshot)

    def _pause(self) -> None:
        if not any(subscription.listener.is_live() for subscription in self._current()):
            # A new view shortens this pause, but never the live one.
            self._poll_now.wait(QUIET_S - LIVE_S)
            self._poll_now.clear()
        time.sleep(LIVE_S)

    def _current(self) -> list[_Subscription]:
        with self._lock:
            return list(self._subscriptions)

    def _close(self) -> list[_Subscription]:
        with _LOCK, self._lock:
            self._has_ended = True
            if _FEEDS.get(self._folder.path) is self:
                del _FEEDS[self._folder.path]
            subscriptions, self._subscriptions = self._subscriptions, []
            return subscriptions


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
        feed = _FEEDS.get(folder.path)
    if feed is not None:
        return feed
    feed = Feed(folder)  # reads the journal, so outside of the lock
    if feed.latest["is_final"]:
        return feed
    with _LOCK:
        return _FEEDS.setdefault(folder.path, feed)


def settle(folder: RunFolder) -> None:
    """Wait up to two seconds until the end of a run is drawn: the notebook may end with it."""
    with _LOCK:
        feed = _FEEDS.get(folder.path)
    if feed is not None:
        feed.wait_for_end(_SETTLE_S)


def followed() -> int:
    """Return the number of runs that this process follows."""
    with _LOCK:
        return len(_FEEDS)
