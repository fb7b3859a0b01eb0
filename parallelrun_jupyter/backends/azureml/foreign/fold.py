"""Folds readings of a job of others into the events of a run. No input or output.

Events are in the journal for good, and each reading shows again what earlier ones have shown: an attempt is
an event once, known by its mini-batch and its number. A driver that starts later notes the events that are
there, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ....formatting import plural
from ....runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    MiniBatchesPlanned,
    NodeJoined,
    PlanFinished,
    RunStarted,
    StateEntered,
    WarningRaised,
    WorkerReady,
    WorkerStarted,
)
from ....runs.journal.job_events import JobReported
from ....worker.failures import SHORT_RESULT, short_result
from . import words
from .job_facts import Facts
from .log_files import News, Process, process_of
from .log_shapes import Scheduled, TableRow
from .numbers import Numbers
from .tracebacks import Trace

_WAITS_FOR_TRACE = 3
"""A failure is told after so many readings without its traceback, which is in another file."""

_FROZEN = 8
"""An overview counts as frozen when the table has grown in so many readings, and it has not."""

_SETTLED = 3
"""A total that so many lines repeat is final: the line that says so may be in a file that is gone."""

_TRACEBACKS_PER_GROUP = 10
_RUNNING = frozenset({"Running", "Finalizing"})
_LEFT, _SUCCEEDED, _FAILED = range(3)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a job: its facts, the news of its log files, and its page."""

    facts: Facts
    news: News = field(default_factory=News)
    url: str = ""
    name: str = ""

    @property
    def is_last(self) -> bool:
        """Whether the job has ended, and its files were read to their ends."""
        return self.facts.has_ended


@dataclass(slots=True)
class _Waiting:
    """A failed row whose traceback is not there yet."""

    row: TableRow
    readings: int = 0


