"""What calls cost, in tokens or money: learned from the calls so far, to know before what the next will."""

from __future__ import annotations

import math

_RECENT = 1 / 32
"""Weight of the newest call in the mean of recent ones."""

_CAUTION = 2.0
"""Standard deviations by which calls in flight may together cost more than expected."""

FIRST_CALLS = 8
"""Calls in flight while the number of their tokens is not known; of their costs in money, only one is."""

_GROWTH = 4
"""Calls in flight for each call whose cost is known: one costly call in the first few is noticed."""


class CallCosts:
    """The costs of calls in one unit, and what the next one will cost.

    A call is expected to cost the larger one of two means, over all calls and over recent ones: costs
    that grow are followed, and a few cheap calls do not suggest that the next is cheap, too. What a
    call costs less than expected is given back when it ends.

    Parameters
    ----------
    spent, count, squares
        Those of earlier drivers: the sum, the number of calls that have spent, and the sum of squares.
    first
        Calls in flight while no cost is known.
    """

    def __init__(
        self, spent: float = 0, count: int = 0, squares: float = 0.0, *, first: int = FIRST_CALLS
    ) -> None:
        self._first = first
        #: by all calls, of all drivers, also those in flight
        self.spent = spent
        self._count = count
        self._sum = float(spent)
        self._squares = squares
        self._recent = spent / count if count else 0.0
        #: calls that succeeded and spent nothing
        self._silent = 0
        #: what calls in flight have spent so far, by mini-batch
        self._in_flight: dict[int, float] = {}

    @property
    def is_known(self) -> bool:
        """Whether a call has ended that has spent."""
        return self._count > 0

    @property
    def is_silent(self) -> bool:
        """Whether calls do not report their costs, as far as is known."""
        return not self._count and not self._in_flight and self._silent >= FIRST_CALLS

    @property
    def most_in_flight(self) -> float:
        """Most calls that may be in flight, while their cost is little known."""
        return math.inf if self.is_silent else max(self._first, _GROWTH * self._count)

    @property
    def expected(self) -> float:
        """What a call will probably cost; 0 if that is unknown."""
        return max(self._sum / self._count, self._recent) if self._count else 0.0

    def spend(self, mini_batch: int, amount: float, *, is_in_flight: bool) -> None:
        """Count what a call has spent; it may spend several times."""
        self.spent += amount
        if amount and is_in_flight:
            self._in_flight[mini_batch] = self._in_flight.get(mini_batch, 0) + amount

    def end(self, mini_batch: int, *, has_succeeded: bool) -> float:
        """Learn from a call that has ended; return what it has spent."""
        cost = self._in_flight.pop(mini_batch, 0.0)
        if not cost:
            # One that failed says nothing: it may never have reached the server.
            self._silent += has_succeeded
            if not has_succeeded or not self._count:
                return 0.0
        self._count += 1
        self._sum += cost
        self._squares += cost * cost
        self._recent += (cost - self._recent) * (_RECENT if self._count > 1 else 1.0)
        return cost

    def fitting(self, limit: float, in_flight: int) -> float:
        """Return how many more calls fit below a limit of all spending; infinite if they cost nothing.

        The last few wait until those before them have told their costs, since these vary.
        """
        cost = self.expected
        left = limit - self.spent
        if not cost:
            return math.inf if left > 0 else 0
        # A call may spend at its start and at its end.
        left -= sum(max(0.0, cost - spent) for spent in self._in_flight.values())
        in_flight -= len(self._in_flight)
        if left < cost:
            return 0
        mean = self._sum / self._count
        varies = _CAUTION * math.sqrt(max(0.0, self._squares / self._count - mean * mean))
        root = (math.sqrt(varies * varies + 4 * cost * left) - varies) / (2 * cost)
        return max(0, max(1, int(root * root)) - in_flight)
