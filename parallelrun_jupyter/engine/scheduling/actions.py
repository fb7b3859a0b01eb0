"""Actions, which the scheduler returns for each signal: a closed union.

They are not stored; events for the journal are returned as ``Record(events)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ...runs.journal.events import Event, ItemRanges


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
class DecideTypes:
    """Let the planner decide the column types from all rows; `TypesDecided` follows."""


@dataclass(frozen=True, slots=True)
class ReplacePlan:
    """Put the plan with the decided types in place."""


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
    | DecideTypes
    | ReplacePlan
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
