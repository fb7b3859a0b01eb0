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

from ..errors import InputError
from ..parsing import nearest_hint

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
    "Float64",
    "boolean",
    "datetime",
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
    """What was seen of one column so far: kinds of pandas' own inference, block by block."""

    kinds: set[str] = field(default_factory=set)
    has_negative: bool = False
    has_gap: bool = False

    @property
    def is_text(self) -> bool:
        """Whether nothing that may still come can change the type."""
        return "str" in self.kinds

    def see(self, kind: str, *, has_negative: bool = False, has_gap: bool = False) -> None:
        """Take a block's column into account."""
        self.kinds.add(kind)
        self.has_negative |= has_negative
        self.has_gap |= has_gap

    def merge(self, other: Inference) -> None:
        """Take what was seen of another block into account."""
        self.kinds |= other.kinds
        self.has_negative |= other.has_negative
        self.has_gap |= other.has_gap

    def decide(self) -> str:
        """Return the one type for all that was seen."""
        kinds = self.kinds - {"empty"}
        if not kinds:
            return "float64"
        if kinds == {"bool"}:
            return "str" if self.has_gap else "bool"
        if not kinds <= {"int64", "uint64", "float64"}:
            return "str"
        if "float64" in kinds:
            return "float64"
        if (
            "uint64" in kinds
        ):  # no type of numbers has both these and gaps, or these and negative ones
            return "str" if self.has_negative or self.has_gap else "uint64"
        return "float64" if self.has_gap else "int64"


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
