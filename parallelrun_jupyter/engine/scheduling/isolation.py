"""Isolation: whether a failure group is a fault of some items, or of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...runs.journal.state import RunState
from ...worker.bisection import ALIKE

ALIKE_LATER = 100
"""As `ALIKE`, for a group in which items have succeeded before: an outage during the run."""


@dataclass(slots=True)
class _Trial:
    """The items of one failure group that were run alone.

    ``hits_all`` is None until it is known whether the fault hits all items. Until then only one
    mini-batch of the group is divided, and the others wait.
    """

    hits_all: bool | None = None
    #: items in a row that failed alone in this group
    alike: int = 0
    #: items of the run that had succeeded when `hits_all` became true; -1: it never was
    known_at: int = -1
    mini_batch: int | None = None
    waiting: list[int] = field(default_factory=list)


class Isolation:
    """The trials of the failure groups in which mini-batches were divided.

    Parameters
    ----------
    state
        The fold of the journal.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._trials: dict[str, _Trial] = {}

    def __bool__(self) -> bool:
        """Return whether a mini-batch waits for the trial of its group."""
        return any(trial.waiting for trial in self._trials.values())

    def hits_all(self, group: str) -> bool:
        """Return whether a group is a fault of all items, so that dividing does not help."""
        trial = self._trials.get(group)
        return trial is not None and trial.hits_all is True

    def hits_some(self, group: str) -> bool:
        """Return whether a group is known to be a fault of some items."""
        trial = self._trials.get(group)
        return trial is not None and trial.hits_all is False

    def renew(self, group: str) -> None:
        """Start a new trial if items of the run have succeeded since a fault was found to hit all."""
        trial = self._trials.get(group)
        if trial is not None and trial.hits_all and self._state.items_succeeded > trial.known_at:
            trial.hits_all, trial.alike, trial.mini_batch = None, 0, None

    def enter(self, mini_batch: int, group: str) -> bool:
        """Return whether a mini-batch may be divided now; otherwise it waits for `leave`."""
        trial = self._trials.setdefault(group, _Trial())
        if trial.hits_all is None and trial.mini_batch not in {None, mini_batch}:
            trial.waiting.append(mini_batch)
            return False
        trial.mini_batch = mini_batch
        return True

    def is_on_trial(self, group: str) -> bool:
        """Return whether single items of a group run next, to find out if the fault hits all."""
        trial = self._trials.get(group)
        return trial is not None and trial.hits_all is None and trial.alike > 0

    def item_failed(self, group: str, item_group: str) -> bool:
        """Count an item of a mini-batch of ``group`` that has failed alone, in ``item_group``.

        Returns
        -------
        bool
            Whether it is now known, for the first time, that the fault hits all items.
        """
        trial = self._trials[group]
        if item_group != group:
            self.items_succeeded(group)
            return False
        trial.alike += 1
        limit = ALIKE if trial.hits_all is None else ALIKE_LATER
        if trial.hits_all or trial.alike < limit:
            return False
        is_first = trial.known_at < 0
        trial.hits_all, trial.known_at = True, self._state.items_succeeded
        return is_first

    def items_succeeded(self, group: str) -> None:
        """Record that items of a mini-batch of ``group`` have succeeded."""
        trial = self._trials.setdefault(group, _Trial())
        trial.alike = 0
        trial.hits_all = trial.hits_all or False

    def leave(self, mini_batch: int, group: str) -> list[int]:
        """Return the waiting mini-batches that may go on, after an attempt of a mini-batch has ended.

        While the trial continues, the next one may, once the mini-batch on trial is done.

        Parameters
        ----------
        mini_batch
            The mini-batch if it is done, else -1.
        group
            Its failure group.
        """
        trial = self._trials.get(group)
        if trial is None:
            return []
        if trial.mini_batch == mini_batch:
            trial.mini_batch = None
        if trial.hits_all is not None:
            released, trial.waiting = trial.waiting, []
            return released
        if trial.mini_batch is None and trial.waiting:
            return [trial.waiting.pop(0)]
        return []

    def forget(self, mini_batch: int, group: str) -> list[int]:
        """Remove a mini-batch that starts over; return the waiting one that may go on instead."""
        trial = self._trials.get(group)
        if trial is not None and mini_batch in trial.waiting:
            trial.waiting.remove(mini_batch)
        return self.leave(mini_batch, group)
