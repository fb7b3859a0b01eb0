"""Reads the rows of the next mini-batch in a thread, while ``run()`` has those of this one."""

from __future__ import annotations

import _thread
import json
import os
import sys
import time

from .child_loop import leave_signals_to_main_thread
from .context import load
from .failures import BadInput
from .freed_memory import keep_freed_memory
from .plan_line import PlanLine
from .status_page import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from queue import SimpleQueue
    from typing import Any, Callable

    from .protocol import LineReader
    from .status_page import StatusPage

_LEAST_S = 0.001
"""Rows that are read faster are not read ahead: the thread would cost more than it saves."""

_IMPORTING = 2
"""So many mini-batches are read when they run: the first one imports pandas, the next one tells the time."""

_TRIALS = 4
_FIRST_PAUSE = 16
_LONGEST_PAUSE = 1024
"""If reading ahead saves too little in some trials, so many mini-batches are read when they run; then it
is tried again.

``run()`` may hold Python's lock all the time, so that the thread hardly gets on and only disturbs it.
"""

_LARGEST_BYTES = 32 << 20
"""Larger mini-batches are not read ahead, so that a worker never holds two of them."""

_FORK_WAIT_S = 5.0
"""A process that the script forks waits at most so long for rows that are being read.

A longer reading waits for a file system, and holds nothing that the forked process could miss.
"""

_READ_AHEAD = ("delimited", "json_lines", "parquet")
"""Formats of the tables that are read ahead."""

_CELL_BYTES = 16
"""What a value of Parquet takes in memory: its rows have no size in bytes."""


