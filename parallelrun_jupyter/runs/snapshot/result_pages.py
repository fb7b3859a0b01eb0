"""The rows of a run in pages: the first ones, the latest ones, or those of items found by a search.

The cost of a page does not grow with the number of mini-batches, except for searches for bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypedDict

from ...errors import OutputError, visible
from ...formatting import plural
from ...worker.memory_items import is_memory, located
from ...worker.memory_names import memory_item_name
from ...worker.plan_line import PlanLine
from ..journal.events import ItemsSucceeded
from ..journal.state import FAILED
from ..output.row_texts import COLUMNS
from ..output.shown_rows import ShownRows
from ..run_folder import RunFolder
from ..run_record import RunRecord
from .committed_results import Result, ResultStates, first_of, latest_results, results_of
from .item_search import Hits, find_items
from .lookup import plan_lines

PAGE_ROWS = 20
LATEST_ROWS = 10
BEFORE_FIRST = (-1, -1)
_PAGE_CHARS = 60_000
_LEAST_CHARS = 20
_READ_BYTES = 64 << 20
"""Once a page has read this much, it ends."""

_LOOKED_UP = 400
"""Most mini-batches that a page of first rows looks up: mini-batches may have results without rows."""

_ROWS_OF_HIT = 5
_NAME_CHARS = 1000
_TABLES = {"frame", "table"}
"""Variables whose items are rows with cells, not single values."""


class ResultRow(TypedDict):
    """A committed row, with its item if it is known, or an item without a row.

    ``row`` is the number of the row in its mini-batch; -1 without a row, for the reason in ``status``.
    ``position`` and ``number`` of the item count in the mini-batch and in the run; -1 if the rows of
    the mini-batch are not one for each item. ``name`` is the path of the item, or of its table;
    for an item of a variable, an expression such as ``texts[17]``. ``is_value``: it is one of a list,
    an array or a series, so that only a preview tells what it is.
    """

    mini_batch: int
    row: int
    position: int
    number: int
    is_row: bool
    is_value: bool
    name: str
    status: str
    cells: list[str]


class ResultRows(TypedDict):
    """Rows of a run; without ``columns``, each is one text.

    ``after`` continues with the next page if ``has_more``. ``note`` says why rows are missing.
    """

    columns: list[str]
    columns_hidden: int
    rows: list[ResultRow]
    has_more: bool
    after: list[int]
    note: str


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Selects rows.

    Parameters
    ----------
    order
        ``latest``: the most recently committed, newest first. ``first``: in input order.
    text
        Only the rows of items with this number, or with this text in their path.
    after
        As in the page before: the mini-batch, and the row or the item in it.
    """

    order: str = "latest"
    text: str = ""
    after: tuple[int, int] = BEFORE_FIRST


@dataclass(frozen=True, slots=True)
class _MiniBatch:
    """The committed results of a mini-batch, in the order of their items."""

    results: list[Result]

    @property
    def rows(self) -> int:
        return sum(result.rows for result in self.results)

    def position_of(self, row: int) -> int:
        """Return the position of the item that a row belongs to; -1 if that is not known."""
        for result in self.results:
            if row < result.rows:
                return first_of(result) + row if result.rows == result.items else -1
            row -= result.rows
        return -1

    def rows_of(self, position: int) -> tuple[int, int]:
        """Return the first row and the end of the rows of an item, or of the result with it."""
        start = 0
        for result in self.results:
            first = first_of(result)
            if first <= position < first + result.items:
                if result.rows == result.items:
                    return start + position - first, start + position - first + 1
                return start, start + min(result.rows, _ROWS_OF_HIT)
            start += result.rows
        return start, start


