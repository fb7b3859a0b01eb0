"""The attempts of one mini-batch, from its lines in the journal."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeAlias, TypedDict

from ...worker.item_ranges import count_of, merged
from ..journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    ItemRanges,
    ItemsFailed,
    ItemsSucceeded,
)
from ..journal.lines import decode
from ..journal.state import SUCCEEDED, RunState
from .lookup import journal_lines

_Attempt: TypeAlias = AttemptSucceeded | ItemsSucceeded | AttemptFailed | ItemsFailed

_SHOWN_CHARS = 1000
_SHOWN_RANGES = 20


class AttemptRow(TypedDict):
    """An attempt that has ended.

    ``ranges`` are the first of its items, as position and count of consecutive ones; empty for the
    whole mini-batch. ``succeeded``: it has results, although ``items_failed`` of its items failed.
    """

    attempt: int
    worker: str
    succeeded: bool
    at_s: float
    duration_s: float
    rows: int
    ranges: list[list[int]]
    items_failed: int
    group: str
    message: str


def failed_attempts(journal: Path) -> Iterator[AttemptFailed | ItemsFailed]:
    """Yield the failures of a journal, in order; other lines are not decoded."""
    for line in journal_lines(journal, None, "fi"):
        event = decode(line)
        assert isinstance(event, AttemptFailed | ItemsFailed)
        yield event


def attempts_of(
    journal: Path, state: RunState, mini_batches: Collection[int]
) -> dict[int, list[AttemptRow]]:
    """Return the attempts that have ended, in the order of their ends, by mini-batch.

    The journal is searched once for all of them.
    """
    events: dict[int, list[_Attempt]] = {mini_batch: [] for mini_batch in mini_batches}
    for line in journal_lines(journal, mini_batches, "srfi") if mini_batches else ():
        event = decode(line)
        assert isinstance(event, _Attempt)
        events[event.mini_batch].append(event)
    return {mini_batch: _rows(some, state, mini_batch) for mini_batch, some in events.items()}


def _rows(events: list[_Attempt], state: RunState, mini_batch: int) -> list[AttemptRow]:
    """Return the attempts of a mini-batch from its events."""
    rows = [_row(e, (), e.group, e.message) for e in events if isinstance(e, AttemptFailed)]
    failures: dict[int, list[ItemsFailed]] = {}
    results: dict[int, list[ItemsSucceeded]] = {}
    for event in events:
        if isinstance(event, ItemsFailed) and event.worker:
            failures.setdefault(event.attempt, []).append(event)
    for part in _committed([e for e in events if isinstance(e, ItemsSucceeded)], state, mini_batch):
        results.setdefault(part.attempt, []).append(part)
    whole = [event for event in events if isinstance(event, AttemptSucceeded)]
    if state.status_of(mini_batch) == SUCCEEDED and not results:
        # Only the last one is committed: earlier ones belong to parts that were never stored.
        rows += [_whole_row(event, failures.pop(event.attempt, [])) for event in whole[-1:]]
    for attempt in sorted({*results, *failures}):
        rows.append(_partial_row(results.get(attempt, []), failures.get(attempt, [])))
    return sorted(rows, key=lambda row: row["at_s"])


def _committed(
    events: list[ItemsSucceeded], state: RunState, mini_batch: int
) -> list[ItemsSucceeded]:
    """Return the results that count: parts that were never stored have others, of earlier attempts."""
    latest = {event.first: event for event in events}
    answers = state.answers.get(mini_batch)
    if answers is None:
        return list(latest.values()) if state.status_of(mini_batch) == SUCCEEDED else []
    return [
        event
        for event in latest.values()
        if any(
            a <= event.first and event.first + event.items <= a + n for a, n in answers.succeeded
        )
    ]


def _whole_row(event: AttemptSucceeded, short: list[ItemsFailed]) -> AttemptRow:
    row = _row(event, (), *_reason(short))
    row["rows"] = event.rows
    row["items_failed"] = sum(failure.items for failure in short)
    return row


def _partial_row(results: list[ItemsSucceeded], failures: list[ItemsFailed]) -> AttemptRow:
    """Return the row of an attempt that has results or failures of single items."""
    ranges = [(event.first, event.items) for event in results]
    ranges += [pair for failure in failures for pair in failure.ranges]
    of = (results or failures)[0].of
    event = results[0] if results else failures[0]
    row = _row(event, () if count_of(merged(ranges)) == of else merged(ranges), *_reason(failures))
    row["rows"] = sum(event.rows for event in results)
    row["duration_s"] = sum(event.duration_us for event in results) / 1e6
    row["items_failed"] = sum(failure.items for failure in failures)
    return row


def _reason(failures: list[ItemsFailed]) -> tuple[str, str]:
    return (failures[0].group, failures[0].message) if failures else ("", "")


def _row(event: _Attempt, ranges: ItemRanges, group: str, message: str) -> AttemptRow:
    failed = isinstance(event, AttemptFailed)
    if isinstance(event, AttemptFailed):
        ranges = event.ranges
    return AttemptRow(
        attempt=event.attempt,
        worker=event.worker,
        succeeded=isinstance(event, AttemptSucceeded | ItemsSucceeded),
        at_s=event.at_ms / 1000,
        duration_s=0.0 if isinstance(event, ItemsFailed) else event.duration_us / 1e6,
        rows=0,
        ranges=[list(pair) for pair in ranges[:_SHOWN_RANGES]],
        items_failed=event.items if failed else 0,
        group=group[:_SHOWN_CHARS],
        message=message[:_SHOWN_CHARS],
    )
