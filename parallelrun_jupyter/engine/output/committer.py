"""Makes attempts permanent: rows to a part file, the disk in between, then the journal."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor

from ...files import remove_quietly
from ...runs.journal.events import Event
from ...runs.journal.files import JournalWriter
from ...runs.output.committed_rows import part_path
from ...runs.run_folder import RunFolder

RESERVE_BYTES = 1 << 16
"""Room that is kept for the last line of the journal, on a disk that has become full."""

EVERY_S = 0.1
"""What happened is in the journal after this long; a read of the disk's queue is not for each."""


MOST_HELD_BYTES = 64 << 20
"""Rows that wait for the disk; whoever brings more waits for it as well."""


class Committer:
    """The one writer of a run's parts and journal. A thread does the waiting for the disk.

    The order is what matters: the rows of an attempt are on the disk before the journal line that
    names them, so a line never names rows that a crash took away.
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
        self._held_bytes = 0
        self._events: list[Event] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commits")
        self._pending: Future[None] | None = None
        self._begun_at = 0.0

    def keep_rows(self, rows: bytes) -> tuple[int, int]:
        """Take rows for the part file; return the part and their offset in it.

        Raises
        ------
        OSError
            So many were waiting that they had to be written first, and the disk refused.
        """
        if self._held_bytes >= MOST_HELD_BYTES:
            self._wait()
            self._write(*self._take())
        offset = self._offset
        self._rows.append(rows)
        self._held_bytes += len(rows)
        self._offset += len(rows)
        return self._part, offset

    def record(self, event: Event) -> None:
        """Take an event for the journal, behind all rows that were kept before it."""
        self._events.append(event)

    def due_at(self) -> float:
        """Return the ``time.monotonic()`` at which ``step`` is wanted."""
        return self._begun_at + EVERY_S if self._events or self._pending else float("inf")

    def step(self) -> None:
        """Begin to write what has gathered, when it is time and the last writing is done.

        Raises
        ------
        OSError
            The disk refused; what the journal holds by then is true.
        """
        now = time.monotonic()
        if now < self._begun_at + EVERY_S:
            return
        if self._pending is not None:
            if not self._pending.done():
                self._begun_at = now
                return
            self._pending.result()
            self._pending = None
        if self._events:
            self._begun_at = now
            self._pending = self._thread.submit(self._write, *self._take())

    def flush(self) -> int:
        """Write all that has gathered, wait for it, and return the size of the journal."""
        self._wait()
        self._write(*self._take())
        self._journal.sync()
        return self._journal.size_bytes()

    def last_word(self, event: Event) -> None:
        """Record an event after the disk has refused: the reserve makes room for it.

        What had gathered is given up; it is not in the journal, and will be done again.

        Raises
        ------
        OSError
            There is no room even so.
        """
        self._thread.shutdown()
        self._pending = None
        self._take()
        self._reserve.unlink(missing_ok=True)
        self._journal.append([event])

    def close(self) -> None:
        """Close the files, without writing what was not flushed."""
        self._thread.shutdown()
        remove_quietly(self._reserve)
        if self._fd >= 0:
            os.close(self._fd)
        self._journal.close()

    def _wait(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _take(self) -> tuple[list[bytes], list[Event]]:
        taken = self._rows, self._events
        self._rows, self._events = [], []
        self._held_bytes = 0
        return taken

    def _write(self, rows: list[bytes], events: list[Event]) -> None:
        if rows:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o600)
            data = memoryview(b"".join(rows))
            while data:
                data = data[os.write(self._fd, data) :]
            os.fsync(self._fd)
        self._journal.append(events)
