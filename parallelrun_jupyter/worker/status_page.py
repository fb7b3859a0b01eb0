"""A page of shared memory with a worker's current activity, which the node reads.

It costs no message, so the worker writes it at every mini-batch, and a script as often as it likes. It
outlives a killed worker: even after a SIGKILL the node can read the running mini-batch, its start, and
the item. Times are ``time.monotonic()``, one clock for all processes of a machine.
"""

from __future__ import annotations

import itertools
import mmap
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

STARTING, INIT, WAITING, LOADING, RUNNING, STOPPING = range(6)
PHASES = ("starting", "init", "waiting", "loading", "running", "stopping")
SIZE = 288
_ACTIVITY = struct.Struct("=QqqdQ")  # sequence, phase, mini-batch, since, sequence again
_PROGRESS = struct.Struct("=QQqqqqdQ")  # sequence, that of the activity, progress, sequence
_CALLS = struct.Struct("=QQqdQ")  # sequence, calls in flight, the oldest, its start, sequence
_BEAT = struct.Struct("=QqdQ")  # sequence, the call whose code runs, time of the beat, sequence
_AHEAD = struct.Struct("=QqqQ")  # sequence, the mini-batch that is read ahead, 1 if read, sequence
_SEQUENCE = struct.Struct("=Q")
_PROGRESS_AT = 64
_CALLS_AT = 128
_BEAT_AT = 192
_RETURNS_AT = 232
_WITHDRAWN_AT = 240
_AHEAD_AT = 256
_PROGRESS_OF = _PROGRESS_AT + _SEQUENCE.size
_TRIES = 50

NONE = -1
"""In place of a position or a total that is unknown."""


class StatusPage:
    """One worker's page, over an inherited descriptor of ``SIZE`` bytes.

    It has five records. That of the activity is written for each mini-batch. That of the progress
    within a call of ``run()`` names the activity by its sequence number, so that it ends with the call
    and nothing need clear it. Two more are of workers with several calls in flight, and one of those
    that read the next mini-batch ahead. Two numbers are of withdrawn bundles; the node writes one of
    them.

    Attributes
    ----------
    sequence
        Number of the activity that this process wrote last.
    """

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, SIZE)
        self.sequence = 0
        self._next = itertools.count(1).__next__  # threads of the script may write at once
        self._last: Any = (0, STARTING, -1, 0.0, 0)
        self._last_progress: Any = (0, 0)
        self._last_calls: Any = (0, 0, NONE, 0.0, 0)
        self._last_beat: Any = (0, NONE, 0.0, 0)
        self._last_ahead: Any = (0, NONE, 0, 0)

    def write(self, phase: int, mini_batch: int, since: float) -> None:
        """Publish the phase, the mini-batch (-1 for none) and their start."""
        self.sequence += 1
        _ACTIVITY.pack_into(self._map, 0, self.sequence, phase, mini_batch, since, self.sequence)

    def write_progress(self, activity: int, progress: tuple[int, int, int, int, float]) -> None:
        """Publish the progress within a call of ``run()``.

        Parameters
        ----------
        activity
            The sequence number of the call.
        progress
            How much is done; of how much (-1 if unknown); 1 if these count the items of the
            mini-batch, 0 if the script counts something else; the position in the mini-batch of the
            item that runs, or -1; and its start, from which the time limit counts, 0 without one.
        """
        number = self._next()
        _PROGRESS.pack_into(self._map, _PROGRESS_AT, number, activity, *progress, number)

    def write_calls(self, in_flight: int, oldest: int, since: float) -> None:
        """Publish the number of calls in flight, and the mini-batch and start of the oldest one."""
        number = self._next()
        _CALLS.pack_into(self._map, _CALLS_AT, number, in_flight, oldest, since, number)

    def write_beat(self, current: int, now: float) -> None:
        """Publish that the event loop runs, and the mini-batch whose code it runs now; -1 for none."""
        number = self._next()
        _BEAT.pack_into(self._map, _BEAT_AT, number, current, now, number)

    def write_ahead(self, mini_batch: int, *, is_read: bool) -> None:
        """Publish the mini-batch that is read ahead, -1 for none, and whether all of it is in memory."""
        number = self._next()
        _AHEAD.pack_into(self._map, _AHEAD_AT, number, mini_batch, is_read, number)

    def read_ahead(self) -> tuple[int, bool]:
        """Return (mini_batch, is_read) as `write_ahead` has published them last; -1 for none."""
        self._last_ahead = self._read(_AHEAD, _AHEAD_AT) or self._last_ahead
        _, mini_batch, is_read, _ = self._last_ahead
        return mini_batch, bool(is_read)

    def read_calls(self) -> tuple[int, int, float]:
        """Return (in_flight, oldest, since) of a worker that makes several calls at once."""
        self._last_calls = self._read(_CALLS, _CALLS_AT) or self._last_calls
        _, in_flight, oldest, since, _ = self._last_calls
        return in_flight, oldest, since

    def read_beat(self) -> tuple[int, float]:
        """Return (current, time) as `write_beat` has published them last; the time is 0 without a loop."""
        self._last_beat = self._read(_BEAT, _BEAT_AT) or self._last_beat
        _, current, at, _ = self._last_beat
        return current, at

    def read(self) -> tuple[int, int, float]:
        """Return (phase, mini_batch, since_s) as last published.

        A half-written page returns its last whole value; the next read gets the new one.
        """
        self._last = self._read(_ACTIVITY, 0) or self._last
        _, phase, mini_batch, since, _ = self._last
        return phase, mini_batch, since

    def read_progress(self) -> tuple[int, int, int, int, float] | None:
        """Return (done, of, counts_items, item, clock), or None without progress.

        It belongs to the activity that `read` has returned last.
        """
        # Most scripts tell no progress, and the node asks often.
        if _SEQUENCE.unpack_from(self._map, _PROGRESS_OF)[0] != self._last[0]:
            return None
        self._last_progress = self._read(_PROGRESS, _PROGRESS_AT) or self._last_progress
        is_of_activity = 0 < self._last_progress[1] == self._last[0]
        return self._last_progress[2:-1] if is_of_activity else None

    def allow_withdrawal(self) -> None:
        """Publish that the worker returns mini-batches of withdrawn bundles."""
        _SEQUENCE.pack_into(self._map, _RETURNS_AT, 1)

    @property
    def allows_withdrawal(self) -> bool:
        """Whether the worker returns mini-batches of withdrawn bundles."""
        return bool(_SEQUENCE.unpack_from(self._map, _RETURNS_AT)[0])

    def withdraw(self, bundles: int) -> None:
        """Withdraw what the worker has not begun of its first ``bundles`` bundles; the node calls this.

        A worker looks at it after each long attempt, when it has published the end of that. So if the
        page still shows the same attempt afterwards, no other one of these bundles will begin.
        """
        _SEQUENCE.pack_into(self._map, _WITHDRAWN_AT, bundles)

    @property
    def withdrawn(self) -> int:
        """How many bundles the node has withdrawn."""
        return int(_SEQUENCE.unpack_from(self._map, _WITHDRAWN_AT)[0])

    def _read(self, record: struct.Struct, offset: int) -> Any:
        """Return the fields of a record, with its sequence numbers; None if it is not whole.

        Both sequence numbers are equal in a copy that a write has overtaken in the middle, but then
        a second copy differs.
        """
        fields = record.unpack_from(self._map, offset)
        for _ in range(_TRIES):
            last, fields = fields, record.unpack_from(self._map, offset)
            if last == fields and 0 < fields[0] == fields[-1]:
                return fields
        return None

    def close(self) -> None:
        """Release the memory."""
        self._map.close()
