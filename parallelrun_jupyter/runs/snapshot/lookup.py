"""Looks up the lines of a few mini-batches in a plan or a journal, without decoding the others."""

from __future__ import annotations

import mmap
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator
from itertools import chain
from pathlib import Path
from typing import IO

from ...worker.plan_line import END_MARK, PlanLine
from ..plan_places import place_at, place_before

_BLOCK_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


def plan_lines(plan: Path, numbers: Collection[int]) -> dict[int, PlanLine]:
    """Return the plan lines of mini-batches, in one pass; without those that are not written yet."""
    lines: dict[int, PlanLine] = {}
    for number, text in _lines_at(plan, sorted(set(numbers))):
        if text.endswith(b"\n") and not text.startswith(END_MARK):
            lines[number] = PlanLine.decode(text)
    return lines


class _LineCounts:
    """The number of line ends in the whole blocks of a file that only grows."""

    def __init__(self) -> None:
        #: up to the end of each block
        self._counts = array("Q")

    def read_on(self, file: IO[bytes], *, lines: int = -1, offset: int = -1) -> None:
        """Count up to the block with line end number ``lines``, from 1, or with an offset."""
        counts = array("Q", self._counts)
        while not counts or counts[-1] < lines or len(counts) * _BLOCK_BYTES < offset:
            block = os.pread(file.fileno(), _BLOCK_BYTES, len(counts) * _BLOCK_BYTES)
            if len(block) < _BLOCK_BYTES:
                break
            counts.append((counts[-1] if counts else 0) + block.count(b"\n"))
        self._counts = counts  # at once: other threads read it

    def block_of(self, end: int) -> tuple[int, int]:
        """Return the offset of the block with line end number ``end``, and the line ends before it."""
        counts = self._counts
        block = bisect_left(counts, end)
        return block * _BLOCK_BYTES, counts[block - 1] if block else 0

    def block_at(self, offset: int) -> tuple[int, int]:
        """Return the offset of the block with an offset, and the line ends before it."""
        block = min(offset // _BLOCK_BYTES, len(self._counts))
        return block * _BLOCK_BYTES, self._counts[block - 1] if block else 0


_KEPT_COUNTS = 20
_counts: dict[tuple[int, int], _LineCounts] = {}


def _counts_of(file: IO[bytes]) -> _LineCounts:
    """Return the counts of a file, which are kept: counting takes most of the time of a look."""
    status = os.fstat(file.fileno())
    key = status.st_dev, status.st_ino
    counts = _counts.get(key)
    if counts is None:
        if len(_counts) >= _KEPT_COUNTS:
            _counts.clear()
        counts = _counts[key] = _LineCounts()
    return counts


def line_number(path: Path, offset: int) -> int:
    """Return the number of the line of a plan that begins at an offset, from 0."""
    with open(path, "rb") as file:
        number, start = place_at(file, offset)
        if number:
            return number + os.pread(file.fileno(), offset - start, start).count(b"\n")
        counts = _counts_of(file)
        counts.read_on(file, offset=offset)
        start, before = counts.block_at(offset)
        return before + os.pread(file.fileno(), offset - start, start).count(b"\n")


def _lines_at(path: Path, numbers: list[int]) -> Iterator[tuple[int, bytes]]:
    """Yield lines of a file by their numbers; the lines before them are only counted."""
    waiting = [number for number in numbers if number >= 0]
    if not waiting:
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        counts = _counts_of(file)
        has_places = place_before(file, waiting[-1])[0] > 0
        if not has_places:
            counts.read_on(file, lines=waiting[-1])
        offset, passed = 0, 0
        for number in waiting:
            if has_places:
                before, start = place_before(file, number)
            else:
                start, before = counts.block_of(number)
            if before > passed:
                offset, passed = start, before
            line_start = _after_lines(file, offset, number - passed)
            line = None if line_start is None else _line_from(file, line_start)
            if line_start is None or line is None:
                return
            yield number, line
            offset, passed = line_start, number


def _after_lines(file: IO[bytes], offset: int, count: int) -> int | None:
    """Return the offset after ``count`` further line ends; None if there are fewer."""
    while count:
        piece = os.pread(file.fileno(), _PIECE_BYTES, offset)
        if not piece:
            return None
        ends = piece.count(b"\n")
        if ends < count:
            count -= ends
            offset += len(piece)
            continue
        position = -1
        for _ in range(count):
            position = piece.find(b"\n", position + 1)
        return offset + position + 1
    return offset


def _line_from(file: IO[bytes], offset: int) -> bytes | None:
    """Return the line that begins at an offset; None if it is not written to its end yet."""
    line = b""
    while piece := os.pread(file.fileno(), _PIECE_BYTES, offset + len(line)):
        head, end, _ = piece.partition(b"\n")
        line += head + end
        if end:
            return line
    return None


def journal_lines(
    journal: Path,
    mini_batches: Collection[int] | None,
    letters: str,
    limit_bytes: int | None = None,
) -> Iterator[bytes]:
    """Yield the journal's complete lines about mini-batches, in order, found by search.

    Parameters
    ----------
    journal
        The journal.
    mini_batches
        Their numbers; None for all.
    letters
        The type letters of the lines, such as ``"sf"``.
    limit_bytes
        How far to search; None for the whole journal.
    """
    numbers = r"\d+" if mini_batches is None else "|".join(map(str, mini_batches))
    begin = rf'\["[{letters}]",(?:{numbers}),'.encode("ascii")
    for _, line in lines_that_begin(journal, begin, limit_bytes):
        yield line


def lines_that_begin(
    journal: Path, begin: bytes, limit_bytes: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Yield the journal's complete lines that begin with a pattern, each after the byte of its end."""
    try:
        file = open(journal, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return
        with data:
            until = len(data) if limit_bytes is None else min(len(data), limit_bytes)
            found = re.compile(b"\n" + begin).finditer(data, 0, until)
            first = (0,) if re.match(begin, data) else ()
            for start in chain(first, (match.start() + 1 for match in found)):
                end = data.find(b"\n", start)
                if end < 0:
                    break
                yield end + 1, data[start:end]
