"""A scheduler under test, with simulated nodes and a simulated store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.allocation import Allocation, Pending
from parallelrun_jupyter.engine.scheduling.limits import LOST_NODE_GRACE_MS, Limits
from parallelrun_jupyter.engine.scheduling.scheduler import Scheduler
from parallelrun_jupyter.runs.journal.events import Event, RunFinished
from parallelrun_jupyter.runs.journal.lines import decode, encode
from parallelrun_jupyter.runs.journal.state import RunState

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
        **resume: Any,
    ) -> None:
        self.scheduler = Scheduler(
            limits or Limits(), nodes, allocate, lambda _: ITEMS, state, **resume
        )
        self.now = state.at_ms if state else 0
        self.events: list[Any] = []
        #: (node, mini_batch, attempt)
        self.assigned: list[tuple[str, int, int]] = []
        #: (node, offset) -> mini_batch, for the rows of finished attempts
        self.rows: dict[tuple[str, int], int] = {}
        self.uploads: list[sg.UploadPart] = []
        #: the name of a part -> the mini-batches whose rows it has
        self.store: dict[str, list[int]] = {}
        self.stops: list[bool] = []
        self.refusals: list[str] = []
        self.paused = self.published = self.finished = False
        self._perform(self.scheduler.start(self.now, 1, "host"))

    def send(self, *received: sg.Signal) -> None:
        """Let the scheduler handle signals, each a millisecond later."""
        for signal in received:
            self.now += 1
            self._perform(self.scheduler.handle(signal, self.now))

    def _perform(self, actions: Iterable[sg.Action]) -> None:
        for action in actions:
            match action:
                case sg.Record(event):
                    self.events.append(event)
                case sg.Assign(node, first, count, attempt):
                    self.assigned += [(node, k, attempt) for k in range(first, first + count)]
                case sg.UploadPart():
                    self.uploads.append(action)
                case sg.StopNodes(drain):
                    self.stops.append(drain)
                case sg.PauseNodes():
                    self.paused = True
                case sg.Publish():
                    self.published = True
                case sg.Refuse(reason):
                    self.refusals.append(reason)
                case sg.Finish():
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
        self.rows[node, offset] = mini_batch
        success = sg.Success(mini_batch, attempt, ITEMS, rows, 10, 3 * rows, 0)
        self.send(sg.AttemptsSucceeded(node, f"{node}w0", (success,), 0, offset))

    def fail(self, node: str, mini_batch: int, attempt: int, failure: sg.Failure = BAD) -> None:
        """Report a failed attempt."""
        self.assigned.remove((node, mini_batch, attempt))
        self.send(sg.AttemptErrored(node, f"{node}w0", mini_batch, attempt, ITEMS, 10, failure))

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
        mini_batches = [self.rows[upload.node, offset] for _, offset, _, _ in upload.pieces]
        assert mini_batches == [k for k, _, _, _ in upload.pieces]
        name = f"part-{upload.first:09d}-{upload.node}-{self.now}"
        self.store[name] = mini_batches
        if is_reported:
            rows = ITEMS * len(mini_batches)
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
