"""The calls of a run that have ended, one row each, from its journal and its plan."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from contextlib import closing

from .journal.call_events import CallsSpent
from .journal.events import AttemptFailed, AttemptSucceeded, Event, ItemsFailed, ItemsSucceeded
from .plan_reader import PlanReader, item_name
from .run_folder import RunFolder

OUTCOMES = ("succeeded", "failed", "throttled", "timeout")
SUCCEEDED, FAILED, THROTTLED, TIMEOUT = range(4)
_OF_KIND = {"throttled": THROTTLED, "timeout": TIMEOUT, "load_timeout": TIMEOUT}
_POSITIONS = 1 << 32
_UNKNOWN_US = -1


class EndedCalls:
    """The calls that have ended, in the order of the journal, as columns of equal length.

    A call needs 72 bytes; what calls have spent is kept apart only until they end.

    Attributes
    ----------
    mini_batches, attempts
        The attempt that the call was.
    positions
        Position of its first item in the mini-batch.
    workers
        Index of its worker in ``worker_names``.
    ended_ms
        When it ended, since the run was created.
    durations_us
        How long it took; -1 if that is unknown.
    outcomes
        Index in `OUTCOMES`.
    tokens, nano_usd
        What it has spent, in billionths of a US dollar.
    """

    def __init__(self) -> None:
        self.mini_batches = array("q")
        self.attempts = array("q")
        self.positions = array("q")
        self.workers = array("q")
        self.ended_ms = array("q")
        self.durations_us = array("q")
        self.outcomes = array("q")
        self.tokens = array("q")
        self.nano_usd = array("q")
        self.worker_names: dict[str, int] = {}
        self._spent: dict[tuple[int, int], tuple[int, int]] = {}
        #: failures of single items, by attempt; most attempts with one have results of other items too
        self._parts: dict[tuple[int, int], ItemsFailed] = {}

    def read(self, events: Iterable[Event]) -> None:
        """Add the calls of a whole journal."""
        for event in events:
            if isinstance(event, CallsSpent):
                self._spend(event)
            elif isinstance(event, AttemptSucceeded):
                self._end(event, 0, SUCCEEDED)
            elif isinstance(event, ItemsSucceeded):
                if event.duration_us:  # the first event of its attempt
                    self._end(event, event.first, SUCCEEDED)
            elif isinstance(event, AttemptFailed):
                first = event.ranges[0][0] if event.ranges else 0
                self._end(event, first, _OF_KIND.get(event.kind, FAILED))
            elif isinstance(event, ItemsFailed) and event.worker and event.ranges:
                self._parts.setdefault((event.mini_batch, event.attempt), event)
        self._finish()

    def _spend(self, event: CallsSpent) -> None:
        for mini_batch, attempt, tokens, nano_usd in event.spends:
            before = self._spent.get((mini_batch, attempt), (0, 0))
            self._spent[mini_batch, attempt] = before[0] + tokens, before[1] + nano_usd

    def _end(
        self,
        event: AttemptSucceeded | ItemsSucceeded | AttemptFailed | ItemsFailed,
        position: int,
        outcome: int,
    ) -> None:
        if not event.worker:  # its rows were taken from another run
            return
        key = event.mini_batch, event.attempt
        tokens, nano_usd = self._spent.pop(key, (0, 0))
        took_us = _UNKNOWN_US if isinstance(event, ItemsFailed) else event.duration_us
        self.mini_batches.append(event.mini_batch)
        self.attempts.append(event.attempt)
        self.positions.append(position)
        self.workers.append(self.worker_names.setdefault(event.worker, len(self.worker_names)))
        self.ended_ms.append(event.at_ms)
        self.durations_us.append(took_us)
        self.outcomes.append(outcome)
        self.tokens.append(tokens)
        self.nano_usd.append(nano_usd)

    def _finish(self) -> None:
        """Add attempts whose items all failed one by one, and what was told after the end of a call."""
        if not self._parts and not self._spent:
            return
        for row, key in enumerate(zip(self.mini_batches, self.attempts, strict=True)):
            self._parts.pop(key, None)
            tokens, nano_usd = self._spent.pop(key, (0, 0))
            self.tokens[row] += tokens
            self.nano_usd[row] += nano_usd
        for event in self._parts.values():
            self._end(event, event.ranges[0][0], _OF_KIND.get(event.kind, FAILED))

    def items(self, folder: RunFolder) -> list[str | None]:
        """Return the name of the first item of each call; None if the plan lacks it."""
        keys = [k * _POSITIONS + n for k, n in zip(self.mini_batches, self.positions, strict=True)]
        names: dict[int, str | None] = {}
        with closing(PlanReader(folder)) as plan:
            for key in sorted(set(keys)):
                line, first_row = plan.line(key // _POSITIONS)
                position = key % _POSITIONS
                names[key] = None if line is None else item_name(line, position, first_row)
        return [names[key] for key in keys]
