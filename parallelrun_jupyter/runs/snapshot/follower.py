"""Follows a run through its folder; all views use this."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..journal.files import JournalReader, has_end, read_state
from ..resume_request import read_resume
from ..run_folder import RunFolder
from .snapshot import Snapshot, effective_state, take_snapshot

POLL_S = 0.2
_FAR_BEHIND_BYTES = 1 << 18
_CACHE_S = 3.0
_LOOK_S = 0.05
_LOOK_NEAR_END_S = 0.005
_NEAR_END_S = 2.0
_ALIVE_S = 1.0
"""Seconds between two snapshots, which show whether the driver lives, while only the end is waited for."""


class Follower:
    """Folds the journal of a run as it grows. Not thread-safe.

    The cost is bounded: if the journal grows too fast to be read, the driver's cached fold is used,
    which is at most a second or two old.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.record = folder.read_record()
        self.state, offset = read_state(folder)
        self._reader = JournalReader(folder.journal, offset)

    def refresh(self) -> Snapshot:
        """Read new events and return a snapshot."""
        snapshot = self._snapshot()
        if snapshot["state"] == "Interrupted":
            # The driver may have written its last events after the read and before it was checked.
            self._read()
            snapshot = self._snapshot()
        return snapshot

    def status(self) -> str:
        """Read new events and return the state of the run, as in its snapshot."""
        self._catch_up()
        if (state := self._effective_state()) == "Interrupted":
            self._read()
            state = self._effective_state()
        return state

    def _effective_state(self) -> str:
        state, _ = effective_state(self.folder, self.record, self.state, time.time())
        return state

    def _catch_up(self) -> None:
        if self._reader.behind_bytes() <= _FAR_BEHIND_BYTES or not self._use_cache():
            self._read()

    def _snapshot(self) -> Snapshot:
        self._catch_up()
        record = self.record
        if self.state.drivers > 1:  # a resume may have changed its limits
            record = read_resume(self.folder).applied_to(record)
        return take_snapshot(self.folder, record, self.state)

    def _read(self) -> None:
        self.state.apply_all(self._reader.read())

    def _use_cache(self) -> bool:
        """Use the driver's fold if it is ahead; return whether it is recent enough without reading."""
        try:
            age_s = time.time() - self.folder.state.stat().st_mtime
        except OSError:
            return False
        state, offset = read_state(self.folder)
        if offset > self._reader.offset:
            self.state = state
            self._reader = JournalReader(self.folder.journal, offset)
        is_near = self._reader.behind_bytes() <= _FAR_BEHIND_BYTES
        return not is_near and offset > 0 and age_s < _CACHE_S


def watch(
    follower: Follower,
    show: Callable[[Snapshot], None],
    *,
    every_s: float = POLL_S,
    timeout_s: float | None = None,
) -> Snapshot:
    """Show snapshots until the run has ended or the timeout has passed.

    Parameters
    ----------
    follower
        The run.
    show
        Receives each snapshot, including the last one.
    every_s
        Seconds between snapshots.
    timeout_s
        Seconds after which to stop watching; None for no limit.

    Returns
    -------
    Snapshot
        The last one; ``is_final`` is False after a timeout.
    """
    deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    while True:
        snapshot = follower.refresh()
        show(snapshot)
        left_s = deadline - time.monotonic()
        if snapshot["is_final"] or left_s <= 0:
            return snapshot
        time.sleep(min(every_s, left_s))


def wait_for_end(follower: Follower, timeout_s: float | None = None) -> Snapshot:
    """Wait until the run has ended or the timeout has passed; the last snapshot is returned.

    The end is noticed within some milliseconds. Only the last line of the journal is read until then:
    snapshots would take processor time from the workers.
    """
    began = time.monotonic()
    deadline = float("inf") if timeout_s is None else began + timeout_s
    refresh_at = 0.0
    left_s: float | None = None
    while True:
        now = time.monotonic()
        if now >= min(refresh_at, deadline) or has_end(follower.folder.journal):
            snapshot = follower.refresh()
            if snapshot["is_final"] or now >= deadline:
                return snapshot
            refresh_at, left_s = now + _ALIVE_S, snapshot["eta_low_s"]
        time.sleep(max(0.0, min(_look_s(now - began, left_s), deadline - now)))


def _look_s(waited_s: float, left_s: float | None) -> float:
    """Return the seconds until the next look: few at first and near the end of a run, if it is known."""
    if left_s is not None:
        return _LOOK_NEAR_END_S if left_s < _NEAR_END_S else _LOOK_S
    return min(_LOOK_S, max(_LOOK_NEAR_END_S, _LOOK_S * waited_s))