class _Page:
    """Rows that are being read for a page."""

    def __init__(self, folder: RunFolder, record: RunRecord) -> None:
        self._shown = ShownRows(folder, record)
        self._data = str(folder.data)
        self.columns: dict[str, None] = {}
        self.columns_hidden = 0
        self.rows: list[tuple[ResultRow, list[str], list[str]]] = []
        self.note = ""

    @property
    def is_full(self) -> bool:
        """Whether reading more could take long."""
        return bool(self.note) or self._shown.read_bytes >= _READ_BYTES

    def add(self, mini_batch: int, of: _MiniBatch, first: int, end: int) -> None:
        """Read rows of a mini-batch; if that is not possible, note why."""
        try:
            texts = self._shown.texts(of.results, first, end)  # type: ignore[arg-type]
        except OutputError as error:
            self.note = visible(str(error))
            return
        self.columns.update(dict.fromkeys(texts.columns))
        self.columns_hidden = max(self.columns_hidden, texts.columns_hidden)
        for row, cells in enumerate(texts.rows, start=first):
            made = _row(mini_batch, row=row, position=of.position_of(row))
            self.rows.append((made, texts.columns, cells))

    def finished(self, lines: dict[int, PlanLine], after: tuple[int, int] | None) -> ResultRows:
        """Return the page; ``after`` is None if it is the last one."""
        names = list(self.columns)
        hidden = self.columns_hidden + max(0, len(names) - COLUMNS)
        names = names[:COLUMNS]
        room = _PAGE_CHARS // max(1, len(self.rows) * max(1, len(names)))
        for row, own, cells in self.rows:
            if row["row"] >= 0:
                of = dict(zip(own or names[:1], cells, strict=False))
                texts = [of.get(name, "") for name in names] if names else cells
                row["cells"] = [_cut(text, room) for text in texts]
            _name(row, lines.get(row["mini_batch"]), self._data)
        return ResultRows(
            columns=[_cut(name, _PAGE_CHARS // COLUMNS // 4) for name in names],
            columns_hidden=hidden,
            rows=[row for row, _, _ in self.rows],
            has_more=after is not None,
            after=list(after or BEFORE_FIRST),
            note=self.note,
        )


def _row(mini_batch: int, *, row: int = -1, position: int = -1, status: str = "") -> ResultRow:
    return ResultRow(
        mini_batch=mini_batch,
        row=row,
        position=position,
        number=-1,
        is_row=False,
        is_value=False,
        name="",
        status=status,
        cells=[],
    )


def _name(row: ResultRow, line: PlanLine | None, data: str) -> None:
    """Set the name and the number of the item of a row; ``data`` is the folder of the variables."""
    if line is None:
        return
    position = row["position"]
    of_variable = is_memory(line)
    row["is_value"] = of_variable and line.table["container"] not in _TABLES
    row["is_row"] = line.is_table and not of_variable
    if position >= 0 and "first" in line.extra:
        row["number"] = line.first + position
    if of_variable and position >= 0:
        row["name"] = visible(memory_item_name(located(line, data), position))[:_NAME_CHARS]
    elif line.is_table or 0 <= position < len(line.paths):
        path = line.paths[0] if line.is_table else line.paths[position]
        row["name"] = visible(path)[-_NAME_CHARS:]


def _cut(text: str, room: int) -> str:
    room = max(room, _LEAST_CHARS)
    return visible(text if len(text) <= room else text[: room - 3] + "...")


def result_page(
    folder: RunFolder, record: RunRecord, states: ResultStates, query: RowQuery
) -> ResultRows:
    """Return a page of rows; a note says why there are none.

    Parameters
    ----------
    folder, record
        The run.
    states
        Its mini-batches with results.
    query
        The rows.
    """
    page = _Page(folder, record)
    page.note = _why_none(record)
    if page.note:
        return page.finished({}, None)
    if query.text:
        return _found(folder, page, states, query)
    if query.order == "first":
        return _first(folder, page, states, query.after)
    return _latest(folder, page, states)


def _why_none(record: RunRecord) -> str:
    if not record.output.append_rows:
        return "The script writes its own output (output_action is summary_only), so there are no rows."
    if record.output.in_parts:
        return f"The rows are in parts in {visible(record.output.url)}; run.to_pandas() reads them."
    return ""


def _latest(folder: RunFolder, page: _Page, states: ResultStates) -> ResultRows:
    results = latest_results(folder.journal, LATEST_ROWS)
    partly = [each.mini_batch for each in results if isinstance(each, ItemsSucceeded)]
    of_items = results_of(folder.journal, states, list(dict.fromkeys(partly)))
    for result in results:
        of = _MiniBatch(of_items.get(result.mini_batch, [result]))
        start = 0
        for other in of.results:
            if first_of(other) >= first_of(result):
                break
            start += other.rows
        room = LATEST_ROWS - len(page.rows)
        page.add(result.mini_batch, of, start, start + min(result.rows, room))
        if page.is_full or len(page.rows) >= LATEST_ROWS:
            break
    return page.finished(_lines(folder, page), None)


def _lines(folder: RunFolder, page: _Page) -> dict[int, PlanLine]:
    return plan_lines(folder.plan, {row["mini_batch"] for row, _, _ in page.rows})


def _first(
    folder: RunFolder, page: _Page, states: ResultStates, after: tuple[int, int]
) -> ResultRows:
    reached = after
    for mini_batch, results in _in_order(folder, states, after[0]):
        of = _MiniBatch(results)
        start = after[1] + 1 if mini_batch == after[0] else 0
        end = min(of.rows, start + PAGE_ROWS - len(page.rows))
        if start < end:
            if page.is_full or len(page.rows) >= PAGE_ROWS:
                return page.finished(_lines(folder, page), reached)
            page.add(mini_batch, of, start, end)
        reached = mini_batch, max(end, start) - 1
        if end < of.rows:
            return page.finished(_lines(folder, page), reached)
    is_cut = page.is_full or reached != after
    more = next(states.with_results(reached[0] + 1), None) if is_cut else None
    return page.finished(_lines(folder, page), None if more is None else reached)


def _in_order(
    folder: RunFolder, states: ResultStates, first: int
) -> Iterator[tuple[int, list[Result]]]:
    """Yield the next mini-batches with results, in input order, looked up in ever larger groups."""
    count = PAGE_ROWS + 1
    numbers = islice(states.with_results(first), _LOOKED_UP)
    while some := list(islice(numbers, count)):
        results = results_of(folder.journal, states, some)
        yield from ((number, results[number]) for number in some if number in results)
        count *= 4


def _found(folder: RunFolder, page: _Page, states: ResultStates, query: RowQuery) -> ResultRows:
    hits = find_items(folder.plan, query.text, query.after, PAGE_ROWS + 1)
    places = hits.places[:PAGE_ROWS]
    numbers = [k for k in dict.fromkeys(k for k, _ in places) if states.has_results(k)]
    results = results_of(folder.journal, states, numbers)
    reached = query.after
    shown: set[tuple[int, int]] = set()
    for place in places:
        if page.is_full or len(page.rows) >= PAGE_ROWS:
            break
        if not _add_hit(page, states, place, results.get(place[0], []), shown):
            break
        reached = place
    else:
        if len(hits.places) <= PAGE_ROWS:
            return page.finished(hits.lines, _stopped(page, hits))
    return page.finished(hits.lines, reached)


def _add_hit(
    page: _Page,
    states: ResultStates,
    place: tuple[int, int],
    results: list[Result],
    shown: set[tuple[int, int]],
) -> bool:
    """Add the rows of an item, or the item with its status; return False if the page lacks room."""
    mini_batch, position = place
    of = _MiniBatch(results)
    first, end = of.rows_of(position)
    if first == end:
        status = _status(states, mini_batch, position, has_results=bool(results))
        page.rows.append((_row(mini_batch, position=position, status=status), [], []))
    elif (mini_batch, first) not in shown:  # rows of a mini-batch belong to several items
        if page.rows and len(page.rows) + end - first > PAGE_ROWS:
            return False
        shown.add((mini_batch, first))
        page.add(mini_batch, of, first, end)
    return True


def _status(states: ResultStates, mini_batch: int, position: int, *, has_results: bool) -> str:
    answers = states.answers.get(mini_batch)
    failed = answers.failed if answers is not None else []
    is_failed = mini_batch < len(states.statuses) and states.statuses[mini_batch] == FAILED
    if is_failed or any(first <= position < first + count for first, count, _ in failed):
        return "failed"
    if mini_batch in states.running:
        return "running"
    return "no row" if has_results and answers is None else "left"


def _stopped(page: _Page, hits: Hits) -> tuple[int, int] | None:
    """Note that a search has stopped; return where it goes on."""
    if hits.next_mini_batch < 0:
        return None
    searched = plural(hits.next_mini_batch, "mini-batch")
    page.note = page.note or f"Only the first {searched} are searched so far."
    return hits.next_mini_batch, -1
