"""What a view asks for beyond its snapshot: a window of log, failures, the end of the run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypedDict

from ..errors import ConfigError
from ..events import AttemptFailed, decode
from ..runs import logs
from ..runs.store import RunFolder

LOG_LINES = 200
LOG_LINES_LIMIT = 1000
LOG_LINE_CHARS = 2000
LOG_CHARS = 100_000
FAILURES_SHOWN = 20
TRACEBACK_CHARS = 20_000
_CUT = " ... "  # where a snapshot has cut a long name in its middle


class LogWindow(TypedDict):
    """The last lines of the log; ``has_older`` when there are more, ``cut_lines`` were shortened."""

    lines: list[str]
    has_older: bool
    cut_lines: int


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


def log_window(
    folder: RunFolder, *, worker: str = "", mini_batch: int = -1, lines: int = LOG_LINES
) -> LogWindow:
    """Return the last lines of the log: of all, of one worker, or of one mini-batch."""
    count = min(max(lines, 1), LOG_LINES_LIMIT)
    if mini_batch >= 0:
        found = logs.of_mini_batch(folder, mini_batch, count)
    else:
        found = logs.tail(folder, count, worker or None)
    kept: list[str] = []
    room = LOG_CHARS
    for line in reversed(found):
        room -= min(len(line), LOG_LINE_CHARS) + 1
        if room < 0:
            break
        kept.append(line[:LOG_LINE_CHARS])
    shown = found[len(found) - len(kept) :]
    return LogWindow(
        lines=kept[::-1],
        has_older=len(found) >= count or len(kept) < len(found),
        cut_lines=sum(len(line) > LOG_LINE_CHARS for line in shown),
    )


def failures(folder: RunFolder, group: str) -> Failures:
    """Return the failed attempts of a group, by its name as a snapshot shows it."""
    head, tail = group.split(_CUT, maxsplit=1)[0], group.rsplit(_CUT, maxsplit=1)[-1]
    rows: list[FailureRow] = []
    attempts = 0
    traceback = ""
    for event in _failed_attempts(folder):
        if not (event.group.startswith(head) and event.group.endswith(tail)):
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
                    is_last=event.is_last,
                )
            )
    return Failures(group=group, traceback=traceback, rows=rows, attempts=attempts)


def _failed_attempts(folder: RunFolder) -> Iterator[AttemptFailed]:
    """Yield the failed attempts; the lines of a million others are not even decoded."""
    try:
        file = open(folder.journal, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if line.startswith(b'["f"') and line.endswith(b"\n"):
                event = decode(line)
                if isinstance(event, AttemptFailed):
                    yield event


def cancel(folder: RunFolder, *, drain: bool) -> None:
    """Ask a run to end; with ``drain``, the mini-batches that run now may finish."""
    folder.request("cancel-drain" if drain else "cancel")


def answer(folder: RunFolder, question: dict[str, Any]) -> LogWindow | Failures | None:
    """Answer what a view asked over the comm of its widget.

    Raises
    ------
    ConfigError
        It is none of the questions that a view can ask.
    """
    match question:
        case {"ask": "logs", "worker": str(worker), "mini_batch": int(mini_batch)}:
            return log_window(folder, worker=worker, mini_batch=mini_batch)
        case {"ask": "failures", "group": str(group)}:
            return failures(folder, group)
        case {"ask": "cancel", "drain": bool(drain)}:
            cancel(folder, drain=drain)
            return None
    msg = f"a view asked {list(islice(question, 5))}, which is no question; reload the page."
    raise ConfigError(msg)
