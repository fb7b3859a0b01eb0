"""Answers the queries of a view: log lines, failures, items, rows, one mini-batch, cancel, resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypedDict

from ..errors import ConfigError
from ..runs.journal.events import AttemptFailed, ItemsFailed
from ..runs.journal.state import RunState
from ..runs.logs.reader import LogQuery, find_lines
from ..runs.run_folder import RunFolder
from ..runs.snapshot.attempts import failed_attempts
from ..runs.snapshot.committed_results import ResultStates
from ..runs.snapshot.failed_item_pages import FailedItems, page_of, read_page
from ..runs.snapshot.mini_batches import Grid, MiniBatchDetail, grid, mini_batch_detail
from ..runs.snapshot.result_pages import (
    BEFORE_FIRST,
    ResultRows,
    RowQuery,
    result_page,
)
from ..runs.snapshot.snapshot import is_shown_as
from .previews import Preview, previews

LOG_LINES = 200
LOG_LINES_LIMIT = 1000
LOG_LINE_CHARS = 2000
LOG_CHARS = 100_000
LOG_TEXT_CHARS = 1000
ROW_TEXT_CHARS = 1000
FAILURES_SHOWN = 20
TRACEBACK_CHARS = 20_000


class LogWindow(TypedDict):
    """Lines of the log; ``has_older`` if earlier lines match, ``cut_lines`` were shortened.

    ``skipped_lines`` were left out between the previous window and this one. ``is_partial`` if the
    search stopped early. ``ends`` holds the offset, in bytes, up to which each log was read.
    """

    lines: list[str]
    has_older: bool
    cut_lines: int
    skipped_lines: int
    is_partial: bool
    ends: dict[str, int]


class FailureRow(TypedDict):
    """One failed attempt."""

    mini_batch: int
    attempt: int
    worker: str
    kind: str
    error: str
    message: str
    items: int
    is_last: bool


class Failures(TypedDict):
    """The first failed attempts of a group, its traceback, and its number of attempts."""

    group: str
    traceback: str
    rows: list[FailureRow]
    attempts: int


def log_window(folder: RunFolder, query: LogQuery) -> LogWindow:
    """Return a window of the log: the last lines, or those after the offsets in ``query.since``."""
    matches = find_lines(folder, query)
    lines: list[str] = []
    room = LOG_CHARS
    for line in reversed(matches.lines):
        room -= min(len(line), LOG_LINE_CHARS) + 1
        if room < 0:
            break
        lines.append(_shorten(line))
    left_out = len(matches.lines) - len(lines)
    return LogWindow(
        lines=lines[::-1],
        has_older=matches.has_older or left_out > 0,
        cut_lines=sum(len(line) > LOG_LINE_CHARS for line in matches.lines[left_out:]),
        skipped_lines=matches.skipped + (left_out if query.since else 0),
        is_partial=matches.is_partial,
        ends=matches.ends,
    )


def _shorten(line: str) -> str:
    """Return the start of a line; a trailing carriage return (progress bars) is preserved."""
    if len(line) <= LOG_LINE_CHARS:
        return line
    return line[: LOG_LINE_CHARS - 1] + ("\r" if line.endswith("\r") else line[LOG_LINE_CHARS - 1])


def log_query(question: dict[str, Any]) -> LogQuery:
    """Return the query that a view sent as JSON; missing values get their defaults.

    Raises
    ------
    ConfigError
        A value has the wrong type, or the text is too long.
    """
    since = question.get("since", {})
    query = LogQuery(
        worker=question.get("worker", ""),
        mini_batch=question.get("mini_batch", -1),
        level=question.get("level", ""),
        text=question.get("text", ""),
        lines=question.get("lines", LOG_LINES),
        since=since,
    )
    kinds = (
        (query.worker, str), (query.mini_batch, int), (query.level, str), (query.text, str),
        (query.lines, int), (since, dict),
        *((offset, int) for offset in (since.values() if isinstance(since, dict) else ())),
    )  # fmt: skip
    for value, kind in kinds:
        if not isinstance(value, kind):
            msg = f"a query of the log contains {value!r}; expected {kind.__name__}."
            raise ConfigError(msg)
    if len(query.text) > LOG_TEXT_CHARS:
        msg = (
            f"the text to search for in the log has {len(query.text):,} characters; expected at most "
            f"{LOG_TEXT_CHARS:,}. Search for a part of it."
        )
        raise ConfigError(msg)
    return replace(query, lines=min(max(query.lines, 1), LOG_LINES_LIMIT))


def failures(folder: RunFolder, group: str) -> Failures:
    """Return the failed attempts of a group, named as in a snapshot."""
    [found] = failures_of_groups(folder, [group])
    return found


def failures_of_groups(folder: RunFolder, groups: Sequence[str]) -> list[Failures]:
    """Return the failed attempts of groups, named as in a snapshot; the journal is read once."""
    found = [Failures(group=group, traceback="", rows=[], attempts=0) for group in groups]
    for event in failed_attempts(folder.journal) if found else ():
        if isinstance(event, ItemsFailed) and not event.worker:
            continue  # no attempt: the items were not run on their own, since all alike had failed
        for each in found:
            if is_shown_as(event.group, each["group"]):
                _add_failure(each, event)
    return found


def _add_failure(group: Failures, event: AttemptFailed | ItemsFailed) -> None:
    group["attempts"] += 1
    group["traceback"] = group["traceback"] or event.traceback[-TRACEBACK_CHARS:]
    if len(group["rows"]) < FAILURES_SHOWN:
        group["rows"].append(
            FailureRow(
                mini_batch=event.mini_batch,
                attempt=event.attempt,
                worker=event.worker,
                kind=event.kind,
                error=event.error,
                message=event.message[:LOG_LINE_CHARS],
                items=event.items,
                is_last=event.is_last,
            )
        )


def cancel(folder: RunFolder, *, drain: bool) -> None:
    """Cancel a run; with ``drain``, running mini-batches may finish."""
    folder.request("cancel-drain" if drain else "cancel")


@dataclass(frozen=True, slots=True)
class QueryContext:
    """The run that a view shows; ``resume`` is None if it cannot be resumed from here."""

    folder: RunFolder
    state: Callable[[], RunState]
    resume: Callable[[bool, str | None], None] | None = None


def answer(
    context: QueryContext, question: dict[str, Any]
) -> (
    LogWindow | Failures | FailedItems | ResultRows | list[Preview] | MiniBatchDetail | Grid | None
):
    """Answer a query that a view sent over the comm of its widget.

    Raises
    ------
    ConfigError
        The query is unknown, or the run cannot be resumed from here.
    """
    match question:
        case {"ask": "logs"}:
            return log_window(context.folder, log_query(question))
        case {"ask": "failures", "group": str(group)}:
            return failures(context.folder, group)
        case {"ask": "failed_items", "group": str(group), "after": [int(after), int(position)]}:
            page = page_of(context.state(), group, (after, position))
            return read_page(context.folder, page)
        case {"ask": "results"}:
            states = ResultStates.of(context.state())
            return results(context.folder, states, row_query(question))
        case {"ask": "previews", "items": items}:
            return previews(context.folder, places_of(items))
        case {"ask": "mini_batch", "mini_batch": int(mini_batch)}:
            return mini_batch_detail(context.folder, context.state(), mini_batch)
        case {"ask": "grid", "first": int(first), "count": int(count)}:
            return grid_part(context.state(), first, count)
        case {"ask": "cancel", "drain": bool(drain)}:
            cancel(context.folder, drain=drain)
            return None
        case {"ask": "resume", "failed_only": bool(failed_only)}:
            _resume(context, failed_only=failed_only, group=question.get("group"))
            return None
    msg = f"unknown query with the keys {list(islice(question, 5))}; reload the page."
    raise ConfigError(msg)


def _resume(context: QueryContext, *, failed_only: bool, group: Any) -> None:
    if context.resume is None:
        msg = (
            f"run {context.folder.run_id} cannot be resumed from this view; call run.resume() in a "
            "cell."
        )
        raise ConfigError(msg)
    context.resume(failed_only, str(group) if group else None)


def results(folder: RunFolder, states: ResultStates, query: RowQuery) -> ResultRows:
    """Return a page of the rows of a run."""
    return result_page(folder, folder.read_record(), states, query)


def row_query(question: dict[str, Any]) -> RowQuery:
    """Return the query of rows that a view sent as JSON; missing values get their defaults.

    Raises
    ------
    ConfigError
        A value has the wrong type, or the text is too long.
    """
    order, text = question.get("order", "latest"), question.get("text", "")
    [after] = places_of([question.get("after", list(BEFORE_FIRST))])
    if order not in {"latest", "first"} or not isinstance(text, str):
        msg = (
            f"a query of rows contains the order {order!r} and the text {text!r}; expected latest or "
            "first, and a text."
        )
        raise ConfigError(msg)
    if len(text) > ROW_TEXT_CHARS:
        msg = (
            f"the item to search for has {len(text):,} characters; expected at most "
            f"{ROW_TEXT_CHARS:,}. Search for a part of its path."
        )
        raise ConfigError(msg)
    return RowQuery(order, text.strip(), after)


def places_of(items: Any) -> list[tuple[int, int]]:
    """Return the mini-batches and positions that a view sent as JSON.

    Raises
    ------
    ConfigError
        The items are not a list of pairs of whole numbers.
    """
    places = []
    for item in items if isinstance(items, list) else [items]:
        match item:
            case [int(mini_batch), int(position)]:
                places.append((mini_batch, position))
            case _:
                msg = f"a query of previews contains {item!r}; expected pairs such as [0, 3]."
                raise ConfigError(msg)
    return places


def grid_part(state: RunState, first: int, count: int) -> Grid:
    """Return a part of a run's grid of mini-batches, with the running ones marked."""
    running = [w.mini_batch for w in state.workers.values() if w.phase == "running"]
    return grid(state, running, first, count)
