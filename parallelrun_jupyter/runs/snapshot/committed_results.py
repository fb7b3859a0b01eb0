"""Finds the committed results of a few mini-batches, or the latest ones, without reading the journal.

The cost of a look is that of a search for bytes, whatever the number of mini-batches.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import merge
from pathlib import Path
from typing import TypeAlias

from ...worker.item_ranges import count_of
from ..journal.answers import Answers
from ..journal.events import AttemptSucceeded, ItemsSucceeded, RowsDropped
from ..journal.lines import decode
from ..journal.state import PARTLY, SUCCEEDED, RunState

Result: TypeAlias = AttemptSucceeded | ItemsSucceeded

_WITH_RESULTS = re.compile(b"[%c%c]" % (SUCCEEDED, PARTLY))
_DROP = b'{"event":"RowsDropped",'
_SEARCHED_LINES = 100_000
"""Most lines of the journal that are looked at for the latest results."""


@dataclass(frozen=True, slots=True)
class ResultStates:
    """Which mini-batches and items had results at some moment, copied from a run's state."""

    statuses: bytes
    answers: dict[int, Answers]
    running: frozenset[int]
    #: whether results may have been dropped
    may_drop: bool

    @classmethod
    def of(cls, state: RunState) -> ResultStates:
        """Copy a state."""
        running = [w.mini_batch for w in state.workers.values() if w.phase == "running"]
        may_drop = state.drivers > 1 or state.drops_rows
        return cls(bytes(state.statuses), dict(state.answers), frozenset(running), may_drop)

    def with_results(self, first: int) -> Iterator[int]:
        """Yield the mini-batches from ``first`` on that have results, in order."""
        whole = (match.start() for match in _WITH_RESULTS.finditer(self.statuses, max(first, 0)))
        partly = sorted(k for k, each in self.answers.items() if k >= first and each.succeeded)
        last = -1
        for number in merge(whole, partly):
            if number != last:
                last = number
                yield number

    def has_results(self, mini_batch: int) -> bool:
        """Return whether a mini-batch has results, perhaps for some of its items."""
        return next(self.with_results(mini_batch), -1) == mini_batch

    def items_succeeded(self, mini_batch: int) -> int:
        """Return the number of items with results, if some failed or are left; otherwise -1."""
        answers = self.answers.get(mini_batch)
        return -1 if answers is None else count_of(answers.succeeded)


@contextmanager
def _mapped(journal: Path) -> Iterator[mmap.mmap | bytes]:
    """Yield the bytes of a journal; none if it does not exist or is empty."""
    try:
        file = open(journal, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        yield b""
        return
    with file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            yield b""
            return
        with data:
            yield data


def results_of(
    journal: Path, states: ResultStates, mini_batches: list[int]
) -> dict[int, list[Result]]:
    """Return the committed results of mini-batches, in the order of their items.

    The search ends once all of them are found, unless some may have been dropped.
    """
    found: dict[int, dict[int, Result]] = {}
    waiting = set(mini_batches)
    if not waiting:
        return {}
    numbers = "|".join(map(str, sorted(waiting)))
    pattern = rf'\n\["[sr]",(?:{numbers}),'
    if states.may_drop:
        drops = rf'\{{"event":"RowsDropped","at_ms":\d+,"mini_batch":(?:{numbers}),'
        pattern = rf'\n(?:\["[sr]",(?:{numbers}),|{drops})'
    with _mapped(journal) as data:
        for match in re.compile(pattern.encode("ascii")).finditer(data):
            end = data.find(b"\n", match.start() + 1)
            if end < 0:
                break
            event = decode(data[match.start() + 1 : end])
            if isinstance(event, RowsDropped):
                _drop(found.get(event.mini_batch, {}), event)
                continue
            assert isinstance(event, AttemptSucceeded | ItemsSucceeded)
            results = found.setdefault(event.mini_batch, {})
            if isinstance(event, AttemptSucceeded):
                results.clear()
            results[first_of(event)] = event
            if _is_complete(event, results, states):
                waiting.discard(event.mini_batch)
                if not waiting and not states.may_drop:
                    break
    return {
        number: [result for _, result in sorted(results.items())]
        for number, results in found.items()
        if results
    }


def first_of(result: Result) -> int:
    """Return the position of the first item of a result."""
    return result.first if isinstance(result, ItemsSucceeded) else 0


def _is_complete(event: Result, results: dict[int, Result], states: ResultStates) -> bool:
    if isinstance(event, AttemptSucceeded):
        return True
    expected = states.items_succeeded(event.mini_batch)
    items = sum(result.items for result in results.values())
    return items >= (event.of if expected < 0 else expected)


def _drop(results: dict[int, Result], event: RowsDropped) -> None:
    dropped = [k for k in results if event.first <= k < event.first + event.items]
    for first in dropped:
        del results[first]


def latest_results(journal: Path, rows: int) -> list[Result]:
    """Return the last committed results, newest first, with at least ``rows`` rows if there are."""
    results: list[Result] = []
    drops: list[RowsDropped] = []
    with _mapped(journal) as data:
        end = data.rfind(b"\n")
        for _ in range(_SEARCHED_LINES):
            start = data.rfind(b"\n", 0, end) + 1 if end > 0 else 0
            if start <= 0 or rows <= 0:
                break
            head = data[start : start + len(_DROP)]
            if head.startswith((b'["s",', b'["r",')):
                event = decode(data[start:end])
                assert isinstance(event, AttemptSucceeded | ItemsSucceeded)
                if event.rows and not any(_is_dropped(event, drop) for drop in drops):
                    results.append(event)
                    rows -= event.rows
            elif head == _DROP:
                drop = decode(data[start:end])
                assert isinstance(drop, RowsDropped)
                drops.append(drop)
            end = start - 1
    return results


def _is_dropped(result: Result, drop: RowsDropped) -> bool:
    """Return whether a later event drops a result."""
    first = first_of(result)
    return drop.mini_batch == result.mini_batch and drop.first <= first < drop.first + drop.items
