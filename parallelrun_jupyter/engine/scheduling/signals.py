"""What the scheduler is told (signals) and what it answers (actions): two closed unions.

Neither is stored. What is to be stored comes out as ``Record(event)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ...runs.journal.events import Event, WorkerSample


class Success(NamedTuple):
    """A finished attempt as the worker reports it; ``length`` bytes of rows with ``crc``."""

    mini_batch: int
    attempt: int
    items: int
    rows: int
    duration_us: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong; ``group`` is the error and the line of user code that raised it."""

    kind: str
    error: str
    message: str
    group: str
    traceback: str


@dataclass(frozen=True, slots=True)
class PlanAdvanced:
    """The plan has these totals by now."""

    mini_batches: int
    items: int
    is_end: bool


@dataclass(frozen=True, slots=True)
class PlanFailed:
    """The inputs cannot be listed; ``traceback`` of an error that nobody expected."""

    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class NodeOffered:
    """A node with so many worker slots can hold so many mini-batches now."""

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
class WorkerInitialised:
    """A worker is ready for mini-batches; ``run_line`` is where the script's ``run`` begins."""

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
    """A ready worker ended or was killed; what it was doing is a signal of its own."""

    node: str
    worker: str
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptsSucceeded:
    """Attempts whose rows lie one after another from ``offset`` of part ``part``.

    Where nodes put parts into a store, ``offset`` is where the node itself keeps the rows.
    """

    node: str
    worker: str
    successes: tuple[Success, ...]
    part: int
    offset: int


@dataclass(frozen=True, slots=True)
class PartUploaded:
    """A node has put the part that begins with mini-batch ``first`` into the store, as ``name``."""

    node: str
    first: int
    name: str
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PartUploadFailed:
    """A node cannot put parts into the store; ``traceback`` of an error that nobody expected."""

    node: str
    reason: str
    traceback: str = ""


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
    """What the workers of a node are doing, and what they use."""

    node: str
    workers: tuple[WorkerSample, ...]


@dataclass(frozen=True, slots=True)
class NodeConnected:
    """A node has come, at ``place``: a text for people."""

    node: str
    place: str


@dataclass(frozen=True, slots=True)
class NodeGone:
    """A node is gone, with its workers; ``blames`` when what it ran may have brought it down."""

    node: str
    reason: str
    blames: bool


@dataclass(frozen=True, slots=True)
class MiniBatchesReturned:
    """A node gives back (mini_batch, attempt) pairs that it has not begun."""

    node: str
    returned: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class PoolLost:
    """There are no nodes and there will be none: for now (``is_resumable``), or ever."""

    reason: str
    is_resumable: bool
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning that fails nothing; ``traceback`` where it is about an error."""

    text: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class NodeStopped:
    """A node has ended all its workers."""

    node: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing else: about once a second, so that what should have happened is missed."""


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """Somebody wants the run to end: after what is running now (drain), or at once."""

    drain: bool


@dataclass(frozen=True, slots=True)
class OutputPublished:
    """The final file is in place."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class OutputNotPublished:
    """The final file could not be written; ``traceback`` of an error that nobody expected."""

    reason: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class OutputImpossible:
    """Results have columns or types that one file cannot hold, as was seen before the end."""

    reason: str


NodeChange: TypeAlias = NodeConnected | NodeGone | NodeStopped | MiniBatchesReturned | PoolLost
OutputChange: TypeAlias = OutputPublished | OutputNotPublished | OutputImpossible
WorkerChange: TypeAlias = WorkerSpawned | WorkerInitialised | WorkerNotReady | WorkerEnded

Signal: TypeAlias = (
    PlanAdvanced
    | PlanFailed
    | NodeOffered
    | WorkerSpawned
    | WorkerInitialised
    | WorkerNotReady
    | WorkerEnded
    | AttemptsSucceeded
    | PartUploaded
    | PartUploadFailed
    | AttemptErrored
    | WorkersSampled
    | NodeConnected
    | NodeGone
    | MiniBatchesReturned
    | PoolLost
    | Warned
    | NodeStopped
    | TimePassed
    | CancelAsked
    | OutputPublished
    | OutputNotPublished
    | OutputImpossible
)


@dataclass(frozen=True, slots=True)
class Record:
    """Append this event to the journal."""

    event: Event


@dataclass(frozen=True, slots=True)
class Assign:
    """Give mini-batches ``first`` to ``first + count - 1``, for this attempt, to a node."""

    node: str
    first: int
    count: int
    attempt: int


Piece: TypeAlias = tuple[int, int, int, int]
"""The rows of one mini-batch as their node keeps them: its number, offset, length and crc."""


@dataclass(frozen=True, slots=True)
class UploadPart:
    """Let a node put one part into the store: these rows that it keeps, from mini-batch ``first`` on."""

    node: str
    first: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class PauseNodes:
    """Let all nodes finish what runs and give back the rest, but stay: they still have rows."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Tell how many items this attempt had, as one that ended badly with its node."""

    node: str
    mini_batch: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class StopNodes:
    """End the workers: after what they have been given (drain), or at once."""

    drain: bool


@dataclass(frozen=True, slots=True)
class Publish:
    """Make the final file."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do; the driver ends."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The run cannot be resumed and stays as it was; the driver ends without a word in the journal."""

    reason: str


Action: TypeAlias = (
    Record | Assign | UploadPart | PauseNodes | Charge | StopNodes | Publish | Finish | Refuse
)
