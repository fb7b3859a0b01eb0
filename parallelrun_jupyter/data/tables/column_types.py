"""Column types: which there are, and how one type is decided for a column of a whole dataset.

The types are names that old and new pandas read alike: ``int64``, ``float64``, ``bool``, ``str`` and
their kin. What a column of text is inferred as is what pandas infers from the whole of it, where
that is one type; where pandas would mix types in a column (numbers among words, truth values with
gaps), it is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from ...formatting import nearest_hint

_NAMES = (
    "str",
    "int64",
    "float64",
    "bool",
    "int8",
    "int16",
    "int32",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "Int64",
    "Int32",
    "UInt64",
    "Float64",
    "boolean",
    "datetime",
    "datetime64[us]",
)
_OTHER_NAMES = {
    "string": "str",
    "object": "str",
    "int": "int64",
    "float": "float64",
    "double": "float64",
    "datetime64": "datetime",
    "datetime64[ns]": "datetime",
}

Types = Mapping[str, Any] | str | type | None


def type_name(given: Any) -> str:
    """Return the name of a type as a user gives it: a name, a Python type or a numpy dtype.

    Raises
    ------
    InputError
        It is none that a column can have.
    """
    own = given if isinstance(given, str) else getattr(given, "name", None)
    name = str(own or getattr(given, "__name__", given))
    if re.fullmatch(r"datetime:.+", name):
        return name
    name = _OTHER_NAMES.get(name, name)
    if name in _NAMES:
        return name
    msg = (
        f"column_types holds {given!r}; expected one of {', '.join(_NAMES)}, or a date's form such "
        f"as 'datetime:%d.%m.%Y'.{nearest_hint(name, _NAMES)}"
    )
    raise InputError(msg)


def given_types(types: Types) -> dict[str, str] | str | None:
    """Return ``column_types`` as it is kept: a name for each column, or one for all of them."""
    if types is None:
        return None
    if isinstance(types, Mapping):
        return {str(column): type_name(one) for column, one in types.items()}
    return type_name(types)


def known_types(given: dict[str, str] | str | None, columns: Sequence[str]) -> dict[str, str]:
    """Return the types of the columns of a dataset that are given.

    Raises
    ------
    InputError
        A type is given for a column that is not there.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        return dict.fromkeys(columns, given)
    there = set(columns)
    for column in given:
        if column not in there:
            shown = ", ".join(map(repr, columns[:20]))
            msg = (
                f"column_types names the column {column!r}, which the input does not have."
                f"{nearest_hint(column, columns)} Its columns are: {shown}."
            )
            raise InputError(msg)
    return dict(given)


@dataclass
class Inference:
    """What was seen of one column so far, block by block.

    Parameters
    ----------
    kinds
        Types that pandas inferred: ``"int64"``, ``"uint64"``, ``"float64"``, ``"bool"``, ``"str"``; and
        ``"empty"``.
    has_negative, has_gap
        Whether a whole number is negative, and whether a field is missing.
    has_fraction
        Whether a number is not whole, or is written so that it need not be.
    has_large, has_inexact
        Whether a whole number is above 2^53, and whether one is none that a float holds.
    has_word
        Whether a word such as ``NA`` stands where there is nothing.
    """

    kinds: set[str] = field(default_factory=set)
    has_negative: bool = False
    has_gap: bool = False
    has_fraction: bool = False
    has_large: bool = False
    has_inexact: bool = False
    has_word: bool = False

    @property
    def is_text(self) -> bool:
        """Whether nothing that may still come can change the type."""
        return "str" in self.kinds

    def see(
        self,
        kind: str,
        *,
        has_negative: bool = False,
        has_gap: bool = False,
        has_fraction: bool = False,
        has_large: bool = False,
        has_inexact: bool = False,
        has_word: bool = False,
    ) -> None:
        """Take a block's column into account."""
        seen = (has_negative, has_gap, has_fraction, has_large, has_inexact, has_word)
        self.merge(Inference({kind}, *seen))

    def merge(self, other: Inference) -> None:
        """Take what was seen of another block into account."""
        self.kinds |= other.kinds
        self.has_negative |= other.has_negative
        self.has_gap |= other.has_gap
        self.has_fraction |= other.has_fraction
        self.has_large |= other.has_large
        self.has_inexact |= other.has_inexact
        self.has_word |= other.has_word

    def decide(self, *, empty_is_text: bool = False) -> str:
        """Return the one type for all that was seen.

        Parameters
        ----------
        empty_is_text
            Whether a column in which nothing stands is one of text.
        """
        kinds = self.kinds - {"empty"}
        if not kinds:
            return "str" if empty_is_text or self.has_word else "float64"
        if kinds == {"bool"}:
            return "str" if self.has_gap else "bool"
        if not kinds <= {"int64", "uint64", "float64"}:
            return "str"
        if self.has_large and (not self.has_fraction or self.has_inexact):
            return self._whole_type()
        if "float64" in kinds:
            return "float64"
        # No type of numbers has both those above 2^63 and gaps, or these and negative ones.
        if "uint64" in kinds:
            return "str" if self.has_negative or self.has_gap else "uint64"
        return "float64" if self.has_gap else "int64"

    def _whole_type(self) -> str:
        """Return the type of numbers of which a float does not hold all."""
        if self.has_fraction or ("uint64" in self.kinds and self.has_negative):
            return "str"
        name = "uint64" if "uint64" in self.kinds else "int64"
        if not self.has_gap and "float64" not in self.kinds:
            return name
        return "UInt64" if name == "uint64" else "Int64"


