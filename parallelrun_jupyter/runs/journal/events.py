"""The events of a run.

Times (``at_ms``) are milliseconds since the run was created, by the driver's clock.

Texts from the user's code or files can be encoded as UTF-8: a lone surrogate, as in a file name
whose bytes are not UTF-8, is replaced by its escape when the event is created or read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from ...errors import visible
from .call_events import CallsHeld, CallsLimited, CallsSpent, WorkerCalls
from .job_events import JobReported

SCHEMA = 1
"""Version of the journal. Readers keep reading every older version."""

RUN_STATES = (
    "Queued",
    "Planning",
    "Running",
    "Finalizing",
    "Completed",
    "Failed",
    "Canceled",
    "Interrupted",
)
FINAL_STATES = frozenset({"Completed", "Failed", "Canceled"})

IN_STORE = -1
"""Sentinel for a part number: the rows are in the part named by the next `PartStored`."""

ItemRanges: TypeAlias = tuple[tuple[int, int], ...]
"""Items of a mini-batch: (position of the first, count) of each range, in increasing order."""


def _make_visible(event: object, *names: str) -> None:
    for name in names:
        object.__setattr__(event, name, visible(getattr(event, name)))


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A driver started."""

    at_ms: int
    schema: int
    pid: int
    host: str


@dataclass(frozen=True, slots=True)
class RunResumed:
    """A run that had ended continues: succeeded mini-batches are kept, failed ones retried.

    Parameters
    ----------
    failed_only
        Only failed mini-batches run; with ``group`` only those whose last attempt failed in it.
    mini_batches
        Number of mini-batches to run.
    script
        SHA-256 of a corrected entry script; empty if the script is unchanged.
    group
        A failure group; empty for all. Missing in older journals.
    """

    at_ms: int
    failed_only: bool
    mini_batches: int
    script: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class MiniBatchesPlanned:
    """The plan has grown to these totals; listing continues."""

    at_ms: int
    mini_batches: int
    items: int


@dataclass(frozen=True, slots=True)
class PlanFinished:
    """Listing has finished; the totals are final."""

    at_ms: int
    mini_batches: int
    items: int


@dataclass(frozen=True, slots=True)
class StateEntered:
    """The run entered a state that is not final."""

    at_ms: int
    state: str


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker process was started."""

    at_ms: int
    worker: str
    node: str
    pid: int


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """A worker has loaded the entry script and finished ``init()``."""

    at_ms: int
    worker: str
    init_ms: int


@dataclass(frozen=True, slots=True)
class InitFailed:
    """A worker did not become ready: the script did not load, or ``init()`` failed."""

    at_ms: int
    worker: str
    kind: str
    error: str
    message: str
    group: str
    traceback: str

    def __post_init__(self) -> None:
        _make_visible(self, "error", "message", "group", "traceback")


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker process ended unexpectedly, or was killed after a timeout."""

    at_ms: int
    worker: str
    reason: str

    def __post_init__(self) -> None:
        _make_visible(self, "reason")


class AttemptSucceeded(NamedTuple):
    """``run()`` returned a result for the mini-batch, and its rows are in a part file.

    ``items_succeeded`` is ``min(len(result), items)``, ``rows`` is ``len(result)``. The rows are
    ``length`` bytes at ``offset`` in part file ``part``, with checksum ``crc``. If ``part`` is
    `IN_STORE`, ``offset`` counts the preceding rows in the part named by the next `PartStored`, and
    the attempt is committed only once that event appears.

    It is a named tuple because a run has millions: a frozen dataclass takes four times as long.
    """

    mini_batch: int
    attempt: int
    worker: str
    at_ms: int
    duration_us: int
    items: int
    items_succeeded: int
    rows: int
    part: int
    offset: int
    length: int
    crc: int


class ItemsSucceeded(NamedTuple):
    """``run()`` returned results for some consecutive items of a mini-batch of ``of`` items.

    The items are ``items`` ones from position ``first``; the mini-batch is done when all its items
    have succeeded or failed. ``worker`` is empty if the rows were taken from another run. The other
    fields are those of `AttemptSucceeded`; of the events of one attempt, the first has its duration,
    and the others have 0.
    """

    mini_batch: int
    attempt: int
    worker: str
    at_ms: int
    duration_us: int
    first: int
    items: int
    of: int
    rows: int
    part: int
    offset: int
    length: int
    crc: int

    @property
    def items_succeeded(self) -> int:
        """Number of items with a result."""
        return min(self.items, self.rows)


