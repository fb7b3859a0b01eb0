"""How columns of tables are typed, and headers read, by Azure's words."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any


class PromoteHeadersBehavior(Enum):
    """Which lines are headers."""

    NO_HEADERS = 0
    ONLY_FIRST_FILE_HAS_HEADERS = 1
    COMBINE_ALL_FILES_HEADERS = 2
    ALL_FILES_HAVE_SAME_HEADERS = 3


_HEADERS = {
    PromoteHeadersBehavior.NO_HEADERS: "no_header",
    PromoteHeadersBehavior.ONLY_FIRST_FILE_HAS_HEADERS: "from_first_file",
    PromoteHeadersBehavior.COMBINE_ALL_FILES_HEADERS: "all_files_different_headers",
    PromoteHeadersBehavior.ALL_FILES_HAVE_SAME_HEADERS: "all_files_same_headers",
}


def plain_header(value: Any) -> Any:
    """Return which lines are headers, in this package's words; other values as they are."""
    return _HEADERS[value] if isinstance(value, PromoteHeadersBehavior) else value


class DataType:
    """The type of a column.

    Parameters
    ----------
    type_name
        One of ``str``, ``int``, ``float``, ``bool``, ``datetime``.
    formats
        Of datetimes, in the order in which they are tried.
    """

    def __init__(self, type_name: str, formats: Sequence[str] = ()) -> None:
        self.type_name = type_name
        self.formats = list(formats)

    def __repr__(self) -> str:
        return f"DataType({self.type_name!r})"

    @staticmethod
    def to_string() -> DataType:
        """Return the type of text."""
        return DataType("str")

    @staticmethod
    def to_long() -> DataType:
        """Return the type of whole numbers."""
        return DataType("int")

    @staticmethod
    def to_float(decimal_mark: str = ".") -> DataType:
        """Return the type of numbers."""
        return DataType("float")

    @staticmethod
    def to_bool() -> DataType:
        """Return the type of True and False."""
        return DataType("bool")

    @staticmethod
    def to_datetime(formats: str | Sequence[str] | None = None) -> DataType:
        """Return the type of points in time."""
        given = [formats] if isinstance(formats, str) else list(formats or ())
        return DataType("datetime", given)
