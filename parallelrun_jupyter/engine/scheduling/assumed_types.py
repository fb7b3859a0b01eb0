"""The column types that the planner assumed from the first rows, until they are confirmed or decided.

A worker that meets rows with possibly other types does not run them: it returns the mini-batch. Nothing
more is assigned then until the planner has decided the types from all rows. If they have changed, the
results so far are dropped, failures count as to be retried, and running attempts are void.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...runs.journal.events import Event, TypesChanged
from ...runs.journal.state import RETRYING, RunState
from ...worker.failures import BAD_INPUT, TYPES_DIFFER
from .actions import Action, DecideTypes, ReplacePlan
from .allocation import Allocation
from .assignments import Assignments
from .attempts import Attempts
from .limits import Limits, exceeded
from .signals import AttemptErrored, TypesAssumed, TypesChange, TypesConfirmed


class AssumedTypes:
    """Decides when the types must be known, and starts over what ran with others.

    Parameters
    ----------
    limits, state, assignments, attempts, allocation
        Of the run.
    record
        Records an event.
    requeue
        Runs mini-batches again whose attempts do not count.
    """

    def __init__(
        self,
        limits: Limits,
        state: RunState,
        *,
        assignments: Assignments,
        attempts: Attempts,
        allocation: Allocation,
        record: Callable[[Event], None],
        requeue: Callable[[list[int]], None],
    ) -> None:
        self._limits = limits
        self._state = state
        self._assignments = assignments
        self._attempts = attempts
        self._allocation = allocation
        self._record = record
        self._requeue = requeue
        #: whether types are assumed, and neither confirmed nor decided yet; whether they ever were
        self._is_open = self._was_open = False
        self._is_confirmed = False
        #: whether the planner was asked for the types
        self._is_asked = False
        #: mini-batches that may have other types
        self._differing: list[int] = []

    def failed(self, signal: AttemptErrored) -> AttemptErrored | None:
        """Return a failed attempt if it counts; note one whose rows may have other types.

        Once the types are confirmed, the latter counts, too: a worker has another pandas, or cannot
        read the rows any more, and would never confirm them.
        """
        if signal.failure.kind != TYPES_DIFFER:
            return signal
        if self._is_confirmed:
            return replace(signal, failure=replace(signal.failure, kind=BAD_INPUT))
        self._differing.append(signal.mini_batch)
        return None

    def _returned(self) -> list[int]:
        """Return the mini-batches that can run again: their attempts are void, or had the old plan."""
        void = self._assignments.ended_void()
        if self._is_open:
            return void
        differing, self._differing = self._differing, []
        return void + differing

    def wait(self, actions: list[Action]) -> bool:
        """Return whether nothing is assigned until the types are decided; add the action that asks.

        It also asks before a run ends with failures: with other types there may be none.
        """
        if not self._was_open:  # most runs
            return False
        returned = self._returned()
        if returned:
            self._requeue(returned)
        if not self._is_open:
            return False
        if not self._is_asked and (self._differing or self._has_failed):
            self._is_asked = True
            actions.append(DecideTypes())
        return self._is_asked

    @property
    def _has_failed(self) -> bool:
        """Whether the run would end with failures now."""
        state = self._state
        is_over = state.plan_finished and state.left == 0 and state.failed > 0
        return is_over or bool(exceeded(state, self._limits))

    def handle(self, signal: TypesChange, now_ms: int, is_ending: bool) -> list[Action]:  # noqa: FBT001 - named at its only call
        """Handle what the planner tells about the types; a run that is ending keeps its plan."""
        if isinstance(signal, TypesAssumed):
            self._is_open = self._was_open = True
            return []
        self._is_open = self._is_asked = False
        if isinstance(signal, TypesConfirmed):
            self._is_confirmed = True
            return []
        if is_ending:
            return []
        if signal.text:
            self._record(TypesChanged(now_ms, signal.text))
            for event in signal.dropped:
                self._record(replace(event, at_ms=now_ms))
            self._start_over()
        return [ReplacePlan()]

    def _start_over(self) -> None:
        """Void the running attempts, and queue all that ran before."""
        self._assignments.void()
        held = set(self._assignments.held())
        statuses = enumerate(self._state.statuses)
        again = {k for k, status in statuses if status == RETRYING and k not in held}
        again.update(self._differing)
        self._differing = []
        self._attempts.start_over()
        self._allocation.start_over(sorted(again))
