"""Divisions: mini-batches whose items run in several attempts, each with a selection of items."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ...runs.journal.events import ItemRanges, ItemsFailed, ItemsSucceeded
from ...worker.bisection import Bisection
from ...worker.item_ranges import count_of, merged, split
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
        Whether they are not tried again.
    due_ms
        The time before which they do not run.
    isolates
        Whether the worker runs them in parts, because they have failed together: its answer names
        the items that fail alone.
    suspect
        The item that probably fails; -1 for none.
    """

    ranges: ItemRanges
    tries: int = 0
    is_last_try: bool = False
    due_ms: int = 0
    isolates: bool = False
    suspect: int = -1

    @property
    def count(self) -> int:
        """Number of items."""
        return count_of(self.ranges)


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
    #: the search for items that end their worker, or take too long
    bisection: Bisection | None = None
    #: the node of its attempts
    node: str = ""
    #: the failure for which the mini-batch was divided to isolate items
    failure: Failure | None = None
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
        return not self.waiting and self.running is None and not self.bisection

    @property
    def due_ms(self) -> int:
        """The time before which the next attempt does not start."""
        return 0 if self.bisection or not self.waiting else self.waiting[0].due_ms

    def start(self, node: str, *, is_on_trial: bool) -> Selection:
        """Start the next selection on a node; on trial it is a single item, far from earlier ones."""
        if self.bisection:
            ranges = self.bisection.next(probes=is_on_trial)
            self.running = Selection(ranges, is_last_try=True)
        else:
            self.running = self.waiting.popleft()
        self.attempt += 1
        self.node = node
        return self.running

    def give_back(self) -> None:
        """Let the running selection wait again, since its attempt was not made."""
        if self.running is not None and self.bisection:
            self.bisection.give_back()
        elif self.running is not None:
            self.waiting.appendleft(self.running)
        self.running = None

    def halve(self, selection: Selection) -> None:
        """Run the halves of a selection that does not fit into memory next."""
        self.was_too_large = True
        tries, is_last_try = selection.tries, selection.is_last_try
        head, tail = split(selection.ranges, selection.count // 2)
        for ranges in (tail, head):
            self.waiting.appendleft(Selection(ranges, tries, is_last_try))

    def isolate(self, selection: Selection, failure: Failure, *, by_worker: bool) -> None:
        """Find the failing items of a selection that has failed, in a worker or by attempts."""
        self.failure = self.failure or failure
        if by_worker:
            self.mark_failed()
            selection.isolates = True
            selection.suspect = failure.suspect
            self.waiting.appendleft(selection)
        elif self.bisection:
            self.bisection.failed(failure.suspect)
        else:
            self.bisection = Bisection(selection.ranges, failure.suspect)

    def mark_succeeded(self, selection: Selection) -> None:
        """Record that the items of a selection have succeeded, at least some of them."""
        if self.was_too_large:
            self.fitting = max(self.fitting, selection.count)
        if self.bisection:
            self.bisection.succeeded()

    def mark_failed(self) -> None:
        """Search no further among the items of the selection that has ended."""
        if self.bisection:
            self.bisection.drop()

    def stop_isolating(self) -> ItemRanges:
        """Return the waiting items without a try left, which then wait no longer."""
        rest = [pair for s in self.waiting if s.is_last_try for pair in s.ranges]
        rest += self.bisection.take_rest() if self.bisection else ()
        self.waiting = deque(selection for selection in self.waiting if not selection.is_last_try)
        for selection in self.waiting:
            selection.isolates = False
        return merged(rest)
