"""Infers the types of very many columns from a block of delimited text, as far as that is certain.

pandas infers each column apart, which takes longer than reading a few rows of it. Here, the fields are
classified by their bytes, and the columns that hold nothing but plain numbers are parsed as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...worker.tables.field_grid import FieldGrid
from ...worker.tables.number_forms import FLOAT_HOLDS
from .column_types import Inference

_END, _SIGN, _DOT, _EXPONENT, _OTHER = 1, 2, 4, 8, 16
"""What a byte is to a number; digits are 0. The bits of a field or a column are those of its bytes."""

_ZERO, _TEN, _CR = ord("0"), 10, 13

_SPECIAL_WORDS = ("", "true", "false", "inf", "infinity", "nan")
"""Words that pandas may read as something else than text, besides the missing values."""

_AROUND = b"\"' \t\r"
"""What may stand around a word in a field."""


def certain_inferences(
    grid: FieldGrid,
    wanted: Sequence[int],
    missing: Sequence[str],
    read: Callable[[bytes], Any],
    *,
    is_exact: bool,
) -> dict[int, Inference]:
    """Return the inferences of the columns for which they are certain, by number.

    Parameters
    ----------
    grid
        The fields of the block.
    wanted
        The numbers of the columns to infer.
    missing
        The missing values.
    read
        Returns the column of floats that pandas reads from a text of one field a line.
    is_exact
        As in `Rules`.
    """
    import numpy as np

    is_wanted = np.zeros(grid.width, bool)
    is_wanted[wanted] = True
    fields = _bits_of_fields(grid)
    bits = np.bitwise_or.reduce(fields, axis=0)
    is_other = bits & _OTHER > 0
    inferences = _texts(grid, fields, np.flatnonzero(is_other & is_wanted), missing)
    is_number = is_wanted & ~is_other
    if is_exact:
        is_number &= ~_have_leading_zeros(grid)
    if not is_number.any():
        return inferences
    try:
        values = read(grid.below_each_other(is_number)).to_numpy()
    except (ValueError, OverflowError, TypeError):
        return inferences
    positions = np.flatnonzero(is_number)
    may_be_whole = bits[positions] & (_DOT | _EXPONENT) == 0
    values = values.reshape(grid.rows, len(positions))
    add = _numbers if is_exact else _numbers_of_pandas
    large = np.fmax.reduce(np.abs(values), axis=0) >= FLOAT_HOLDS
    for position, inference, is_large in zip(
        positions.tolist(), add(values, may_be_whole), large.tolist(), strict=True
    ):
        if not is_large:
            inferences[position] = inference
    return inferences


def _bits_of_fields(grid: FieldGrid) -> Any:
    """Return the bits of each field; a byte that cannot be in a number at its place is another one."""
    import numpy as np

    kinds = np.full(256, _OTHER, np.uint8)
    kinds[list(b"0123456789")] = 0
    kinds[list(b"+-")] = _SIGN
    kinds[ord(".")] = _DOT
    kinds[list(b"eE")] = _EXPONENT
    bits = kinds[grid.plain]
    bits[grid.ends] = _END
    lasts = grid.ends[grid.width - 1 :: grid.width] - 1
    bits[lasts[grid.plain[lasts] == _CR]] = _END
    before = np.concatenate([np.full(1, _END, np.uint8), bits[:-1]])
    after = np.concatenate([bits[1:], np.full(1, _END, np.uint8)])
    is_misplaced = (bits == _SIGN) & ((before & (_END | _EXPONENT) == 0) | (after == _END))
    is_misplaced |= (bits == _EXPONENT) & ((before == _END) | (after == _END))
    is_misplaced |= (bits == _DOT) & (before == _END) & (after == _END)
    is_misplaced |= (bits == _DOT) & (before & (_DOT | _EXPONENT) > 0)
    bits[is_misplaced] = _OTHER
    fields = np.bitwise_or.reduceat(bits, grid.starts)
    for mark in (_DOT, _EXPONENT):
        fields[np.add.reduceat(bits == mark, grid.starts, dtype=np.int32) > 1] |= _OTHER
    return fields.reshape(grid.rows, grid.width)


def _have_leading_zeros(grid: FieldGrid) -> Any:
    """Return for each column whether a field begins with a zero and another digit."""
    import numpy as np

    at = grid.starts
    at = at + np.isin(grid.plain[at], list(b"+-"))
    is_padded = grid.plain[at] == _ZERO
    # Unsigned differences: bytes below "0" wrap around to large values, and so are not digits.
    is_padded &= (grid.plain[np.minimum(at + 1, len(grid.plain) - 1)] - _ZERO) < _TEN
    return is_padded.reshape(grid.rows, grid.width).any(axis=0)


def _texts(
    grid: FieldGrid, fields: Any, positions: Any, missing: Sequence[str]
) -> dict[int, Inference]:
    """Return the columns in which the first field that is not a number can only be text."""
    special = {_word(word.encode("utf-8", "replace")) for word in (*_SPECIAL_WORDS, *missing)}
    quotes = (b'"', b"'")
    rows = (fields[:, positions] & _OTHER).argmax(axis=0)
    places = rows * grid.width + positions
    certain = {}
    for position, start, end in zip(
        positions.tolist(), grid.starts[places].tolist(), grid.ends[places].tolist(), strict=True
    ):
        word = _word(grid.text[start:end])
        if word[:1].isalpha() and word not in special and not any(q in word for q in quotes):
            certain[position] = Inference({"str"})
    return certain


def _word(field: bytes) -> bytes:
    return field.strip(_AROUND).lower()


def _numbers(values: Any, may_be_whole: Any) -> list[Inference]:
    """Return the inferences of columns of numbers that a float holds, with the exact rules."""
    import numpy as np

    gaps = np.isnan(values)
    has_fraction = ((values != np.rint(values)) & ~gaps).any(axis=0)
    has_gap, is_empty = gaps.any(axis=0), gaps.all(axis=0)
    has_negative = (values < 0).any(axis=0)
    inferences = []
    for whole, empty, gap, negative, fraction in zip(
        (may_be_whole & ~has_gap).tolist(), is_empty.tolist(), has_gap.tolist(),
        has_negative.tolist(), has_fraction.tolist(), strict=True,
    ):  # fmt: skip
        if whole:
            inferences.append(Inference({"int64"}, has_negative=negative))
        elif empty:
            inferences.append(Inference({"empty"}, has_gap=True))
        else:
            inferences.append(Inference({"float64"}, negative, gap, fraction))
    return inferences


def _numbers_of_pandas(values: Any, may_be_whole: Any) -> list[Inference]:
    """Return the inferences of columns of numbers that a float holds, with the rules of pandas."""
    import numpy as np

    gaps = np.isnan(values)
    has_gap, is_empty = gaps.any(axis=0), gaps.all(axis=0)
    has_negative = (values < 0).any(axis=0)
    return [
        Inference({"int64"}, has_negative=negative)
        if whole
        else Inference({"empty" if empty else "float64"}, has_gap=True)
        for whole, empty, negative in zip(
            (may_be_whole & ~has_gap).tolist(),
            is_empty.tolist(),
            has_negative.tolist(),
            strict=True,
        )
    ]
