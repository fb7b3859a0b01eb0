"""Spans: consecutive items of a mini-batch whose rows were made by others, and are consecutive too."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from ...runs.output.earlier_rows import EarlierRows, encoded_rows
from .earlier_items import NONE

Span = tuple[int, int, int]
"""Consecutive items of a mini-batch: position of the first, number of its row, count."""

Piece = tuple[int, int, int, bytes]
"""The rows of consecutive items: position of the first, number of items, number of rows, rows."""


def spans_of(row_of: array[int], numbers: Sequence[int]) -> list[Span]:
    """Return the spans of items that may be consecutive in an earlier run.

    Parameters
    ----------
    row_of
        The number of the row of each item there that has one, -1 for others; they increase.
    numbers
        The number of each item of a mini-batch in ``row_of``; -1 for one that is not there.
    """
    first, count = numbers[0], len(numbers)
    if first >= 0 and (numbers.__class__ is range or numbers == list(range(first, first + count))):
        rows = row_of[first : first + count]
        if NONE not in rows and rows[-1] - rows[0] == count - 1:
            return [(0, rows[0], count)]
    return spans_of_rows(row_of[number] if number >= 0 else NONE for number in numbers)


def spans_of_rows(rows: Iterable[int]) -> list[Span]:
    """Return the spans of items whose rows are consecutive; items without a row are left out.

    Parameters
    ----------
    rows
        The number of the row of each item of a mini-batch, -1 for none.
    """
    spans: list[Span] = []
    for position, row in enumerate(rows):
        if row < 0:
            continue
        start, first_row, count = spans[-1] if spans else (0, 0, 0)
        if spans and (start + count, first_row + count) == (position, row):
            spans[-1] = start, first_row, count + 1
        else:
            spans.append((position, row, 1))
    return spans


def adjacent(spans: list[Span]) -> list[tuple[int, list[tuple[int, int]]]]:
    """Return (position of the first item, spans of rows) of consecutive items."""
    joined: list[tuple[int, list[tuple[int, int]]]] = []
    end = NONE
    for position, row, count in spans:
        if position != end:
            joined.append((position, []))
        joined[-1][1].append((row, row + count))
        end = position + count
    return joined


def pieces_of(rows: EarlierRows, spans: list[Span], form: str) -> list[Piece]:
    """Return the encoded rows of spans, those of consecutive items together.

    Raises
    ------
    OutputError
        As `EarlierRows.slices`.
    """
    pieces: list[Piece] = []
    for first, row_spans in adjacent(spans):
        position = first
        for count, data in encoded_rows(rows, row_spans, form):
            pieces.append((position, count, count, data))
            position += count
    return pieces
