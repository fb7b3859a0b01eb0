"""What is to be handed out to whoever has room: what is to be tried again, then what nobody had."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

from ...runs.journal.state import LEFT, RunState

Span: TypeAlias = tuple[int, int, int]
"""Mini-batches that follow one another: the first, how many, and the number of the attempt."""


class Pending:
    """The mini-batches of a run that are with nobody, where any node may have any of them.

    Parameters
    ----------
    state
        The fold of the journal: what is planned, and what is over.
    only_again
        Hand out nothing that was never tried.
    """

    def __init__(self, state: RunState, *, only_again: bool) -> None:
        self._state = state
        self._only_again = only_again
        #: (mini_batch, attempt) waiting for another try
        self._retries: deque[tuple[int, int]] = deque()
        #: the first mini-batch that was never handed out
        self._next = 0

    def __bool__(self) -> bool:
        """Say whether anything waits for another try."""
        return bool(self._retries)

    def again(self, attempts: Iterable[tuple[int, int]]) -> None:
        """Take (mini_batch, attempt) pairs that are to be handed out again."""
        self._retries.extend(attempts)

    def take(self, room: int) -> list[Span]:
        """Hand out up to ``room`` mini-batches; nothing where there is nothing for anybody."""
        found: list[Span] = []
        while room > 0 and self._retries:
            mini_batch, attempt = self._retries.popleft()
            found.append((mini_batch, 1, attempt))
            room -= 1
        count = self._count_fresh(room) if room > 0 and not self._only_again else 0
        if count > 0:
            found.append((self._next, count, 1))
            self._next += count
        return found

    def _count_fresh(self, room: int) -> int:
        """Return how many of the next ``room`` mini-batches follow one another and had nobody yet."""
        state = self._state
        while self._next < state.planned and state.status_of(self._next) != LEFT:
            self._next += 1  # a resume: done before, or among the retries
        end = min(self._next + room, state.planned)
        known = state.statuses[self._next : end]
        count = len(known) - len(known.lstrip(bytes([LEFT])))
        return end - self._next if count == len(known) else count
