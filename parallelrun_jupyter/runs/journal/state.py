"""The state of a run, folded from its journal. The scheduler, resume and all views use this fold."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from .answers import Answers
from .call_events import CallsHeld, CallsLimited, CallsSpent
from .calls import CallsState, calls_after
from .crew import Crew
from .events import (
    FINAL_STATES,
    AttemptFailed,
    AttemptSucceeded,
    CallLimited,
    CancelRequested,
    DuplicatesCopied,
    Event,
    InitFailed,
    ItemsFailed,
    ItemsSucceeded,
    MiniBatchesPlanned,
    NodeJoined,
    NodeLost,
    NodeSampled,
    PartStored,
    PlanFinished,
    ResultsReused,
    RowsDropped,
    RunFinished,
    RunResumed,
    RunStarted,
    StateEntered,
    TypesChanged,
    WarningRaised,
    WorkerLost,
    WorkerReady,
    WorkerStarted,
)
from .failure_groups import FailureGroup
from .job_events import JobReported, JobState, job_after
from .throughput import Throughput
from .worker_state import WorkerState

LEFT, SUCCEEDED, FAILED, RETRYING, PARTLY = range(5)
"""Status of a mini-batch: not done yet, succeeded, failed for good, failed and to be retried, or
succeeded for some of its items, while the others failed for good."""

KEPT_ATTEMPTS = 400
"""Number of recent attempts kept, for the timeline and for estimates of durations."""

_KEPT_WARNINGS = 20

ItemsChange: TypeAlias = (
    ItemsSucceeded
    | ItemsFailed
    | RowsDropped
    | CallLimited
    | ResultsReused
    | DuplicatesCopied
    | TypesChanged
)

EndedAttempt: TypeAlias = tuple[str, int, int, int, int]
"""Worker, mini-batch, time of the end (ms), duration (us), and new status of the mini-batch."""


@dataclass(slots=True)
class RunState:
    """The state of a run after the events applied so far."""

    state: str = "Queued"
    reason: str = ""
    #: of the error outside the script that ended the run
    traceback: str = ""
    at_ms: int = 0
    drivers: int = 0
    planned: int = 0
    planned_items: int = 0
    plan_finished: bool = False
    succeeded: int = 0
    failed: int = 0
    retrying: int = 0
    attempts_failed: int = 0
    items_succeeded: int = 0
    items_failed: int = 0
    rows: int = 0
    #: parts of the output that nodes have uploaded to the object store
    parts: int = 0
    cancel: bool = False
    output: str = ""
    output_bytes: int = 0
    #: completions over time under the current driver
    throughput: Throughput = field(default_factory=Throughput)
    #: time of the last progress: a mini-batch planned or started, an attempt ended, a new state
    last_progress_ms: int = 0
    statuses: bytearray = field(default_factory=bytearray)
    #: number of the last attempt, by mini-batch that did not succeed in the first one
    tries: dict[int, int] = field(default_factory=dict)
    #: answers to single items, by mini-batch; not of mini-batches that succeeded as a whole
    answers: dict[int, Answers] = field(default_factory=dict)
    #: most items that a call of run() may receive, since more do not fit into memory; 0: no limit
    items_per_call: int = 0
    #: whether rows were dropped under one driver, because column types have changed
    drops_rows: bool = False
    #: mini-batches that were taken whole from another run
    mini_batches_taken: int = 0
    #: the update that took rows from another run
    reused: ResultsReused | None = None
    #: items that have a copy of the rows of items with the same content
    duplicates_copied: int = 0
    #: calls that wait for a server; None unless several are in flight, or they are limited
    calls: CallsState | None = None
    #: the job of a run that another service runs; None for other runs
    job: JobState | None = None
    #: failure group of the last attempt, by mini-batch
    failed_in: dict[int, str] = field(default_factory=dict)
    crew: Crew = field(default_factory=Crew)
    recent_attempts: deque[EndedAttempt] = field(
        default_factory=lambda: deque(maxlen=KEPT_ATTEMPTS)
    )
    groups: dict[str, FailureGroup] = field(default_factory=dict)
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_WARNINGS))

    @property
    def workers(self) -> dict[str, WorkerState]:
        """The workers of the current driver, by name."""
        return self.crew.workers

    @property
    def done(self) -> int:
        """Mini-batches that succeeded or failed for good, or that the job's service counts as done."""
        return max(self.succeeded + self.failed, self.job.processed if self.job else 0)

    @property
    def items_done(self) -> int:
        """Items that succeeded or failed, or are in mini-batches that the job's service counts as done."""
        counted = self.job.items_processed if self.job else 0
        return max(self.items_succeeded + self.items_failed, counted)

    @property
    def left(self) -> int:
        """Planned mini-batches that are not done."""
        return self.planned - self.done

    @property
    def is_final(self) -> bool:
        """Whether the run has ended; a driver that lost all nodes ends it as Interrupted."""
        return self.state in FINAL_STATES or self.state == "Interrupted"

    @property
    def is_all_done(self) -> bool:
        """Whether the run completed, and no mini-batch or item is known to have failed."""
        is_completed = self.state == "Completed" and self.plan_finished and not self.left
        return is_completed and not self.failed and not self.items_lost

    @property
    def items_lost(self) -> int:
        """Items that failed for good, without those of short results."""
        return sum(group.items_lost for group in self.groups.values())

    def status_of(self, mini_batch: int) -> int:
        """Return the status of a mini-batch: LEFT, SUCCEEDED, FAILED, RETRYING or PARTLY."""
        return self.statuses[mini_batch] if mini_batch < len(self.statuses) else LEFT

    def failed_mini_batches(self, group: str = "") -> list[int]:
        """Return the mini-batches that failed, or have failed items, in one group or in any."""
        failed = {k for k, name in self.failed_in.items() if not group or name == group}
        failed.update(
            mini_batch
            for mini_batch, answers in self.answers.items()
            if any(not group or name == group for _, _, name in answers.failed)
        )
        return sorted(failed)

    def running_on(self, node: str) -> set[int]:
        """Return the mini-batches that the workers of a node were last reported to run."""
        workers = self.workers.values()
        return {w.mini_batch for w in workers if w.node == node and w.phase == "running"}

    def apply_all(self, events: Iterable[Event]) -> bool:
        """Apply events in order; return whether there were any."""
        changed = False
        for event in events:
            self.apply(event)
            changed = True
        return changed

    def apply(self, event: Event) -> None:  # noqa: C901, PLR0912 - one flat match over the closed union
        """Apply one event."""
        before, self.at_ms = self.at_ms, event.at_ms
        match event:
            case AttemptSucceeded():
                self.at_ms = max(before, event.at_ms)  # may have waited for its part's event
                self._count_success(event)
            case PartStored():
                self.parts += 1
            case AttemptFailed():
                self._count_failure(event)
            case _ if isinstance(event, ItemsChange):
                self.at_ms = max(before, event.at_ms)
                self._apply_items(event)
            case MiniBatchesPlanned() | PlanFinished():
                self.last_progress_ms = event.at_ms
                self.planned = event.mini_batches
                self.planned_items = event.items
                self.plan_finished = isinstance(event, PlanFinished)
            case RunStarted():
                self._start_driver(event.at_ms, before)
            case RunResumed():
                self._reopen(event.group)
            case StateEntered():
                self.state, self.last_progress_ms = event.state, event.at_ms
            case CancelRequested():
                self.cancel = True
            case NodeJoined():
                self.crew.nodes[event.node] = event.place
            case NodeLost():
                self.crew.remove_node(event.node)
            case WarningRaised():
                self.warnings.append(event.text)
            case CallsLimited() | CallsSpent() | CallsHeld():
                self.calls = calls_after(self.calls, event)
            case JobReported():
                done, self.job = self.done, job_after(self.job, event)
                if self.done > done:
                    self._count_end(event.at_ms, 0)
            case RunFinished():
                self.state, self.reason = event.state, event.reason
                self.traceback = event.traceback
                self.output, self.output_bytes = event.output, event.output_bytes
                self.crew.end()
            case _:
                self._apply_worker(event)

    def _start_driver(self, at_ms: int, before_ms: int) -> None:
        """Start over what is of one driver; the last event of the one before was at ``before_ms``."""
        self.state, self.cancel = "Planning", False
        self.reason = self.traceback = ""
        self.last_progress_ms = at_ms
        if self.drivers:
            self.throughput.start_over(at_ms, before_ms, self.done, self.items_done)
        self.crew.start_over()
        self.drivers += 1

    def _apply_items(self, event: ItemsChange) -> None:
        match event:
            case ItemsSucceeded():
                self._count_items_succeeded(event)
            case ItemsFailed():
                self._count_items_failed(event)
            case RowsDropped():
                self._drop_rows(event)
            case CallLimited():
                self.items_per_call = event.items
            case ResultsReused():
                self.reused = event
            case DuplicatesCopied():
                self.duplicates_copied += event.items
            case TypesChanged():
                self._start_over(event)

    def _start_over(self, event: TypesChanged) -> None:
        """Count what has failed as retrying; events follow that drop what has succeeded."""
        self._reopen("")
        self.throughput.start_over(event.at_ms, event.at_ms, self.done, self.items_done)
        self.drops_rows = True
        self.warnings.append(event.text)

    def _apply_worker(
        self, event: WorkerStarted | WorkerReady | WorkerLost | InitFailed | NodeSampled
    ) -> None:
        match event:
            case WorkerStarted():
                self.crew.start_worker(event)
            case WorkerReady():
                if event.worker in self.workers:
                    self.workers[event.worker].enter("waiting", -1, event.at_ms)
            case WorkerLost():
                self.crew.workers_lost += 1
                self.crew.remove_worker(event.worker)
            case InitFailed():
                self._group_of(event, -1).attempts += 1
                self.crew.remove_worker(event.worker)
            case NodeSampled():
                if self.crew.sample(event):
                    self.last_progress_ms = self.at_ms

    def _set_status(self, mini_batch: int, status: int) -> None:
        missing = mini_batch + 1 - len(self.statuses)
        if missing > 0:
            self.statuses.extend(bytes(missing))
        if self.statuses[mini_batch] == RETRYING:
            self.retrying -= 1
        if status == RETRYING:
            self.retrying += 1
        self.statuses[mini_batch] = status

    def _count_success(self, event: AttemptSucceeded) -> None:
        if event.mini_batch == len(self.statuses):  # most often
            self.statuses.append(SUCCEEDED)
        else:
            self._set_status(event.mini_batch, SUCCEEDED)
        if self.failed_in:
            self.failed_in.pop(event.mini_batch, None)
        self.succeeded += 1
        self._count_rows(event)

    def _count_items_succeeded(self, event: ItemsSucceeded) -> None:
        answers = self._answers_of(event.mini_batch, event.of)
        answers.succeed(event.first, event.items)
        self._count_try(event)
        self._finish_if_complete(event.mini_batch, answers)
        self._count_rows(event)

    def _count_rows(self, event: AttemptSucceeded | ItemsSucceeded) -> None:
        """Count the items and rows of a result, and the attempt."""
        self.items_succeeded += event.items_succeeded
        self.items_failed += event.items - event.items_succeeded
        self.rows += event.rows
        if not event.worker:  # taken from another run: it says nothing about the rate of this run
            self.mini_batches_taken += isinstance(event, AttemptSucceeded)
            self.throughput.rebase(self.done, self.items_done)
            return
        if not event.duration_us and isinstance(event, ItemsSucceeded):
            self._count_end(self.at_ms, 0)  # not the first event of its attempt
            return
        if self.calls is not None:
            self.calls.succeed(event.duration_us)
            self.calls.end(event.mini_batch)
        worker = self.crew.workers.get(event.worker)
        if worker is not None:
            worker.succeeded += 1
        self.recent_attempts.append(
            (event.worker, event.mini_batch, event.at_ms, event.duration_us, SUCCEEDED)
        )
        self._count_end(self.at_ms, event.duration_us)

    def _count_failure(self, event: AttemptFailed) -> None:
        new_status = FAILED if event.is_last else RETRYING
        self.last_progress_ms = event.at_ms
        self.recent_attempts.append(
            (event.worker, event.mini_batch, event.at_ms, event.duration_us, new_status)
        )
        self.tries[event.mini_batch] = event.attempt
        self.attempts_failed += 1
        if self.calls is not None:
            self.calls.throttled += event.kind == "throttled"
            self.calls.end(event.mini_batch)
        group = self._group_of(event, event.mini_batch)
        group.attempts += 1
        self.failed_in[event.mini_batch] = group.group
        worker = self.workers.get(event.worker)
        if worker is not None:
            worker.failed += (
                event.kind != "throttled"
            )  # the server has not tried it: nothing is lost
        if event.is_last and event.ranges:
            self._fail_items(event, group)
            self._count_end(event.at_ms, event.duration_us)
            return
        self._set_status(event.mini_batch, new_status)
        if event.is_last:
            group.mini_batches_lost += 1
            group.items_lost += event.items
            self.failed += 1
            self.items_failed += event.items
            self._count_end(event.at_ms, event.duration_us)

    def _count_items_failed(self, event: ItemsFailed) -> None:
        group = self._group_of(event, event.mini_batch)
        group.attempts += bool(event.worker)
        if not event.ranges:
            group.items_missing += event.items
            return
        self._count_try(event)
        self.failed_in[event.mini_batch] = group.group
        if event.is_last:
            self._fail_items(event, group)
            self._count_end(self.at_ms, 0)
        else:
            self._set_status(event.mini_batch, RETRYING)

    def _count_try(self, event: ItemsSucceeded | ItemsFailed) -> None:
        """Record the number of an attempt; its event may have waited for the part's event."""
        self.tries[event.mini_batch] = max(event.attempt, self.tries.get(event.mini_batch, 0))
        if self.calls is not None:
            self.calls.end(event.mini_batch)

    def _fail_items(self, event: AttemptFailed | ItemsFailed, group: FailureGroup) -> None:
        """Count items of a mini-batch as failed for good."""
        if self.status_of(event.mini_batch) == LEFT:
            self._set_status(event.mini_batch, RETRYING)
        answers = self._answers_of(event.mini_batch, event.of)
        answers.fail(event.ranges, group.group)
        group.items_lost += event.items
        self.items_failed += event.items
        self._finish_if_complete(event.mini_batch, answers)

    def _answers_of(self, mini_batch: int, of: int) -> Answers:
        if mini_batch not in self.answers:
            self.answers[mini_batch] = Answers(of)
        return self.answers[mini_batch]

    def _finish_if_complete(self, mini_batch: int, answers: Answers) -> None:
        """Count a mini-batch as done when all its items have an answer."""
        if not answers.is_complete:
            return
        self.failed_in.pop(mini_batch, None)
        items_failed = answers.items_failed
        if items_failed == answers.of:
            self._set_status(mini_batch, FAILED)
            self.failed += 1
            self.groups[answers.last_group].mini_batches_lost += 1
            return
        self._set_status(mini_batch, PARTLY if items_failed else SUCCEEDED)
        self.succeeded += 1
        if not items_failed:
            del self.answers[mini_batch]

    def _drop_rows(self, event: RowsDropped) -> None:
        mini_batch = event.mini_batch
        self.items_succeeded -= event.items_succeeded
        self.items_failed -= event.items - event.items_succeeded
        self.rows -= event.rows
        status = self.status_of(mini_batch)
        if status in {SUCCEEDED, PARTLY}:  # others have no answer to some of their items
            self.succeeded -= 1
            # The attempt that succeeded is not counted if the mini-batch succeeded as a whole.
            self.tries[mini_batch] = self.tries.get(mini_batch, 0) + 1
        if status != RETRYING:
            self._set_status(mini_batch, RETRYING)
        if event.group in self.groups:
            self.groups[event.group].items_missing -= event.items - event.items_succeeded
        if event.items < event.of and mini_batch not in self.answers:
            self.answers[mini_batch] = Answers(event.of, [(0, event.of)])
        if mini_batch in self.answers:
            self.answers[mini_batch].drop(event.first, event.items)
        self.failed_in[mini_batch] = event.group
        self.throughput.rebase(self.done, self.items_done)

    def _reopen(self, only: str) -> None:
        """Count mini-batches and items that failed for good, in one group or in all, as retrying."""
        for mini_batch in self.failed_mini_batches(only):
            status = self.statuses[mini_batch]
            answers = self.answers.get(mini_batch)
            if status == FAILED:
                by_item = answers is not None and bool(answers.failed)
                lost_in = answers.last_group if answers and by_item else self.failed_in[mini_batch]
                self.groups[lost_in].mini_batches_lost -= 1
                self.failed -= 1
            elif status == PARTLY:
                self.succeeded -= 1
            name = answers.reopen(only) if answers is not None else ""
            if name:  # it failed there, until an attempt ends
                self.failed_in[mini_batch] = name
            if answers is not None and not answers.succeeded and not answers.failed:
                del self.answers[mini_batch]  # all of it runs again, perhaps with other items
            if status in {FAILED, PARTLY}:
                self._set_status(mini_batch, RETRYING)
        for group in self.groups.values():
            if not only or group.group == only:
                self.items_failed -= group.items_lost
                group.items_lost = 0
        self.output, self.output_bytes = "", 0
        self.throughput.rebase(self.done, self.items_done)

    def _group_of(
        self, event: AttemptFailed | ItemsFailed | InitFailed, mini_batch: int
    ) -> FailureGroup:
        """Return the group of a failure, created for the first of its kind."""
        group = self.groups.get(event.group)
        if group is None:
            group = FailureGroup(
                event.group, event.kind, event.error, event.message, event.traceback, mini_batch
            )
            self.groups[event.group] = group
        return group

    def _count_end(self, at_ms: int, duration_us: int) -> None:
        self.last_progress_ms = at_ms
        done, items_done = self.succeeded + self.failed, self.items_succeeded + self.items_failed
        if self.job is not None:
            done, items_done = self.done, self.items_done
        self.throughput.complete(at_ms, duration_us, done, items_done)