class ReadAhead:
    """The commands of a worker, and the rows of its next mini-batch.

    Only rows of tables are read ahead, and only of mini-batches that run as a whole. If they cannot be
    read, that is forgotten: they are read again when their mini-batch runs, and fail there. A process
    that the script forks waits until no rows are being read, at most `_FORK_WAIT_S`.

    Parameters
    ----------
    commands
        The commands from the node.
    page
        Shows which mini-batch is read ahead: if the worker dies, this may be the cause.
    note_load
        Receives the microseconds that each reading took.

    Attributes
    ----------
    bundle
        The mini-batches of the current bundle.
    """

    def __init__(
        self, commands: LineReader, page: StatusPage, note_load: Callable[[int], None]
    ) -> None:
        self._commands = commands
        self._page = page
        self._note_load = note_load
        self.bundle: list[list[Any]] = []
        self._is_over = False
        #: seconds for which rows were read while `run()` was not called; how often that was measured
        self._alone_s = 0.0
        self._measured = 0
        #: mini-batches to read when they run, and how many that will be next time
        self._pause = 0
        self._next_pause = _FIRST_PAUSE
        self._began = 0.0
        self._trials, self._saved_s, self._savable_s = 0, 0.0, 0.0
        #: the number of columns of the rows that were read last
        self._columns = 0
        #: to the thread: a row of a bundle to read, or None for the first one of the next command
        self._requests: SimpleQueue[Any] | None = None
        #: from it: that command, and the loaded rows
        self._read: SimpleQueue[Any]
        self._loaded: SimpleQueue[Any]
        self._reads_command = False
        self._loads = False
        #: held while rows are read, and while a process is forked; the threads that fork with it
        self._lock = _thread.allocate_lock()
        self._forking: set[int] = set()
        self._fork_wait_s = _FORK_WAIT_S

    # For the main thread

    def next_command(self) -> list[Any] | None:
        """Return the next command, or None at the end of the stream."""
        if self._reads_command:
            self._reads_command = False
            command: list[Any] | None = self._read.get()
            return command
        return self._read_command()

    def load(self, mini_batch: int, number: int, line: PlanLine) -> Any:
        """Return the argument of ``run()``, as `context.load` does."""
        if self._loads:
            self._loads = False
            due = time.monotonic()
            ahead = self._loaded.get()
            self._page.write_ahead(NONE, is_read=False)
            # A script may set an option for its own call only.
            if ahead is not None and ahead[:2] == (mini_batch, number) and ahead[3] == _options():
                self._judge(due - self._began, time.monotonic() - due)
                return ahead[2]
        loaded, seconds = self._timed(line)
        # The size is known now, and no thread reads yet.
        if not self._measured and line.table.get("format") in _READ_AHEAD:
            keep_freed_memory(self._bytes_of(line))
        # The first time includes the import of pandas.
        self._alone_s = seconds if self._measured < _IMPORTING else (self._alone_s + seconds) / 2
        self._measured += 1
        return loaded

    def _judge(self, ran_s: float, waited_s: float) -> None:
        """Pause if less than half of what could be saved was saved, in the last few mini-batches."""
        self._trials += 1
        self._saved_s += self._alone_s - waited_s
        self._savable_s += min(self._alone_s, ran_s)
        if self._trials < _TRIALS:
            return
        if self._saved_s >= self._savable_s / 2:
            self._next_pause = _FIRST_PAUSE
        else:
            self._pause = self._next_pause
            self._next_pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._trials, self._saved_s, self._savable_s = 0, 0.0, 0.0

    def begin(self, mini_batch: int) -> None:
        """Begin to read the mini-batch after the given one, if reading has taken a while so far."""
        self._pause -= self._pause > 0
        is_worth_it = self._measured >= _IMPORTING and self._alone_s >= _LEAST_S
        if self._pause or self._is_over or not is_worth_it or self._loads or self._reads_command:
            return
        requests = self._requests or self._start()
        if requests is None:
            return
        numbers = [row[0] for row in self.bundle]
        rest = self.bundle[numbers.index(mini_batch) + 1 :]
        self._loads = True
        self._reads_command = not rest
        self._began = time.monotonic()
        requests.put(rest[0] if rest else None)

    def _start(self) -> SimpleQueue[Any] | None:
        from queue import SimpleQueue  # not for files, and pandas has imported it

        requests: SimpleQueue[Any] = SimpleQueue()
        self._read, self._loaded = SimpleQueue(), SimpleQueue()
        try:
            _thread.start_new_thread(self._serve, (requests,))
        except RuntimeError:  # a limit on threads, or on memory
            self._is_over = True
            return None
        self._requests = requests
        os.register_at_fork(
            before=self._before_fork,
            after_in_parent=self._after_fork,
            after_in_child=self._after_fork_in_child,
        )
        return requests

    def _before_fork(self) -> None:
        if self._lock.acquire(timeout=self._fork_wait_s):
            self._forking.add(_thread.get_ident())
        else:
            self._is_over, self._fork_wait_s = True, 0.0

    def _after_fork(self) -> None:
        if _thread.get_ident() in self._forking:
            self._forking.remove(_thread.get_ident())
            self._lock.release()

    def _after_fork_in_child(self) -> None:
        self._forking.clear()
        if self._lock.locked():  # by this thread, or by one that does not exist here
            self._lock.release()

    def end(self) -> None:
        """Read nothing ahead any more, as memory is lacking."""
        self._is_over = True

    def _timed(self, line: PlanLine) -> tuple[Any, float]:
        """Return loaded rows, and the seconds that it took."""
        began = time.monotonic()
        loaded = load(line)
        seconds = time.monotonic() - began
        self._columns = len(getattr(loaded, "columns", ()))
        self._note_load(int(seconds * 1e6))
        return loaded, seconds

    def _read_command(self) -> list[Any] | None:
        line = self._commands.read()
        command: list[Any] | None = json.loads(line.decode("ascii")) if line else None
        return command

    # The thread

    def _serve(self, requests: SimpleQueue[Any]) -> None:
        leave_signals_to_main_thread()
        while True:
            self._serve_one(requests.get())

    def _serve_one(self, row: list[Any] | None) -> None:
        """Read the rows of a request; its answer is None if they are not to be read ahead."""
        loaded = None
        is_whole = False
        try:
            if row is None:
                command = None  # if it cannot be read, the worker ends
                try:
                    command = self._read_command()
                finally:
                    self._read.put(command)
                row = command[1][0] if command and command[0] == "run" else None
            loaded = self._loaded_row(row)
            is_whole = True
        finally:
            self._is_over = self._is_over or not is_whole
            self._loaded.put(loaded)

    def _loaded_row(self, row: list[Any] | None) -> tuple[int, int, Any, Any] | None:
        if row is None or len(row) > 3:  # it has to wait for its time
            return None
        mini_batch, number, plan_row = row
        line = PlanLine.of_row(plan_row)
        if not self._is_readable(line):
            return None
        with self._lock:
            self._page.write_ahead(mini_batch, is_read=False)
            options = _options()
            try:
                loaded, _ = self._timed(line)
            except (BadInput, MemoryError):
                return None
            self._page.write_ahead(mini_batch, is_read=True)
        return (mini_batch, number, loaded, options) if options == _options() else None

    def _is_readable(self, line: PlanLine) -> bool:
        """Return whether a mini-batch is one of rows that run as a whole, and not too large."""
        if line.table.get("format") not in _READ_AHEAD or "items" in line.extra:
            return False
        return self._bytes_of(line) <= _LARGEST_BYTES

    def _bytes_of(self, line: PlanLine) -> int:
        """Return the size of a mini-batch of rows."""
        if line.table["format"] == "parquet":
            return line.rows * self._columns * _CELL_BYTES
        size_bytes: int = sum(end - start for start, end in line.ranges)
        return size_bytes


def _options() -> list[Any]:
    """Return the options of pandas that change what is read."""
    # pd.get_option would warn of the first one, which is deprecated.
    values = getattr(sys.modules.get("pandas._config.config"), "_global_config", {})
    return [
        values.get(section, {}).get(name)
        for section, name in (("future", "infer_string"), ("mode", "string_storage"))
    ]
