"""Tries: how often mini-batches have run under this driver, and whether they have a try left."""

from __future__ import annotations

from collections.abc import Sequence

from ...runs.journal.state import RunState
from ...worker.item_ranges import count_of
from .divisions import Selection
from .limits import Limits
from .retries import delay_ms, may_retry, refused_delay_ms
from .signals import Failure, ItemFailures

FREE_TRIES = 20
"""Attempts of a mini-batch that a server may refuse, in this driver, before they count as its tries."""


class Tries:
    """The tries of mini-batches and of their selections.

    Parameters
    ----------
    limits, state
        The run.
    """

    def __init__(self, limits: Limits, state: RunState) -> None:
        self._limits = limits
        self._state = state
        #: number of attempts before this driver, by mini-batch: a resume allows run_max_try more
        self._earlier: dict[int, int] = {}
        #: number of attempts that a server has refused, by mini-batch
        self._refused: dict[int, int] = {}

    def resume(self) -> None:
        """Allow the usual number of tries after the attempts of earlier drivers."""
        self._earlier = dict(self._state.tries)

    def before(self, mini_batch: int, attempt: int) -> int:
        """Return how often a mini-batch has used a try under this driver before an attempt."""
        not_counted = self._earlier.get(mini_batch, 0) + self._refused.get(mini_batch, 0)
        return max(0, attempt - not_counted - 1)

    def has_left(self, selection: Selection) -> bool:
        """Return whether a selection has a try left after the one that has failed."""
        return not selection.is_last_try and selection.tries + 1 < self._limits.run_max_try

    def may_try_again(self, selection: Selection, failures: ItemFailures) -> bool:
        """Return whether items of an attempt are tried again."""
        return self._may_run_again(selection, failures) and self.has_left(selection)

    def is_free(
        self, mini_batch: int, selection: Selection, failures: Sequence[ItemFailures]
    ) -> bool:
        """Return whether an attempt uses up no try, since a server has refused it; count it."""
        refused = self._refused.get(mini_batch, 0)
        is_free = (
            bool(failures)
            and refused < FREE_TRIES
            and all(f.failure.is_throttled for f in failures)
            and all(self._may_run_again(selection, f) for f in failures)
        )
        if is_free:
            self._refused[mini_batch] = refused + 1
        return is_free

    def delay_ms(self, tries: int, mini_batch: int, failure: Failure, pause: int) -> int:
        """Return the delay before the next try.

        Parameters
        ----------
        tries, mini_batch
            As for `retries.delay_ms`.
        failure
            Why the last one has failed. If a server has refused it, the delay is that of the server.
        pause
            Milliseconds until the end of the pause of all calls; below 1 if there is none.
        """
        asked_s = failure.retry_after_s
        if not failure.is_throttled:
            return delay_ms(self._limits, tries, mini_batch, asked_s)
        if asked_s is None and pause > 0:
            return pause
        return refused_delay_ms(self._refused.get(mini_batch, 0), asked_s)

    def _may_run_again(self, selection: Selection, failures: ItemFailures) -> bool:
        is_whole = count_of(failures.ranges) == selection.count
        return (is_whole or self._limits.divides) and may_retry(failures.failure, self._limits)


def first_refused(failures: Sequence[ItemFailures]) -> Failure | None:
    """Return the first failure for which a server has refused a call."""
    return next((f.failure for f in failures if f.failure.is_throttled), None)
