"""The past of a run: its snapshots at moments between its start and its end, from one read of its journal."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from ..journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    ItemsSucceeded,
    PlanFinished,
    RunFinished,
    RunStarted,
    StateEntered,
)
from ..journal.state import RunState
from ..run_record import RunRecord
from .snapshot import DRIVER_LOST, Snapshot, journaled_state, snapshot_as

_ATTEMPT_ENDS = (AttemptSucceeded, ItemsSucceeded, AttemptFailed, ItemsFailed)
_TURNS = (RunStarted, PlanFinished, StateEntered, RunFinished)
_MOST_TURNS = 60
_MOST_STEPS = 2000
"""A run has far fewer, unless a clock jumped while it ran."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A run as it was at a moment.

    Parameters
    ----------
    position_ms
        Time under drivers until then; a pause between two of them counts as one step.
    snapshot
        What views showed.
    is_turn
        Whether something new happens at this moment: a state, or the first failure of its kind.
    """

    position_ms: int
    snapshot: Snapshot
    is_turn: bool = False


@dataclass(slots=True)
class Replay:
    """Folds a journal from its start, and stops at moments.

    Parameters
    ----------
    run_id
        The run.
    records
        The run's record under its first driver, and under later ones.
    step_ms
        Time between two moments.
    noted
        Mini-batches whose attempts are noted in ``ends``.
    drivers
        Number of drivers of the run. The limits under those between the first and the last one are
        not known, if a resume changed them. 0: they were those of the last one.
    """

    run_id: str
    records: tuple[RunRecord, RunRecord]
    step_ms: int
    noted: Container[int] = frozenset()
    drivers: int = 0
    #: end of each noted attempt, in milliseconds since the run's creation, by mini-batch and number
    ends: dict[tuple[int, int], int] = field(default_factory=dict)
    state: RunState = field(default_factory=RunState)
    _due_position_ms: int = 0
    _pauses: int = 0
    _turns: int = 0
    _steps: int = 0

    def moments(self, events: Iterable[Event]) -> Iterator[Moment]:
        """Yield the moments in order: one for each step, and at most 60 turns of the run."""
        state = self.state
        due_ms = self._due_ms()
        for event in events:
            if event.__class__ is RunStarted and state.drivers:
                if not state.is_final:
                    yield self._moment(state.at_ms, DRIVER_LOST, is_turn=True)
                self._pauses += 1
            elif event.at_ms > due_ms:
                yield from self._moments_until(event.at_ms)
                due_ms = self._due_ms()
            kinds, drivers = len(state.groups), state.drivers
            state.apply(event)
            if state.drivers > max(drivers, 1):  # no step is due between two drivers
                self._due_position_ms = self.position_ms(state.at_ms) + self.step_ms
            if isinstance(event, _ATTEMPT_ENDS):
                if event.mini_batch in self.noted:
                    self.ends[event.mini_batch, event.attempt] = event.at_ms
                is_turn = len(state.groups) > kinds
            else:
                is_turn = isinstance(event, _TURNS) or len(state.groups) > kinds
                due_ms = self._due_ms()
            if is_turn and self._turns < _MOST_TURNS:
                self._turns += 1
                yield self._moment(state.at_ms, is_turn=True)

    def _due_ms(self) -> int:
        """Return when the next step is due under the current driver, since the run's creation."""
        throughput = self.state.throughput
        driven_ms = self._due_position_ms - self._pauses * self.step_ms
        return driven_ms - throughput.driven_before_ms + throughput.driver_start_ms

    def _moments_until(self, at_ms: int) -> Iterator[Moment]:
        while not self.state.is_final and (due_ms := self._due_ms()) < at_ms:
            if self._steps == _MOST_STEPS:
                return
            self._steps += 1
            yield self._moment(due_ms)
            self._due_position_ms += self.step_ms

    def position_ms(self, at_ms: int) -> int:
        """Return the position of a time since the run's creation, under the current driver."""
        return self.state.throughput.elapsed_ms(at_ms) + self._pauses * self.step_ms

    def _moment(
        self, at_ms: int, shown: tuple[str, str] | None = None, *, is_turn: bool = False
    ) -> Moment:
        state = self.state
        record = self.records[state.drivers > 1]
        now = record.created_at + (at_ms + 0.5) / 1000  # snapshots round down
        shown = shown or journaled_state(state)
        snapshot = snapshot_as(
            self.run_id, record, state, now, shown=shown, warnings=list(state.warnings)
        )
        is_changed = self.records[0].limits != self.records[1].limits
        if is_changed and 1 < state.drivers < self.drivers:
            snapshot["budgets"] = []
        return Moment(self.position_ms(at_ms), snapshot, is_turn)
