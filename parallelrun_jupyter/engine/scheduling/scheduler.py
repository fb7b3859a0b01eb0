"""The scheduler: signals in, actions out. No input or output, no clock: time is an argument."""

from __future__ import annotations

from collections.abc import Iterable

from ...formatting import plural
from ...runs.journal.events import (
    SCHEMA,
    AttemptFailed,
    AttemptSucceeded,
    CancelRequested,
    Event,
    InitFailed,
    ItemsFailed,
    MiniBatchesPlanned,
    NodeJoined,
    NodeLost,
    NodeSampled,
    PlanFinished,
    RunFinished,
    RunResumed,
    RunStarted,
    StateEntered,
    WarningRaised,
    WorkerLost,
    WorkerReady,
    WorkerStarted,
)
from ...runs.journal.state import RunState
from ...worker.failures import SHORT_RESULT, short_result
from . import limits, signals
from .assignments import Assignments
from .limits import Limits
from .pending import Pending, Span
from .signals import Action, Assign, Charge, Finish, Publish, Record, Refuse, Signal, StopNodes

_PROGRESS = (
    signals.PlanAdvanced,
    signals.AttemptsSucceeded,
    signals.PartUploaded,
    signals.AttemptErrored,
    signals.NodeConnected,
    signals.NodeStopped,
    signals.OutputPublished,
)
"""What counts as progress: a worker that starts and dies again and again does not."""

_ALL_DONE = "it is Completed and nothing in it failed, so that nothing is left to run"


