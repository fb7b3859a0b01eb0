"""The events of a run: what a journal holds, and their JSON, in this one place.

Rare events are JSON objects that name their fields. The attempt events, of which a run may have
millions, are positional arrays behind a type letter, at under 100 bytes a line. Times (``at_ms``)
are milliseconds since the run was created, by the driver's clock.

Texts that come from the user's code or files can be written as UTF-8: a lone surrogate, as in a file
name whose bytes are not UTF-8, is replaced by its escape when the event is made or read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

from ...errors import RunFolderError, visible

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
"""In the place of a part file's number: the rows are in the part that the next `PartStored` names."""


def _make_visible(event: object, *names: str) -> None:
    for name in names:
        object.__setattr__(event, name, visible(getattr(event, name)))


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A driver took up the run."""

    at_ms: int
    schema: int
    pid: int
    host: str


@dataclass(frozen=True, slots=True)
class RunResumed:
    """A run that had ended is going on: what succeeded is kept, what had failed is tried again.

    ``mini_batches`` of them are to be done; with ``failed_only`` those that had failed, with
    ``group`` those whose last attempt failed in that group: the other failed ones stay as they are.
    ``script`` is the SHA-256 of a corrected entry script, or empty where it is the same. Journals
    from before there was ``group`` have none.
    """

    at_ms: int
    failed_only: bool
    mini_batches: int
    script: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class MiniBatchesPlanned:
    """The plan has grown to these totals; listing goes on."""

    at_ms: int
    mini_batches: int
    items: int


@dataclass(frozen=True, slots=True)
class PlanFinished:
    """Listing is over; the totals are final."""

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
    """A worker process ended before it was asked to, or was killed for a timeout."""

    at_ms: int
    worker: str
    reason: str

    def __post_init__(self) -> None:
        _make_visible(self, "reason")


class AttemptSucceeded(NamedTuple):
    """``run()`` returned a result for the mini-batch, and its rows are in a part file.

    A named tuple, since there are millions: a frozen dataclass takes four times as long to make.

    ``items`` of which ``items_succeeded`` (``min(len(result), items)``) succeeded; ``rows`` is
    ``len(result)``. The rows are ``length`` bytes at ``offset`` of part ``part``, with ``crc``.
    Where ``part`` is `IN_STORE`, ``offset`` counts the rows before them in the part that the next
    `PartStored` names, and nothing of it holds before that one is there.
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


@dataclass(frozen=True, slots=True)
class PartStored:
    """A part of the output is in its store, with the rows of ``count`` mini-batches from ``first`` on.

    The attempts that it makes hold are the ``count`` lines before it. ``name`` is empty where they
    had no rows at all, so that there is no file.
    """

    at_ms: int
    name: str
    first: int
    count: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """One try of a mini-batch failed; ``is_last`` when it will not be tried again.

    ``kind`` is exception, timeout, load_timeout, no_result, wrong_result, worker_lost
    or node_lost.
    ``traceback`` is empty where the same group has shown its own often enough.
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

    def __post_init__(self) -> None:
        _make_visible(self, "error", "message", "group", "traceback")


@dataclass(frozen=True, slots=True)
class ItemsFailed:
    """Some items of a mini-batch failed, in an attempt that succeeded for its other items.

    It follows the `AttemptSucceeded` of the same attempt, which counts the items; this names the
    reason. ``items`` is the number of those that failed. ``kind`` is short_result: ``run()``
    returned fewer elements than the mini-batch has items, so that nobody knows which ones.
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

    def __post_init__(self) -> None:
        _make_visible(self, "error", "message", "group", "traceback")


WorkerSample: TypeAlias = tuple[str, str, int, int] | tuple[str, str, int, int, int, int, int, int]
"""A worker's name, phase, mini-batch and since when (ms); now and then also what it uses: CPU
(percent of one core), memory (MiB), GPU (percent) and GPU memory (MiB), -1 where there is none."""


@dataclass(frozen=True, slots=True)
class NodeSampled:
    """What the workers of a node were doing, and every other second what they used."""

    at_ms: int
    node: str
    workers: tuple[WorkerSample, ...]


@dataclass(frozen=True, slots=True)
class NodeJoined:
    """A node came from outside; ``place`` says where it is. This machine's own have no such event."""

    at_ms: int
    node: str
    place: str


