"""The failed items of a run, one record each, from its journal and its plan."""

from __future__ import annotations

import os
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO, NamedTuple, TypeAlias

from ..worker.failures import SHORT_RESULT
from .journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    ItemsSucceeded,
    RowsDropped,
)
from .journal.files import JournalReader, fold
from .journal.lines import decode
from .journal.state import FAILED, RunState
from .logs import reader
from .plan_reader import PlanReader, item_name
from .run_folder import RunFolder
from .snapshot.lookup import lines_that_begin

LOG_LINES = 5
"""Number of log lines of a failed item."""

_LINE_BYTES = 1 << 14
_SHORT_KIND = "short_result"
_FAILURE = rb'\["[fi]",'

_Failure: TypeAlias = AttemptFailed | ItemsFailed

_Range: TypeAlias = tuple[int, int, _Failure, str]
"""Position of the first item, count, failure, and message of consecutive items."""


class FailedItem(NamedTuple):
    """An item that has failed.

    Parameters
    ----------
    item
        Path or URL of a file, or ``PATH: row N``. Rows are counted from 0 in the file; of text
        tables whose mini-batches have rows of several files, in the mini-batch. The partition of a
        run by keys follows: ``PATH: row N (store=1001, brand=tropicana)``. Of a variable an
        expression: ``texts[17]``, ``frame.iloc[17]``, or with a label ``frame.loc['B'] (row 17)``.
        None if it is unknown which item of the mini-batch it is.
    mini_batch
        Number of the mini-batch.
    position
        Position of the item in the mini-batch, from 0. None if it is unknown.
    number
        Number of the item in the run, from 0. None if it is unknown.
    error, message
        Type and text of the exception.
    place
        The line that raised it, such as ``score.py:12 in run``; empty if it has none.
    group
        The failure group.
    kind
        As in `AttemptFailed`.
    tries
        Number of attempts in which the item failed, alone or with its mini-batch.
    traceback
        The traceback of the failure, or if that is not stored, the first one of its group.
    log
        The last lines that the worker logged in the last attempt, if they were asked for.
    """

    item: str | None
    mini_batch: int
    position: int | None
    number: int | None
    error: str
    message: str
    place: str
    group: str
    kind: str
    tries: int
    traceback: str
    log: str


def failed_items(
    folder: RunFolder, *, logs: bool = False, state: RunState | None = None
) -> Iterator[FailedItem]:
    """Yield the items of a run that have failed and were not run again since, in input order.

    The journal and the plan are read once, and not at all if no item has failed. Memory is needed for
    the state of the run, and for some bytes of each failed attempt.

    Parameters
    ----------
    folder
        The run.
    logs
        Read the last log lines of each failed attempt.
    state
        The fold of the journal as it is on the disk. Default: it is read here.
    """
    index = _Index()
    folded = state if state is not None else fold(folder)
    if not folded.items_failed:
        return
    if folded.items_failed == folded.items_lost:  # no result was too short: only failures count
        for end, line in lines_that_begin(folder.journal, _FAILURE):
            index.note(decode(line), end)
    else:
        journal = JournalReader(folder.journal)
        for event in journal.read():
            index.note(event, journal.offset)
    with closing(PlanReader(folder)) as plan, open(folder.journal, "rb") as file:
        search = _Search(folded, index, plan, file, _Logs(folder) if logs else None)
        for mini_batch in index.mini_batches():
            yield from search.items_of(mini_batch)


class _Numbers:
    """Rows of ``width`` numbers by mini-batch, in eight bytes for each number; the latest come first."""

    def __init__(self, width: int) -> None:
        self._width = width
        #: index of the latest row, by mini-batch
        self._last = array("q")
        #: each row after the index of the previous one of its mini-batch
        self._rows = array("q")

    def __len__(self) -> int:
        return len(self._last)

    def __contains__(self, mini_batch: int) -> bool:
        return mini_batch < len(self._last) and self._last[mini_batch] >= 0

    def add(self, mini_batch: int, *numbers: int) -> None:
        self._last.extend([-1] * (mini_batch + 1 - len(self._last)))
        at = len(self._rows)
        self._rows.extend((self._last[mini_batch], *numbers))
        self._last[mini_batch] = at

    def of(self, mini_batch: int) -> Iterator[array[int]]:
        at = self._last[mini_batch] if mini_batch in self else -1
        while at >= 0:
            yield self._rows[at + 1 : at + 1 + self._width]
            at = self._rows[at]


