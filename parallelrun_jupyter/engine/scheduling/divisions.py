"""Divisions: mini-batches whose items run in several attempts, each with a selection of items."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ...runs.journal.answers import count_of, merged
from ...runs.journal.events import ItemRanges, ItemsFailed, ItemsSucceeded
from .signals import Failure


@dataclass(slots=True, eq=False)
class Selection:
    """Items of a mini-batch that run in one attempt.

    Parameters
    ----------
    ranges
        The items.
    tries
        How often they have failed under this driver.
    is_last_try
        Whether they are not tried again: if they fail, they are divided.
    due_ms
        The time before which they do not run.
    other_half
        The second half of a selection that has failed, of which this is the first half. If this one
        succeeds, the other one cannot, and is divided without an attempt.
    """

    ranges: ItemRanges
    tries: int = 0
    is_last_try: bool = False
    due_ms: int = 0
    other_half: Selection | None = None

    @property
    def count(self) -> int:
        """Number of items."""
        return count_of(self.ranges)

    def halves(self) -> tuple[Selection, Selection]:
        """Return the first and the second half, of two or more items, with the same tries."""
        head, tail = split(self.ranges, self.count // 2)
        return (
            Selection(head, self.tries, self.is_last_try, self.due_ms),
            Selection(tail, self.tries, self.is_last_try),
        )


@dataclass(slots=True, eq=False)
class Division:
    """The items of one mini-batch of ``of`` items that are not answered yet, and their attempts.

    At most one attempt of a mini-batch runs at a time.
    """

    of: int
    #: number of the last attempt
    attempt: int
    waiting: deque[Selection] = field(default_factory=deque)
    running: Selection | None = None
    #: the node of its attempts
    node: str = ""
    #: the failure for which the mini-batch was divided to isolate items
    failure: Failure | None = None
    #: number of items that were run alone to find out whether the fault hits all items
    probes: int = 0
    was_too_large: bool = False
    #: most items that fitted into memory, after more did not
    fitting: int = 0
    #: an item that does not fit into memory alone says nothing about the others
    has_huge_item: bool = False
    #: results and failures that are recorded when their part is stored
    results: list[ItemsSucceeded] = field(default_factory=list)
    failures: list[ItemsFailed] = field(default_factory=list)

    @property
    def group(self) -> str:
        """The failure group in which the mini-batch was divided to isolate items, or empty."""
        return self.failure.group if self.failure is not None else ""

    @property
    def is_done(self) -> bool:
        """Whether all items are answered."""
        return not self.waiting and self.running is None

    def start(self, node: str, *, is_on_trial: bool) -> Selection:
        """Start the next selection on a node; on trial it is a single item, far from earlier ones."""
        selection = self._take_probe() if is_on_trial else self.waiting.popleft()
        self.running = selection
        self.attempt += 1
        self.node = node
        return selection

    def give_back(self) -> None:
        """Let the running selection wait again, since its attempt was not made."""
        if self.running is not None:
            self.waiting.appendleft(self.running)
            self.running = None

    def halve(self, selection: Selection) -> None:
        """Run the halves of a selection that does not fit into memory."""
        self.was_too_large = True
        self.waiting.extendleft(reversed(selection.halves()))

    def isolate(self, selection: Selection, failure: Failure) -> None:
        """Run the halves of a selection that has failed for the last time."""
        self.failure = self.failure or failure
        self._isolate(selection)

    def _isolate(self, selection: Selection) -> None:
        selection.is_last_try = True
        first, second = selection.halves()
        first.other_half = second
        self.waiting.extendleft((second, first))

    def mark_succeeded(self, selection: Selection) -> None:
        """Divide the other half of a selection that succeeded, since that one must fail."""
        if self.was_too_large:
            self.fitting = max(self.fitting, selection.count)
        other = selection.other_half
        if other is not None and other in self.waiting and other.count > 1:
            self.waiting.remove(other)
            self._isolate(other)

    def take_rest(self) -> ItemRanges:
        """Return all waiting items, which then wait no longer."""
        rest = merged(pair for selection in self.waiting for pair in selection.ranges)
        self.waiting.clear()
        return rest

    def _take_probe(self) -> Selection:
        """Take a single item out of the waiting selections, spread evenly over their items."""
        self.probes += 1
        number = int(_spread(self.probes) * sum(selection.count for selection in self.waiting))
        for selection in sorted(self.waiting, key=lambda waiting: waiting.ranges[0]):
            if number < selection.count:
                break
            number -= selection.count
        head, tail = split(selection.ranges, number)
        item = tail[0][0]
        selection.ranges = merged((*head, *split(tail, 1)[1]))
        if not selection.ranges:
            self.waiting.remove(selection)
        return Selection(((item, 1),), selection.tries, is_last_try=True)


def split(ranges: ItemRanges, count: int) -> tuple[ItemRanges, ItemRanges]:
    """Return the first ``count`` items of ranges, and the rest."""
    end = 0
    for number, (first, size) in enumerate(ranges):
        if end + size > count:
            inside = count - end
            head = (*ranges[:number], (first, inside)) if inside else ranges[:number]
            return head, ((first + inside, size - inside), *ranges[number + 1 :])
        end += size
    return ranges, ()


def pieces(ranges: ItemRanges, limit: int) -> list[ItemRanges]:
    """Return ranges in pieces of at most ``limit`` items each; 0 for no limit."""
    divided = []
    while limit and count_of(ranges) > limit:
        head, ranges = split(ranges, limit)
        divided.append(head)
    return [*divided, ranges]


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
