"""Signals, which the scheduler receives, and actions, which it returns: two closed unions.

Neither is stored; events for the journal are returned as ``Record(events)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ...runs.journal.call_events import CallSpend, WorkerCalls
from ...runs.journal.events import (
    AttemptSucceeded,
    Event,
    ItemRanges,
    ItemsSucceeded,
    WorkerProgress,
    WorkerSample,
)


class Success(NamedTuple):
    """A finished attempt as its worker reports it, with ``length`` bytes of rows."""

    mini_batch: int
    attempt: int
    items: int
    rows: int
    duration_us: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An error; ``group`` is its type and the line of user code that raised it.

    ``bases`` are the names of the exception's type and its base types, short and with their module.
    ``retry_after_s`` is the delay that the script asks for, or None. ``alike`` counts the items that
    a worker ran alone, and that all failed in this way, so that it stopped to isolate them.
    ``suspect`` is the item that the script was probably working on, or -1.
    """

    kind: str
    error: str
    message: str
    group: str
    traceback: str
    bases: tuple[str, ...] = ()
    retry_after_s: float | None = None
    alike: int = 0
    suspect: int = -1
    #: whether a server asked for fewer calls: it said 429 or 503
    is_throttled: bool = False


@dataclass(frozen=True, slots=True)
class PlanAdvanced:
    """The plan has grown to these totals."""

    mini_batches: int
    items: int
    is_end: bool


@dataclass(frozen=True, slots=True)
class PlanFailed:
    """The inputs cannot be listed; ``traceback`` is set for an unexpected error."""

    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class RowsTaken:
    """An update took these results from another run; their ``at_ms`` is set when they are recorded.

    The mini-batches are not part of the plan yet: `PlanAdvanced` follows.
    """

    results: tuple[AttemptSucceeded | ItemsSucceeded, ...]


@dataclass(frozen=True, slots=True)
class UpdatePlanned:
    """All rows that an update can take from the run ``run_id`` are taken; see `ResultsReused`."""

    run_id: str
    items: int
    changed: int
    new: int
    gone: int


@dataclass(frozen=True, slots=True)
class ItemsWithheld:
    """These items should not run yet, since earlier ones of the run have the same content.

    Each entry is a mini-batch, the number of its items, and the ranges of those. The mini-batches
    are not part of the plan yet: `PlanAdvanced` follows.
    """

    items: tuple[tuple[int, int, ItemRanges], ...]


@dataclass(frozen=True, slots=True)
class RowsCopied:
    """Withheld items have the rows of earlier ones; their ``at_ms`` is set when they are recorded.

    With ``is_end`` no more follow: the items that are still withheld run.
    """

    results: tuple[AttemptSucceeded | ItemsSucceeded, ...]
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class NodeOffered:
    """A node with ``slots`` workers can hold ``capacity`` mini-batches."""

    node: str
    slots: int
    capacity: int


@dataclass(frozen=True, slots=True)
class WorkerSpawned:
    """A node started a worker."""

    node: str
    worker: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerInitialized:
    """A worker is ready for mini-batches; ``run_line`` is the first line of the script's ``run``."""

    node: str
    worker: str
    init_ms: int
    run_line: str = ""


@dataclass(frozen=True, slots=True)
class WorkerNotReady:
    """A worker failed before it was ready."""

    node: str
    worker: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """A ready worker ended or was killed; its attempts have signals of their own."""

    node: str
    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptsSucceeded:
    """Attempts whose rows are consecutive from ``offset`` of part file ``part``.

    If nodes upload their parts, ``offset`` is the position in the node's own spool.
    """

    node: str
    worker: str
    successes: tuple[Success, ...]
    part: int
    offset: int


@dataclass(frozen=True, slots=True)
class PartUploaded:
    """A node has uploaded the part that begins with mini-batch ``first`` as ``name``."""

    node: str
    first: int
    name: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PartUploadFailed:
    """A node cannot upload parts; ``traceback`` is set for an unexpected error."""

    node: str
    reason: str
    traceback: str = ""


class RangeResult(NamedTuple):
    """The results of consecutive items of a mini-batch, with ``length`` bytes of rows."""

    first: int
    items: int
    rows: int
    length: int
    crc: int


class ItemFailures(NamedTuple):
    """Items of a mini-batch that failed at the same line; ``messages`` has one text for each range."""

    ranges: ItemRanges
    messages: tuple[str, ...]
    failure: Failure


@dataclass(frozen=True, slots=True)
class ItemsAnswered:
    """An attempt whose items succeeded or failed one by one, or that ran only some items.

    ``items`` is the number of items that it ran. The rows of ``results``, in this order, are
    consecutive from ``offset`` of part file ``part``. Each item that it ran is in one of ``results``
    or ``failures``; positions count in the whole mini-batch.
    """

    node: str
    worker: str
    mini_batch: int
    attempt: int
    items: int
    duration_us: int
    results: tuple[RangeResult, ...]
    failures: tuple[ItemFailures, ...]
    part: int
    offset: int


@dataclass(frozen=True, slots=True)
class AttemptErrored:
    """An attempt failed."""

    node: str
    worker: str
    mini_batch: int
    attempt: int
    items: int
    duration_us: int
    failure: Failure


