"""The options with which tables are read, as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import InputError


def kept_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns that are read.

    Raises
    ------
    InputError
        There is none, or one is not a name.
    """
    if isinstance(columns, str) or not columns or not all(isinstance(c, str) for c in columns):
        msg = f"columns is {columns!r}; expected the names of columns, such as ['id', 'price']."
        raise InputError(msg)
    return tuple(columns)


def one_character(value: Any, name: str) -> str:
    """Return an option that is one ASCII character.

    Raises
    ------
    InputError
        It is anything else.
    """
    if not isinstance(value, str) or len(value) != 1 or not value.isascii() or value in "\r\n\0":
        msg = f"{name} is {value!r}; expected one ASCII character, such as ',' or '\\t'."
        raise InputError(msg)
    return value


def escape_of(escape: Any, options: dict[str, Any]) -> str:
    """Return an escape character that differs from the separator and the quote.

    Raises
    ------
    InputError
        It is one of them, or not one character.
    """
    for name in ("separator", "quote"):
        if escape == options[name]:
            msg = f"escape and {name} are both {escape!r}; expected two different characters."
            raise InputError(msg)
    return one_character(escape, "escape")


def missing_fields(missing: Any) -> list[str]:
    """Return the fields that mean a missing value.

    Raises
    ------
    InputError
        One is not text.
    """
    fields = [missing] if isinstance(missing, str) else list(missing)
    for field in fields:
        if not isinstance(field, str):
            msg = (
                f"missing contains {field!r}; expected fields as they are written in the file, "
                "such as '-'."
            )
            raise InputError(msg)
    return fields


def inference_option(inference: str) -> dict[str, str]:
    """Return the option for how types are inferred; none for the rules of pandas.

    Raises
    ------
    InputError
        The rules are unknown.
    """
    if inference not in {"exact", "pandas"}:
        msg = f"inference is {inference!r}; expected 'exact' or 'pandas'."
        raise InputError(msg)
    return {"inference": "exact"} if inference == "exact" else {}
