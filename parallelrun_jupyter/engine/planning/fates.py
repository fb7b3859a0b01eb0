"""How a resume treats the items of an earlier plan: whether they run, and which inputs may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import TypeAlias

from ...runs.journal.answers import Answers, without
from ...runs.journal.events import RowsDropped
from ...runs.journal.state import LEFT, PARTLY, SUCCEEDED, RunState
from ...runs.resume_request import ResumeRequest

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
    retried = frozenset(state.failed_mini_batches(request.group))
    only_retried = request.failed_only or bool(request.group)
    statuses = bytes(state.statuses)
    dropped: dict[int, list[RowsDropped]] = {}
    for result in short_results:
        dropped.setdefault(result.mini_batch, []).append(result)

    def status_of(mini_batch: int) -> int:
        return statuses[mini_batch] if mini_batch < len(statuses) else LEFT

    def fate_of_rest(mini_batch: int) -> Fate:
        """Return the fate of items without an answer."""
        answers = state.answers.get(mini_batch)
        if mini_batch in retried and answers is None:
            return Fate.RETRIED
        return Fate.LEFT_ALONE if only_retried and mini_batch not in retried else Fate.FIRST

    def ranges_of(mini_batch: int) -> Iterator[tuple[int, int, Fate]]:
        """Yield (first, count, fate) of the items of a mini-batch that was not answered at once."""
        shorts = dropped.get(mini_batch, [])
        answers = state.answers.get(mini_batch)
        if answers is None:  # all its items succeeded
            answers = Answers(shorts[0].of, [(0, shorts[0].of)])
        drops = [(short.first, short.items) for short in shorts]
        for first, count in drops:
            yield first, count, Fate.RETRIED
        for first, count in without(answers.of, [*without(answers.of, answers.succeeded), *drops]):
            yield first, count, Fate.KEPT
        for first, count, group in answers.failed:
            is_retried = not request.group or group == request.group
            yield first, count, Fate.RETRIED if is_retried else Fate.LEFT_ALONE
        for first, count in answers.left:
            yield first, count, fate_of_rest(mini_batch)

    def fate_of(mini_batch: int, position: int) -> Fate:
        if mini_batch in state.answers or mini_batch in dropped:
            ranges = list(ranges_of(mini_batch))
            if position == WHOLE:
                return _together({fate for _, _, fate in ranges})
            in_range = (f for first, count, f in ranges if first <= position < first + count)
            return next(in_range, Fate.FIRST)
        if status_of(mini_batch) in {SUCCEEDED, PARTLY}:
            return Fate.KEPT
        return fate_of_rest(mini_batch)

    return fate_of


def _together(fates: set[Fate]) -> Fate:
    """Return the fate of items that share a file."""
    if len(fates) == 1:
        return next(iter(fates))
    return Fate.KEPT if Fate.KEPT in fates else Fate.FIRST
