"""Finds numbers that pandas may read inexactly, or whose type it does not tell, at memory speed."""

from __future__ import annotations

from .row_splitter import Marks, is_unquoted, quote_edges, without_escapes

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Sequence

FLOAT_HOLDS = 1 << 53
"""A ``float64`` represents every whole number up to this."""

_LARGE_DIGITS = 16
"""The number of digits of 2^53: a larger whole number has at least as many."""

_LONG = 16
"""A number with 16 digits and points may have more digits than a float holds exactly."""

_BLOCK = 1 << 17
"""Bytes that are looked at together: arrays of this size stay in the cache, and in mapped memory."""

_ZERO, _TEN = ord("0"), 10


def with_leading_zeros(text: bytes, marks: Marks) -> frozenset[int]:
    """Return the columns in which a field may begin with a zero and another digit.

    It may return extra columns, since it ignores quotes.
    """
    import numpy as np

    plain = without_escapes(text, marks)
    array = np.frombuffer(b"\n" + plain, np.uint8)
    found = [
        _zeros_before_digits(array[start : start + _BLOCK + 2], marks) + start
        for start in range(0, len(array) - 2, _BLOCK)
    ]
    zeros = np.concatenate(found) if found else np.zeros(0, np.int64)  # offsets in the text
    if not len(zeros):
        return frozenset()
    is_end = np.zeros(256, bool)
    is_end[list((marks.separator + marks.quote + "\n\r \t").encode("ascii"))] = True
    is_sign = np.zeros(256, bool)
    is_sign[list(b"+-")] = True
    before = zeros - is_sign[array[zeros]]  # offsets in the array, of the byte before the number
    zeros = zeros[is_end[array[before]]]
    return frozenset(columns_at(plain, zeros, marks) if len(zeros) else ())


def _zeros_before_digits(array: Any, marks: Marks) -> Any:
    """Return where zeros begin a group of digits; an array begins with the byte before its text."""
    import numpy as np

    # Unsigned differences: bytes below "0" wrap around to large values, and so are not digits.
    is_digit = (array - _ZERO) < _TEN
    found = (array[1:-1] == _ZERO) & is_digit[2:] & ~is_digit[:-2]
    if marks.separator != ".":  # most zeros before a digit are in fractions
        found &= array[:-2] != ord(".")
    return np.flatnonzero(found)


def columns_at(plain: bytes, offsets: Any, marks: Marks) -> Sequence[int]:
    """Return the numbers of the columns at offsets of a text without escapes, in line feeds."""
    import numpy as np

    array = np.frombuffer(plain, np.uint8)
    ends = np.flatnonzero((array == ord(marks.separator)) | (array == ord("\n")))
    if marks.quote and marks.quote.encode("ascii") in plain:
        ends = ends[is_unquoted(quote_edges(plain, marks), ends)]
    if not len(ends):
        return [0]
    # After each end begins column 0 of the next line, or the next column of the same line.
    order = np.searchsorted(ends, offsets)
    lines = np.flatnonzero(array[ends] == ord("\n")) + 1
    starts = np.concatenate([np.zeros(1, np.int64), lines])
    columns = order - starts[np.searchsorted(starts, order, side="right") - 1]
    numbers: list[int] = np.flatnonzero(np.bincount(columns)).tolist()
    return numbers


def has_long_number(text: bytes) -> bool:
    """Return whether a text contains digits that may be a whole number above 2^53."""
    import numpy as np

    array = np.frombuffer(b"," + text + b",", np.uint8)
    others = np.flatnonzero((array - _ZERO) >= _TEN)
    before = np.flatnonzero(np.diff(others) > _LARGE_DIGITS)
    is_number = array[others[before]] != ord(".")
    for mark in b".eE":
        is_number &= array[others[before + 1]] != mark
    return bool(is_number.any())


def may_round_twice(text: bytes) -> bool:
    """Return whether pandas before 3 may read a number of a text inexactly by its fast parser.

    That one multiplies or divides the digits by a power of ten. With fewer digits than 2^53 and no
    exponent both are exact, and so is the result: the slow parser, ``round_trip``, finds the same.
    """
    import numpy as np

    array = np.frombuffer(text, np.uint8)
    return any(
        _has_long_run(block) or _has_exponent(block)
        for start in range(0, len(array), _BLOCK)
        for block in [array[start : start + _BLOCK + _LONG]]
    )


def _has_long_run(array: Any) -> bool:
    """Return whether so many bytes in a row are digits or points."""
    run = (array - ord(".")) < ord("9") - ord(".") + 1
    length = 1
    while length < _LONG:  # a run of 2n bytes is two runs of n bytes
        run = run[:-length] & run[length:]
        length *= 2
    return bool(run.any())


def _has_exponent(array: Any) -> bool:
    """Return whether an ``e`` is after a digit or a point, and before a digit or a mark such as a sign."""
    before = (array[:-2] - ord(".")) < ord("9") - ord(".") + 1
    after = (array[2:] - ord("+")) < ord("9") - ord("+") + 1
    return bool((((array[1:-1] | 0x20) == ord("e")) & before & after).any())
