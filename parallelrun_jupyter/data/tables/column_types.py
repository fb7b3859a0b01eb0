"""Column types: their names, and the decision on one type for each column of a dataset.

Old and new pandas read the names alike: ``int64``, ``float64``, ``bool``, ``str`` and so on. The
inferred type of a column is the one that pandas infers from the whole column, if that is a single
type. If pandas would mix types in the column (numbers and words, truth values and gaps), it is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from ...formatting import nearest_hint

_NAMES = (
    "str", "int64", "float64", "bool", "int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64",
    "float32", "Int64", "Int32", "UInt64", "Float64", "boolean", "datetime", "datetime64[us]",
)  # fmt: skip
_ALIASES = {
    "string": "str",
    "object": "str",
    "int": "int64",
    "float": "float64",
    "double": "float64",
    "datetime64": "datetime",
    "datetime64[ns]": "datetime",
}

Types = Mapping[str, Any] | str | type | None


def type_name(type_: Any) -> str:
    """Return the name of a type.

    Parameters
    ----------
    type_
        A name, a Python type or a numpy dtype.

    Raises
    ------
    InputError
        A column cannot have this type.
    """
    own = type_ if isinstance(type_, str) else getattr(type_, "name", None)
    name = str(own or getattr(type_, "__name__", type_))
    if re.fullmatch(r"datetime:.+", name):
        return name
    name = _ALIASES.get(name, name)
    if name in _NAMES:
        return name
    msg = (
        f"column_types contains {type_!r}; expected one of {', '.join(_NAMES)}, or the format of "
        f"a date, such as 'datetime:%d.%m.%Y'.{nearest_hint(name, _NAMES)}"
    )
    raise InputError(msg)


def given_types(types: Types) -> dict[str, str] | str | None:
    """Return ``column_types`` as type names: one for each column, or one for all."""
    if types is None:
        return None
    if isinstance(types, Mapping):
        return {str(column): type_name(type_) for column, type_ in types.items()}
    return type_name(types)


def fixed_types_of(options: Mapping[str, Any], columns: Sequence[str]) -> dict[str, str]:
    """Return the user's types for the columns of a dataset with these options.

    With ``ignores_missing_columns``, as an MLTable has it, a type of a missing column is left out.

    Raises
    ------
    InputError
        A type is given for a column that does not exist.
    """
    column_types = options["column_types"]
    if column_types is None:
        return {}
    if isinstance(column_types, str):
        return dict.fromkeys(columns, column_types)
    existing = set(columns)
    if options.get("ignores_missing_columns"):
        return {name: type_ for name, type_ in column_types.items() if name in existing}
    for column in column_types:
        if column not in existing:
            shown = ", ".join(map(repr, columns[:20]))
            msg = (
                f"column_types names the column {column!r}, which the input does not have."
                f"{nearest_hint(column, columns)} Its columns are: {shown}."
            )
            raise InputError(msg)
    return dict(column_types)


def used_columns(options: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """Return the columns of the files that are read: those that a layout keeps and does not drop.

    One column is always read, since its fields count the rows.

    Parameters
    ----------
    options
        The options of the dataset, with ``keeps`` and ``drops`` as in `ColumnLayout`, and ``added``,
        the names of the columns that it adds.
    columns
        The columns of the files.

    Raises
    ------
    InputError
        A column to keep does not exist.
    """
    keeps, drops = dict.fromkeys(options.get("keeps", ())), set(options.get("drops", ()))
    existing = dict.fromkeys([*columns, *options.get("added", ())])
    for name in keeps:
        if name not in existing:
            shown = list(existing)
            msg = (
                f"the column {name!r} is to be kept, but the input does not have it."
                f"{nearest_hint(name, shown)} Its columns are: {', '.join(shown[:20])}."
            )
            raise InputError(msg)
    used = [c for c in columns if c not in drops and (not keeps or c in keeps)]
    return used or list(columns[:1])


@dataclass
class Inference:
    """The values of one column so far, summarized block by block; `decide` returns the type for all.

    Blocks can be inferred in any order, and on several threads: `merge` is commutative.

    Parameters
    ----------
    kinds
        Types that pandas inferred: ``"int64"``, ``"uint64"``, ``"float64"``, ``"bool"``, ``"str"``; and
        ``"empty"``.
    has_negative, has_gap
        Whether a whole number is negative, and whether a field is missing.
    has_fraction
        Whether a number is not whole, or is written in a way that allows for fractions.
    has_large, has_inexact
        Whether a whole number is above 2^53, and whether a float cannot represent one.
    has_word
        Whether a missing value is a word such as ``NA``.
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
        """Whether the type is final: text, regardless of the other blocks."""
        return "str" in self.kinds

    def add(self, kind: str, **flags: bool) -> None:
        """Add the column of one block."""
        self.merge(Inference({kind}, **flags))

    def merge(self, other: Inference) -> None:
        """Add the summary of other blocks."""
        self.kinds |= other.kinds
        self.has_negative |= other.has_negative
        self.has_gap |= other.has_gap
        self.has_fraction |= other.has_fraction
        self.has_large |= other.has_large
        self.has_inexact |= other.has_inexact
        self.has_word |= other.has_word

    def decide(self, *, empty_is_text: bool = False) -> str:
        """Return the type that holds all values.

        Parameters
        ----------
        empty_is_text
            Whether a column without any value is text. Default: it is ``float64``.
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
        # A number above 2^63 excludes negative numbers and gaps: no numeric type has both.
        if "uint64" in kinds:
            return "str" if self.has_negative or self.has_gap else "uint64"
        return "float64" if self.has_gap else "int64"

    def _whole_type(self) -> str:
        """Return the type for numbers that a float cannot represent exactly."""
        if self.has_fraction or ("uint64" in self.kinds and self.has_negative):
            return "str"
        name = "uint64" if "uint64" in self.kinds else "int64"
        if not self.has_gap and "float64" not in self.kinds:
            return name
        return "UInt64" if name == "uint64" else "Int64"
