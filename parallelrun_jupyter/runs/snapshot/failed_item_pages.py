"""The items of a failure group, a page at a time: the cost does not grow with the number of items."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypedDict

from ...errors import visible
from ...worker.item_ranges import merged
from ...worker.memory_items import is_memory, located
from ...worker.memory_names import memory_item_name
from ...worker.plan_line import PlanLine
from ..journal.events import AttemptFailed, Event, ItemRanges, ItemsFailed
from ..journal.lines import decode
from ..journal.state import FAILED, RunState
from ..plan_reader import with_partition
from ..run_folder import RunFolder
from .lookup import journal_lines, plan_lines
from .snapshot import is_shown_as

PAGE_ITEMS = 20
BEFORE_FIRST = (-1, -1)
_SHOWN_CHARS = 1000
_SHOWN_PATHS = 3
_TABLES = {"frame", "table"}
_SEARCHED_BYTES = 1 << 30
"""How much of the journal is searched for messages; other items get the message of their group."""


class FailedItemRow(TypedDict):
    """An item that failed for good. ``name`` is its path, or that of the table that it is a row of.

    In a run by keys, the partition of a row follows, as in ``PATH (store=1001, brand=tropicana)``. For an
    item of a variable, ``name`` is an expression, such as ``texts[17]``. ``position`` is its place in
    the mini-batch, from 0.
    """

    mini_batch: int
    position: int
    is_row: bool
    name: str
    message: str
    tries: int


class FailedItems(TypedDict):
    """Failed items of a group, by mini-batch and position; ``has_more``: others follow."""

    group: str
    items: list[FailedItemRow]
    has_more: bool


@dataclass(frozen=True, slots=True)
class _Failed:
    """Failed items of one mini-batch: their ranges, or None for all items."""

    mini_batch: int
    ranges: ItemRanges | None


@dataclass(frozen=True, slots=True)
class Page:
    """The mini-batches with the items of a page, and the failure groups that it shows."""

    group: str
    after: tuple[int, int]
    #: message of each failure group, by name
    messages: dict[str, str]
    failed: list[_Failed]


def page_of(state: RunState, group: str, after: tuple[int, int] = BEFORE_FIRST) -> Page:
    """Return the page of a group, named as in a snapshot, after a mini-batch and a position."""
    messages = {
        name: entry.message
        for name, entry in list(state.groups.items())
        if is_shown_as(name, group)
    }
    # Each mini-batch has at least one failed item; those of the first may be before the position.
    failed = list(islice(_failed_from(state, messages, after[0]), PAGE_ITEMS + 2))
    return Page(group, after, messages, failed)


def _failed_from(state: RunState, groups: Container[str], first: int) -> Iterator[_Failed]:
    """Yield the failed items of the mini-batches from ``first`` on, in order."""
    # Other threads may fold further events meanwhile: list() copies at once.
    numbers = {*list(state.answers), *list(state.failed_in)}
    for mini_batch in sorted(number for number in numbers if number >= first):
        answers = state.answers.get(mini_batch)
        if answers is not None:
            failed = [(start, count) for start, count, name in answers.failed if name in groups]
            if failed:
                yield _Failed(mini_batch, merged(failed))
        elif state.status_of(mini_batch) == FAILED and state.failed_in.get(mini_batch) in groups:
            yield _Failed(mini_batch, None)


def read_page(folder: RunFolder, page: Page) -> FailedItems:
    """Return the items of a page, with their names and messages."""
    lines = plan_lines(folder.plan, [failed.mini_batch for failed in page.failed])
    lines = {number: located(line, str(folder.data)) for number, line in lines.items()}
    items = []
    for place in _places(page, lines):
        items.append(place)
        if len(items) > PAGE_ITEMS:
            break
    shown = items[:PAGE_ITEMS]
    events = _events(folder, {mini_batch for mini_batch, _ in shown})
    return FailedItems(
        group=page.group,
        items=[_item(lines[k], k, position, page, events.get(k, [])) for k, position in shown],
        has_more=len(items) > PAGE_ITEMS,
    )


def _places(page: Page, lines: dict[int, PlanLine]) -> Iterator[tuple[int, int]]:
    """Yield the mini-batch and the position of each item after the page's start."""
    for failed in page.failed:
        line = lines.get(failed.mini_batch)
        if line is None:
            continue
        ranges = ((0, line.item_count),) if failed.ranges is None else failed.ranges
        for first, count in ranges:
            start = first
            if failed.mini_batch == page.after[0]:
                start = max(first, page.after[1] + 1)
            for position in range(start, first + count):
                yield failed.mini_batch, position


def _events(folder: RunFolder, numbers: set[int]) -> dict[int, list[AttemptFailed | ItemsFailed]]:
    events: dict[int, list[AttemptFailed | ItemsFailed]] = {}
    lines = journal_lines(folder.journal, numbers, "fi", _SEARCHED_BYTES) if numbers else ()
    for line in lines:
        event: Event = decode(line)
        if isinstance(event, AttemptFailed | ItemsFailed):
            events.setdefault(event.mini_batch, []).append(event)
    return events


def _item(
    line: PlanLine,
    mini_batch: int,
    position: int,
    page: Page,
    events: list[AttemptFailed | ItemsFailed],
) -> FailedItemRow:
    message = next(iter(page.messages.values()), "")
    tries = set()
    for event in events:
        index = _range_with(event, position)
        if index is None:
            continue
        if isinstance(event, AttemptFailed) or event.worker:  # else the items were not run alone
            tries.add(event.attempt)
        if event.group in page.messages:
            own = event.messages if isinstance(event, ItemsFailed) else ()
            message = own[index] if own else event.message
    return FailedItemRow(
        mini_batch=mini_batch,
        position=position,
        is_row=line.is_table and (not is_memory(line) or line.table["container"] in _TABLES),
        name=_name(line, position),
        message=message[:_SHOWN_CHARS],
        tries=len(tries),
    )


def _range_with(event: AttemptFailed | ItemsFailed, position: int) -> int | None:
    """Return the index of the range that includes an item; 0 for a failure of the whole mini-batch."""
    if not event.ranges:
        return 0 if isinstance(event, AttemptFailed) else None
    for index, (first, count) in enumerate(event.ranges):
        if first <= position < first + count:
            return index
    return None


def _name(line: PlanLine, position: int) -> str:
    if is_memory(line):
        return visible(memory_item_name(line, position))[:_SHOWN_CHARS]
    if not line.is_table:
        paths = line.paths[position : position + 1]
    else:
        paths = line.paths[:_SHOWN_PATHS]
        paths += ["..."] if len(line.paths) > _SHOWN_PATHS else []
    name = visible(", ".join(paths))[-_SHOWN_CHARS:]
    return with_partition(name, line) if line.is_table else name
