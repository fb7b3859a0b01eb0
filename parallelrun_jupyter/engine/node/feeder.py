"""Assigns a node's mini-batches to its workers, and sizes the prefetch to a fixed time of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain
from math import ceil

from .worker_process import LATE_S, Assignment, WorkerProcess

PREFETCH_S = 0.030
"""Workers prefetch this many seconds of work, so that they never wait for a message.

A worker reports when half of it is done, and has the next mini-batches in time. Of longer mini-batches
only the next one is prefetched, if a worker can read its rows meanwhile.
"""

_LOAD_SHARE = 0.03
"""Rows are read ahead if reading takes at least this share of the time of a mini-batch."""

_LATE_RATIO = 3
"""A mini-batch that takes so many times as long as the last ones is late: others get what waits for it."""

_LONGEST_FAR_S = 1.0
"""Longer mini-batches are not prefetched to a node of a cluster, which others could run near the end."""

_FEW = 8
_FEW_S = 0.1
"""A worker may hold so many shorter ones if they fit into this time, since each message costs a share of it.

Others wait no longer for one of them that takes long than those of `PREFETCH_S` do.
"""

MAX_PREFETCH = 2048
_SMOOTHING = 0.2

_SUSPECT_GROUPS = 8
"""Calls of which one may have ended their worker run again in so many groups, one group at a time.

