"""What a view asks for beyond its snapshot: a window of log, failures, the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypedDict

from ..errors import ConfigError
from ..runs.journal.events import AttemptFailed, ItemsFailed, decode
from ..runs.journal.state import RunState
from ..runs.logs.reader import LogQuery, find_lines
from ..runs.run_folder import RunFolder
from ..runs.snapshot.mini_batches import Grid, MiniBatchDetail, grid, mini_batch_detail
from ..runs.snapshot.snapshot import is_shown_as

LOG_LINES = 200
LOG_LINES_LIMIT = 1000
LOG_LINE_CHARS = 2000
LOG_CHARS = 100_000
LOG_TEXT_CHARS = 1000
FAILURES_SHOWN = 20
TRACEBACK_CHARS = 20_000


class LogWindow(TypedDict):
    """Lines of the log; ``has_older`` when there are more before, ``cut_lines`` were shortened.

    ``skipped_lines`` are between those that were known and these; ``is_partial`` when the search
    ended early; ``ends`` says how far each worker's log is known by now.
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
    """The first failed attempts of a group, its traceback, and how many attempts there were."""

    group: str
    traceback: str
    rows: list[FailureRow]
    attempts: int


def log_window(folder: RunFolder, query: LogQuery) -> LogWindow:
    """Return a window of the log: the last lines, or those after what is known."""
    found = find_lines(folder, query)
    kept: list[str] = []
    room = LOG_CHARS
    for line in reversed(found.lines):
        room -= min(len(line), LOG_LINE_CHARS) + 1
        if room < 0:
            break
        kept.append(_cut(line))
    left_out = len(found.lines) - len(kept)
    shown = found.lines[left_out:]
    return LogWindow(
        lines=kept[::-1],
        has_older=found.has_older or left_out > 0,
        cut_lines=sum(len(line) > LOG_LINE_CHARS for line in shown),
        skipped_lines=found.skipped + (left_out if query.since else 0),
        is_partial=found.is_partial,
        ends=found.ends,
    )


def _cut(line: str) -> str:
    """Return the start of a line; one that a later line replaces keeps the mark of that."""
    if len(line) <= LOG_LINE_CHARS:
        return line
    return line[: LOG_LINE_CHARS - 1] + ("\r" if line.endswith("\r") else line[LOG_LINE_CHARS - 1])


def log_query(question: dict[str, Any]) -> LogQuery:
    """Return the query that a view sent as JSON; what it leaves out has its default.

    Raises
    ------
    ConfigError
        Something in it is of the wrong kind.
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
            msg = f"a question about the log holds {value!r}; expected {kind.__name__}."
            raise ConfigError(msg)
    if len(query.text) > LOG_TEXT_CHARS:
        msg = (
            f"the text to look for in the log has {len(query.text):,} characters; expected at most "
            f"{LOG_TEXT_CHARS:,}. Look for a part of it."
        )
        raise ConfigError(msg)
    return replace(query, lines=min(max(query.lines, 1), LOG_LINES_LIMIT))


def failures(folder: RunFolder, group: str) -> Failures:
    """Return the failed attempts of a group, by its name as a snapshot shows it."""
    rows: list[FailureRow] = []
    attempts = 0
    traceback = ""
    for event in _failed_attempts(folder):
        if not is_shown_as(event.group, group):
            continue
        attempts += 1
        traceback = traceback or event.traceback[-TRACEBACK_CHARS:]
        if len(rows) < FAILURES_SHOWN:
            rows.append(
                FailureRow(
                    mini_batch=event.mini_batch,
                    attempt=event.attempt,
                    worker=event.worker,
                    kind=event.kind,
                    error=event.error,
                    message=event.message[:LOG_LINE_CHARS],
                    items=event.items,
                    is_last=isinstance(event, ItemsFailed) or event.is_last,
                )
            )
    return Failures(group=group, traceback=traceback, rows=rows, attempts=attempts)


def _failed_attempts(folder: RunFolder) -> Iterator[AttemptFailed | ItemsFailed]:
    """Yield the failed attempts; the lines of a million others are not even decoded."""
    try:
        file = open(folder.journal, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if line.startswith((b'["f"', b'["i"')) and line.endswith(b"\n"):
                event = decode(line)
                if isinstance(event, AttemptFailed | ItemsFailed):
                    yield event


def cancel(folder: RunFolder, *, drain: bool) -> None:
    """Ask a run to end; with ``drain``, the mini-batches that run now may finish."""
    folder.request("cancel-drain" if drain else "cancel")


@dataclass(frozen=True, slots=True)
class QueryContext:
    """The run that a view asks about, and what can be done to it from here."""

    folder: RunFolder
    state: Callable[[], RunState]
    resume: Callable[[bool, str | None], None] | None = None


def answer(
    asked: QueryContext, question: dict[str, Any]
) -> LogWindow | Failures | MiniBatchDetail | Grid | None:
    """Answer what a view asked over the comm of its widget.

    Raises
    ------
    ConfigError
        It is none of the questions that a view can ask, or cannot be done from here.
    """
    match question:
        case {"ask": "logs"}:
            return log_window(asked.folder, log_query(question))
        case {"ask": "failures", "group": str(group)}:
            return failures(asked.folder, group)
        case {"ask": "mini_batch", "mini_batch": int(mini_batch)}:
            return mini_batch_detail(asked.folder, asked.state(), mini_batch)
        case {"ask": "grid", "first": int(first), "count": int(count)}:
            return grid_part(asked.state(), first, count)
        case {"ask": "cancel", "drain": bool(drain)}:
            cancel(asked.folder, drain=drain)
            return None
        case {"ask": "resume", "failed_only": bool(failed_only)}:
            if asked.resume is None:
                msg = f"run.resume() in a cell goes on with run {asked.folder.run_id}."
                raise ConfigError(msg)
            only = question.get("group")
            asked.resume(failed_only, str(only) if only else None)
            return None
    msg = f"a view asked {list(islice(question, 5))}, which is no question; reload the page."
    raise ConfigError(msg)


def grid_part(state: RunState, first: int, count: int) -> Grid:
    """Return a part of the grid of a run, with what is running in it."""
    running = [w.mini_batch for w in state.workers.values() if w.phase == "running"]
    return grid(state, running, first, count)
