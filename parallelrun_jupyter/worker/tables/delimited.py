"""Reads ranges of delimited text with pandas, and locates the row that cannot be read."""

from __future__ import annotations

import io
import re

from ..failures import BadInput
from .field_grid import field_grid
from .number_forms import may_round_twice
from .pandas_types import ConversionError, converted, dtype_of, misfit, parsed_as
from .row_splitter import Marks, split_rows, with_line_feeds, without_escapes
from .table_columns import as_guessed, columns_of, marks_of
from .text_range import TextRange
from .wide_frame import wide_frame

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

SHOWN_CHARS = 60
"""Characters of a value in an error message."""

WIDE = 256
"""From this number of columns on, the columns of each type are parsed as one."""

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*$")

MISTAKEN = set()  # type: set[str]
"""Text columns that pandas inferred as another type in some range, such as codes of digits."""


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

    The columns are read by position. An extra column, with the number after the table's, collects the
    fields of rows that are too wide, which pandas would drop or refuse without a location.
    """

    def __init__(self, pd: Any, text: TextRange, table: dict[str, Any]) -> None:
        self._pd = pd
        self._text = text
        self._columns = columns_of(pd, table)
        self._marks = self._columns.marks
        self._width = self._columns.width
        self._version = self._columns.version
        self._has_one_list = self._columns.has_one_list
        # These versions refuse a text whose only row has fewer fields than there are names.
        self._is_padded = (1, 4) <= self._version < (2, 0) or self._columns.is_part
        self._precision = {}  # type: dict[str, str]
        self._first_width, self._first_end = self._width, 0
        self._extra = range(self._width, self._width)

    def frame(self) -> Any:
        """Return the rows as a DataFrame.

        Raises
        ------
        BadInput
            A row has too many fields, a value is not of its column's type, or the text cannot be
            parsed or decoded.
        """
        if self._version < (3, 0):  # the fast parser takes half of the time
            is_inexact = may_round_twice(self._text.data)
            self._precision = {"float_precision": "round_trip" if is_inexact else "high"}
        try:
            frame = self._wide()
            if frame is not None:
                return self._finished(frame, self._columns.dates)
            self._first_width, self._first_end = self._measure_first_row()
            self._extra = range(self._width, self._width + self._count_extra_columns())
            frame = self._read_by_width()
        except UnicodeDecodeError as error:
            raise self._text.undecodable(error)
        except self._pd.errors.ParserError as error:
            raise self._unparsable(error)
        except (ValueError, OverflowError, TypeError) as error:
            raise self._mistyped(error)
        self._check_width(frame)
        for position in self._extra:
            frame.pop(position)
        return self._finished(frame, self._columns.converted)

    def _finished(self, frame: Any, to_convert: list[tuple[int, str]]) -> Any:
        """Return a frame with its decided types and names."""
        for position, decided in to_convert:
            column = frame[position]
            if decided != "int64" or column.dtype != decided:
                frame[position] = self._converted(column, decided, position)
        frame.columns = self._columns.index
        return frame

    def _converted(self, column: Any, decided: str, position: int) -> Any:
        columns = self._columns
        if parsed_as(decided) == "str" and self._has_one_list and columns.are_lists_different:
            column = column.mask(column.isin(columns.missing_of_others))
        try:
            return converted(self._pd, column, decided)
        except ConversionError as error:
            raise self._misfit(position, column, error.row, str(error))

    # Reading

    def _wide(self) -> Any:
        """Return the rows of a table with very many columns; None for others, and for rows with errors."""
        if len(self._columns.types) < WIDE:
            return None
        grid = field_grid(self._text.data, self._marks, self._width)
        if grid is None:
            return None

        def read(text: bytes, decided: str, *, is_guessed: bool) -> Any:
            options = csv_options(
                self._marks, self._text.encoding, 1, self._columns.missing_of(decided)
            )
            options.update(self._precision)
            dtype = None if is_guessed else decided
            frame = self._pd.read_csv(
                io.BytesIO(text), dtype=dtype, skip_blank_lines=False, **options
            )
            return as_guessed(frame[0], decided) if is_guessed else frame[0]

        try:
            frame = wide_frame(self._pd, grid, self._columns.groups, read)
        except (ValueError, OverflowError, TypeError):
            return None  # the read by rows locates the error
        self._has_one_list = False
        return frame

    def _read_by_width(self) -> Any:
        """Return the rows, with an extra column if pandas refuses a row that is too wide."""
        try:
            return self._read_typed()
        except self._pd.errors.ParserError:
            if len(self._extra):
                raise
            self._extra = range(self._width, self._width + 1)
            return self._read_typed()

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
            self._columns.has_one_list = False
            return frame

    def _read_with_current_lists(self) -> Any:
        frame = self._read_by_type()
        for position, decided in self._columns.guessed.items():
            column = frame[position]
            if column.dtype != decided:
                frame[position] = as_guessed(column, decided)
        return frame

    def _read_by_type(self) -> Any:
        """Return the rows, with text inferred by pandas 3 if that gives the same result.

        pandas 3 infers text in two thirds of the time that it needs with a given type. If it infers
        another type in a range, the range is read again with all types.
        """
        types = self._columns.dtypes
        if len(self._extra):  # it is almost always empty; numbers are the fastest type for that
            types = dict(types)
            types.update(dict.fromkeys(self._extra, "float64"))
        inferred = []
        if self._version >= (3, 0):
            columns = zip(self._columns.names, self._columns.types.items())
            inferred = [k for name, (k, t) in columns if t[:1] in "sd" and name not in MISTAKEN]
        frame = self._read({k: t for k, t in types.items() if k not in inferred})
        mistaken = [k for k in inferred if self._is_mistaken(k, frame[k])]
        if mistaken:
            MISTAKEN.update(map(self._name_of, mistaken))
            frame = self._read(types)
        return frame

    def _name_of(self, position: int) -> Any:
        return dict(zip(self._columns.types, self._columns.names))[position]

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

    def _read(self, types: dict[int, Any]) -> Any:
        data = self._text.data
        columns = [*self._columns.types, *self._extra] if self._columns.is_part else None
        if self._is_padded:
            # pandas also refuses `usecols` beyond the fields of every row: pad the first row.
            at, lacking = self._first_end, self._extra.stop - self._first_width
            view, separators = memoryview(data), lacking * self._marks.separator.encode("ascii")
            data = b"".join([view[:at], separators, view[at:]])
        data = with_line_feeds(data, self._marks)
        if data.startswith(b"\xef\xbb\xbf"):
            data = b"\n" + data  # the parser would drop these characters as a byte order mark
        options = csv_options(self._marks, self._text.encoding, self._extra.stop, self._missing())
        options.update(self._precision)
        return self._pd.read_csv(io.BytesIO(data), dtype=types, usecols=columns, **options)

    def _missing(self) -> Any:
        return self._columns.missing(self._extra, is_one_list=self._has_one_list)

    # The width of rows

    def _count_extra_columns(self) -> int:
        """Return the number of columns to read beyond the table's: 1 if a row has a surplus field, else 0.

        From pandas 1.4 on, only the first row is measured: pandas refuses others that are too wide.
        Earlier versions drop such fields silently, so the fields of every row are counted. All versions
        drop them when they read some of the columns: then an extra column is read, and rows are counted
        only if a surplus field may be empty before another one.

        Raises
        ------
        BadInput
            A row has more than one surplus field.
        """
        suspects = [0]
        widths = [self._first_width]
        may_hide = self._columns.is_part and self._has_empty_fields()
        if self._version < (1, 4) or may_hide:
            text = without_escapes(self._text.data, self._marks)
            separators, starts = self._separators_by_row()
            suspects = starts[separators >= self._width].tolist()
            widths = [self._measure_row(text, start)[0] for start in suspects]
        for start, width in zip(suspects, widths):
            if width > self._width + 1:
                at = self._text.file_offset(start) if start else self._row_offset(0)
                raise BadInput(self._too_wide(at))
        return int(self._columns.is_part or max(widths, default=0) > self._width)

    def _has_empty_fields(self) -> bool:
        """Return whether the text may have an empty field that another one follows."""
        import numpy as np

        array = np.frombuffer(self._text.data, np.uint8)
        is_separator = array == ord(self._marks.separator)
        if (is_separator[1:] & is_separator[:-1]).any():
            return True
        if not self._marks.quote:
            return False
        is_quote = array == ord(self._marks.quote)
        is_empty = is_separator[:-3] & is_quote[1:-2] & is_quote[2:-1] & is_separator[3:]
        return bool(is_empty.any())

    def _separators_by_row(self) -> Any:
        """Return the number of separators in each line, quoted ones included, and the lines' starts."""
        import numpy as np

        ends = self._split()[0]
        if not len(ends):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        is_separator = np.frombuffer(self._text.data, np.uint8) == ord(self._marks.separator)
        return np.add.reduceat(is_separator, starts, dtype=np.int32), starts

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
            % (self._text.path, offset, self._width, self._marks.separator)
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
            texts = self._read(dict.fromkeys([*self._columns.types, *self._extra], "str"))
        except UnicodeDecodeError as undecodable:
            return self._text.undecodable(undecodable)
        self._check_width(texts)
        for position, decided in self._columns.types.items():
            row = _first_misfit(self._pd, texts[position], decided)
            if row >= 0:
                return self._misfit(position, texts[position], row, misfit(decided))
        return self._unexplained(error)

    def _misfit(self, position: int, column: Any, row: int, reason: str) -> BadInput:
        value = column.iloc[row]
        shown = "nothing" if self._pd.isna(value) else repr(str(value)[:SHOWN_CHARS])
        return BadInput(
            "%s: column %r contains %s in the row at byte %d, which %s"
            % (self._text.path, self._name_of(position), shown, self._row_offset(row), reason)
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