A group that ends its worker, too, is divided again: the cause is found after a few ends, and if there was
none, such as after a kill from outside, the others run again within the time of some calls.
"""


def prefetch_depth(depth: int, run_s: float, done: int, load_s: float = 0.0) -> int:
    """Return how many mini-batches a worker may hold.

    Parameters
    ----------
    depth
        The current depth, which at most doubles.
    run_s
        Mean seconds of the last mini-batches.
    done
        Their number.
    load_s
        Mean seconds in which a worker read their rows, 0 without tables.
    """
    if run_s >= PREFETCH_S:
        return 2 if load_s >= _LOAD_SHARE * run_s else 1
    fitting = max(ceil(PREFETCH_S / run_s), min(_FEW, ceil(_FEW_S / run_s)))
    return min(MAX_PREFETCH, fitting, 2 * max(depth, done))


def latency_allowance(workers: int, run_s: float, latency_s: float) -> int:
    """Return how many mini-batches a node holds in addition, to bridge the latency of its driver.

    It is the work of ``workers`` during ``latency_s``, the time of a round trip, rounded down to a
    power of two, so that small changes of the times do not change it.
    """
    if latency_s <= 0 or run_s <= 0:
        return 0
    count = min(MAX_PREFETCH, int(workers * latency_s / run_s))
    return 1 << (count.bit_length() - 1) if count else 0


class Feeder:
    """The backlog of a node: mini-batches that it holds but has not sent to a worker yet.

    Parameters
    ----------
    workers
        The workers of the node; the node updates this list.
    """

    def __init__(self, workers: Sequence[WorkerProcess]) -> None:
        self._workers = workers
        self._backlog: deque[tuple[int, Assignment]] = deque()
        #: calls that were in flight when their worker died of one of them, in groups
        self._suspects: deque[list[tuple[int, Assignment]]] = deque()
        self._offered = -1
        self.is_paused = False
        #: recent mean of the seconds that a mini-batch takes
        self.mean_run_s = 0.0
        #: seconds of a round trip to the driver
        self.latency_s = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether the backlog is empty."""
        return not (self._backlog or self._suspects)

    def add(self, mini_batches: Iterable[tuple[int, Assignment]]) -> None:
        """Append mini-batches to the backlog, and feed the workers."""
        self._backlog.extend(mini_batches)
        self.feed_all()

    def requeue(self, mini_batches: Iterable[tuple[int, Assignment]]) -> None:
        """Return the mini-batches of a lost worker to the front of the backlog."""
        self._backlog.extendleft(reversed(list(mini_batches)))

    def withdraw_late(self, now: float) -> None:
        """Give the mini-batches that wait behind a long one to other workers."""
        for worker in self._workers:
            withdrawn = worker.withdraw(now)
            if withdrawn:
                self.requeue(withdrawn)
                self.feed_all()

    def suspect(self, mini_batches: Iterable[tuple[int, Assignment]]) -> None:
        """Return mini-batches to the front, of which one may have ended its worker.

        They run in groups, each without others.
        """
        calls = list(mini_batches)
        size = max(1, ceil(len(calls) / _SUSPECT_GROUPS))
        self._suspects.extend(calls[k : k + size] for k in range(0, len(calls), size))

    def clear(self) -> list[tuple[int, Assignment]]:
        """Empty the backlog and return it."""
        backlog = [*chain.from_iterable(self._suspects), *self._backlog]
        self._suspects.clear()
        self._backlog.clear()
        return backlog

    def feed_all(self) -> None:
        """Feed all workers."""
        for worker in self._ready_workers():
            if self.is_empty:
                return
            self.feed(worker)

    def feed(self, worker: WorkerProcess) -> None:
        """Fill a worker up if it holds at most half of its prefetch depth."""
        held = len(worker.assigned)
        if worker.kill_reason or worker.is_late:
            return
        if self._suspects:  # without others, so that the worker's next end tells more of its cause
            if not held:
                worker.assign(self._suspects.popleft())
            return
        enough = worker.prefetch // 2 if worker.concurrency == 1 else worker.prefetch - 1
        if not self._backlog or held > enough:
            return
        # Near the end all workers hold the same number, so that they finish together.
        all_held = [len(each.assigned) for each in self._ready_workers()] or [held]
        backlog = len(self._backlog)
        fair = ceil((backlog + sum(all_held)) / len(all_held))
        hungry = sum(each < fair for each in all_held)
        count = min(worker.prefetch - held, fair - held, ceil(backlog / max(1, hungry)))
        if worker.concurrency == 1 and held + count > 1 and self.mean_run_s >= PREFETCH_S:
            # Another worker may be free before this one: near the end it gets these mini-batches.
            count = min(count, max(1 - held, backlog - len(all_held)))
        if count > 0:
            worker.assign([self._backlog.popleft() for _ in range(count)])

    def on_done(
        self,
        worker: WorkerProcess,
        mean_s: float,
        longest_s: float,
        count: int,
        load_s: float = 0.0,
    ) -> None:
        """Adapt the prefetch depth to a bundle that a worker has finished, and feed the worker.

        Parameters
        ----------
        worker
            The worker.
        mean_s, longest_s
            Seconds: the mean of the bundle's mini-batches, overhead included, and the longest one.
        count
            Their number.
        load_s
            Mean seconds in which their rows were read.
        """
        run_s = max(mean_s, longest_s / 2, 1e-6)
        self.mean_run_s += (run_s - self.mean_run_s) * (_SMOOTHING if self.mean_run_s else 1)
        if worker.concurrency == 1:
            if self.latency_s and run_s > _LONGEST_FAR_S:
                load_s = 0.0
            worker.prefetch = prefetch_depth(worker.prefetch, run_s, count, load_s)
            worker.late_after_s = max(LATE_S, _LATE_RATIO * run_s)
        self.feed(worker)

    def new_capacity(self, staged_ahead: int) -> int | None:
        """Return how many mini-batches the node can hold; None if that has not changed.

        Parameters
        ----------
        staged_ahead
            The number of mini-batches that are staged ahead.
        """
        workers = self._ready_workers()
        # Twice the depth of the workers: one share is in their pipes, and one refills them.
        capacity = sum(
            w.prefetch if w.prefetch == 1 or w.concurrency > 1 else 2 * w.prefetch for w in workers
        )
        capacity += staged_ahead
        capacity += latency_allowance(len(workers), self.mean_run_s, self.latency_s)
        capacity = 0 if self.is_paused else capacity
        if capacity == self._offered:
            return None
        self._offered = capacity
        return capacity

    def _ready_workers(self) -> list[WorkerProcess]:
        return [w for w in self._workers if w.is_ready and not (w.kill_reason or w.is_late)]
