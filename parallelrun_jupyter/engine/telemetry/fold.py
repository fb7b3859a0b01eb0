"""Folds the events of one driver into spans and counts; without OpenTelemetry, and without a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from ...runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    ItemsSucceeded,
    NodeLost,
    RunFinished,
    RunStarted,
    WorkerLost,
    WorkerStarted,
)

Attribute: TypeAlias = str | int | float | bool

SUCCEEDED, FAILED = "succeeded", "failed"


@dataclass(frozen=True, slots=True)
class SpanData:
    """A span that has ended; times are in milliseconds since the run was created.

    Parameters
    ----------
    name
        ``attempt``, ``mini-batch`` or ``run``.
    mini_batch
        The number of the mini-batch; -1 for the run.
    attempt
        The number of the attempt; 0 for others.
    in_mini_batch
        Whether its parent is the span of its mini-batch, and not that of the run.
    error
        The failure group; empty without an error.
    """

    name: str
    start_ms: float
    end_ms: float
    attributes: dict[str, Attribute]
    mini_batch: int = -1
    attempt: int = 0
    in_mini_batch: bool = False
    error: str = ""


@dataclass(slots=True)
class _OpenMiniBatch:
    start_ms: float
    end_ms: float
    attempts: int = 0


@dataclass(slots=True)
class TelemetryFold:
    """The spans and counts of the events that one driver has written.

    Parameters
    ----------
    span_limit
        Most spans of succeeded attempts; and of failed ones; and of mini-batches.
    """

    span_limit: int
    #: counts since the last `drain`, by outcome
    items: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    durations_s: list[tuple[str, float]] = field(default_factory=list)
    workers: dict[str, str] = field(default_factory=dict)
    has_started: bool = False
    #: whether this driver writes no more
    is_over: bool = False
    state: str = "Interrupted"
    reason: str = ""
    started_ms: int = 0
    at_ms: int = 0
    spans_left_out: int = 0
    _spans: Counter[str] = field(default_factory=Counter)
    _open: dict[int, _OpenMiniBatch] = field(default_factory=dict)
    #: by worker, an attempt whose items failed, and whose duration is in another event, if any
    _failed_items: dict[str, ItemsFailed] = field(default_factory=dict)

    def apply(self, event: Event) -> Iterator[SpanData]:  # noqa: C901, PLR0912 - one flat match
        """Count an event, and yield the spans that end with it."""
        if isinstance(event, RunStarted) and self.has_started:
            self.is_over = True  # another driver goes on
        elif isinstance(event, RunStarted):
            self.has_started, self.started_ms = True, event.at_ms
        if self.is_over or not self.has_started:
            return
        self.at_ms = max(self.at_ms, event.at_ms)
        match event:
            case AttemptSucceeded():
                self._count(event.items_succeeded, event.items - event.items_succeeded)
                if event.worker:
                    yield from self._attempt(event, SUCCEEDED)
                    yield from self._end_mini_batch(event.mini_batch, SUCCEEDED)
            case ItemsSucceeded():
                self._count(event.items_succeeded, event.items - event.items_succeeded)
                if event.worker and event.duration_us:
                    yield from self._attempt(event, SUCCEEDED)
            case AttemptFailed():
                self._count(0, event.items if event.is_last else 0)
                yield from self._attempt(event, FAILED)
                if event.is_last and not event.ranges:
                    yield from self._end_mini_batch(event.mini_batch, FAILED)
            case ItemsFailed() if event.ranges:
                self._count(0, event.items if event.is_last else 0)
                if event.worker:
                    yield from self._flush(event.worker, event.mini_batch, event.attempt)
                    self._failed_items[event.worker] = event
            case WorkerStarted():
                self.workers[event.worker] = event.node
            case WorkerLost():
                yield from self._flush(event.worker)
                self.workers.pop(event.worker, None)
            case NodeLost():
                self.workers = {k: n for k, n in self.workers.items() if n != event.node}
            case RunFinished():
                self.state, self.reason, self.is_over = event.state, event.reason, True
            case _:
                pass

    def finish(self) -> Iterator[SpanData]:
        """Yield the spans that are left, the run's last: no further event comes."""
        for worker in list(self._failed_items):
            yield from self._flush(worker)
        for mini_batch in list(self._open):
            yield from self._end_mini_batch(mini_batch, "")
        yield SpanData(
            "run",
            self.started_ms,
            self.at_ms,
            {
                "parallelrun.run.state": self.state,
                "parallelrun.spans_left_out": self.spans_left_out,
            },
            error=(self.reason or self.state) if self.state in {"Failed", "Interrupted"} else "",
        )

    def _count(self, succeeded: int, failed: int) -> None:
        self.items[SUCCEEDED] += succeeded
        self.items[FAILED] += failed

    def _flush(self, worker: str, mini_batch: int = -1, attempt: int = 0) -> Iterator[SpanData]:
        """End the attempt of a worker of which only failed items are known, if it is another one."""
        waiting = self._failed_items.get(worker)
        if waiting is not None and (waiting.mini_batch, waiting.attempt) != (mini_batch, attempt):
            del self._failed_items[worker]
            yield from self._attempt(waiting, FAILED)

    def _attempt(
        self, event: AttemptSucceeded | ItemsSucceeded | AttemptFailed | ItemsFailed, outcome: str
    ) -> Iterator[SpanData]:
        """Count an attempt, and yield its span, unless there are too many."""
        if self._failed_items and not isinstance(event, ItemsFailed):
            yield from self._flush(event.worker, event.mini_batch, event.attempt)
            self._failed_items.pop(event.worker, None)
        duration_us = 0 if isinstance(event, ItemsFailed) else event.duration_us
        start_ms = event.at_ms - duration_us / 1000
        self.attempts[outcome] += 1
        self.durations_s.append((outcome, duration_us / 1e6))
        is_retried = isinstance(event, AttemptFailed) and not event.is_last
        opened = self._open.get(event.mini_batch)
        is_new = opened is None and (is_retried or event.attempt > 1)
        if is_new and len(self._open) < self.span_limit:
            opened = self._open[event.mini_batch] = _OpenMiniBatch(start_ms, event.at_ms)
        if opened is not None:
            opened.end_ms, opened.attempts = event.at_ms, opened.attempts + 1
        if self._spans[outcome] >= self.span_limit:
            self.spans_left_out += 1
            return
        self._spans[outcome] += 1
        attributes: dict[str, Attribute] = {
            "parallelrun.mini_batch": event.mini_batch,
            "parallelrun.attempt": event.attempt,
            "parallelrun.worker": event.worker,
            "parallelrun.node": self.workers.get(event.worker, ""),
            "parallelrun.items": event.items,
            "parallelrun.outcome": outcome,
        }
        error = ""
        if isinstance(event, AttemptFailed | ItemsFailed):
            attributes |= {"error.type": event.error or event.kind, "parallelrun.kind": event.kind}
            error = event.group
        yield SpanData(
            "attempt", start_ms, event.at_ms, attributes, event.mini_batch, event.attempt,
            in_mini_batch=opened is not None, error=error,
        )  # fmt: skip

    def _end_mini_batch(self, mini_batch: int, outcome: str) -> Iterator[SpanData]:
        opened = self._open.pop(mini_batch, None)
        if opened is None:
            return
        if self._spans["mini-batch"] >= self.span_limit:
            self.spans_left_out += 1
            return
        self._spans["mini-batch"] += 1
        attributes: dict[str, Attribute] = {
            "parallelrun.mini_batch": mini_batch,
            "parallelrun.attempts": opened.attempts,
            "parallelrun.outcome": outcome or "open",
        }
        error = "failed" if outcome == FAILED else ""
        yield SpanData(
            "mini-batch", opened.start_ms, opened.end_ms, attributes, mini_batch, error=error
        )