class Fold:
    """Turns readings into events.

    Parameters
    ----------
    numbers
        The numbers of mini-batches that Azure names otherwise.
    """

    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self._statuses: dict[int, int] = {}
        #: the last attempt in the journal, by mini-batch
        self._attempts: dict[int, int] = {}
        #: the failure of mini-batches that may be tried again
        self._retrying: dict[int, AttemptFailed] = {}
        self._waiting: dict[tuple[int, int], _Waiting] = {}
        self._planned = self._items = -1
        self._is_planned = False
        self._items_seen = 0
        self._with_items: set[int] = set()
        self._done = 0
        self._processed = 0
        self._processes: dict[Process, str] = {}
        self._nodes: set[str] = set()
        self._reported: JobReported | None = None
        self._state = ""
        self._said: set[str] = set()
        self._tracebacks: dict[str, int] = {}
        self._used: set[tuple[Process, int]] = set()
        self._readings_without_table = 0
        self._growth = 0
        self._same_totals = 0

    # The journal

    def note(self, event: Event) -> None:
        """Note an event of the journal, of this driver or an earlier one."""
        match event:
            case AttemptSucceeded():
                self._note_attempt(event)
                self._end(event.mini_batch, _SUCCEEDED)
            case AttemptFailed():
                self._note_attempt(event)
                self._tracebacks[event.group] = self._tracebacks.get(event.group, 0) + 1
                if event.is_last:
                    self._end(event.mini_batch, _FAILED)
                else:
                    self._retrying[event.mini_batch] = event
            case ItemsFailed() if event.ranges:
                self._end(event.mini_batch, _FAILED)
            case MiniBatchesPlanned() | PlanFinished():
                self._planned, self._items = event.mini_batches, event.items
                self._is_planned |= isinstance(event, PlanFinished)
            case JobReported():
                self._reported = event
                self._processed = max(self._processed, event.processed)
            case StateEntered():
                self._state = event.state
            case WarningRaised():
                self._said.add(event.text)
            case RunStarted():
                self._state = ""
                self._processes.clear()
                self._nodes.clear()

    def _note_attempt(self, event: AttemptSucceeded | AttemptFailed) -> None:
        mini_batch = event.mini_batch
        self._attempts[mini_batch] = max(event.attempt, self._attempts.get(mini_batch, 0))
        if mini_batch not in self._with_items:
            self._with_items.add(mini_batch)
            self._items_seen += event.items
        self._retrying.pop(mini_batch, None)

    def _end(self, mini_batch: int, status: int) -> None:
        self._done += self._statuses.get(mini_batch, _LEFT) == _LEFT
        self._statuses[mini_batch] = status
        self._retrying.pop(mini_batch, None)

    # Readings

    def fold(self, reading: Reading, at_ms: int) -> list[Event]:
        """Return the events of a reading, at a time of this driver's clock."""
        events = _Events(self)
        self._fold_plan(reading.news, at_ms, events)
        self._fold_workers(reading.news, at_ms, events)
        if reading.facts.state in _RUNNING and self._state != "Running":
            events.add(StateEntered(at_ms, "Running"))
        self._fold_rows(reading, at_ms, events)
        if reading.is_last:
            self._fail_retrying(at_ms, events)
        self._fold_totals(reading, at_ms, events)
        self._fold_job(reading, at_ms, events)
        self._warn(reading, at_ms, events)
        return events.all

    def _fold_plan(self, news: News, at_ms: int, events: _Events) -> None:
        planned, items, is_finished = self._planned, self._items, self._is_planned
        for line in news.lines:
            if isinstance(line, Scheduled):
                planned = max(planned, line.mini_batches)
                items = max(items, line.items)
                is_finished |= line.is_finished
            else:
                self._processed = max(self._processed, line.mini_batches)
                self._same_totals = self._same_totals + 1 if line.of == planned else 0
                planned = max(planned, line.of)
                is_finished |= self._same_totals >= _SETTLED
        self._plan(planned, items, at_ms, events, is_finished=is_finished)

    def _plan(
        self, planned: int, items: int, at_ms: int, events: _Events, *, is_finished: bool
    ) -> None:
        """Add an event if the totals have grown; each mini-batch has at least one item."""
        if planned < 0:
            return
        items = max(items, self._items_seen + planned - len(self._with_items), 0)
        if (planned, items, is_finished) != (self._planned, self._items, self._is_planned):
            kind = PlanFinished if is_finished else MiniBatchesPlanned
            events.add(kind(at_ms, planned, items))

    def _fold_workers(self, news: News, at_ms: int, events: _Events) -> None:
        named = {process_of(row.process) for row in news.rows if row.process}
        full = {process for process in named if process.node}
        for process in sorted(news.processes | full):
            self._worker_of(process, at_ms, events)

    def _worker_of(self, process: Process, at_ms: int, events: _Events) -> str:
        """Return the worker of a process, which starts with this if it is new."""
        if process in self._processes:
            return self._processes[process]
        if not process.node:  # the only process of this name, on whichever node
            same = [p for p in self._processes if p.name == process.name]
            if len(same) == 1:
                return self._processes[same[0]]
        worker = self._processes[process] = process.worker
        node = process.node or "azureml"
        if node not in self._nodes:
            self._nodes.add(node)
            events.add(NodeJoined(at_ms, node, node))
        events.add(WorkerStarted(at_ms, worker, node, 0))
        events.add(WorkerReady(at_ms, worker, 0))
        return worker

    # Rows

    def _fold_rows(self, reading: Reading, at_ms: int, events: _Events) -> None:
        waiting, self._waiting = self._waiting, {}
        numbered = [
            (self.numbers.of(row.mini_batch, self._planned), row) for row in reading.news.rows
        ]
        new = {(number, row.picked): _Waiting(row) for number, row in numbered}
        pending = {**waiting, **{key: new[key] for key in new if key not in waiting}}
        for key in sorted(pending, key=lambda key: (key[1], key[0])):
            self._fold_row(key[0], pending[key], reading, at_ms, events)

    def _fold_row(
        self, number: int, one: _Waiting, reading: Reading, at_ms: int, events: _Events
    ) -> None:
        row = one.row
        last = self._attempts.get(number, 0)
        outcome = _outcome(row)
        is_known = self._statuses.get(number, _LEFT) != _LEFT or row.picked <= last
        if is_known or outcome is None:
            return
        if any(key[0] == number for key in self._waiting):
            self._waiting[number, row.picked] = one  # after the attempt before it
            return
        worker = self._worker_of(process_of(row.process), at_ms, events) if row.process else ""
        trace = None
        if outcome == "exception":
            trace = self._trace_of(row, reading.news.traces)
            one.readings += 1
            if trace is None and one.readings < _WAITS_FOR_TRACE and not reading.is_last:
                self._waiting[number, row.picked] = one
                return
        for attempt in range(last + 1, row.picked):
            events.add(self._unknown_failure(number, attempt, row, at_ms))
        if outcome == "done":
            self._add_success(number, row, worker, at_ms, events)
        else:
            tries = reading.facts.tries
            is_last = 0 < tries <= row.picked
            failure = _failure_of(row, outcome, trace)
            events.add(self._failed(number, row, worker, at_ms, failure, is_last=is_last))

    def _add_success(
        self, number: int, row: TableRow, worker: str, at_ms: int, events: _Events
    ) -> None:
        succeeded = min(row.succeeded, row.total)
        event = AttemptSucceeded(
            number, row.picked, worker, at_ms, _us(row), row.total, succeeded, succeeded, 0, 0, 0, 0
        )
        events.add(event)
        missing = row.total - succeeded
        if missing:
            text, group = short_result(succeeded, row.total, ""), f"{SHORT_RESULT} at run()"
            events.add(ItemsFailed(
                number, row.picked, worker, at_ms, missing, "short_result", SHORT_RESULT, text, group, "",
            ))  # fmt: skip

    def _failed(
        self,
        number: int,
        row: TableRow,
        worker: str,
        at_ms: int,
        failure: _Failure,
        *,
        is_last: bool,
    ) -> AttemptFailed:
        is_kept = self._tracebacks.get(failure.group, 0) < _TRACEBACKS_PER_GROUP
        return AttemptFailed(
            number, row.picked, worker, at_ms, _us(row), max(1, row.total), is_last, failure.kind,
            failure.error, failure.message, failure.group, failure.traceback if is_kept else "",
        )  # fmt: skip

    def _unknown_failure(
        self, number: int, attempt: int, row: TableRow, at_ms: int
    ) -> AttemptFailed:
        """Return the failure of an attempt of which the table has no row."""
        is_last = False
        failure = _Failure("worker_lost", "Retried", words.RETRIED, "Retried at run()", "")
        return AttemptFailed(
            number, attempt, "", at_ms, 0, max(1, row.total), is_last, *failure.fields
        )

    def _fail_retrying(self, at_ms: int, events: _Events) -> None:
        """Fail mini-batches for good whose last try failed, when no more will come."""
        for number, failure in sorted(self._retrying.items()):
            events.add(ItemsFailed(
                number, failure.attempt, "", at_ms, failure.items, failure.kind, failure.error,
                failure.message, failure.group, "", ((0, failure.items),), (), failure.items,
            ))  # fmt: skip

    def _trace_of(self, row: TableRow, traces: Mapping[Process, tuple[Trace, ...]]) -> Trace | None:
        """Return the traceback of a failed row: of its process if possible, and not used yet."""
        own = process_of(row.process)
        places = sorted(traces, key=lambda one: (not _is_same(one, own), not one.name, one))
        for may_be_used in (False, True):
            for process in places:
                if process.name and not _is_same(process, own) and not row.message:
                    continue
                for k, trace in enumerate(traces[process]):
                    is_used = (process, k) in self._used
                    if is_used == may_be_used and _fits(trace, row):
                        self._used.add((process, k))
                        return trace
        return None

    # The end, and the job

    def _fold_totals(self, reading: Reading, at_ms: int, events: _Events) -> None:
        """Bring the totals up to those of the table; a job that has completed has no more."""
        seen = max(self._attempts) + 1 if self._attempts else -1
        planned = max(self._planned, seen, 0 if reading.facts.state == "Completed" else -1)
        is_finished = self._is_planned or reading.facts.state == "Completed"
        self._plan(planned, self._items, at_ms, events, is_finished=is_finished)

    @property
    def _items_processed(self) -> int:
        """The least number of items that the processed mini-batches have, if all but one are alike."""
        if self._processed <= self._done or not self._is_planned or self._planned <= 0:
            return 0
        size = -(-max(self._items, 0) // self._planned)
        left = size * max(0, self._planned - self._processed)
        return max(0, self._items - left)

    def _fold_job(self, reading: Reading, at_ms: int, events: _Events) -> None:
        facts = reading.facts
        nodes = len(self._nodes)
        detail = plural(nodes, "node") if nodes and facts.state in _RUNNING else ""
        before = self._reported
        processed, items = self._processed, self._items_processed
        if before is not None and not reading.is_last:  # until the end, counts never go back
            processed = processed if processed > self._done else before.processed
            items = max(items, before.items_processed)
        event = JobReported(at_ms, reading.name, facts.state, detail, reading.url, processed, items)
        if before is None or _without_time(event) != _without_time(before):
            events.add(event)

    def _warn(self, reading: Reading, at_ms: int, events: _Events) -> None:
        news, facts = reading.news, reading.facts
        if self._processed > self._done and not news.has_table:
            self._readings_without_table += 1
        if news.rows:
            self._growth = 0 if news.is_overview_new else self._growth + 1
        elif news.is_overview_new:
            self._growth = 0
        texts = []
        is_blind = self._processed > self._done and not news.has_table
        if is_blind and reading.is_last:
            texts.append(words.no_table_at_end(facts.state))
        elif is_blind and self._readings_without_table >= _WAITS_FOR_TRACE:
            texts.append(words.NO_TABLE)
        if news.has_overview and self._growth >= _FROZEN:
            texts.append(words.FROZEN)
        if not news.has_table and (is_blind or reading.is_last):
            texts += self._first_error(news, events, at_ms)
        for text in texts:
            if text not in self._said:
                events.add(WarningRaised(at_ms, text))

    def _first_error(self, news: News, events: _Events, at_ms: int) -> list[str]:
        """Show an error that no row of the table tells."""
        if self._tracebacks:
            return []
        for _, traces in sorted(news.traces.items()):
            for trace in traces[:1]:
                text = words.error_without_row(trace.error, trace.message, trace.place)
                if text not in self._said:
                    events.add(WarningRaised(at_ms, text, trace.text))
                return []
        return []


class _Events:
    """The events of a reading; the fold notes each at once."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self.all: list[Event] = []

    def add(self, event: Event) -> None:
        self.all.append(event)
        self._fold.note(event)


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: str
    error: str
    message: str
    group: str
    traceback: str

    @property
    def fields(self) -> tuple[str, str, str, str, str]:
        return self.kind, self.error, self.message, self.group, self.traceback


def _outcome(row: TableRow) -> str | None:
    """Return how an attempt ended, by the status of its row; None if it has not."""
    status = row.status
    if status == "RUN_DONE" or (status.endswith("DONE") and row.total and row.succeeded):
        return "done"
    is_load = status.startswith("LOAD")
    if "TIMEOUT" in status:
        return "load_timeout" if is_load else "timeout"
    if any(word in status for word in ("EXCEPTION", "ERROR", "FAIL")):
        return "bad_input" if is_load else "exception"
    return None


def _failure_of(row: TableRow, kind: str, trace: Trace | None) -> _Failure:
    if trace is not None:
        return _Failure(kind, trace.error, trace.message or row.message, trace.group, trace.text)
    if kind in {"timeout", "load_timeout"}:
        where = "loading" if kind == "load_timeout" else "run()"
        text = row.message or words.timed_out(where)
        return _Failure(kind, "Timeout", text, f"Timeout at {where}", "")
    error = row.error or "Exception"
    return _Failure(kind, error, row.message or row.status, f"{error} at run()", "")


def _us(row: TableRow) -> int:
    return round(row.seconds * 1e6)


def _is_same(one: Process, other: Process) -> bool:
    return one.name == other.name and (one.node == other.node or not (one.node and other.node))


def _fits(trace: Trace, row: TableRow) -> bool:
    """Return whether a traceback may be that of a row."""
    first = trace.message.partition("\n")[0].strip()
    if row.message:
        return bool(first) and (first in row.message or row.message in trace.message)
    return not row.error or row.error.rpartition(".")[2] == trace.error


def _without_time(event: JobReported) -> tuple[object, ...]:
    return (
        event.name,
        event.state,
        event.detail,
        event.url,
        event.processed,
        event.items_processed,
    )
