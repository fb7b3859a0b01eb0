"""The scheduler: signals in, actions out. No input or output, no clock: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from ...formatting import plural
from ...runs.journal import events
from ...runs.journal.call_events import CallsSpent
from ...runs.journal.events import AttemptSucceeded, Event, WarningRaised
from ...runs.journal.state import PARTLY, RunState
from . import actions, limits, signals
from .actions import Action, Refuse, add_event
from .allocation import Allocation
from .assignments import Assignments
from .assumed_types import AssumedTypes
from .attempts import Attempts
from .call_limits import CallLimits
from .limits import Limits
from .outside_events import outside_event, worker_event
from .parts import Parts
from .publication import Publication
from .signals import Signal
from .tries import first_refused

_ALL_DONE = "it is Completed without failures, so nothing is left to run"


class Scheduler:
    """Decides which node runs which mini-batch, which are retried, and when the run is over.

    Only ``handle`` changes it. ``state`` is the fold of the events that it recorded, by the same
    code as everywhere.

    Parameters
    ----------
    limits
        The failures and delays that the run tolerates.
    nodes
        Names of the initial nodes; others connect by signal. Nodes offer capacity by signal.
    allocate
        Makes the allocation strategy from the run's state.
    items_of
        Returns the number of items in a planned mini-batch.
    state
        The fold of an earlier driver's journal, for a resume.
    failed_only
        For a resume: run only items that failed, and mini-batches with a failed attempt.
    group
        For a resume: run only those that failed in this group.
    short_results
        For a resume: short results whose items run again.
    """

    def __init__(
        self,
        limits: Limits,
        nodes: tuple[str, ...],
        allocate: Callable[[RunState], Allocation],
        items_of: Callable[[int], int],
        state: RunState | None = None,
        *,
        failed_only: bool = False,
        group: str = "",
        short_results: Sequence[events.RowsDropped] = (),
    ) -> None:
        self.state = state or RunState()
        self._failed_only, self._group = failed_only or bool(group), group
        self._failed_items_kept = -1  # that the resume of one group leaves as they are
        self._limits = limits
        self._items_of = items_of
        self._assignments = Assignments(nodes)
        self._allocation = allocate(self.state)
        self._attempts = Attempts(limits, self.state, self._allocation, items_of, self._record)
        self._parts = Parts(self._allocation, self._record)
        self._types = AssumedTypes(
            limits,
            self.state,
            assignments=self._assignments,
            attempts=self._attempts,
            allocation=self._allocation,
            record=self._record,
            requeue=self._requeue,
        )
        self._short_results = short_results
        #: the limits of calls that wait for a server, if there are any
        calls = self.state.calls
        is_limited = limits.calls.is_limited or (calls is not None and calls.is_paused)
        self._calls = CallLimits(limits.calls, calls) if is_limited else None
        #: whether the planner has confirmed the plan: a resume checks the inputs first
        self._plan_is_checked = True
        #: the state and reason in which the run ends once the nodes have stopped
        self._ending: tuple[str, str] | None = None
        self._traceback = ""  # of the error that ends the run, unless the script raised it
        self._publication = Publication(limits, self._parts)
        #: whether nodes upload the rest of their rows before they stop
        self._is_draining = False
        self._now = self._started_ms = self._last_progress_ms = 0
        self._actions: list[Action] = []
        self._driver = (0, "", "")
        #: signals before the plan of an ended run is checked; None after that
        self._deferred: list[Signal] | None = None

    def start(self, now_ms: int, pid: int, host: str, script: str = "") -> list[Action]:
        """Start or resume the run; one that has ended is resumed when its plan is confirmed.

        Parameters
        ----------
        now_ms
            Milliseconds since the run's creation.
        pid, host
            The driver's process.
        script
            The SHA-256 of a script that was corrected for a resume.
        """
        self._now = self._started_ms = now_ms
        self._driver = (pid, host, script)
        if self.state.drivers and self.state.state not in events.FINAL_STATES:
            self._parts.node_lost(now_ms)  # those of the dead driver
        if self.state.is_final:
            self._deferred = []
            # Another resume may have completed the run since this one was requested.
            is_over = self.state.is_all_done and not self._short_results
            return [Refuse(_ALL_DONE)] if is_over else []
        return self._begin()

    @property
    def is_untouched(self) -> bool:
        """Whether the run is still in the state that an earlier driver left."""
        return self._deferred is not None

    def _begin(self) -> list[Action]:
        """Record the start of this driver."""
        pid, host, script = self._driver
        self._started_ms = self._last_progress_ms = self._now
        is_resume = self.state.drivers > 0
        self._plan_is_checked = not is_resume
        self._record(events.RunStarted(self._now, events.SCHEMA, pid, host))
        if self._calls is not None:
            self._record(self._calls.event(self._now))
        if is_resume:
            self._resume(script)
        return self._pop_actions()

    def _resume(self, script: str) -> None:
        """Record that the run continues, and queue the mini-batches to run again."""
        state = self.state
        again = {*state.failed_mini_batches(self._group)}
        again.update(event.mini_batch for event in self._short_results)
        whole = state.succeeded - state.statuses.count(PARTLY)
        count = len(again) if self._failed_only else state.planned - whole
        self._record(events.RunResumed(self._now, self._failed_only, count, script, self._group))
        for event in self._short_results:
            self._record(replace(event, at_ms=self._now))
        self._failed_items_kept = state.items_failed if self._group else -1
        self._attempts.resume(again if self._failed_only else None)
        self._allocation.resume(sorted(again), only_these=self._failed_only)

    def _defer(self, signal: Signal) -> list[Action]:
        """Store signals until the inputs are known to be unchanged.

        A resume that is refused leaves the ended run as it was.
        """
        assert self._deferred is not None
        reason = limits.refusal(signal, self._limits, self._now, self._started_ms)
        if reason:
            return [Refuse(reason)]
        if not isinstance(signal, signals.TimePassed):
            self._deferred.append(signal)
        if not isinstance(signal, signals.PlanAdvanced):
            return []
        deferred, self._deferred = self._deferred, None
        actions = self._begin()
        for earlier in deferred:
            actions += self.handle(earlier, self._now)
        return actions

    def handle(self, signal: Signal, now_ms: int) -> list[Action]:  # noqa: C901, PLR0912 - one flat match over the closed union
        """Handle one signal, ``now_ms`` milliseconds after the run's creation."""
        self._now = self._attempts.now = now_ms
        if self._deferred is not None:
            return self._defer(signal)
        if self.state.is_final:
            return []
        if isinstance(signal, signals.PROGRESS):
            self._last_progress_ms = now_ms
        match signal:
            case signals.AttemptsSucceeded():
                self._attempts_succeeded(signal)
            case signals.ItemsAnswered():
                self._items_answered(signal)
            case signals.AttemptErrored(node, _, mini_batch, attempt):
                is_counted = self._assignments.claim(mini_batch, attempt, node)
                if is_counted and (failed := self._types.failed(signal)):
                    self._end_call(mini_batch, failed.failure)
                    self._attempts.fail(failed)
            case signals.PartUploaded() | signals.PartUploadFailed():
                self._part_changed(signal)
            case signals.NodeOffered(node, slots, capacity):
                self._assignments.set_capacity(node, slots, capacity)
            case signals.WorkersSampled(node, workers, progress, calls):
                self._record(events.NodeSampled(self._now, node, workers, progress, calls))
                # An attempt may make many calls, or run many items, and reports only its end.
                self._last_progress_ms = max(self._last_progress_ms, self.state.last_progress_ms)
            case _ if isinstance(signal, signals.PlanChange | signals.TypesChange):
                self._plan_changed(signal)
            case signals.ItemsWithheld(items):
                self._attempts.withheld.add(items)
            case signals.RowsCopied(results, is_end):
                self._attempts.copied(results, is_end=is_end)
            case signals.CallsSpentReported(spends):
                self._record(CallsSpent(self._now, spends))
                if self._calls is not None:
                    self._calls.spend(spends)
            case signals.TimePassed():
                self._check_time()
            case signals.CancelAsked(drain):
                self._cancel(drain=drain)
            case _ if isinstance(signal, signals.OutputChange):
                self._output_changed(signal)
            case signals.Warned() | signals.JobChanged():
                self._record(outside_event(signal, self._now))
            case _ if isinstance(signal, signals.NodeChange):
                self._node_changed(signal)
            case _:
                self._worker_changed(signal)
        self._advance()
        return self._pop_actions()

    def _pop_actions(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _record(self, event: Event) -> None:
        self.state.apply(event := self._limits.worded(event))
        add_event(self._actions, event)

    def _plan_changed(self, signal: signals.PlanChange | signals.TypesChange) -> None:
        match signal:
            case _ if isinstance(signal, signals.TypesChange):
                self._actions += self._types.handle(signal, self._now, self._ending is not None)
            case signals.PlanAdvanced(mini_batches, items, is_end):
                self._plan_is_checked = True
                kind = events.PlanFinished if is_end else events.MiniBatchesPlanned
                self._record(kind(self._now, mini_batches, items))
                self._attempts.record_taken()
                if is_end:
                    self._allocation.end_plan()
            case signals.PlanFailed(reason, traceback) if self._ending is None:
                self._end_run("Failed", reason, drain=False, traceback=traceback)
            case signals.RowsTaken(results):
                self._attempts.take(results)
            case signals.UpdatePlanned(run_id, items, changed, new, gone):
                self._record(events.ResultsReused(self._now, run_id, items, changed, new, gone))

    # Nodes

    def _node_changed(self, signal: signals.NodeChange) -> None:
        match signal:
            case signals.NodeConnected(name, place):
                self._assignments.add(name)
                self._record(events.NodeJoined(self._now, name, place))
            case signals.NodeGone(name, reason, blames):
                self._lose_node(name, reason, blames=blames)
            case signals.NodeStopped(name):
                self._assignments.mark_stopped(name)
            case signals.MiniBatchesReturned(name, returned):
                claim = self._assignments.claim
                self._requeue([k for k, attempt in returned if claim(k, attempt, name)])
            case signals.PoolLost(reason, is_resumable, traceback):
                for name in self._assignments.names():
                    self._lose_node(name, reason, blames=False)
                if self._ending is None:
                    self._ending = ("Interrupted" if is_resumable else "Failed", reason)
                    self._traceback = traceback

    def _lose_node(self, name: str, reason: str, *, blames: bool) -> None:
        """Allocate the mini-batches of a lost node again; an attempt fails only by rule R18."""
        node = self._assignments.get(name)
        if node is None:
            return
        running = self.state.running_on(name) if blames and self._ending is None else None
        returned, charged = self._assignments.remove(name, running)
        self._record(events.NodeLost(self._now, name, reason))
        if not node.stopped:
            self._parts.node_lost(self._now)
        self._requeue(returned)
        self._attempts.node_lost(name)
        self._allocation.node_lost(name)
        failure = limits.node_lost_failure(reason)
        for k, attempt in charged:
            self._end_call(k, failure)
            items = self._items_of(k)
            self._attempts.fail(signals.AttemptErrored(name, name, k, attempt, items, 0, failure))

    def _requeue(self, mini_batches: list[int]) -> None:
        """Run mini-batches again whose attempts a node has not made."""
        if self._calls is not None:
            self._calls.give_back(mini_batches)
        self._attempts.give_back(mini_batches)
        self._allocation.requeue(mini_batches)

    # Workers

    def _worker_changed(self, signal: signals.WorkerChange) -> None:
        node = self._assignments.get(signal.node)
        if node is None:
            return  # a late signal of a lost node
        self._record(worker_event(signal, node, self._now))
        match signal:
            case signals.WorkerInitialized():
                self._attempts.run_line = signal.run_line
            case signals.WorkerNotReady(_, _, f):
                if self._assignments.cannot_start and self._ending is None:
                    why = f"{f.group}: {f.message}" if f.message else f.group
                    self._end_run("Failed", f"no worker could start: {why}", drain=False)

    # Attempts

    def _attempts_succeeded(self, signal: signals.AttemptsSucceeded) -> None:
        offset = signal.offset
        now, worker, part, calls = self._now, signal.worker, signal.part, self._calls
        records_now = not self._allocation.uploads_parts
        claimed = self._assignments.claim_all(signal.node, signal.successes)
        for is_claimed, success in zip(claimed, signal.successes, strict=True):
            mini_batch, attempt, items, rows, us, length, crc = success
            if is_claimed:
                self._assignments.clear_losses(mini_batch)
                if calls is not None:
                    calls.succeed(mini_batch, us)
                counts = items, min(items, rows), rows
                place = part, offset, length, crc
                event = AttemptSucceeded(mini_batch, attempt, worker, now, us, *counts, *place)
                # Most results are complete, and a run may have millions.
                (self._record if records_now and rows == items else self._attempts.succeed)(event)
            offset += length

    def _items_answered(self, signal: signals.ItemsAnswered) -> None:
        if self._assignments.claim(signal.mini_batch, signal.attempt, signal.node):
            self._assignments.clear_losses(signal.mini_batch)
            self._end_call(signal.mini_batch, first_refused(signal.failures), signal.duration_us)
            self._attempts.answer(signal)

    def _end_call(self, mini_batch: int, failure: signals.Failure | None, us: int = 0) -> None:
        """Let the limits of calls know how one has ended; a server may have refused it."""
        if self._calls is None and failure is not None and failure.is_throttled:
            self._calls = CallLimits(self._limits.calls, self.state.calls)
            self._calls.adopt({mini_batch, *self._assignments.held()}, self._assignments.slots)
            self._record(self._calls.event(self._now))
        if self._calls is not None:
            self._calls.end(mini_batch, failure, self._now, us)
            self._attempts.pause_until_ms = self._calls.window.pause_until_ms

    # Parts

    def _part_changed(self, signal: signals.PartChange) -> None:
        if isinstance(signal, signals.PartUploaded):
            self._parts.commit(signal, self._now)
        elif self._assignments.get(signal.node) is not None:
            reason, traceback = signal.reason, signal.traceback
            if self._ending is not None:  # explains missing rows
                self._record(WarningRaised(self._now, reason, traceback))
            self._end_run("Failed", reason, drain=False, traceback=traceback)

    # The course of the run

    def _check_time(self) -> None:
        if self._ending is None:
            progress_ms = max(self._last_progress_ms, self._attempts.due_ms)  # a delay is no stall
            if self._calls is not None:
                progress_ms = max(progress_ms, int(self._calls.waits_until_ms))
            reason = limits.stalled(
                self.state, self._limits, self._now, self._started_ms, progress_ms
            )
            if reason:
                self._end_run("Failed", reason, drain=False)
        for name in self._assignments.idle_nodes(self._now, limits.IDLE_RELEASE_MS):
            self._release(name)

    def _output_changed(self, signal: signals.OutputChange) -> None:
        match signal:
            case signals.OutputPublished():
                self._publication.end(signal)
            case signals.OutputNotPublished(reason, traceback):
                self._ending, self._traceback = ("Failed", reason), traceback
                self._publication.end(None)
            case signals.OutputImpossible(reason) if self._ending is None:
                self._end_run("Failed", reason, drain=False)

    def _cancel(self, *, drain: bool) -> None:
        if not self.state.cancel:
            self._record(events.CancelRequested(self._now, drain))
        if self._ending is None or not drain:
            self._end_run("Canceled", "canceled on request", drain=drain)

    def _end_run(self, state: str, reason: str, *, drain: bool, traceback: str = "") -> None:
        """Assign no more mini-batches, and end the run as ``state`` once the nodes have stopped."""
        if self._ending is None:
            self._ending, self._traceback = (state, reason), traceback
            self._report_calls(is_end=True)
        self._is_draining = drain and self._allocation.uploads_parts and self._is_busy
        # A stopped node loses its rows; a paused node can still upload them.
        self._actions.append(
            actions.PauseNodes() if self._is_draining else actions.StopNodes(drain)
        )

    @property
    def _is_busy(self) -> bool:
        return bool(self._allocation) or bool(self._assignments) or bool(self._attempts)

    def _advance(self) -> None:
        """Act on the changed state: upload, assign, complete, end."""
        state, uploads_parts = self.state, self._allocation.uploads_parts
        if uploads_parts:
            self._actions += self._parts.uploads(self._now)
            if self._is_draining and not self._assignments:
                self._drain()
        if self._ending is None and self._plan_is_checked and not self._types.wait(self._actions):
            reason = limits.exceeded(state, self._limits)
            # Failures outside the group of a resume do not end the run; new failures do.
            if reason and not (self._is_busy and state.items_failed == self._failed_items_kept):
                self._end_run("Failed", reason, drain=False)
            elif state.plan_finished and state.left == 0:
                self._complete()
            elif self._failed_only and not self._is_busy:
                left = f"{plural(state.left, 'mini-batch')} had not finished before"
                self._end_run("Failed", f"{left}; resume the whole run to run them", drain=True)
            else:
                self._assign()
                self._report_calls()
                if uploads_parts:
                    self._actions += self._parts.uploads(self._now)
                if self._attempts.withheld:
                    is_idle = not (self._allocation or self._assignments)
                    self._actions += self._attempts.withheld.ask_once(is_idle=is_idle)
        if self._ending is not None and self._assignments.all_stopped:
            self._finish(*self._ending)

    def _drain(self) -> None:
        """Let the nodes upload the rows that they hold, then stop them."""
        for name in self._assignments.names():
            self._release(name)
        self._actions += self._parts.uploads(self._now)
        if not self._allocation.is_uploading:
            self._is_draining = False
            self._actions.append(actions.StopNodes(drain=True))

    def _release(self, node: str) -> None:
        """Let a node upload the rows that it holds, and other nodes run the rest."""
        self._attempts.node_lost(node)
        self._allocation.release(node)

    def _assign(self) -> None:
        calls, rooms = self._calls, self._assignments.with_room()
        shares: Iterable[tuple[str, int]] = rooms
        if calls is not None:
            shares = calls.shares(rooms, self._now, self._assignments.slots, self.state.left)
        for node, room in shares:
            spans = self._allocation.next(node, room, self._now)
            if not spans and self._allocation.is_exhausted:
                return
            if spans and self.state.state == "Planning":
                self._record(events.StateEntered(self._now, "Running"))
            for span in spans:
                for action in self._attempts.assignments(node, span):
                    self._assignments.assign(node, action.first, action.count, action.attempt)
                    self._actions.append(
                        action if calls is None else calls.assign(action, self._now)
                    )

    def _report_calls(self, *, is_end: bool = False) -> None:
        """Record what holds calls back; end a run whose budget is spent."""
        if self._calls is None:
            return
        for event in self._calls.report(self._now, is_end=is_end):
            self._record(event)
        if is_end or (self._attempts.withheld and not self._allocation):
            return  # rows of duplicates are copied, without a call, once nothing else can run
        if reason := self._calls.budget_is_spent(self.state, self._allocation):
            self._end_run("Canceled", reason, drain=True)

    def _complete(self) -> None:
        reason = limits.completion_failure(self.state, self._limits)
        if reason:
            self._end_run("Failed", reason, drain=True)
            return
        self._record(events.StateEntered(self._now, "Finalizing"))
        self._end_run("Completed", "", drain=True)
        self._actions += self._publication.begin()

    def _finish(self, state: str, reason: str) -> None:
        if state == "Completed" and self._publication.output is None:
            self._actions += self._publication.go_on(self._now)
            return  # until the output is published
        output, size_bytes = self._publication.output or ("", 0)
        end = events.RunFinished(self._now, state, reason, output, size_bytes, self._traceback)
        self._record(end)
        self._actions.append(actions.Finish())
