"""A run as one row of a list."""

from __future__ import annotations

from typing import TypedDict

from ..errors import visible
from ..runs.record import RunRecord
from ..runs.snapshot import Snapshot
from .text import headline


class RunRow(TypedDict):
    """A run in a list; ``is_read`` is False while its journal is still being read."""

    run_id: str
    name: str
    created_at: float
    is_read: bool
    is_final: bool
    state: str
    headline: str
    plan_finished: bool
    mini_batches: int
    succeeded: int
    failed: int
    items_failed: int
    elapsed_s: float


class RunList(TypedDict):
    """The newest runs, and how many older ones there are."""

    runs: list[RunRow]
    hidden: int


def unread_row(record: RunRecord) -> RunRow:
    """Return the row of a run of which only the record has been read."""
    return RunRow(
        run_id=record.run_id,
        name=visible(record.name),
        created_at=record.created_at,
        is_read=False,
        is_final=False,
        state="Queued",
        headline="reading",
        plan_finished=False,
        mini_batches=0,
        succeeded=0,
        failed=0,
        items_failed=0,
        elapsed_s=0.0,
    )


def run_row(record: RunRecord, snapshot: Snapshot) -> RunRow:
    """Return the row of a run."""
    return RunRow(
        run_id=record.run_id,
        name=visible(record.name),
        created_at=record.created_at,
        is_read=True,
        is_final=snapshot["is_final"],
        state=snapshot["state"],
        headline=headline(snapshot),
        plan_finished=snapshot["plan_finished"],
        mini_batches=snapshot["mini_batches"],
        succeeded=snapshot["succeeded"],
        failed=snapshot["failed"],
        items_failed=snapshot["items_failed"],
        elapsed_s=snapshot["elapsed_s"],
    )
