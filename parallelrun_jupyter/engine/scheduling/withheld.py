"""Withheld items: they do not run, since they may get the rows of items with the same content."""

from __future__ import annotations

from collections.abc import Iterable

from ...runs.journal.events import ItemRanges
from ...runs.journal.state import LEFT, RETRYING, RunState
from ...worker.item_ranges import without
from .actions import Action, CopyDuplicates
from .allocation import Allocation, Result


class Withheld:
    """The withheld items of each mini-batch, until they have rows or are released to run.

    It is true while there are any. They are a hint of the planner, which the journal does not have.

    Parameters
    ----------
    state
        The fold of the journal.
    allocation
        Leaves out the mini-batches of which all remaining items are withheld.
    """

    def __init__(self, state: RunState, allocation: Allocation) -> None:
        self._state = state
        self._allocation = allocation
        self._items: dict[int, tuple[int, ItemRanges]] = {}
        #: mini-batches of which other items are still to run
        self._open: set[int] = set()
        #: the only mini-batches that a resume runs; None for all
        self._only: frozenset[int] | None = None
        self._is_asked = False

    def __bool__(self) -> bool:
        """Return whether items are withheld."""
        return bool(self._items)

    def resume(self, only: Iterable[int] | None) -> None:
        """Withhold items of these mini-batches only: a resume does not run others."""
        self._only = None if only is None else frozenset(only)

    def add(self, items: Iterable[tuple[int, int, ItemRanges]]) -> None:
        """Withhold items that have no answer yet, before their mini-batches are allocated.

        Parameters
        ----------
        items
            Mini-batch, number of its items, and ranges of the withheld ones.
        """
        for mini_batch, of, ranges in items:
            if self._only is None or mini_batch in self._only:
                self._items[mini_batch] = of, ranges
                self._refresh(mini_batch)

    def answered(self, results: Iterable[Result]) -> None:
        """Withhold items no longer that have rows now."""
        for result in results if self._items else ():
            if result.mini_batch in self._items:
                self._refresh(result.mini_batch)

    def _refresh(self, mini_batch: int) -> None:
        """Compare the withheld items of a mini-batch with those that are left."""
        of, ranges = self._items[mini_batch]
        answers = self._state.answers.get(mini_batch)
        left: ItemRanges = ()
        if self._state.status_of(mini_batch) in {LEFT, RETRYING}:
            left = ((0, of),) if answers is None else answers.left
        others = _except(of, left, ranges)
        withheld = _except(of, left, others)
        self._open.discard(mini_batch)
        if not withheld:
            del self._items[mini_batch]
            return
        self._items[mini_batch] = of, withheld
        if others:
            self._open.add(mini_batch)
        else:
            self._allocation.withhold(mini_batch)

    def of(self, mini_batch: int) -> tuple[int, ItemRanges] | None:
        """Return the number of items of a mini-batch and its withheld ones, or None without any."""
        return self._items.get(mini_batch)

    def others_in(self, mini_batch: int, of: int, left: ItemRanges) -> ItemRanges:
        """Return the items of a mini-batch that are left and not withheld."""
        withheld = self._items.get(mini_batch)
        return left if withheld is None else _except(of, left, withheld[1])

    def others_done(self, mini_batch: int) -> None:
        """Record that all other items of a mini-batch are answered."""
        self._open.discard(mini_batch)

    def ask_once(self, *, is_idle: bool) -> list[Action]:
        """Return, once, the action that copies rows, when no other items are left to run.

        Parameters
        ----------
        is_idle
            Whether no mini-batch runs or waits: the end of a resume that does not run all of them.
        """
        if not self._items or self._open or self._is_asked or not self._state.plan_finished:
            return []
        is_rest = self._state.left == len(self._items)
        self._is_asked = is_rest or (is_idle and self._only is not None)
        return [CopyDuplicates(dict(self._items))] if self._is_asked else []

    def release(self) -> None:
        """Let the items run that are still withheld."""
        released = sorted(self._items)
        self._items.clear()
        self._open.clear()
        self._allocation.stop_withholding()
        self._allocation.requeue(released)


def _except(of: int, ranges: ItemRanges, others: ItemRanges) -> ItemRanges:
    """Return the items of ranges that are not in others."""
    return without(of, [*without(of, ranges), *others])