@dataclass(frozen=True, slots=True)
class NodeLost:
    """A node is gone, with its workers; what it held runs elsewhere."""

    at_ms: int
    node: str
    reason: str

    def __post_init__(self) -> None:
        _make_visible(self, "reason")


@dataclass(frozen=True, slots=True)
class WarningRaised:
    """Something the user should know that fails nothing; ``traceback`` where it is about an error.

    Journals from before there was ``traceback`` have none.
    """

    at_ms: int
    text: str
    traceback: str = ""

    def __post_init__(self) -> None:
        _make_visible(self, "text")


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody asked for the end of the run."""

    at_ms: int
    drain: bool


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run reached a final state; ``output`` is a path, or URL, as it is.

    ``traceback`` is that of an error outside of the script which ended it: in the driver, or in a
    process that helps it. Journals from before there was ``traceback`` have none.
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
    | PartStored
    | AttemptFailed
    | ItemsFailed
    | NodeSampled
    | NodeJoined
    | NodeLost
    | WarningRaised
    | CancelRequested
    | RunFinished
)

_NAMED: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        RunStarted,
        RunResumed,
        MiniBatchesPlanned,
        PlanFinished,
        StateEntered,
        WorkerStarted,
        WorkerReady,
        InitFailed,
        WorkerLost,
        PartStored,
        NodeSampled,
        NodeJoined,
        NodeLost,
        WarningRaised,
        CancelRequested,
        RunFinished,
    )
}
_SUCCESS_LENGTH = 1 + len(AttemptSucceeded._fields)
_FIELDS = {name: tuple(f.name for f in fields(kind)) for name, kind in _NAMED.items()}


def encode(event: Event) -> str:
    """Return the journal line of an event, without its line end."""
    if isinstance(event, AttemptSucceeded):
        e = event  # a format string is three times as fast as json.dumps; workers' names are ours
        return (
            f'["s",{e.mini_batch},{e.attempt},"{e.worker}",{e.at_ms},{e.duration_us},{e.items},'
            f"{e.items_succeeded},{e.rows},{e.part},{e.offset},{e.length},{e.crc}]"
        )
    if isinstance(event, AttemptFailed | ItemsFailed):
        letter = "f" if isinstance(event, AttemptFailed) else "i"
        row = [getattr(event, f.name) for f in fields(event)]
        return json.dumps([letter, *row], separators=(",", ":"))
    name = type(event).__name__
    record = {"event": name, **{key: getattr(event, key) for key in _FIELDS[name]}}
    return json.dumps(record, separators=(",", ":"))


def decode_lines(lines: list[bytes]) -> list[Event]:
    """Return the events of whole journal lines: of many at once in half the time of ``decode``.

    Raises
    ------
    RunFolderError
        A line is no event.
    """
    try:
        records = json.loads(b"[%b]" % b",".join(lines))
    except ValueError:
        records = []
    if len(records) != len(lines):  # one is damaged: the error names it
        return [decode(line) for line in lines]
    return [
        AttemptSucceeded(*record[1:])
        if record.__class__ is list and len(record) == _SUCCESS_LENGTH and record[0] == "s"
        else decode(line)
        for record, line in zip(records, lines, strict=True)
    ]


def decode(line: str | bytes) -> Event:
    """Return the event of a journal line.

    Raises
    ------
    RunFolderError
        The line is no event of this version or an older one.
    """
    try:
        record = json.loads(line)
        if isinstance(record, list):
            if record[0] == "s":
                return AttemptSucceeded(*record[1:])
            if record[0] == "f":
                return AttemptFailed(*record[1:])
            if record[0] == "i":
                return ItemsFailed(*record[1:])
            raise KeyError(record[0])  # noqa: TRY301 - one message for every bad line, below
        name = record.pop("event")
        kind = _NAMED[name]
        if kind is NodeSampled:
            record["workers"] = tuple(tuple(row) for row in record["workers"])
        event: Event = kind(**{k: record[k] for k in _FIELDS[name] if k in record})
    except (ValueError, KeyError, TypeError, IndexError) as error:
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        msg = (
            f"this journal line is not an event that schema {SCHEMA} knows: {text[:120]!r}. "
            "The run was written by a newer version, or the file is damaged; "
            "upgrade parallelrun-jupyter, or resume the run to rebuild its end."
        )
        raise RunFolderError(msg) from error
    return event
