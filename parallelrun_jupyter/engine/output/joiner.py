"""Joins the rows of a large output while the run goes on, so that little is left to do at its end."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

from ...errors import OutputError, RunFolderError
from ...files import remove_quietly
from ...runs.journal.state import FAILED, PARTLY, SUCCEEDED, RunState
from ...runs.output.committed_rows import CommittedRows, read_committed
from ...runs.output.merge import merge_rows
from ...runs.output.output_writer import writing
from ...runs.removal import remove_joined
from ...runs.run_folder import RunFolder
from ...worker.output.formats import PARQUET
from .committer import Committer

LEAST_BYTES = 32 << 20
"""Smaller outputs are written at the end: that takes a tenth of a second."""

_EVERY_S = 0.25
_DONE = bytes([SUCCEEDED, FAILED, PARTLY])
_AT_ONCE = 1 << 16


class _NotNeeded(Exception):
    """The run has ended without an output."""


class Joiner:
    """Writes the rows of finished mini-batches to a file in the run folder, in input order, in a thread.

    The file becomes the output file when the run publishes. Whatever fails before is no error: the output
    is then written at the end, from the part files.

    Parameters
    ----------
    folder
        The run.
    rows
        The committed rows.
    target, form
        The output file and its format. None: rows are not written to one file.
    """

    def __init__(
        self, folder: RunFolder, rows: CommittedRows, target: Path | None, form: str
    ) -> None:
        self._folder = folder
        self._rows = rows
        self._target = target
        self._form = form
        self._temporary = folder.joined
        remove_quietly(self._temporary)  # an earlier driver may have been killed
        #: whether nothing is to be joined, or not any more
        self._is_over = target is None or form == PARQUET or not _may_rename(folder.path, target)
        self._step_at = 0.0
        #: the number of the first mini-batch that is not done
        self._end = 0
        self._done_bytes = 0
        #: mini-batches and bytes of the part file to wait for: the rows of these are in those
        self._due: tuple[int, int] | None = None
        self._ends: SimpleQueue[int | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        #: the drops of rows before the thread has started: later ones may be of rows that were joined
        self._drops = 0
        self._size_bytes = -1

    def step(self, state: RunState, committer: Committer) -> None:
        """Hand the rows to the thread that are committed, and whose predecessors are, too."""
        now = time.monotonic()
        if self._is_over or now < self._step_at:
            return
        self._step_at = now + _EVERY_S
        if self._due is not None:
            end, size_bytes = self._due
            if committer.written_bytes < size_bytes:
                return
            self._ends.put(end)
            self._due = None
        done = state.statuses[self._end : self._end + _AT_ONCE]
        end = self._end + len(done) - len(done.lstrip(_DONE))
        if end == self._end:
            return
        self._done_bytes += self._rows.size_bytes(self._end, end)
        self._end = end
        if self._thread is None:
            if self._done_bytes < LEAST_BYTES:
                return
            self._drops = self._rows.drops
            self._thread = threading.Thread(target=self._join, name="joiner", daemon=True)
            self._thread.start()
        self._due = end, committer.kept_bytes

    def publish(self) -> int | None:
        """Join the rest, and let the file become the output file, when all rows are on the disk.

        Returns
        -------
        int or None
            Its size; None if it was not joined.
        """
        if self._thread is None or self._is_over or self._target is None:
            return None
        self._ends.put(None)
        self._thread.join()
        self._is_over = True
        if self._size_bytes < 0 or self._rows.drops != self._drops:
            return None
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.replace(self._target)
        except OSError:
            return None
        return self._size_bytes

    def close(self) -> None:
        """End the thread, and remove what was not published."""
        self._is_over = True
        if self._thread is not None:
            self._ends.put(-1)
            self._thread.join()
        remove_quietly(self._temporary)

    # The thread

    def _join(self) -> None:
        try:
            remove_joined()  # this run needs space, too
            with writing(self._folder, self._temporary) as writer:
                notes, places = writer.notes.add, writer.places.add
                for data in merge_rows(self._pieces, self._form, notes, places):
                    writer.write(data)
                    writer.start_flush()
            self._size_bytes = writer.size_bytes
        except (OutputError, RunFolderError, OSError, _NotNeeded):
            self._is_over = True
            remove_quietly(self._temporary)  # the part files may need the space

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        first = 0
        while (end := self._ends.get()) is not None:
            if end < 0:
                raise _NotNeeded
            yield from read_committed(self._folder, self._rows, first, end)
            first = end
        yield from read_committed(self._folder, self._rows, first)


def _may_rename(folder: Path, target: Path) -> bool:
    """Return whether a file of the run folder becomes what a file that is made at the target would be."""
    parent = next((each for each in target.parents if each.exists()), None)
    if parent is None:
        return False
    status = os.stat(parent)
    if status.st_dev != os.stat(folder).st_dev or status.st_mode & stat.S_ISGID:
        return False
    try:
        return not os.getxattr(parent, "system.posix_acl_default")
    except (OSError, AttributeError):  # there are no rights to inherit, or this is not Linux
        return True
