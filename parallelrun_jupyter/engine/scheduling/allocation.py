"""Allocation of mini-batches to nodes: the interface of a strategy, and the default, `Pending`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple, Protocol, TypeAlias

from ...runs.journal.events import IN_STORE, AttemptSucceeded, ItemsFailed, ItemsSucceeded
from ...runs.journal.state import LEFT, RunState
from .actions import Piece

_LEFT = bytes([LEFT])


class Span(NamedTuple):
    """``size`` consecutive mini-batches, all at the same attempt."""

    first: int
    size: int
    attempt: int


Result: TypeAlias = AttemptSucceeded | ItemsSucceeded


class Finished(NamedTuple):
    """A mini-batch whose items are all answered: its results in input order, and its failed items.

    It is a named tuple because a run has millions.
    """

    mini_batch: int
    results: tuple[Result, ...]
    failures: tuple[ItemsFailed, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of its rows."""
        results = self.results
        return results[0].length if len(results) == 1 else sum(event.length for event in results)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Consecutive finished mini-batches whose rows ``node`` uploads as one part of the output."""

    first: int
    node: str
    #: by mini-batch, in the order in which they finished
    finished: dict[int, Finished]
    size_bytes: int

    def pieces(self) -> tuple[Piece, ...]:
        """Return the rows to upload, in input order."""
        return tuple(
            (mini_batch, event.offset, event.length, event.crc)
            for mini_batch, finished in sorted(self.finished.items())
            for event in finished.results
            if event.length
        )

    def committed(self) -> list[Result]:
        """Return the events of the results once the part is stored."""
        stored: dict[int, list[Result]] = {}
        offset = 0
        for mini_batch, finished in sorted(self.finished.items()):
            stored[mini_batch] = events = []
            for event in finished.results:
                events.append(event._replace(part=IN_STORE, offset=offset))
                offset += event.rows
        return [event for mini_batch in self.finished for event in stored[mini_batch]]

    def failures(self) -> list[ItemsFailed]:
        """Return the events of the failed items, to be recorded once the part is stored."""
        return [event for finished in self.finished.values() for event in finished.failures]


class Allocation(Protocol):
    """Decides which mini-batches a node gets next.

    It is true while a mini-batch waits for a retry or for the upload of its rows. `Assignments`
    counts the running attempts.
    """

    uploads_parts: bool
    """Whether nodes upload their rows in parts. A finished attempt then counts as succeeded when
    its part is stored, not before. Otherwise the driver receives the rows."""

    def __bool__(self) -> bool:
        """Return whether a mini-batch waits for a retry or an upload."""

    @property
    def is_exhausted(self) -> bool:
        """Whether no node can receive a mini-batch. Read after `next` has returned nothing."""

    @property
    def is_uploading(self) -> bool:
        """Whether a part is being uploaded."""

    @property
    def finished_items(self) -> int:
        """Items of mini-batches that have finished, and whose rows are not stored yet."""

    def resume(self, retries: Sequence[int], *, only_these: bool) -> None:
        """Queue the mini-batches of a resume.

        Parameters
        ----------
        retries
            The mini-batches to retry, in increasing order.
        only_these
            Allocate no others.
        """

    def end_plan(self) -> None:
        """Record that the plan is complete: ``RunState.planned`` is final."""

    def next(self, node: str, room: int, now_ms: int, /) -> list[Span]:
        """Return up to ``room`` mini-batches for a node to run."""

    def hold(self, finished: Finished, /) -> None:
        """Store a finished mini-batch until its rows are uploaded; only if ``uploads_parts``."""

    def requeue(self, mini_batches: Iterable[int], due_ms: int = 0, /) -> None:
        """Allocate mini-batches again, after a failed attempt or because a node returned them.

        ``due_ms`` is the time before which they are not allocated; 0 for none.
        """

    def start_over(self, mini_batches: Sequence[int], /) -> None:
        """Allocate these again, and let none of the others wait; not if ``uploads_parts``."""

    def drop(self, mini_batch: int, /) -> None:
        """Forget a mini-batch that has failed for good."""

    def withhold(self, mini_batch: int, /) -> None:
        """Leave out a mini-batch that was not allocated yet; not if ``uploads_parts``."""

    def stop_withholding(self) -> None:
        """Leave none out any more; all others are done, and `requeue` follows for those left out."""

    def node_lost(self, node: str, /) -> None:
        """Allocate again the mini-batches that a lost node had not uploaded."""

    def release(self, node: str, /) -> None:
        """Upload the rows that an idle node holds; other nodes can run the rest."""

    def ready_parts(self) -> list[Part]:
        """Return the parts whose upload can start; each is returned once."""

    def part_stored(self, first: int, node: str, /) -> Part | None:
        """Return the part that a node has uploaded; None if the node had lost it."""


class Pending:
    """Pending mini-batches, for any node: retries first, then those not assigned yet.

    After a resume, the failures of earlier drivers come last: first the mini-batches without a
    single answer, then the least tried ones. If one fails again, and ends the run by its limits, the
    next resume begins with others. The driver receives the rows, so nodes upload nothing.

    Parameters
    ----------
    state
        The fold of the journal.
    """

    uploads_parts = False
    is_uploading = False
    finished_items = 0

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._only_retries = False
        self._retries: deque[int] = deque()
        #: failures of earlier drivers
        self._earlier: deque[int] = deque()
        #: a heap of (time, mini-batch) of retries that wait for a time
        self._delayed: list[tuple[int, int]] = []
        #: the first mini-batch that was never assigned
        self._next = 0
        #: 1 for each mini-batch to leave out
        self._withheld = bytearray()

    def __bool__(self) -> bool:
        """Return whether a retry is pending."""
        return bool(self._retries or self._delayed or self._earlier)

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is pending; all nodes share the same queue."""
        return True

    def resume(self, retries: Sequence[int], *, only_these: bool) -> None:
        """Queue the retries."""
        answers, tries = self._state.answers, self._state.tries
        self._earlier.extend(sorted(retries, key=lambda k: (k in answers, tries.get(k, 0))))
        self._only_retries = only_these

    def next(self, _node: str, room: int, now_ms: int, /) -> list[Span]:
        """Return up to ``room`` mini-batches."""
        while self._delayed and self._delayed[0][0] <= now_ms:
            self._retries.append(heappop(self._delayed)[1])
        spans: list[Span] = []
        while room > 0 and self._retries:
            spans.append(self._again(self._retries.popleft()))
            room -= 1
        count = self._count_unassigned(room) if room > 0 and not self._only_retries else 0
        if count > 0:
            while count > 0:
                spans.append(Span(self._next, count, 1))
                self._next += count
                room -= count
                # Those that are withheld may be every second one.
                count = self._count_unassigned(room) if room > 0 and self._withheld else 0
        elif self._state.plan_finished:
            while room > 0 and self._earlier:
                mini_batch = self._earlier.popleft()
                if not self._is_withheld(mini_batch):
                    spans.append(self._again(mini_batch))
                    room -= 1
        return spans

    def _again(self, mini_batch: int) -> Span:
        return Span(mini_batch, 1, self._state.tries.get(mini_batch, 0) + 1)

    def _count_unassigned(self, room: int) -> int:
        """Return how many of the next ``room`` mini-batches are consecutive and unassigned."""
        planned, statuses = self._state.planned, self._state.statuses
        while self._next < min(planned, len(statuses)) and statuses[self._next] != LEFT:
            self._next += 1  # after a resume: done already, or among the retries
        end = min(self._next + room, planned)
        if self._withheld:
            end = self._end_before_withheld(room)
        recorded = statuses[self._next : end]
        count = len(recorded) - len(recorded.lstrip(_LEFT))
        return end - self._next if count == len(recorded) else count

    def _end_before_withheld(self, room: int) -> int:
        """Move to the next mini-batch to run; return the end of the next ones, without gaps."""
        planned, statuses = self._state.planned, self._state.statuses
        first = self._next
        while first < planned and (
            self._is_withheld(first) or (first < len(statuses) and statuses[first] != LEFT)
        ):
            first += 1
        self._next = first
        end = min(first + room, planned)
        gap = self._withheld.find(1, first, end)
        return end if gap < 0 else gap

    def _is_withheld(self, mini_batch: int) -> bool:
        return mini_batch < len(self._withheld) and self._withheld[mini_batch] == 1

    def withhold(self, mini_batch: int, /) -> None:
        """Leave a mini-batch out."""
        missing = mini_batch + 1 - len(self._withheld)
        if missing > 0:
            self._withheld.extend(bytes(missing))
        self._withheld[mini_batch] = 1

    def stop_withholding(self) -> None:
        """Leave none out any more."""
        self._earlier = deque(k for k in self._earlier if not self._is_withheld(k))
        self._withheld = bytearray()
        self._next = self._state.planned

    def requeue(self, mini_batches: Iterable[int], due_ms: int = 0, /) -> None:
        """Queue mini-batches behind the other retries, from a time on."""
        if not due_ms:
            self._retries.extend(mini_batches)
            return
        for mini_batch in mini_batches:
            heappush(self._delayed, (due_ms, mini_batch))

    def start_over(self, mini_batches: Sequence[int], /) -> None:
        """Queue these, and those that were queued already, without a delay."""
        queued = {*mini_batches, *self._retries, *self._earlier, *(k for _, k in self._delayed)}
        self._delayed.clear()
        self._earlier.clear()
        self._retries = deque(sorted(queued))
        self._only_retries = False

    def ready_parts(self) -> list[Part]:
        """Return nothing: the driver has the rows."""
        return []

    def part_stored(self, first: int, node: str, /) -> None:
        """Return None: no node uploads parts."""

    def hold(self, finished: Finished, /) -> None:
        """Do nothing; a finished attempt has succeeded."""

    def end_plan(self) -> None:
        """Do nothing."""

    def drop(self, mini_batch: int, /) -> None:
        """Do nothing."""

    def node_lost(self, node: str, /) -> None:
        """Do nothing: the driver has the rows of all finished attempts."""

    def release(self, node: str, /) -> None:
        """Do nothing."""
