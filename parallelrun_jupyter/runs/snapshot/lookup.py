"""Looks up the lines of a few mini-batches in a plan or a journal, without decoding the others."""

from __future__ import annotations

import mmap
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from ...worker.plan_line import END_MARK, PlanLine

_BLOCK_BYTES = 1 << 20


def plan_lines(plan: Path, numbers: Collection[int]) -> dict[int, PlanLine]:
    """Return the plan lines of mini-batches, in one pass; without those that are not written yet."""
    lines: dict[int, PlanLine] = {}
    for number, text in _lines_at(plan, sorted(set(numbers))):
        if text.endswith(b"\n") and not text.startswith(END_MARK):
            lines[number] = PlanLine.decode(text)
    return lines


def _lines_at(path: Path, numbers: list[int]) -> Iterator[tuple[int, bytes]]:
    """Yield lines of a file by their numbers; the lines before them are only counted."""
    waiting = [number for number in numbers if number >= 0]
    passed = 0
    rest = b""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return
    with file:
        while waiting and (block := file.read(_BLOCK_BYTES)):
            count = block.count(b"\n")
            if passed + count > waiting[0]:
                lines = (rest + block).split(b"\n")
                while waiting and waiting[0] < passed + count:
                    number = waiting.pop(0)
                    yield number, lines[number - passed] + b"\n"
                rest = lines[-1]
            else:
                rest = (rest + block).rpartition(b"\n")[2]
            passed += count


def journal_lines(
    journal: Path, mini_batches: Collection[int], letters: str, limit_bytes: int | None = None
) -> Iterator[bytes]:
    """Yield the journal's complete lines about mini-batches, in order, found by search.

    Parameters
    ----------
    journal
        The journal.
    mini_batches
        Their numbers.
    letters
        The type letters of the lines, such as ``"sf"``.
    limit_bytes
        How far to search; None for the whole journal.
    """
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
            numbers = "|".join(map(str, mini_batches))
            pattern = rf'\n\["[{letters}]",(?:{numbers}),'.encode("ascii")
            for match in re.compile(pattern).finditer(data, 0, until):
                end = data.find(b"\n", match.start() + 1)
                if end < 0:
                    break
                yield data[match.start() + 1 : end]
