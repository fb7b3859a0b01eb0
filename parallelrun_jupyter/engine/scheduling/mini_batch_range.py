"""One range of mini-batches, which belongs to one node, and the part that it becomes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ...runs.journal.events import AttemptSucceeded

SMALLEST, LARGEST = 4, 1024
"""Mini-batches in a range: few in the first ones, so that something is in the store early."""

GROWTH = 256
"""A range has one more mini-batch for so many before it, so that what is under way is a small share
of what is done: a run of a million has some 2,400 parts, and one of ten million 11,000."""


def size_at(first: int, room: int = 0) -> int:
    """Return how many mini-batches a range has that begins at ``first``.

    A node with room for more at once gets more: its mini-batches are so short that it is no wait.
    """
    return min(max(first // GROWTH, SMALLEST, room), LARGEST)


@dataclass(slots=True, eq=False)
class MiniBatchRange:
    """Mini-batches ``first`` to ``end - 1``; ``owner`` is a node, or empty."""

    first: int
    end: int
    owner: str = ""
    #: the first mini-batch that the owner was not given yet
    next: int = 0
    #: what it was given, and is to be given again
    waiting: deque[int] = field(default_factory=deque)
    #: the attempts whose rows the owner keeps, as they came in
    kept: dict[int, AttemptSucceeded] = field(default_factory=dict)
    kept_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the owner keeps the rows of all of it."""
        return len(self.kept) == self.end - self.first

    def streaks(self) -> list[tuple[int, int]]:
        """Return (first, end) of the kept mini-batches that follow one another."""
        return list(streaks_of(sorted(self.kept)))

    def divide(self, at: int) -> MiniBatchRange:
        """End before mini-batch ``at``; return the range of the rest, which has the same owner."""
        right = MiniBatchRange(at, self.end, self.owner, max(at, self.next))
        right.waiting.extend(k for k in self.waiting if k >= at)
        right.kept = {k: event for k, event in self.kept.items() if k >= at}
        right.kept_bytes = sum(event.length for event in right.kept.values())
        self.end, self.next = at, min(self.next, at)
        self.kept = {k: event for k, event in self.kept.items() if k < at}
        self.kept_bytes -= right.kept_bytes
        self.waiting = deque(k for k in self.waiting if k < at)
        return right


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Attempts that follow one another, whose rows their node is to put into the store."""

    first: int
    owner: str
    kept: dict[int, AttemptSucceeded]
    size_bytes: int


def streaks_of(mini_batches: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of those that follow one another."""
    begun = end = -1
    for mini_batch in mini_batches:
        if mini_batch != end:
            if begun >= 0:
                yield begun, end
            begun = mini_batch
        end = mini_batch + 1
    if begun >= 0:
        yield begun, end
