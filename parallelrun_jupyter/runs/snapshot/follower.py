"""Follows a run by its folder: what every face watches."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..journal.files import JournalReader, read_state
from ..run_folder import RunFolder
from .snapshot import Snapshot, take_snapshot

POLL_S = 0.2
_FAR_BEHIND_BYTES = 1 << 18
_CACHE_S = 3.0


class Follower:
    """Folds a run's journal as it grows. Not for use by two threads at once.

    Watching costs the same at any rate: where the journal grows faster than is worth reading, the
    driver's own fold is taken, which is at most a second or two old.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.record = folder.read_record()
        self.state, offset = read_state(folder)
        self._reader = JournalReader(folder.journal, offset)

    def refresh(self) -> Snapshot:
        """Read what is new and return where the run stands."""
        snapshot = self._look()
        if snapshot["state"] == "Interrupted":
            # The driver may have written its last events between our reading and our looking at it.
            self._read()
            snapshot = self._look()
        return snapshot

    def _look(self) -> Snapshot:
        if self._reader.behind_bytes() <= _FAR_BEHIND_BYTES or not self._take_cached():
            self._read()
        return take_snapshot(self.folder, self.record, self.state)

    def _read(self) -> None:
        self.state.apply_all(self._reader.read())

    def _take_cached(self) -> bool:
        """Take the driver's fold; return whether that is recent enough to go without reading."""
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
    """Show snapshots until the run has ended or the time is over.

    Parameters
    ----------
    follower
        The run.
    show
        Called with each snapshot, the last one included.
    every_s
        Seconds between two looks.
    timeout_s
        Seconds after which to give up watching; None for never.

    Returns
    -------
    Snapshot
        The last one; ``is_final`` is False where the time was over.
    """
    until = float("inf") if timeout_s is None else time.monotonic() + timeout_s
    while True:
        snapshot = follower.refresh()
        show(snapshot)
        left_s = until - time.monotonic()
        if snapshot["is_final"] or left_s <= 0:
            return snapshot
        time.sleep(min(every_s, left_s))
