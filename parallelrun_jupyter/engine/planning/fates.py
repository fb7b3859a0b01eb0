"""How a resume treats the items of an earlier plan: whether they run, and which inputs may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TypeAlias

from ...runs.journal.answers import Answers
from ...runs.journal.events import RowsDropped
from ...runs.journal.state import LEFT, SUCCEEDED, RunState
from ...runs.resume_request import ResumeRequest
from ...worker.item_ranges import without

WHOLE = -1
"""Stands for the position of an item: all items of the mini-batch together."""


class Fate(Enum):
    """How a resume treats an item of an earlier plan."""

    KEPT = "its rows are kept"
    RETRIED = "it failed, and runs again"
    FIRST = "it has not finished yet, and runs"
    LEFT_ALONE = "it does not run"


Fates: TypeAlias = Callable[[int, int], Fate]
"""Called with a mini-batch and the position of an item, or `WHOLE` for all its items together.

Items that share a file, as rows of a table do, are treated together: if the rows of one are kept,
all count as kept, and other mixed ones as not finished. In both cases the file may not have changed.
"""


def resume_fates(
    state: RunState, request: ResumeRequest, short_results: Sequence[RowsDropped] = ()
) -> Fates:
    """Return the function that decides how to treat the items of an earlier plan.

    Parameters
    ----------
    state
        The fold of the journal of the earlier drivers.
    request
        The resume.
    short_results
        The results that are dropped, because their items run again.
    """
    return _FatesOfItems(state, request, short_results).fate_of


class _FatesOfItems:
    """The fates of a resume; the parameters are those of `resume_fates`."""

    def __init__(
        self, state: RunState, request: ResumeRequest, short_results: Sequence[RowsDropped]
    ) -> None:
        self._state = state
        self._statuses = bytes(state.statuses)
        self._group = request.group
        self._only_retried = request.failed_only or bool(request.group)
        self._retried = frozenset(state.failed_mini_batches(request.group))
        self._last_failed = frozenset(
            k for k, group in state.failed_in.items() if request.group in {"", group}
        )
        self._dropped: dict[int, list[RowsDropped]] = {}
        for result in short_results:
            self._dropped.setdefault(result.mini_batch, []).append(result)

    def fate_of(self, mini_batch: int, position: int) -> Fate:
        """Return the fate of an item, or of a whole mini-batch."""
        if mini_batch in self._state.answers or mini_batch in self._dropped:
            ranges = list(self._ranges_of(mini_batch))
            if position == WHOLE:
                return _together({fate for _, _, fate in ranges})
            fates = (fate for first, count, fate in ranges if first <= position < first + count)
            return next(fates, Fate.FIRST)
        status = self._statuses[mini_batch] if mini_batch < len(self._statuses) else LEFT
        if status == SUCCEEDED:
            return Fate.KEPT
        return self._fate_of_unanswered(mini_batch)

    def _ranges_of(self, mini_batch: int) -> Iterator[tuple[int, int, Fate]]:
        """Yield (first, count, fate) of the items of a mini-batch whose items differ."""
        shorts = self._dropped.get(mini_batch, [])
        answers = self._state.answers.get(mini_batch)
        if answers is None:  # all its items succeeded
            answers = Answers(shorts[0].of, [(0, shorts[0].of)])
        drops = [(short.first, short.items) for short in shorts]
        for first, count in drops:
            yield first, count, Fate.RETRIED
        for first, count in without(answers.of, [*without(answers.of, answers.succeeded), *drops]):
            yield first, count, Fate.KEPT
        for first, count, group in answers.failed:
            is_retried = self._group in {"", group}
            yield first, count, Fate.RETRIED if is_retried else Fate.LEFT_ALONE
        for first, count in answers.left:
            yield first, count, self._fate_of_unanswered(mini_batch)

    def _fate_of_unanswered(self, mini_batch: int) -> Fate:
        if mini_batch in self._last_failed:  # they were in the attempt that failed, or reopened
            return Fate.RETRIED
        is_run = mini_batch in self._retried or not self._only_retried
        return Fate.FIRST if is_run else Fate.LEFT_ALONE


def _together(fates: set[Fate]) -> Fate:
    """Return the fate of items that share a file."""
    if len(fates) == 1:
        return next(iter(fates))
    return Fate.KEPT if Fate.KEPT in fates else Fate.FIRST
