"""A scheduler under test, with simulated nodes and a simulated store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from parallelrun_jupyter.engine.scheduling import actions as act
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.allocation import Allocation, Pending
from parallelrun_jupyter.engine.scheduling.limits import LOST_NODE_GRACE_MS, Limits
from parallelrun_jupyter.engine.scheduling.scheduler import Scheduler
from parallelrun_jupyter.runs.journal.events import Event, ItemRanges, RunFinished
from parallelrun_jupyter.runs.journal.lines import decode, encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.worker.item_ranges import merged

ITEMS = 5
"""Items in each mini-batch."""

BAD = sg.Failure("exception", "ValueError", "bad", "ValueError at s.py:1 in run", "Traceback ...")


class Bench:
    """A scheduler, the events that it recorded, and the attempts that its nodes hold."""

    def __init__(
        self,
        limits: Limits | None = None,
        nodes: tuple[str, ...] = ("n0",),
        state: RunState | None = None,
        allocate: Callable[[RunState], Allocation] = Pending,
        items_of: Callable[[int], int] = lambda _: ITEMS,
        **resume: Any,
    ) -> None:
        self.items_of = items_of
        self.scheduler = Scheduler(limits or Limits(), nodes, allocate, items_of, state, **resume)
        #: (mini_batch, attempt) -> its items, if not all
        self.ranges: dict[tuple[int, int], ItemRanges] = {}
        #: (mini_batch, attempt) -> its suspect, for attempts that the worker runs in parts
        self.isolating: dict[tuple[int, int], int] = {}
        self.now = state.at_ms if state else 0
        #: number of the part file of rows
        self.part = state.drivers if state else 0
        self.events: list[Any] = []
        #: (node, mini_batch, attempt)
        self.assigned: list[tuple[str, int, int]] = []
        #: (node, offset) -> mini_batch and first item, for the rows of finished attempts
        self.rows: dict[tuple[str, int], tuple[int, int]] = {}
        self.uploads: list[act.UploadPart] = []
        #: the name of a part -> the mini-batches whose rows it has
        self.store: dict[str, list[int]] = {}
        self.stops: list[bool] = []
        self.refusals: list[str] = []
        #: the items that need a copy of rows, if it was asked for
        self.copies: list[dict[int, tuple[int, ItemRanges]]] = []
        #: how often types were asked for, and how often a plan with decided types was put in place
        self.doubts = self.plans = 0
        self.paused = self.published = self.finished = False
        self._perform(self.scheduler.start(self.now, 1, "host"))

    def send(self, *received: sg.Signal) -> None:
        """Let the scheduler handle signals, each a millisecond later."""
        for signal in received:
            self.now += 1
            self._perform(self.scheduler.handle(signal, self.now))

    def _perform(self, actions: Iterable[act.Action]) -> None:  # noqa: C901, PLR0912 - one flat match
        for action in actions:
            match action:
                case act.Record(events):
                    self.events += events
                case act.Assign(node, first, count, attempt, ranges, isolates, suspect):
                    self.assigned += [(node, k, attempt) for k in range(first, first + count)]
                    for mini_batch in range(first, first + count):
                        self.ranges[mini_batch, attempt] = ranges
                        self.isolating.pop((mini_batch, attempt), None)
                        if isolates:
                            self.isolating[mini_batch, attempt] = suspect
                case act.UploadPart():
                    self.uploads.append(action)
                case act.StopNodes(drain):
                    self.stops.append(drain)
                case act.CopyDuplicates(items):
                    self.copies.append(items)
                case act.DecideTypes():
                    self.doubts += 1
                case act.ReplacePlan():
                    self.plans += 1
                case act.PauseNodes():
                    self.paused = True
                case act.Publish():
                    self.published = True
                case act.Refuse(reason):
                    self.refusals.append(reason)
                case act.Finish():
                    self.finished = True

    def of_kind(self, kind: type[Any]) -> list[Any]:
        """Return the recorded events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def names(self) -> list[str]:
        """The nodes."""
        return self.scheduler._assignments.names()

    # Signals of nodes

    def join(self, capacity: int, name: str = "") -> str:
        """Connect a node with one worker; return its name."""
        name = name or f"n{self.now}"
        self.send(sg.NodeConnected(name, ""), sg.NodeOffered(name, 1, capacity))
        return name

    def succeed(self, node: str, mini_batch: int, attempt: int = 1, rows: int = ITEMS) -> None:
        """Report a finished attempt, whose node holds the rows."""
        self.assigned.remove((node, mini_batch, attempt))
        offset = len(self.rows)
        self.rows[node, offset] = mini_batch, 0
        success = sg.Success(mini_batch, attempt, self.items_of(mini_batch), rows, 10, 3 * rows, 0)
        self.send(sg.AttemptsSucceeded(node, f"{node}w0", (success,), self.part, offset))

    def items_run(self, mini_batch: int, attempt: int) -> list[int]:
        """Return the items of an attempt."""
        whole = ((0, self.items_of(mini_batch)),)
        ranges = self.ranges[mini_batch, attempt] or whole
        return [item for first, count in ranges for item in range(first, first + count)]

    def answer(
        self, node: str, mini_batch: int, attempt: int, failed: Iterable[tuple[int, sg.Failure]]
    ) -> None:
        """Report the end of an attempt in which some items failed."""
        self.assigned.remove((node, mini_batch, attempt))
        failures = dict(failed)
        items = self.items_run(mini_batch, attempt)
        offset = len(self.rows)
        results = []
        for first, count in merged((item, 1) for item in items if item not in failures):
            self.rows[node, len(self.rows)] = mini_batch, first
            results.append(sg.RangeResult(first, count, count, 1, 0))
        groups = {failure.group: failure for failure in failures.values()}
        of_groups = []
        for group, failure in groups.items():
            positions = [(k, 1) for k, other in sorted(failures.items()) if other.group == group]
            texts = tuple(failure.message for _ in positions)
            of_groups.append(sg.ItemFailures(tuple(positions), texts, failure))
        self.send(
            sg.ItemsAnswered(
                node, f"{node}w0", mini_batch, attempt, len(items), 10,
                tuple(results), tuple(of_groups), self.part, offset,
            )
        )  # fmt: skip

    def fail(self, node: str, mini_batch: int, attempt: int, failure: sg.Failure = BAD) -> None:
        """Report a failed attempt."""
        items = self.items_run(mini_batch, attempt)
        self.assigned.remove((node, mini_batch, attempt))
        self.send(
            sg.AttemptErrored(node, f"{node}w0", mini_batch, attempt, len(items), 10, failure)
        )

    def lose(self, name: str, *, blames: bool = True) -> None:
        """Lose a node."""
        self.assigned = [held for held in self.assigned if held[0] != name]
        self.uploads = [upload for upload in self.uploads if upload.node != name]
        self.send(sg.NodeGone(name, "killed", blames=blames))

    def pause(self, name: str, is_started: Callable[[], bool] = lambda: False) -> None:
        """Pause a node, which returns the attempts that have not started."""
        held = [held for held in self.assigned if held[0] == name]
        returned = [attempt for attempt in held if not is_started()]
        self.assigned = [attempt for attempt in self.assigned if attempt not in returned]
        pairs = tuple((k, attempt) for _, k, attempt in returned)
        self.send(sg.NodeOffered(name, 2, 0), sg.MiniBatchesReturned(name, pairs))

    def upload(self, number: int = 0, *, is_reported: bool = True) -> None:
        """Store a part; its node may be lost before it reports that."""
        upload = self.uploads.pop(number)
        results = [self.rows[upload.node, offset] for _, offset, _, _ in upload.pieces]
        assert [k for k, _ in results] == [k for k, _, _, _ in upload.pieces]
        name = f"part-{upload.first:09d}-{upload.node}-{self.now}"
        self.store[name] = [mini_batch for mini_batch, _ in results]
        if is_reported:
            rows = ITEMS * len(results)
            self.send(sg.PartUploaded(upload.node, upload.first, name, rows, 99))

    # Time and the end

    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.send(sg.TimePassed())
        self.now += ms
        self.send(sg.TimePassed())

    def stop_all(self) -> None:
        """Stop all nodes, and publish the output when that is asked for."""
        if self.published:
            self.send(sg.OutputPublished("/out", 1))
        self.send(*(sg.NodeStopped(name) for name in self.names))
        if not self.finished:
            self.wait(LOST_NODE_GRACE_MS)
            if self.published:
                self.send(sg.OutputPublished("/out", 1))

    @property
    def end(self) -> RunFinished:
        """The last event."""
        assert self.finished
        assert isinstance(self.events[-1], RunFinished)
        return self.events[-1]


def folded(events: Iterable[Event]) -> RunState:
    """Return the state that a reader of the journal sees."""
    state = RunState()
    state.apply_all(decode(encode(event)) for event in events)
    return state