def kinds_of(frame: Any, seen: Sequence[Inference]) -> None:
    """Take a frame that pandas inferred, a block of the text, into account; by column."""
    for one, name in zip(seen, frame.columns, strict=True):
        column = frame[name]
        kind = column.dtype.name
        if kind == "float64":
            one.see("empty" if column.isna().all() else "float64", has_gap=True)
        elif kind == "int64":
            one.see("int64", has_negative=bool(len(column)) and bool(column.min() < 0))
        elif kind in {"bool", "uint64"}:
            one.see(kind)
        else:
            one.see("str")


_FLOAT_HOLDS = 1 << 53
"""A float holds every whole number up to this."""


def see_numbers(one: Inference, column: Any) -> bool:
    """Take a column of numbers that pandas inferred into account, where they are certain.

    Returns
    -------
    bool
        False where a float stands for what may be a whole number that it does not hold: nothing was
        taken into account.
    """
    import numpy as np

    values = column.to_numpy()
    if not len(values):
        return True
    if values.dtype.kind == "f":
        gaps = np.isnan(values)
        if gaps.all():
            one.see("empty", has_gap=True)
            return True
        sizes = np.abs(values)
        if np.fmax.reduce(sizes) >= _FLOAT_HOLDS:
            return False
        fraction = bool(((values != np.rint(values)) & ~gaps).any())
        has_negative = bool((values < 0).any())
        has_gap = bool(gaps.any())
        one.see("float64", has_negative=has_negative, has_gap=has_gap, has_fraction=fraction)
        return True
    low, high = int(values.min()), int(values.max())
    if max(high, -low) <= _FLOAT_HOLDS:
        one.see(values.dtype.name, has_negative=low < 0)
        return True
    floats = values.astype(np.float64)
    limit = 2.0 ** (64 if values.dtype.kind == "u" else 63)
    inside = floats < limit
    inexact = not inside.all() or bool((floats.astype(values.dtype) != values).any())
    one.see(values.dtype.name, has_negative=low < 0, has_large=True, has_inexact=inexact)
    return True


def see_texts(one: Inference, texts: Any) -> None:
    """Take a column of text, missing where there is nothing, into account: all that is numbers."""
    import pandas as pd

    filled = texts.dropna().astype(str)
    has_gap = len(filled) < len(texts)
    if not len(filled):
        one.see("empty", has_gap=has_gap)
        return
    if filled.str.match(r"\s*[+-]?0\d").any():
        one.see("str", has_gap=has_gap)
        return
    is_whole = filled.str.fullmatch(r"\s*[+-]?[0-9]+\s*")
    whole = [int(text) for text in filled[is_whole]]
    try:
        others = pd.to_numeric(filled[~is_whole]).astype("float64")
    except (ValueError, TypeError):
        one.see("str", has_gap=has_gap)
        return
    if len(others):
        small = (others.abs() <= _FLOAT_HOLDS) & (others % 1 == 0)
        has_negative = bool((others < 0).any())
        fraction = not small.all()
        one.see("float64", has_negative=has_negative, has_gap=has_gap, has_fraction=fraction)
    if not whole:
        return
    low, high = min(whole), max(whole)
    if low < -(1 << 63) or high >= 1 << 64:
        one.see("str", has_gap=has_gap)
        return
    one.see(
        "uint64" if high >= 1 << 63 else "int64",
        has_gap=has_gap,
        has_negative=low < 0,
        has_large=max(high, -low) > _FLOAT_HOLDS,
        has_inexact=any(int(float(number)) != number for number in whole),
    )
