"""Allocation of mini-batches to nodes: the interface of a strategy, and the default, `Pending`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ...runs.journal.events import IN_STORE, AttemptSucceeded
from ...runs.journal.state import LEFT, RunState
from .signals import Piece

_LEFT = bytes([LEFT])


class Span(NamedTuple):
    """``size`` consecutive mini-batches, all at the same attempt."""

    first: int
    size: int
    attempt: int


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Consecutive finished mini-batches whose rows ``node`` uploads as one part of the output."""

    first: int
    node: str
    #: by mini-batch, in the order in which they finished
    successes: dict[int, AttemptSucceeded]
    size_bytes: int

    def pieces(self) -> tuple[Piece, ...]:
        """Return the rows to upload, in input order."""
        return tuple(
            (mini_batch, event.offset, event.length, event.crc)
            for mini_batch, event in sorted(self.successes.items())
            if event.length
        )

    def committed(self) -> list[AttemptSucceeded]:
        """Return the events of the attempts once the part is stored."""
        offsets, offset = {}, 0
        for mini_batch, event in sorted(self.successes.items()):
            offsets[mini_batch] = offset
            offset += event.rows
        return [
            event._replace(part=IN_STORE, offset=offsets[mini_batch])
            for mini_batch, event in self.successes.items()
        ]


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

    def next(self, node: str, room: int, /) -> list[Span]:
        """Return up to ``room`` mini-batches for a node to run."""

    def hold(self, event: AttemptSucceeded, /) -> None:
        """Store a finished attempt until its rows are uploaded; only if ``uploads_parts``."""

    def requeue(self, mini_batches: Iterable[int], /) -> None:
        """Allocate mini-batches again, after a failed attempt or because a node returned them."""

    def drop(self, mini_batch: int, /) -> None:
        """Forget a mini-batch that has failed for good."""

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

    The driver receives the rows, so nodes upload nothing.

    Parameters
    ----------
    state
        The fold of the journal.
    """

    uploads_parts = False
    is_uploading = False

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._only_retries = False
        self._retries: deque[int] = deque()
        #: the first mini-batch that was never assigned
        self._next = 0

    def __bool__(self) -> bool:
        """Return whether a retry is pending."""
        return bool(self._retries)

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is pending; all nodes share the same queue."""
        return True

    def resume(self, retries: Sequence[int], *, only_these: bool) -> None:
        """Queue the retries."""
        self._retries.extend(retries)
        self._only_retries = only_these

    def next(self, _node: str, room: int, /) -> list[Span]:
        """Return up to ``room`` mini-batches."""
        spans: list[Span] = []
        while room > 0 and self._retries:
            mini_batch = self._retries.popleft()
            spans.append(Span(mini_batch, 1, self._state.tries.get(mini_batch, 0) + 1))
            room -= 1
        count = self._count_unassigned(room) if room > 0 and not self._only_retries else 0
        if count > 0:
            spans.append(Span(self._next, count, 1))
            self._next += count
        return spans

    def _count_unassigned(self, room: int) -> int:
        """Return how many of the next ``room`` mini-batches are consecutive and unassigned."""
        planned, statuses = self._state.planned, self._state.statuses
        while self._next < min(planned, len(statuses)) and statuses[self._next] != LEFT:
            self._next += 1  # after a resume: done already, or among the retries
        end = min(self._next + room, planned)
        recorded = statuses[self._next : end]
        count = len(recorded) - len(recorded.lstrip(_LEFT))
        return end - self._next if count == len(recorded) else count

    def requeue(self, mini_batches: Iterable[int], /) -> None:
        """Queue mini-batches behind the other retries."""
        self._retries.extend(mini_batches)

    def ready_parts(self) -> list[Part]:
        """Return nothing: the driver has the rows."""
        return []

    def part_stored(self, first: int, node: str, /) -> None:
        """Return None: no node uploads parts."""

    def hold(self, event: AttemptSucceeded, /) -> None:
        """Do nothing; a finished attempt has succeeded."""

    def end_plan(self) -> None:
        """Do nothing."""

    def drop(self, mini_batch: int, /) -> None:
        """Do nothing."""

    def node_lost(self, node: str, /) -> None:
        """Do nothing: the driver has the rows of all finished attempts."""

    def release(self, node: str, /) -> None:
        """Do nothing."""
