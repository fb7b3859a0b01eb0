"""How the columns of a delimited table are read: what is the same for all ranges of its files."""

from __future__ import annotations

from .pandas_types import parsed_as, version_of
from .row_splitter import Marks
from .wide_frame import by_type

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

MISSING = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
           "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]  # fmt: skip
"""The missing values that pandas documents since version 2, used here with every version."""

_MAY_BE = {"int64": ("int64",), "bool": ("bool",), "float64": ("float64", "int64")}
"""The types that pandas may infer in a range of a column whose type is assumed."""

_last = []  # type: list[tuple[dict[str, Any], TableColumns]]
"""The table that was read last: the next range is usually of the same one."""


def columns_of(pd: Any, table: dict[str, Any]) -> TableColumns:
    """Return how the columns of a table are read."""
    if not _last or _last[0][0] != table:
        _last[:] = [(dict(table), TableColumns(pd, table))]
    return _last[0][1]


def with_empty(missing: list[str]) -> list[str]:
    """Return the missing values of columns other than text: an empty field is always one of them."""
    return missing if "" in missing else [*missing, ""]


def marks_of(table: dict[str, Any]) -> Marks:
    """Return the separator, the quote and the escape of a table."""
    return Marks(table["separator"], table["quote"], table.get("escape", ""))


def _guessed(table: dict[str, Any], types: dict[int, str], names: list[str]) -> dict[int, str]:
    if "assumed" not in table:
        return {}
    given = set(table["assumed"]["given"])
    return {
        k: t for (k, t), name in zip(types.items(), names) if t in _MAY_BE and name not in given
    }


def as_guessed(column: Any, decided: str) -> Any:
    """Return a column that pandas inferred as the type that planning assumed.

    Raises
    ------
    ValueError
        pandas inferred a type that does not confirm it.
    """
    if column.dtype.name not in _MAY_BE[decided]:
        raise ValueError("pandas infers %s, not %s" % (column.dtype, decided))
    return column.astype(decided)


class TableColumns:
    """How the columns of a table are read.

    Attributes
    ----------
    marks
        The separator, the quote and the escape.
    width
        The number of columns of the file.
    names, index
        The columns that are used, and the same as an index of pandas.
    types
        By position in the file, the decided type of each column that is used.
    is_part
        Whether some columns of the file are not used.
    guessed
        The types of columns that planning assumed from the first rows. pandas infers them: it would also
        read "1.0" as a given ``int64``, and "0" as a given ``bool``.
    dtypes
        By position, the type that pandas parses any other column as; numpy's types are the fastest to
        look up.
    converted, dates
        The position and the type of each column that is converted after that; those with dates.
    has_one_list
        Whether the missing values of text are tried for all columns, since most files have no missing
        value but the empty field. The range that shows otherwise changes it for the next ones.
    """

    def __init__(self, pd: Any, table: dict[str, Any]) -> None:
        import numpy as np

        self.version = version_of(pd)
        self.marks = marks_of(table)
        self.names = table.get("names") or table["columns"]
        self.index = pd.Index(self.names)
        types = dict(zip(table["columns"], table["types"]))
        self.width = table.get("width", len(self.names))
        positions = table.get("positions") or range(self.width)
        self.types = {k: types.get(name, "str") for k, name in zip(positions, self.names)}
        self.is_part = self.width > len(self.names)
        parsed = {k: parsed_as(decided) for k, decided in self.types.items()}
        self.guessed = _guessed(table, self.types, self.names)
        plain = {t: np.dtype(t) for t in ("int64", "float64", "bool")}
        self.dtypes = {k: plain.get(t, t) for k, t in parsed.items() if k not in self.guessed}
        # Before pandas 3, a column of numbers above 2^63 is uint64, although int64 is given.
        may_be_unsigned = self.version < (3, 0)
        self.converted = [
            (k, decided)
            for k, decided in self.types.items()
            if parsed[k] != decided or (decided == "int64" and may_be_unsigned)
        ]
        self.dates = [item for item in self.converted if item[1].startswith("datetime")]
        missing = table.get("missing", MISSING)
        self.missing_of_text = table.get("text_missing", missing)
        if table.get("empty_is_text"):
            self.missing_of_text = []
        self.missing_of_others = with_empty(missing)
        # A missing value in the column after the last one would hide a row that is too wide.
        self.has_one_list = not self.is_part and (
            "" in self.missing_of_text or not self.are_lists_different
        )
        self._has_text = "str" in self.types.values()
        self._groups = {}  # type: dict[tuple[str, bool], list[int]]

    @property
    def groups(self) -> dict[tuple[str, bool], list[int]]:
        """The positions of the columns that are parsed as one, by type and whether it is guessed."""
        self._groups = self._groups or by_type(self.types, self.guessed)
        return self._groups

    @property
    def are_lists_different(self) -> bool:
        """Whether the missing values of text are others than those of the other columns."""
        return bool(self.missing_of_text != self.missing_of_others)

    def missing_of(self, decided: str) -> list[str]:
        """Return the missing values of a column of a type."""
        return self.missing_of_text if decided == "str" else self.missing_of_others

    def missing(self, extra: range, *, is_one_list: bool) -> Any:
        """Return ``na_values``: a list for all columns, or one for each if text differs from others.

        Parameters
        ----------
        extra
            The positions of the columns after the table's.
        is_one_list
            Whether one list is tried for all columns.
        """
        if is_one_list:
            return self.missing_of_text if self._has_text else self.missing_of_others
        lists = {k: self.missing_of(decided) for k, decided in self.types.items()}
        lists.update({k: [""] for k in extra})
        return lists
