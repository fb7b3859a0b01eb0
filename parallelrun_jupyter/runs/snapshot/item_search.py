"""Searches the plan for items by path or number, without decoding the lines of other items."""

from __future__ import annotations

import mmap
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...formatting import text_filter
from ...worker.memory_items import is_memory
from ...worker.plan_line import END_MARK, PlanLine
from .lookup import line_number

SEARCH_S = 1.0
"""Longest time that one search takes, in seconds; the next one continues it."""

_BLOCK_BYTES = 1 << 20
_PLAIN = re.compile(r"[ !#-)+-\[\]-~]+")
"""Characters that JSON does not escape, without the star of a search."""

_NAMED = re.compile(r"(.+)\[([0-9]+)\]")


@dataclass(slots=True)
class Hits:
    """Items that a search found, and how far it came.

    ``places`` are mini-batch and position of each item. ``next_mini_batch`` is where the search stopped for
    lack of time; -1 if it did not.
    """

    places: list[tuple[int, int]] = field(default_factory=list)
    lines: dict[int, PlanLine] = field(default_factory=dict)
    next_mini_batch: int = -1

    def add(self, mini_batch: int, position: int, line: PlanLine) -> None:
        """Add an item."""
        self.places.append((mini_batch, position))
        self.lines[mini_batch] = line


def find_items(plan: Path, text: str, after: tuple[int, int], limit: int) -> Hits:
    """Return the items after a place whose path contains a text, or whose number it is.

    Parameters
    ----------
    plan
        The plan file.
    text
        A part of a path, as in `text_filter`; or the number of an item in the run, from 0, also as in the
        name of an item of a variable: ``texts[17]``.
    after
        The mini-batch and position to search after; (-1, -1) for the beginning.
    limit
        Most items to return. Of a table, each row is an item.
    """
    hits = Hits()
    numbered = _numbered(plan, text)
    if numbered is not None and after < (0, 0):
        hits.add(*numbered)
    until = time.monotonic() + SEARCH_S
    accepts = text_filter(text)
    for mini_batch, line in _candidates(plan, text, max(after[0], 0), until):
        if line is None:  # the time is over
            hits.next_mini_batch = mini_batch
            break
        for position in _positions(line, accepts):
            place = mini_batch, position
            if place > after and place not in hits.places:
                hits.add(mini_batch, position, line)
                if len(hits.places) >= limit:
                    return hits
    return hits


def _numbered(plan: Path, text: str) -> tuple[int, int, PlanLine] | None:
    """Return the item that a text names by its number, alone or after the name of its variable."""
    if text.isascii() and text.isdigit():
        return by_number(plan, int(text))
    named = _NAMED.fullmatch(text)
    if named is None:
        return None
    found = by_number(plan, int(named[2]))
    is_its = found is not None and is_memory(found[2]) and found[2].paths == [named[1]]
    return found if is_its else None


def _positions(line: PlanLine, accepts: Callable[[str], bool]) -> Iterator[int]:
    if not line.is_table:
        yield from (k for k, path in enumerate(line.paths) if accepts(path))
    elif any(map(accepts, line.paths)):
        yield from range(line.rows)


def _candidates(
    plan: Path, text: str, first: int, until: float
) -> Iterator[tuple[int, PlanLine | None]]:
    """Yield the lines with the longest piece of a text that JSON does not escape; None without time."""
    needle = max(_PLAIN.findall(text), key=len, default="").lower().encode("ascii")
    has_letters = needle.upper() != needle
    number = 0
    for lines in _blocks(plan):
        count = lines.count(b"\n")
        if number + count > first:
            folded = lines.lower() if has_letters else lines
            at = 0
            passed = number
            while at < len(lines) and (hit := folded.find(needle, at)) >= 0:
                start = lines.rfind(b"\n", 0, hit) + 1
                passed += lines.count(b"\n", at, start)
                end = lines.find(b"\n", hit) + 1
                if passed >= first and not lines.startswith(END_MARK, start):
                    yield passed, PlanLine.decode(lines[start:end])
                    if time.monotonic() > until:
                        yield passed + 1, None
                        return
                passed += 1
                at = end
        number += count
        if number > first and time.monotonic() > until:  # each search comes further
            yield number, None
            return


def _blocks(plan: Path) -> Iterator[bytes]:
    """Yield the whole lines of a plan, about a megabyte at a time."""
    try:
        file = open(plan, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    rest = b""
    with file:
        while block := file.read(_BLOCK_BYTES):
            head, end, tail = block.rpartition(b"\n")
            if end:
                yield rest + head + end
                rest = tail
            else:
                rest += block


def by_number(plan: Path, number: int) -> tuple[int, int, PlanLine] | None:
    """Return mini-batch, position and line of an item, by its number in the run; None without it."""
    try:
        file = open(plan, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return None
    with file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return None
        with data:
            start = _line_with(data, number)
            end = data.find(b"\n", start)
            if end < 0 or data[start : start + len(END_MARK)] == END_MARK:
                return None
            line = PlanLine.decode(data[start:end])
            if not line.first <= number < line.next_first:
                return None
            return line_number(plan, start), number - line.first, line


def _line_with(data: mmap.mmap, number: int) -> int:
    """Return the offset of the last line whose first item is not after a number, by bisection."""
    low, high = 0, data.rfind(b"\n") + 1
    while True:
        middle = (low + high) // 2
        start = data.find(b"\n", middle, high) + 1
        if start == 0 or start >= high:  # no line begins in the upper half
            start = data.rfind(b"\n", low, middle) + 1
            if start == 0:
                return low
        if _begins_before(data, start, number):
            low = start
        else:
            high = start


def _begins_before(data: mmap.mmap, start: int, number: int) -> bool:
    end = data.find(b"\n", start)
    if end < 0 or data[start : start + len(END_MARK)] == END_MARK:
        return False
    line = PlanLine.decode(data[start:end])
    return "first" in line.extra and line.first <= number