@dataclass(frozen=True, slots=True)
class WorkersSampled:
    """The activity, resource use and progress of a node's workers."""

    node: str
    workers: tuple[WorkerSample, ...]
    progress: tuple[WorkerProgress, ...] = ()
    calls: tuple[WorkerCalls, ...] = ()


@dataclass(frozen=True, slots=True)
class CallsSpentReported:
    """Calls have spent tokens or money; each is reported once, whatever becomes of its attempt."""

    spends: tuple[CallSpend, ...]


@dataclass(frozen=True, slots=True)
class NodeConnected:
    """A node has connected; ``place`` describes its location, for display."""

    node: str
    place: str


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node was lost with its workers; ``blames`` is true if a mini-batch may have caused this."""

    node: str
    reason: str
    blames: bool


@dataclass(frozen=True, slots=True)
class MiniBatchesReturned:
    """A node returns (mini_batch, attempt) pairs that it has not started."""

    node: str
    returned: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class PoolLost:
    """All nodes are lost and no new ones will connect; a resume may help (``is_resumable``)."""

    reason: str
    is_resumable: bool
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning; ``traceback`` is set if it is about an error."""

    text: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job that a service runs for this run has changed; see `JobReported`."""

    name: str
    state: str
    detail: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """All workers of a node have ended."""

    node: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Time has passed; sent regularly to check timeouts."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The user has canceled the run: after the running mini-batches (drain), or immediately."""

    drain: bool


@dataclass(frozen=True, slots=True)
class OutputPublished:
    """The output is at ``path``."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OutputNotPublished:
    """The output could not be written; ``traceback`` is set for an unexpected error."""

    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class OutputImpossible:
    """The results so far have columns or types that one file cannot hold."""

    reason: str


NodeChange: TypeAlias = NodeConnected | NodeGone | NodeStopped | MiniBatchesReturned | PoolLost
OutputChange: TypeAlias = OutputPublished | OutputNotPublished | OutputImpossible
WorkerChange: TypeAlias = WorkerSpawned | WorkerInitialized | WorkerNotReady | WorkerEnded

PlanChange: TypeAlias = PlanAdvanced | PlanFailed | RowsTaken | UpdatePlanned
DuplicatesChange: TypeAlias = ItemsWithheld | RowsCopied
PartChange: TypeAlias = PartUploaded | PartUploadFailed

Signal: TypeAlias = (
    PlanChange
    | DuplicatesChange
    | NodeOffered
    | NodeChange
    | WorkerChange
    | WorkersSampled
    | CallsSpentReported
    | AttemptsSucceeded
    | ItemsAnswered
    | AttemptErrored
    | PartChange
    | OutputChange
    | Warned
    | JobChanged
    | TimePassed
    | CancelAsked
)


PROGRESS = (
    PlanAdvanced,
    RowsTaken,
    RowsCopied,
    AttemptsSucceeded,
    ItemsAnswered,
    PartUploaded,
    AttemptErrored,
    NodeConnected,
    NodeStopped,
    OutputPublished,
)
"""Signals that count as progress; starts and crashes of workers do not."""


@dataclass(frozen=True, slots=True)
class Record:
    """Append these events to the journal."""

    events: list[Event]


@dataclass(frozen=True, slots=True)
class Assign:
    """Assign mini-batches ``first`` to ``first + count - 1``, all at this attempt, to a node.

    With ``ranges`` it is one mini-batch, of which only these items are run; with ``isolates``, the
    worker runs them in parts, and ``suspect`` first.
    """

    node: str
    first: int
    count: int
    attempt: int
    ranges: ItemRanges = ()
    isolates: bool = False
    suspect: int = -1
    #: milliseconds from now until the first of these calls may start, and between two of them
    after_ms: float = 0.0
    every_ms: float = 0.0


Piece: TypeAlias = tuple[int, int, int, int]
"""The rows of one mini-batch in its node's spool: mini-batch, offset, length and crc."""


@dataclass(frozen=True, slots=True)
class UploadPart:
    """Upload a part from a node: the rows of these mini-batches, of which ``first`` is the first."""

    node: str
    first: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class PauseNodes:
    """Pause all nodes: they finish running mini-batches, return the others, and still upload rows."""


@dataclass(frozen=True, slots=True)
class StopNodes:
    """Stop all workers: after the assigned mini-batches (drain), or immediately."""

    drain: bool


@dataclass(frozen=True, slots=True)
class CopyDuplicates:
    """Copy rows to these withheld items: mini-batch -> number of its items, and ranges of those."""

    items: dict[int, tuple[int, ItemRanges]]


@dataclass(frozen=True, slots=True)
class Publish:
    """Write the output."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The run is over; end the driver."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the resume; end the driver and leave the journal as it was."""

    reason: str


Action: TypeAlias = (
    Record
    | Assign
    | UploadPart
    | PauseNodes
    | StopNodes
    | CopyDuplicates
    | Publish
    | Finish
    | Refuse
)


def add_event(actions: list[Action], event: Event) -> None:
    """Let the actions record one more event; events in a row are one action, as a run has millions."""
    if actions and isinstance(actions[-1], Record):
        actions[-1].events.append(event)
    else:
        actions.append(Record([event]))