@dataclass(frozen=True, slots=True)
class PartStored:
    """A part of the output is in the object store: ``count`` results, the first mini-batch is ``first``.

    It commits the attempts of the ``count`` lines before it. ``name`` is empty if they have no rows
    and thus no file.
    """

    at_ms: int
    name: str
    first: int
    count: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt of a mini-batch failed; with ``is_last`` it is not retried.

    ``kind`` is exception, throttled (a server asked for fewer calls), timeout, load_timeout, no_result, wrong_result, bad_input, out_of_memory,
    worker_lost or node_lost. ``traceback`` is empty after the first few failures of a group.
    ``ranges`` are the items of the attempt, if it had only some of the mini-batch's ``of`` items;
    then only these fail for good with ``is_last``.
    """

    mini_batch: int
    attempt: int
    worker: str
    at_ms: int
    duration_us: int
    items: int
    is_last: bool
    kind: str
    error: str
    message: str
    group: str
    traceback: str
    ranges: ItemRanges = ()
    of: int = 0

    def __post_init__(self) -> None:
        _make_visible(self, "error", "message", "group", "traceback")


@dataclass(frozen=True, slots=True)
class ItemsFailed:
    """Some items of a mini-batch failed in an attempt that succeeded for its other items.

    ``items`` is their number. If ``kind`` is short_result, ``run()`` returned fewer elements than
    items, and it is unknown which items failed: ``ranges`` is empty, and the event follows the one
    that counts the results of the attempt.

    Otherwise ``ranges`` are the failed items of the mini-batch's ``of`` items. With ``is_last`` they
    have failed for good. ``messages`` has the message of each range; if it is empty, all have
    ``message``. ``worker`` is empty if the items were not run on their own, because the failure is
    one of all items.
    """

    mini_batch: int
    attempt: int
    worker: str
    at_ms: int
    items: int
    kind: str
    error: str
    message: str
    group: str
    traceback: str
    ranges: ItemRanges = ()
    messages: tuple[str, ...] = ()
    of: int = 0
    is_last: bool = True

    def __post_init__(self) -> None:
        _make_visible(self, "error", "message", "group", "traceback")
        object.__setattr__(self, "messages", tuple(map(visible, self.messages)))


@dataclass(frozen=True, slots=True)
class RowsDropped:
    """Items of a result run again: their rows no longer count.

    A resume does so for short results; so does a change of column types, see `TypesChanged`.

    Parameters
    ----------
    first, items, of
        The items of the mini-batch's ``of`` items: ``items`` ones from position ``first``.
    items_succeeded, rows
        How many of them had succeeded, and their rows.
    group
        The failure group of the others; empty if there are none.
    """

    at_ms: int
    mini_batch: int
    first: int
    items: int
    of: int
    items_succeeded: int
    rows: int
    group: str

    def __post_init__(self) -> None:
        _make_visible(self, "group")


@dataclass(frozen=True, slots=True)
class TypesChanged:
    """The column types that were assumed from the first rows are others: mini-batches run again.

    A `RowsDropped` for each of their results follows, and all failures count as to be retried.
    ``text`` is a warning that names the columns.
    """

    at_ms: int
    text: str

    def __post_init__(self) -> None:
        _make_visible(self, "text")


@dataclass(frozen=True, slots=True)
class CallLimited:
    """From now on a call of ``run()`` receives at most ``items`` items: more do not fit into memory."""

    at_ms: int
    items: int


@dataclass(frozen=True, slots=True)
class ResultsReused:
    """An update took the rows of ``items`` unchanged items from the run ``run_id``.

    ``changed``, ``new`` and ``gone`` count the other items: with a new version, not in that run, and
    only in that run.
    """

    at_ms: int
    run_id: str
    items: int
    changed: int
    new: int
    gone: int


@dataclass(frozen=True, slots=True)
class DuplicatesCopied:
    """``items`` more items got a copy of the rows of earlier items with the same content."""

    at_ms: int
    items: int


WorkerSample: TypeAlias = tuple[str, str, int, int] | tuple[str, str, int, int, int, int, int, int]
"""Worker, phase, mini-batch and start of the phase (ms); in every other second also CPU (percent of
one core), memory (MiB), GPU (percent) and GPU memory (MiB), -1 without a GPU."""


WorkerProgress: TypeAlias = tuple[str, int, int, int]
"""Worker, how much of its call of ``run()`` is done, of how much (-1 if unknown), and 1 if these are
the items of the mini-batch, 0 if the script counts something else."""


@dataclass(frozen=True, slots=True)
class NodeSampled:
    """Activity of the workers of a node, and every other second their use of resources.

    ``progress`` is of the calls of ``run()`` in these or the last samples; only that which has
    changed, and most journals have none. ``calls`` are those of workers with several in flight.
    """

    at_ms: int
    node: str
    workers: tuple[WorkerSample, ...]
    progress: tuple[WorkerProgress, ...] = ()
    calls: tuple[WorkerCalls, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node joined from ``place``. Nodes on the driver's machine have no such event."""

    at_ms: int
    node: str
    place: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node is lost with its workers; its mini-batches run elsewhere."""

    at_ms: int
    node: str
    reason: str

    def __post_init__(self) -> None:
        _make_visible(self, "reason")


@dataclass(frozen=True, slots=True)
class WarningRaised:
    """A warning for the user; ``traceback`` is of its error, if any; older journals lack it."""

    at_ms: int
    text: str
    traceback: str = ""

    def __post_init__(self) -> None:
        _make_visible(self, "text")


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A user requested to cancel the run; with ``drain``, running mini-batches may finish."""

    at_ms: int
    drain: bool


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run reached a final state; ``output`` is a path or URL.

    ``traceback`` is of an error outside the script, in the driver or one of its child processes;
    it is missing in older journals.
    """

    at_ms: int
    state: str
    reason: str
    output: str
    output_bytes: int
    traceback: str = ""

    def __post_init__(self) -> None:
        _make_visible(self, "reason")


Event: TypeAlias = (
    RunStarted
    | RunResumed
    | MiniBatchesPlanned
    | PlanFinished
    | StateEntered
    | WorkerStarted
    | WorkerReady
    | InitFailed
    | WorkerLost
    | AttemptSucceeded
    | ItemsSucceeded
    | PartStored
    | AttemptFailed
    | ItemsFailed
    | TypesChanged
    | RowsDropped
    | CallLimited
    | ResultsReused
    | DuplicatesCopied
    | CallsLimited
    | CallsSpent
    | CallsHeld
    | JobReported
    | NodeSampled
    | NodeJoined
    | NodeLost
    | WarningRaised
    | CancelRequested
    | RunFinished
)
