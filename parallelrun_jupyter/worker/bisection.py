"""Bisection: which items of an attempt make it fail, found by running parts of it."""

from __future__ import annotations

from .item_ranges import count_of, merged, split, without_item

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from .item_ranges import Ranges

ALIKE = 8
"""So many items that were run alone must fail at the same line, and none succeed, before the fault
counts as one of all items."""


class _Part:
    """Items to run together; ``other_half`` is the second half of a part that failed."""

    __slots__ = ("other_half", "ranges")

    def __init__(self, ranges: Ranges) -> None:
        self.ranges = ranges
        self.other_half: _Part | None = None


class Bisection:
    """The search for the failing items of an attempt that has failed.

    Its halves run one after the other; one that fails is halved again, until single items are left.
    If the first half succeeds, the second one must fail, and is halved without a run. With k failing
    items among n, it takes at most 2k·log2(n) + k runs.

    A suspect, if there is one, runs alone first, in place of a half; if it succeeds, later suspects
    are ignored.

    Parameters
    ----------
    ranges
        The items of the attempt, two or more.
    suspect
        The item that probably made it fail; -1 for none.
    """

    def __init__(self, ranges: Ranges, suspect: int = -1) -> None:
        self._waiting: list[_Part] = []
        self._running: _Part | None = None
        self._probes = 0
        self._suspect: _Part | None = None
        self._trusts_suspects = True
        self._divide(_Part(ranges), suspect)

    def __bool__(self) -> bool:
        """Return whether the search goes on."""
        return bool(self._waiting) or self._running is not None

    def next(self, *, probes: bool = False) -> Ranges:
        """Return the items to run next; with ``probes``, a single one, far from earlier ones."""
        self._running = self._probe() if probes else self._waiting.pop(0)
        return self._running.ranges

    def give_back(self) -> None:
        """Let the running items wait again."""
        if self._running is not None:
            self._waiting.insert(0, self._running)
            self._running = None

    def succeeded(self) -> None:
        """Record that the running items have succeeded."""
        part, self._running = self._running, None
        if part is not None and part is self._suspect:
            self._trusts_suspects = False
        other = part.other_half if part is not None else None
        if other in self._waiting and other is not None and count_of(other.ranges) > 1:
            self._waiting.remove(other)
            self._divide(other)

    def failed(self, suspect: int = -1) -> bool:
        """Record that the running items have failed; return whether it was a single one."""
        part, self._running = self._running, None
        if part is None or count_of(part.ranges) == 1:
            return True
        self._divide(part, suspect)
        return False

    def drop(self) -> None:
        """Search no further among the running items."""
        self._running = None

    def take_rest(self) -> Ranges:
        """End the search; return the items that are not found out about."""
        rest = merged(pair for part in self._waiting for pair in part.ranges)
        self._waiting = []
        return rest

    def _divide(self, part: _Part, suspect: int = -1) -> None:
        """Let the halves of a part run next, or a suspect and the others."""
        head, tail = split(part.ranges, count_of(part.ranges) // 2)
        others = without_item(part.ranges, suspect) if self._trusts_suspects else part.ranges
        is_suspicious = others != part.ranges
        if is_suspicious:
            head, tail = ((suspect, 1),), others
        first, second = _Part(head), _Part(tail)
        first.other_half = second
        self._suspect = first if is_suspicious else None
        self._waiting[:0] = [first, second]

    def _probe(self) -> _Part:
        """Take a single item out of the waiting parts, spread evenly over their items."""
        self._probes += 1
        number = int(_spread(self._probes) * sum(count_of(part.ranges) for part in self._waiting))
        for part in sorted(self._waiting, key=lambda waiting: waiting.ranges[0]):
            if number < count_of(part.ranges):
                break
            number -= count_of(part.ranges)
        head, tail = split(part.ranges, number)
        part.ranges = merged(head + split(tail, 1)[1])
        if not part.ranges:
            self._waiting.remove(part)
        return _Part(((tail[0][0], 1),))


def _spread(number: int) -> float:
    """Return the fraction of a number, from 1, in a sequence that fills 0 to 1 evenly.

    It is van der Corput's sequence: 1/2, 1/4, 3/4, 1/8, 5/8, ...
    """
    fraction, step = 0.0, 0.5
    while number:
        number, bit = divmod(number, 2)
        fraction += bit * step
        step /= 2
    return fraction
