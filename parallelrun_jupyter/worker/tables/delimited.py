"""Reads ranges of delimited text with pandas, and locates the row that cannot be read."""

from __future__ import annotations

import gc
import io
import re

from ..failures import BadInput
from .pandas_types import ConversionError, converted, dtype_of, misfit, parsed_as, version_of
from .row_splitter import Marks, split_rows, with_line_feeds, without_escapes
from .text_range import TextRange

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

SHOWN_CHARS = 60
"""Characters of a value in an error message."""

MISSING = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
           "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]  # fmt: skip
"""The missing values that pandas documents since version 2, used here with every version."""

WIDE = 256
"""From this number of columns on, the columns of each type are read separately."""

_INFERRED = {"int64": ("int64",), "bool": ("bool",), "float64": ("float64", "int64")}

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*$")

MISTAKEN = set()  # type: set[str]
"""Text columns that pandas inferred as another type in some range, such as codes of digits."""

_WITH_MISSING_WORDS = set()  # type: set[tuple[str, ...]]
"""First columns of the tables in which words mean missing numbers: ``na_values`` is per column."""


def csv_dialect(marks: Marks, encoding: str) -> dict[str, Any]:
    """Return the keyword arguments of ``read_csv`` for the dialect of a text."""
    return {
        "sep": marks.separator,
        "quotechar": marks.quote or '"',
        "quoting": 0 if marks.quote else 3,
        "escapechar": marks.escape or None,
        "encoding": encoding,
    }


def csv_options(marks: Marks, encoding: str, width: int, missing: Any) -> dict[str, Any]:
    """Return the keyword arguments of ``read_csv`` for rows of text without a header.

    Planning infers types, and workers read rows, with these same arguments: the inferred types hold
    only for that.

    Parameters
    ----------
    marks, encoding
        The dialect of the text.
    width
        The number of columns; their names are numbers from 0.
    missing
        The missing values, as ``na_values``.
    """
    return dict(
        csv_dialect(marks, encoding),
        header=None,
        names=list(range(width)),
        index_col=False,
        engine="c",
        low_memory=False,
        keep_default_na=False,
        na_values=missing,
    )


def with_empty(missing: list[str]) -> list[str]:
    """Return the missing values of columns other than text: an empty field is always one of them."""
    return missing if "" in missing else [*missing, ""]


def read_delimited(pd: Any, path: str, range_: list[int], table: dict[str, Any]) -> Any:
    """Return the rows of a range as a DataFrame with the dataset's columns and types."""
    return delimited_frame(pd, TextRange(path, range_, table), table)


def row_bounds(data: bytes, table: dict[str, Any]) -> list[tuple[int, int]]:
    """Return the start and the end of each row of a text; text after an open quote is a row."""
    ends, is_row, unclosed = split_rows(data, marks_of(table), is_last=True)
    bounds = zip([0, *ends.tolist()], ends.tolist(), is_row.tolist())
    rows = [(start, end) for start, end, is_kept in bounds if is_kept]
    if unclosed >= 0:
        rows.append((int(ends[-1]) if len(ends) else 0, len(data)))
    return rows


def inferred_types(table: dict[str, Any]) -> dict[int, tuple[str, ...]]:
    """Return the types that pandas may infer for columns whose type is assumed; the first is the column's.

    They are not given to pandas, which reads "1.0" as a given ``int64``, and "0" as a given ``bool``.
    """
    if "assumed" not in table:
        return {}
    given = set(table["assumed"]["given"])
    pairs = enumerate(zip(table["columns"], table["types"]))
    return {k: _INFERRED[t] for k, (name, t) in pairs if t in _INFERRED and name not in given}


def marks_of(table: dict[str, Any]) -> Marks:
    """Return the characters with a meaning in the text of a table."""
    return Marks(table["separator"], table["quote"], table.get("escape", ""))


def delimited_frame(pd: Any, text: TextRange, table: dict[str, Any]) -> Any:
    """Return the rows of a text as a DataFrame with the dataset's columns and types."""
    frame = _DelimitedRange(pd, text, table).frame()
    if "names" not in table:
        return frame
    # This file has only some of the dataset's columns, in its own order.
    types = dict(zip(table["columns"], table["types"]))
    return pd.DataFrame(
        {
            name: frame[name]
            if name in frame.columns
            else _all_missing(pd, text.path, name, types[name], len(frame))
            for name in table["columns"]
        }
    )


def _all_missing(pd: Any, path: str, name: str, decided: str, rows: int) -> Any:
    """Return a column that the file does not have."""
    if decided == "bool" or decided.startswith(("int", "uint")):
        raise BadInput(
            "%s has no column %r, and %s has no missing values; give the column another type in "
            "column_types=, such as 'Int64' or 'boolean'" % (path, name, decided)
        )
    return pd.Series([None] * rows, dtype=dtype_of(pd, decided))


