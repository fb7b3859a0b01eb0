"""Commits attempts: first the rows, synced to the disk, then their journal lines."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor

from ...files import remove_quietly, write_all
from ...runs.journal.events import Event
from ...runs.journal.files import JournalWriter
from ...runs.output.committed_rows import part_path
from ...runs.run_folder import RunFolder

RESERVE_BYTES = 1 << 16
"""Disk space reserved for the last line of the journal, in case the disk is full."""

EVERY_S = 0.1
_FIRST_EVERY_S = 0.01
"""Seconds between two commits: one sync of the disk for all events in that time."""

_SHARE_OF_AGE = 0.1
"""In the first second commits are this share of the time so far apart: its results are waited for."""

MAX_PENDING_BYTES = 64 << 20
"""Upper bound of rows in memory; beyond it `Committer.keep_rows` waits for the disk."""


def interval_s(age_s: float) -> float:
    """Return the seconds between two commits, for a committer of an age in seconds."""
    return min(EVERY_S, max(_FIRST_EVERY_S, _SHARE_OF_AGE * age_s))


class Committer:
    """The only writer of a run's part file and journal; a thread waits for the disk.

    The rows of an attempt are on the disk before the journal line that refers to them, so that no
    line refers to rows lost in a crash.

    Parameters
    ----------
    folder
        The run.
    part
        The number of the part file.
    """

    def __init__(self, folder: RunFolder, part: int) -> None:
        self._journal = JournalWriter(folder.journal)
        self._path = part_path(folder, part)
        self._reserve = folder.path / "reserve"
        self._reserve.write_bytes(bytes(RESERVE_BYTES))
        self._fd = -1
        self._part = part
        self._offset = 0
        self._rows: list[bytes] = []
        self._pending_bytes = 0
        #: bytes of the part file that are on the disk
        self.written_bytes = 0
        self._events: list[Event] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commits")
        self._commit: Future[None] | None = None
        self._made_at = time.monotonic()
        #: when the next commit may start
        self._next_at = 0.0

    @property
    def kept_bytes(self) -> int:
        """Bytes of the part file, with those that are not written yet."""
        return self._offset

    def keep_rows(self, rows: bytes) -> tuple[int, int]:
        """Add rows to the part file; return its number and their offset.

        Raises
        ------
        OSError
            The rows in memory had to be written first, and the disk refused them.
        """
        if self._pending_bytes >= MAX_PENDING_BYTES:
            self._wait()
            self._write(*self._pop_uncommitted())
        offset = self._offset
        self._rows.append(rows)
        self._pending_bytes += len(rows)
        self._offset += len(rows)
        return self._part, offset

    def record(self, event: Event) -> None:
        """Add an event to the journal, after all rows that were added before it."""
        self._events.append(event)

    def due_at(self) -> float:
        """Return the ``time.monotonic()`` at which to call `step`."""
        return self._next_at if self._events or self._commit else float("inf")

    def step(self) -> None:
        """Start a commit if it is due and the previous one is done.

        Raises
        ------
        OSError
            The disk refused the previous commit; the journal is still valid.
        """
        now = time.monotonic()
        if now < self._next_at:
            return
        next_at = now + interval_s(now - self._made_at)
        if self._commit is not None:
            if not self._commit.done():
                self._next_at = next_at
                return
            self._commit.result()
            self._commit = None
        if self._events:
            self._next_at = next_at
            self._commit = self._thread.submit(self._write, *self._pop_uncommitted())

    def commit_all(self) -> None:
        """Commit everything now: all rows are on the disk, and all events can be read."""
        self._wait()
        self._write(*self._pop_uncommitted())

    def flush(self) -> int:
        """Do as `commit_all`, wait until the events are on the disk, and return their size in bytes."""
        self.commit_all()
        self._journal.sync()
        return self._journal.size_bytes()

    def record_end(self, event: Event) -> None:
        """Record the last event after the disk has refused a commit; the reserved space holds it.

        Uncommitted rows and events are dropped: a resume runs these mini-batches again.

        Raises
        ------
        OSError
            The disk refuses this event as well.
        """
        self._thread.shutdown()
        self._commit = None
        self._pop_uncommitted()
        self._reserve.unlink(missing_ok=True)
        self._journal.append([event])

    def close(self) -> None:
        """Close the files; uncommitted rows and events are dropped."""
        self._thread.shutdown()
        remove_quietly(self._reserve)
        if self._fd >= 0:
            os.close(self._fd)
        self._journal.close()

    def _wait(self) -> None:
        if self._commit is not None:
            self._commit.result()
            self._commit = None

    def _pop_uncommitted(self) -> tuple[list[bytes], list[Event]]:
        uncommitted = self._rows, self._events
        self._rows, self._events = [], []
        self._pending_bytes = 0
        return uncommitted

    def _write(self, rows: list[bytes], events: list[Event]) -> None:
        if rows:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o600)
            data = b"".join(rows)
            write_all(self._fd, data)
            os.fsync(self._fd)
            self.written_bytes += len(data)
        self._journal.append(events)