class Scheduler:
    """Decides which node gets which mini-batch, what is tried again, and when the run is over.

    Never change its attributes; only ``handle`` does. ``state`` is the fold of the events that it
    recorded, by the same code as everywhere.

    Parameters
    ----------
    limits
        What the run tolerates.
    nodes
        Names of the nodes that are there from the start; others join by signal. They offer their
        capacity by signal.
    state
        The fold of an earlier driver's journal, for a resume.
    failed_only
        For a resume: leave alone what no attempt has failed of.
    group
        And what failed last in another group than this; what of it was given up stays so.
    """

    def __init__(
        self,
        limits: Limits,
        nodes: tuple[str, ...],
        state: RunState | None = None,
        *,
        failed_only: bool = False,
        group: str = "",
    ) -> None:
        self.state = state or RunState()
        self._failed_only, self._group = failed_only or bool(group), group
        self._items_left_failed = -1
        self._limits = limits
        self._nodes = Assignments(nodes)
        self._queue = Pending(self.state, only_again=self._failed_only)
        #: whether the planner has vouched for what is planned: a resume checks the inputs first
        self._plan_holds = True
        #: failed attempts of mini-batches before this driver: a resume grants run_max_try anew
        self._before: dict[int, int] = {}
        #: what the run ends as once the nodes have stopped
        self._ending: tuple[str, str] | None = None
        #: of the error that ends it, where that is not the script's
        self._traceback = ""
        self._published: tuple[str, int] | None = None
        self._publishes_late = False
        self._warned_long = False
        #: where the script's run() begins, as workers say it
        self._run_line = ""
        self._now = self._started = self._moved = 0
        self._actions: list[Action] = []
        self._driver = (0, "", "")
        #: signals that came before the plan of an ended run was checked; None once it was
        self._held: list[Signal] | None = None

    def start(self, now_ms: int, pid: int, host: str, script: str = "") -> list[Action]:
        """Take up the run, for the first time or again; one that has ended, once its plan holds.

        Parameters
        ----------
        now_ms, pid, host
            When, and which process.
        script
            The SHA-256 of a script that was corrected for a resume.
        """
        self._now = self._started = now_ms
        self._driver = (pid, host, script)
        if self.state.is_final:
            self._held = []
            # Whoever asked looked before this driver had the run: another resume may have been there.
            return [Refuse(_ALL_DONE)] if self.state.is_all_done else []
        return self._begin()

    @property
    def is_held(self) -> bool:
        """Whether the run is still as an earlier driver ended it."""
        return self._held is not None

    def _begin(self) -> list[Action]:
        """Record that a driver took up the run."""
        pid, host, script = self._driver
        now_ms = self._started = self._moved = self._now
        is_resume = self.state.drivers > 0
        self._plan_holds = not is_resume
        self._record(RunStarted(now_ms, SCHEMA, pid, host))
        if is_resume:
            state = self.state
            again = state.failed_mini_batches(self._group)
            count = len(again) if self._failed_only else state.planned - state.succeeded
            self._record(RunResumed(now_ms, self._failed_only, count, script, self._group))
            self._items_left_failed = state.items_failed if self._group else -1
            self._before = dict(state.tries)
            self._take_up(again)
        return self._taken()

    def _wait_for_plan(self, signal: Signal) -> list[Action]:
        """Keep signals until the inputs are known to be those that were planned.

        A resume that is refused leaves a run that has ended as it was.
        """
        assert self._held is not None
        match signal:
            case signals.PlanFailed(reason, trace) | signals.PoolLost(reason, _, trace):
                return [Refuse(f"{trace.rstrip()}\n{reason}" if trace else reason)]
            case signals.TimePassed():
                reason = limits.check_stalled(self._limits, self._now, self._started)
                return [Refuse(reason)] if reason else []
            case signals.PlanAdvanced():
                held, self._held = self._held, None
                actions = self._begin()
                for earlier in (*held, signal):
                    actions += self.handle(earlier, self._now)
                return actions
        self._held.append(signal)
        return []

    def _take_up(self, again: list[int]) -> None:
        """Prepare for what earlier drivers left behind: these mini-batches had failed."""
        self._try_again((k, self._before.get(k, 0) + 1) for k in again)

    def handle(self, signal: Signal, now_ms: int) -> list[Action]:  # noqa: C901, PLR0912 - one flat match over the closed union
        """Take one signal into account, at ``now_ms`` since the run's creation."""
        self._now = now_ms
        if self._held is not None:
            return self._wait_for_plan(signal)
        if self.state.is_final:
            return []
        if isinstance(signal, _PROGRESS):
            self._moved = now_ms
        match signal:
            case signals.AttemptsSucceeded():
                self._succeeded(signal)
            case signals.AttemptErrored():
                self._ended_badly(signal)
            case signals.PartUploaded() | signals.PartUploadFailed():
                self._part_told(signal)
            case signals.NodeOffered(node, slots, capacity):
                self._nodes.offer(node, slots, capacity)
            case signals.WorkersSampled(node, workers):
                self._record(NodeSampled(self._now, node, workers))
            case signals.PlanAdvanced(mini_batches, items, is_end):
                self._plan_holds = True
                kind = PlanFinished if is_end else MiniBatchesPlanned
                self._record(kind(self._now, mini_batches, items))
            case signals.PlanFailed(reason, traceback):
                if self._ending is None:  # else nobody wants the rest of the list
                    self._end("Failed", reason, drain=False, traceback=traceback)
            case signals.TimePassed():
                self._check_stall()
            case signals.CancelAsked(drain):
                self._cancel(drain=drain)
            case (
                signals.OutputPublished()
                | signals.OutputNotPublished()
                | signals.OutputImpossible()
            ):
                self._output_changed(signal)
            case signals.Warned(text, traceback):
                self._record(WarningRaised(self._now, text, traceback))
            case (
                signals.NodeConnected()
                | signals.NodeGone()
                | signals.NodeStopped()
                | signals.MiniBatchesReturned()
                | signals.PoolLost()
            ):
                self._node_changed(signal)
            case _:
                self._worker_changed(signal)
        self._go_on()
        return self._taken()

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _record(self, event: Event) -> None:
        self.state.apply(event)
        self._actions.append(Record(event))

    # Nodes

    def _node_changed(self, signal: signals.NodeChange) -> None:
        match signal:
            case signals.NodeConnected(name, place):
                self._nodes.join(name)
                self._record(NodeJoined(self._now, name, place))
            case signals.NodeGone(name, reason, blames):
                self._lose(name, reason, blames=blames)
            case signals.NodeStopped(name):
                self._nodes.stop(name)
            case signals.MiniBatchesReturned(name, returned):
                self._try_again([r for r in returned if self._nodes.claim(*r, name)])
            case signals.PoolLost(reason, is_resumable, traceback):
                for name in self._nodes.names():
                    self._lose(name, reason, blames=False)
                if self._ending is None:
                    self._ending = ("Interrupted" if is_resumable else "Failed", reason)
                    self._traceback = traceback

    def _lose(self, name: str, reason: str, *, blames: bool) -> list[int]:
        """Take back what a node held: nothing of it is charged before rule R18 says so.

        Returns
        -------
        list
            The mini-batches that are charged: they stay out until their failure is told.
        """
        if self._nodes.get(name) is None:
            return []
        running = self.state.running_on(name) if blames and self._ending is None else None
        given_back, charged = self._nodes.remove(name, running)
        self._record(NodeLost(self._now, name, reason))
        self._try_again(given_back)
        for mini_batch in charged:
            attempt = self._nodes.attempt_of(mini_batch)
            self._actions.append(Charge(name, mini_batch, attempt, reason))
        return charged

    # Workers

    def _worker_changed(self, signal: signals.WorkerChange) -> None:
        node = self._nodes.get(signal.node)
        if node is None:
            return  # late news of a node that is gone
        match signal:
            case signals.WorkerSpawned(name, worker, pid):
                self._record(WorkerStarted(self._now, worker, name, pid))
            case signals.WorkerInitialised(_, worker, init_ms, run_line):
                self._run_line = run_line
                node.was_ready, node.failed_starts = True, 0
                self._record(WorkerReady(self._now, worker, init_ms))
            case signals.WorkerEnded(_, worker, reason):
                self._record(WorkerLost(self._now, worker, reason))
            case signals.WorkerNotReady(_, worker, failure):
                node.failed_starts += 1
                f = failure
                self._record(
                    InitFailed(self._now, worker, f.kind, f.error, f.message, f.group, f.traceback)
                )
                self._check_starts(f"{f.group}: {f.message}" if f.message else f.group)

    def _check_starts(self, why: str) -> None:
        """End the run when no worker can start anywhere (rule R21)."""
        if self._nodes.hopeless and self._ending is None:
            self._end("Failed", f"no worker could start: {why}", drain=False)

    def _check_stall(self) -> None:
        if self._ending is None:
            reason = limits.stalled(self.state, self._limits, self._now, self._started, self._moved)
            if reason:
                self._end("Failed", reason, drain=False)

    # Attempts

    def _succeeded(self, signal: signals.AttemptsSucceeded) -> None:
        offset = signal.offset
        keep, now, worker, part = self._keep, self._now, signal.worker, signal.part
        for success in signal.successes:
            mini_batch, attempt, items, rows, duration_us, length, crc = success
            if self._nodes.claim(mini_batch, attempt, signal.node):
                self._nodes.forget(mini_batch)
                head = (
                    mini_batch,
                    attempt,
                    worker,
                    now,
                    duration_us,
                    items,
                    min(items, rows),
                    rows,
                )
                keep(AttemptSucceeded(*head, part, offset, length, crc))
                if rows > items and not self._warned_long:
                    self._warned_long = True
                    self._record(
                        WarningRaised(now, limits.extra_rows_warning(mini_batch, items, rows))
                    )
            offset += length

    def _keep(self, event: AttemptSucceeded) -> None:
        """Let an attempt hold whose rows the driver has."""
        self._record(event)
        if event.items_succeeded < event.items:
            self._tell_short(event)

    def _tell_short(self, event: AttemptSucceeded) -> None:
        """Record why the items of a mini-batch failed that have no result (rule R4)."""
        at = self._run_line
        self._record(
            ItemsFailed(
                event.mini_batch,
                event.attempt,
                event.worker,
                self._now,
                event.items - event.items_succeeded,
                "short_result",
                SHORT_RESULT,
                short_result(event.rows, event.items, at),
                f"{SHORT_RESULT} at {at or 'run()'}",
                "",
            )
        )

    def _ended_badly(self, signal: signals.AttemptErrored) -> None:
        if not self._nodes.claim(signal.mini_batch, signal.attempt, signal.node):
            return
        tries = signal.attempt - self._before.get(signal.mini_batch, 0)
        is_last = tries >= self._limits.run_max_try
        f = signal.failure
        group = self.state.groups.get(f.group)
        shown = group is None or group.attempts < limits.TRACEBACKS_PER_GROUP
        self._record(
            AttemptFailed(
                signal.mini_batch,
                signal.attempt,
                signal.worker,
                self._now,
                signal.duration_us,
                signal.items,
                is_last,
                f.kind,
                f.error,
                f.message,
                f.group,
                f.traceback if shown else "",
            )
        )
        if is_last:
            self._give_up(signal.mini_batch)
        else:
            self._try_again([(signal.mini_batch, signal.attempt + 1)])

    def _try_again(self, attempts: Iterable[tuple[int, int]]) -> None:
        self._queue.again(attempts)

    def _give_up(self, mini_batch: int) -> None:
        """Go on without a mini-batch that has failed for good."""

    def _part_told(self, signal: signals.PartUploaded | signals.PartUploadFailed) -> None:
        """Change nothing: here the driver has all rows, and no node puts any."""

    # The course of the run

    def _output_changed(self, signal: signals.OutputChange) -> None:
        match signal:
            case signals.OutputPublished(path, size_bytes):
                self._published = (path, size_bytes)
            case signals.OutputNotPublished(reason, traceback):
                self._ending, self._traceback = ("Failed", reason), traceback
                self._published = ("", 0)
            case signals.OutputImpossible(reason) if self._ending is None:
                self._end("Failed", reason, drain=False)

    def _cancel(self, *, drain: bool) -> None:
        if not self.state.cancel:
            self._record(CancelRequested(self._now, drain))
        if self._ending is None or not drain:
            self._end("Canceled", "canceled on request", drain=drain)

    def _end(self, state: str, reason: str, *, drain: bool, traceback: str = "") -> None:
        """Assign no more, and end the run as ``state`` once the nodes have stopped."""
        if self._ending is None:
            self._ending, self._traceback = (state, reason), traceback
        self._actions.append(StopNodes(drain))

    def _go_on(self) -> None:
        if self._ending is None and self._plan_holds:
            is_busy = self._is_busy
            # What was left alone must not keep a group from being tried: only what fails anew.
            waits = is_busy and self.state.items_failed == self._items_left_failed
            reason = limits.exceeded(self.state, self._limits)
            if reason and not waits:
                self._end("Failed", reason, drain=False)
            elif self.state.plan_finished and self.state.left == 0:
                self._complete()
            elif self._failed_only and not is_busy:
                left = f"{plural(self.state.left, 'mini-batch')} had not run to an end before"
                self._end("Failed", f"{left}; run.resume() runs them", drain=True)
            else:
                self._assign()
        if self._ending is not None and self._nodes.all_stopped:
            self._finish(*self._ending)

    @property
    def _is_busy(self) -> bool:
        return bool(self._queue) or self._nodes.holds_any

    def _complete(self) -> None:
        reason = limits.completion_failure(self.state, self._limits)
        if reason:
            self._end("Failed", reason, drain=True)
            return
        self._record(StateEntered(self._now, "Finalizing"))
        self._end("Completed", "", drain=True)
        if self._limits.puts_in_store:
            self._publishes_late = True  # with what shutdown() writes
        elif self._limits.append_rows:
            self._actions.append(Publish())
        else:
            self._published = ("", 0)

    def _finish(self, state: str, reason: str) -> None:
        if state == "Completed" and self._published is None:
            if self._publishes_late:
                self._publishes_late = False
                self._actions.append(Publish())
            return  # the output is still being written
        output, size_bytes = self._published or ("", 0)
        self._record(RunFinished(self._now, state, reason, output, size_bytes, self._traceback))
        self._actions.append(Finish())

    def _assign(self) -> None:
        for name, free in self._nodes.with_capacity():
            stretches = self._queue.take(free)
            if not stretches:
                return  # there is nothing more for anybody
            self._give(name, stretches)

    def _give(self, name: str, stretches: list[Span]) -> None:
        if stretches and self.state.state == "Planning":
            self._record(StateEntered(self._now, "Running"))
        for first, count, attempt in stretches:
            self._nodes.give(name, first, count, attempt)
            self._actions.append(Assign(name, first, count, attempt))