class _Index:
    """The lines of failures, and the results with fewer elements than items, by mini-batch."""

    def __init__(self) -> None:
        #: the byte after the line of each failure
        self._failures = _Numbers(1)
        #: first item, items, missing results and attempt; -1 missing results: their rows were dropped
        self._short = _Numbers(4)

    def note(self, event: Event, end: int) -> None:
        """Add an event, whose line ends at byte ``end`` of the journal."""
        match event:
            case AttemptSucceeded() | ItemsSucceeded() if event.items_succeeded < event.items:
                first = event.first if isinstance(event, ItemsSucceeded) else 0
                missing = event.items - event.items_succeeded
                self._short.add(event.mini_batch, first, event.items, missing, event.attempt)
            case AttemptFailed() | ItemsFailed():
                self._failures.add(event.mini_batch, end)
            case RowsDropped() if event.mini_batch in self._short:
                self._short.add(event.mini_batch, event.first, event.items, -1, 0)

    def mini_batches(self) -> Iterator[int]:
        """Yield the mini-batches that may have failed items, in increasing order."""
        for mini_batch in range(max(len(self._failures), len(self._short))):
            if mini_batch in self._failures or mini_batch in self._short:
                yield mini_batch

    def failures_of(self, mini_batch: int, file: IO[bytes]) -> list[_Failure]:
        """Return the failures of a mini-batch from the journal, the latest first."""
        events = [decode(_line_before(file, end)) for (end,) in self._failures.of(mini_batch)]
        return [event for event in events if isinstance(event, AttemptFailed | ItemsFailed)]

    def short_results_of(self, mini_batch: int) -> list[tuple[int, int, int, int]]:
        """Return (first item, items, missing results, attempt) of results whose rows count."""
        dropped: list[range] = []
        short = []
        for first, items, missing, attempt in self._short.of(mini_batch):
            if missing < 0:
                dropped.append(range(first, first + items))
            elif not any(first in items_dropped for items_dropped in dropped):
                short.append((first, items, missing, attempt))
        return sorted(short)


def _line_before(file: IO[bytes], end: int) -> bytes:
    """Return the line of a file that ends at a byte, without its line end."""
    size = _LINE_BYTES
    while True:
        start = max(0, end - 1 - size)
        head, newline, line = os.pread(file.fileno(), end - 1 - start, start).rpartition(b"\n")
        if newline or not start:
            return line if newline else head + line
        size *= 4