class _DelimitedRange:
    """One range of a delimited file: its DataFrame, or the error that locates the bad row.

    The columns are read by position. Extra columns, named by the numbers after the table's, collect
    the fields of rows that are too wide, which pandas would drop or refuse without a location.
    """

    def __init__(self, pd: Any, text: TextRange, table: dict[str, Any]) -> None:
        self._pd = pd
        self._text = text
        self._marks = marks_of(table)
        self._names = table.get("names") or table["columns"]
        types = dict(zip(table["columns"], table["types"]))
        self._types = [types[name] for name in self._names]
        #: the types that pandas may infer for columns whose type is assumed, by position
        self._inferred = inferred_types(table)
        missing = table.get("missing", MISSING)
        self._missing_of_text = table.get("text_missing", missing)
        if table.get("empty_is_text"):
            self._missing_of_text = []
        self._missing_of_others = with_empty(missing)
        # Most files have no missing value but the empty field: one list then serves all columns.
        self._has_one_list = self._missing_of_text == self._missing_of_others or (
            "" in self._missing_of_text and tuple(self._names[:8]) not in _WITH_MISSING_WORDS
        )
        self._version = version_of(pd)
        # These versions refuse a text whose only row has fewer fields than there are names.
        self._is_padded = (1, 4) <= self._version < (2, 0)
        # Before pandas 3, the other parsers of floats are off by one in the last digit.
        self._precision = {"float_precision": "round_trip"} if self._version < (3, 0) else {}
        self._first_width, self._first_end = self._measure_first_row()
        width = len(self._names)
        self._extra = range(width, width + self._count_extra_columns())

    def frame(self) -> Any:
        """Return the rows as a DataFrame.

        Raises
        ------
        BadInput
            A row has too many fields, a value is not of its column's type, or the text cannot be
            parsed or decoded.
        """
        try:
            if self._first_width > self._extra.stop:  # pandas ignores the surplus of the first row
                raise BadInput(self._too_wide(self._row_offset(0)))
            frame = self._read_typed()
        except UnicodeDecodeError as error:
            raise self._text.undecodable(error)
        except self._pd.errors.ParserError as error:
            raise self._unparsable(error)
        except (ValueError, OverflowError, TypeError) as error:
            raise self._mistyped(error)
        self._check_width(frame)
        for position in self._extra:
            frame.pop(position)
        for position, decided in enumerate(self._types):
            column = frame[position]
            # Older pandas reads a column of numbers above 2^63 as uint64, although int64 is given.
            is_unsigned = decided == "int64" and column.dtype != decided
            if parsed_as(decided) != decided or is_unsigned:
                frame[position] = self._converted(column, decided, position)
        frame.columns = self._names
        return frame

    def _converted(self, column: Any, decided: str, position: int) -> Any:
        if (
            parsed_as(decided) == "str"
            and self._has_one_list
            and self._missing_of_text != self._missing_of_others
        ):
            column = column.mask(column.isin(self._missing_of_others))
        try:
            return converted(self._pd, column, decided)
        except ConversionError as error:
            raise self._misfit(position, column, error.row, str(error))

    # Reading

    def _read_typed(self) -> Any:
        """Return the rows, each column as the type that `parsed_as` returns for it.

        The first try passes the missing values of text for all columns. If a number cannot be parsed,
        it may be a word such as ``NA``: the range is read again with a list for each column.
        """
        try:
            return self._read_with_current_lists()
        except self._pd.errors.ParserError:
            raise
        except (ValueError, OverflowError, TypeError) as error:
            if isinstance(error, UnicodeDecodeError) or not self._has_one_list:
                raise
            self._has_one_list = False
            frame = self._read_with_current_lists()
            _WITH_MISSING_WORDS.add(tuple(self._names[:8]))
            return frame

    def _read_with_current_lists(self) -> Any:
        frame = self._read_wide() if len(self._names) >= WIDE else self._read_narrow()
        for position, allowed in self._inferred.items():
            column = frame[position]
            if column.dtype.name not in allowed:
                raise ValueError("%r was inferred as %s" % (self._names[position], column.dtype))
            if column.dtype.name != allowed[0]:
                frame[position] = column.astype(allowed[0])
        return frame

    def _read_narrow(self) -> Any:
        """Return the rows, with text inferred by pandas 3 if that gives the same result.

        pandas 3 infers text in two thirds of the time that it needs with a given type. If it infers
        another type in a range, the range is read again with all types.
        """
        types = {k: parsed_as(t) for k, t in enumerate(self._types) if k not in self._inferred}
        # The extra columns are almost always empty; numbers are the fastest type for that.
        types.update(dict.fromkeys(self._extra, "float64"))
        inferred = []
        if self._version >= (3, 0):
            columns = enumerate(zip(self._names, self._types))
            inferred = [k for k, (name, t) in columns if t[:1] in "sd" and name not in MISTAKEN]
        frame = self._read({k: t for k, t in types.items() if k not in inferred})
        mistaken = [self._names[k] for k in inferred if self._is_mistaken(k, frame[k])]
        if mistaken:
            MISTAKEN.update(mistaken)
            frame = self._read(types)
        return frame

    def _is_mistaken(self, position: int, column: Any) -> bool:
        """Return whether pandas inferred another type than text, or kept a missing value as text.

        It does the latter in a column of whole numbers above 2^63: having failed to parse them as
        numbers, it returns their text without looking for missing values.
        """
        if column.dtype != "str":
            return True
        first = column.iloc[0] if len(column) else None
        if not isinstance(first, str):
            return False
        missing = self._missing()
        missing = missing[position] if isinstance(missing, dict) else missing
        return first in missing or (
            _WHOLE_NUMBER.match(first) is not None and bool(column.isin(missing).any())
        )

    def _read_wide(self) -> Any:
        """Return the rows of a table with very many columns.

        A type for each column costs pandas more than reading it, but one type for all costs nothing:
        the columns of each type are read separately.
        """
        groups = {}  # type: dict[str, list[int]]
        for k in range(self._extra.stop):
            parsed = "float64" if k in self._extra else parsed_as(self._types[k])
            groups.setdefault("" if k in self._inferred else parsed, []).append(k)
        if len(groups) == 1:
            return self._read(next(iter(groups)))
        columns = [k for group in groups.values() for k in group]
        was_collecting = gc.isenabled()
        gc.disable()  # each column is several objects, and every collection would visit them all
        try:
            frame = self._pd.concat([self._read(*group) for group in groups.items()], axis=1)
            return frame if columns == sorted(columns) else frame[sorted(columns)]
        finally:
            if was_collecting:
                gc.enable()

    def _read(self, types: dict[int, str] | str, columns: list[int] | None = None) -> Any:
        data = self._text.data
        if self._is_padded or columns is not None:
            # pandas also refuses `usecols` beyond the fields of every row: pad the first row.
            at, lacking = self._first_end, self._extra.stop - self._first_width
            data = data[:at] + lacking * self._marks.separator.encode("ascii") + data[at:]
        data = with_line_feeds(data, self._marks)
        if data.startswith(b"\xef\xbb\xbf"):
            data = b"\n" + data  # the parser would drop these characters as a byte order mark
        options = csv_options(self._marks, self._text.encoding, self._extra.stop, self._missing())
        options.update(self._precision)
        return self._pd.read_csv(io.BytesIO(data), dtype=types or None, usecols=columns, **options)

    def _missing(self) -> Any:
        """Return ``na_values``: a list for all columns, or one for each if text differs from others.

        A list for each of very many columns takes pandas longer than reading the rows.
        """
        if self._has_one_list:
            return self._missing_of_text if "str" in self._types else self._missing_of_others
        lists = {
            k: self._missing_of_text if decided == "str" else self._missing_of_others
            for k, decided in enumerate(self._types)
        }
        lists.update({k: [""] for k in self._extra})
        return lists

    # The width of rows

    def _count_extra_columns(self) -> int:
        """Return the number of columns to read beyond the table's: a value in one of them is a surplus field.

        One is enough from pandas 1.4 on, which refuses rows that are wider still. Earlier versions
        drop their fields silently, so there are enough extra columns for the widest row.
        A wide table is read by groups of columns, without pandas' check: its fields are counted here.
        """
        if len(self._names) >= WIDE:
            return self._count_extra_of_wide()
        if self._version >= (1, 4):
            return 1
        separators, _ = self._separators_by_row()
        return max(1, int(separators.max(initial=0)) + 1 - len(self._names))

    def _count_extra_of_wide(self) -> int:
        """Return 1 if a row of a wide table has one field more than there are columns, else 0.

        Adding a column costs as much as reading the table, so it is done only if needed.

        Raises
        ------
        BadInput
            A row has even more fields.
        """
        separators, starts = self._separators_by_row()
        suspects = (separators >= len(self._names)).nonzero()[0]
        if not len(suspects):
            return 0
        text = without_escapes(self._text.data, self._marks)
        extra = 0
        for start in starts[suspects].tolist():
            extra = max(extra, self._measure_row(text, start)[0] - len(self._names))
            if extra > 1:
                raise BadInput(self._too_wide(self._text.file_offset(start)))
        return max(extra, 0)

    def _separators_by_row(self) -> Any:
        """Return the number of separators in each line, quoted ones included, and the lines' starts."""
        import numpy as np

        is_separator = np.frombuffer(self._text.data, np.uint8) == ord(self._marks.separator)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_separator)])
        bounds = np.concatenate([np.zeros(1, np.int64), self._split()[0]])
        return np.diff(before[bounds]), bounds[:-1]

    def _measure_first_row(self) -> tuple[int, int]:
        """Return the number of fields of the first row, and the offset after its last field."""
        data = without_escapes(self._text.data, self._marks)
        blanks = b" \t".replace(self._marks.separator.encode("ascii"), b"")
        at = re.compile(b"(?:[%s]*[\r\n])*" % blanks).match(data).end()  # type: ignore[union-attr]
        return self._measure_row(data, at)

    def _measure_row(self, data: bytes, at: int) -> tuple[int, int]:
        """Return the number of fields of the row at an offset, and the offset after its last field."""
        separator = self._marks.separator.encode("ascii")
        pattern = b"[^%s\r\n]*" % re.escape(separator)
        if self._marks.quote:
            q = re.escape(self._marks.quote.encode("ascii"))
            pattern = b"(?:%s[^%s]*(?:%s%s[^%s]*)*(?:%s|\\Z))?%s" % (q, q, q, q, q, q, pattern)
        field, count = re.compile(pattern), 0
        while True:
            at = field.match(data, at).end()  # type: ignore[union-attr]
            count += 1
            if data[at : at + 1] != separator:
                return count, at
            at += 1

    def _check_width(self, frame: Any) -> None:
        for position in self._extra:
            filled = frame[position].notna().to_numpy()
            if filled.any():
                raise BadInput(self._too_wide(self._row_offset(int(filled.argmax()))))

    # Errors

    def _too_wide(self, offset: int) -> str:
        return (
            "%s: the row at byte %d has more fields than the %d columns; quote fields that "
            "contain the separator %r, or correct the row"
            % (self._text.path, offset, len(self._names), self._marks.separator)
        )

    def _unparsable(self, error: Exception) -> BadInput:
        """Return the error that locates the text that pandas could not split into fields."""
        line = re.search(r"in line (\d+)", str(error))
        if line:
            return BadInput(self._too_wide(self._row_offset(int(line.group(1)) - 1)))
        unclosed = self._split()[2]
        if unclosed >= 0:
            return BadInput(
                "%s: the quote at byte %d is never closed"
                % (self._text.path, self._text.file_offset(unclosed))
            )
        return self._unexplained(error)

    def _mistyped(self, error: Exception) -> BadInput:
        """Return the error that names the first value that is not of its column's type."""
        try:
            self._has_one_list = False
            texts = self._read(dict.fromkeys(range(self._extra.stop), "str"))
        except UnicodeDecodeError as undecodable:
            return self._text.undecodable(undecodable)
        self._check_width(texts)
        for position, decided in enumerate(self._types):
            row = _first_misfit(self._pd, texts[position], decided)
            if row >= 0:
                return self._misfit(position, texts[position], row, misfit(decided))
        return self._unexplained(error)

    def _misfit(self, position: int, column: Any, row: int, reason: str) -> BadInput:
        value = column.iloc[row]
        shown = "nothing" if self._pd.isna(value) else repr(str(value)[:SHOWN_CHARS])
        return BadInput(
            "%s: column %r contains %s in the row at byte %d, which %s"
            % (self._text.path, self._names[position], shown, self._row_offset(row), reason)
        )

    def _unexplained(self, error: Exception) -> BadInput:
        return BadInput("%s, from byte %d: %s" % (self._text.path, self._text.start, error))

    def _split(self) -> Any:
        return split_rows(self._text.data, self._marks, is_last=True)

    def _row_offset(self, row: int) -> int:
        """Return the offset in the file of a row, counted without blank lines."""
        ends, is_row, _ = self._split()
        starts = [0, *ends[:-1].tolist()]
        starts = [start for start, is_kept in zip(starts, is_row) if is_kept]
        if not starts:
            return self._text.start
        return self._text.file_offset(starts[min(row, len(starts) - 1)])


def _first_misfit(pd: Any, column: Any, decided: str) -> int:
    """Return the row of the first text that is not of a type, or -1."""
    if parsed_as(decided) == "str":
        return -1
    missing = column.isna()
    if decided in ("bool", "boolean"):
        is_truth_value = column.str.lower().isin(["true", "false"])
        wrong = ~is_truth_value if decided == "bool" else ~is_truth_value & ~missing
    else:
        numbers = pd.to_numeric(column, errors="coerce")
        wrong = numbers.isna() & ~missing
        if decided.lower().startswith(("int", "uint")):
            wrong |= (numbers % 1 != 0) & ~missing
        if decided.startswith(("int", "uint")):
            wrong |= missing
    rows = wrong.to_numpy()
    return int(rows.argmax()) if rows.any() else -1
