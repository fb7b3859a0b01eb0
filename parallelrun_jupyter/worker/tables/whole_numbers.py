"""Turns columns of text into whole numbers, exactly, under any pandas."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_DIGITS = re.compile(r"[+-]?[0-9]+")


def whole_numbers(pd: Any, column: Any, decided: str) -> tuple[int, Any]:
    """Return text as whole numbers, with gaps where the type has them.

    Parameters
    ----------
    pd
        pandas.
    column
        A Series of text, missing where there is no number.
    decided
        ``"Int64"``, ``"Int32"``, ``"UInt64"``, or ``"uint64"``, which has no gaps.

    Returns
    -------
    tuple
        The position of the first text that is no such number, -1 where there is none; and the
        numbers as a Series.
    """
    import numpy as np

    missing = column.isna().to_numpy()
    if decided.islower() and missing.any():
        return int(missing.argmax()), None
    places = np.flatnonzero(~missing)
    texts = column.to_numpy()[places]
    limits = np.iinfo(decided.lower())
    values = _converted(pd, texts)
    if values is None or not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
        values = [_whole_number(text) for text in texts]
        for place, value in zip(places, values):
            if value is None or not limits.min <= value <= limits.max:
                return int(place), None
    data = np.zeros(len(column), decided.lower())
    data[places] = values
    if decided.islower():
        return -1, pd.Series(data, index=column.index)
    return -1, pd.Series(pd.arrays.IntegerArray(data, missing), index=column.index)


def _converted(pd: Any, texts: Any) -> Any:
    """Return texts as pandas converts them at once, None where that gives no whole numbers."""
    try:
        values = pd.to_numeric(texts)
    except (ValueError, TypeError, OverflowError):
        return None
    return values if len(values) and values.dtype.kind in "iu" else None


def _whole_number(text: str) -> int | None:
    """Return one text as a whole number, also where it is written as a fraction (``"3.0"``)."""
    text = text.strip()
    if _DIGITS.fullmatch(text):
        return int(text)
    try:
        value = float(text) if "_" not in text else 0.5
    except ValueError:
        return None
    return int(value) if value.is_integer() else None