class _Logs:
    """The last log lines of attempts."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._created_at = folder.read_record().created_at

    def of(self, failure: _Failure, failures: Iterable[_Failure]) -> str:
        """Return the lines of a failed attempt, which began after the earlier ones had ended."""
        before = [other.at_ms for other in failures if other.attempt < failure.attempt]
        lines = reader.of_attempt(
            self._folder,
            failure.worker,
            failure.mini_batch,
            (self._stamp(max(before, default=0)), self._stamp(failure.at_ms + 1)),
            LOG_LINES,
        )
        return "\n".join(lines)

    def _stamp(self, at_ms: int) -> str:
        seconds, ms = divmod(round(self._created_at * 1000) + at_ms, 1000)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{ms:03d}Z"


class _Search:
    """Finds the failed items of one mini-batch after the other, in increasing order."""

    def __init__(
        self, state: RunState, index: _Index, plan: PlanReader, file: IO[bytes], logs: _Logs | None
    ) -> None:
        self._state = state
        self._index = index
        self._plan = plan
        self._file = file
        self._logs = logs

    def items_of(self, mini_batch: int) -> Iterator[FailedItem]:
        """Yield the failed items of a mini-batch, those with unknown positions at the end."""
        answers = self._state.answers.get(mini_batch)
        answered = answers.failed if answers is not None else []
        is_whole = not answered and self._state.status_of(mini_batch) == FAILED
        short = self._index.short_results_of(mini_batch)
        if not (answered or is_whole or short):
            return
        failures = self._index.failures_of(mini_batch, self._file)
        final = [failure for failure in failures if failure.kind != _SHORT_KIND and failure.is_last]
        ranges: list[_Range] = []
        if is_whole:
            failure = next(each for each in final if not each.ranges)
            ranges.append((0, failure.items, failure, failure.message))
        elif answered:
            by_first = _by_first(final)
            ranges += [(first, count, *by_first[first]) for first, count, _ in answered]
        unknown = []
        for first, items, missing, attempt in short:
            failure = _short_failure(mini_batch, attempt, missing, failures)
            # Without any result, every item is one without a result.
            positions = [(first, items)] if missing == items else []
            ranges += [(*pair, failure, failure.message) for pair in positions]
            unknown += [failure] * (0 if positions else missing)
        yield from self._items(sorted(ranges, key=lambda each: each[0]), failures)
        whole = sum(isinstance(each, AttemptFailed) and not each.ranges for each in failures)
        for failure in unknown:
            details = self._details(failure, failure.message, whole + 1, failures)
            yield FailedItem(None, mini_batch, None, None, *details)

    def _items(self, ranges: list[_Range], failures: list[_Failure]) -> Iterator[FailedItem]:
        steps = _steps(failures)
        tries = 0
        for first, count, failure, message in ranges:
            line, first_row = self._plan.line(failure.mini_batch)
            details = None
            for position in range(first, first + count):
                while steps and steps[-1][0] <= position:
                    tries += steps.pop()[1]
                    details = None
                if details is None:
                    shown = tries + (failure.kind == _SHORT_KIND)
                    details = self._details(failure, message, shown, failures)
                name = None if line is None else item_name(line, position, first_row)
                number = None if line is None else line.first + position
                yield FailedItem(name, failure.mini_batch, position, number, *details)

    def _details(
        self, failure: _Failure, message: str, tries: int, failures: list[_Failure]
    ) -> tuple[str, str, str, str, str, int, str, str]:
        """Return the fields of a `FailedItem` after those that name it."""
        prefix = f"{failure.error} at "
        is_placed = failure.group.startswith(prefix)
        group = self._state.groups.get(failure.group)
        return (
            failure.error,
            message,
            failure.group.removeprefix(prefix) if is_placed else "",
            failure.group,
            failure.kind,
            tries,
            failure.traceback or (group.traceback if group is not None else ""),
            self._logs.of(failure, failures) if self._logs is not None and failure.worker else "",
        )


def _by_first(final: list[_Failure]) -> dict[int, tuple[_Failure, str]]:
    """Return the latest failure and its message by the first item of each of its ranges."""
    by_first: dict[int, tuple[_Failure, str]] = {}
    for failure in final:
        messages = failure.messages if isinstance(failure, ItemsFailed) else ()
        for number, (first, _) in enumerate(failure.ranges):
            message = messages[number] if messages else failure.message
            by_first.setdefault(first, (failure, message))
    return by_first


def _short_failure(
    mini_batch: int, attempt: int, missing: int, failures: list[_Failure]
) -> _Failure:
    """Return the event about a short result, which follows the result in the journal."""
    for failure in failures:
        if failure.kind == _SHORT_KIND and failure.attempt == attempt:
            return failure
    return ItemsFailed(
        mini_batch, attempt, "", 0, missing, _SHORT_KIND, SHORT_RESULT, "", SHORT_RESULT, ""
    )


def _steps(failures: list[_Failure]) -> list[tuple[int, int]]:
    """Return the positions at which the number of failed attempts of an item changes, the last first.

    A failure of items that were not run on their own has no attempt.
    """
    steps: Counter[int] = Counter()
    for failure in failures:
        if isinstance(failure, AttemptFailed) and not failure.ranges:
            steps[0] += 1
        elif failure.worker or isinstance(failure, AttemptFailed):
            for first, count in failure.ranges:
                steps[first] += 1
                steps[first + count] -= 1
    return sorted(steps.items(), reverse=True)
