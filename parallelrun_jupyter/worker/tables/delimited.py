"""Reads ranges of delimited text with pandas, and says what is wrong where it cannot."""

from __future__ import annotations

import gc
import io
import re

from ..failures import BadInput
from .dates import DateError, date_unit, dates_of
from .row_splitter import split_rows, with_line_feeds, without_escapes
from .text_range import TextRange
from .whole_numbers import whole_numbers

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

SHOWN = 60

MISSING = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
           "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]  # fmt: skip
"""What pandas documents as missing since version 2; all versions read it so here."""

WIDE = 256
"""From this number of columns on, the columns of each type are read by themselves."""

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*$")

MISTAKEN = set()  # type: set[str]
"""Columns of text that pandas has taken for something else in a range, such as codes of digits."""


WORDY = set()  # type: set[tuple[str, ...]]
"""First columns of tables in which words stand for missing numbers; there, each column has its list."""


def read_delimited(pd: Any, path: str, part: list[int], table: dict[str, Any]) -> Any:
    """Return the rows of a range as a DataFrame of the dataset's columns and types."""
    frame = DelimitedRange(pd, TextRange(path, part, table), table).frame()
    if "names" not in table:
        return frame
    # This file has some of the dataset's columns, in its own order.
    types = dict(zip(table["columns"], table["types"]))
    return pd.DataFrame(
        {
            name: frame[name]
            if name in frame.columns
            else _gaps(pd, path, name, types[name], len(frame))
            for name in table["columns"]
        }
    )


def _gaps(pd: Any, path: str, name: str, decided: str, rows: int) -> Any:
    """Return a column that the file does not have."""
    kind = "datetime64[%s]" % date_unit(decided) if decided.startswith("datetime") else decided
    if kind == "bool" or kind.startswith(("int", "uint")):
        raise BadInput(
            "%s has no column %r, and %s has no missing values; give the column another type in "
            "column_types=, such as 'Int64' or 'boolean'" % (path, name, decided)
        )
    return pd.Series([None] * rows, dtype=text_type(pd) if kind == "str" else kind)


def text_type(pd: Any) -> Any:
    """Return the type that ``read_csv`` makes of text: old pandas has objects."""
    return "str" if int(pd.__version__.split(".")[0]) >= 3 else object


SHORT = ("int8", "int16", "int32", "uint8", "uint16", "uint32")


def pandas_type(decided: str) -> str:
    """Return what a decided type is read as.

    Dates are read as text and converted then. So are whole numbers with gaps, which older pandas
    reads through floats, and those above 2^63, of which it refuses some (``-0``). Short whole numbers
    are read as long ones: before version 3, pandas cuts off what has no place in them.
    """
    if decided in SHORT:
        return "int64"
    if decided == "Float64":
        return "float64"  # older pandas makes these of text, and less exactly
    return "str" if decided.startswith(("datetime", "Int", "UInt", "uint64")) else decided


class DelimitedRange:
    """One range of a delimited file, and what to say when it cannot be read."""

    def __init__(self, pd: Any, text: TextRange, table: dict[str, Any]) -> None:
        self._pd = pd
        self._text = text
        self._separator = table["separator"]
        self._quote = table["quote"]
        self._escape = table.get("escape", "")
        self._names = table.get("names") or table["columns"]
        known = dict(zip(table["columns"], table["types"]))
        self._types = [known[name] for name in self._names]
        missing = table.get("missing", MISSING)
        self._missing_of_text = table.get("text_missing", missing)
        if table.get("empty_is_text"):
            self._missing_of_text = []
        self._missing_of_others = [*missing, *([] if "" in missing else [""])]
        # Where the empty field is all that stands for nothing, one list is enough for all columns.
        self._is_one_list = self._missing_of_text == self._missing_of_others or (
            "" in self._missing_of_text and tuple(self._names[:8]) not in WORDY
        )
        version = tuple(map(int, pd.__version__.split(".")[:2]))
        # These refuse a text whose only row is shorter than the names that they are given.
        self._is_padded = (1, 4) <= version < (2, 0)
        # Other ways of these are off by one in the last digit. From 3 on all are exact.
        self._precision = {"float_precision": "round_trip"} if version < (3, 0) else {}
        self._fields, self._first_end = self._first_row()
        more = self._more_columns(version)
        self._beyond = range(len(self._names), len(self._names) + more)

    def frame(self) -> Any:
        """Return the rows as a DataFrame, whatever is ragged or of the wrong type refused."""
        try:
            if self._fields > self._beyond.stop:  # pandas does not count those of the first row
                raise BadInput(self._ragged(0))
            frame = self._typed()
        except UnicodeDecodeError as error:
            raise self._text.undecodable(error)
        except self._pd.errors.ParserError as error:
            raise self._unparsable(error)
        except (ValueError, OverflowError, TypeError) as error:
            raise self._mistyped(error)
        self._check_width(frame)
        for position in self._beyond:
            frame.pop(position)
        for position, decided in enumerate(self._types):
            if pandas_type(decided) != decided:
                frame[position] = self._converted(frame[position], decided, position)
            elif decided == "int64" and frame[position].dtype != decided:  # older pandas: uint64
                frame[position] = self._shortened(frame[position], decided, position)
        frame.columns = self._names
        return frame

    def _typed(self) -> Any:
        """Return the rows as the decided types, whatever is ragged in them.

        pandas 3 makes text of what it sees to be text in two thirds of the time that it takes where it
        is told so. Where it sees something else in a range, that one is read again. So is a range in
        which words stand for missing numbers, and not for missing text.
        """
        try:
            return self._read_typed()
        except self._pd.errors.ParserError:
            raise
        except (ValueError, OverflowError, TypeError) as error:
            if isinstance(error, UnicodeDecodeError) or not self._is_one_list:
                raise
            self._is_one_list = False
            frame = self._read_typed()
            WORDY.add(tuple(self._names[:8]))
            return frame

    def _read_typed(self) -> Any:
        if len(self._names) >= WIDE:
            return self._wide()
        types = {k: pandas_type(t) for k, t in enumerate(self._types)}
        # Where there is nothing, which is everywhere, numbers take the least time.
        types.update(dict.fromkeys(self._beyond, "float64"))
        seen = []
        if int(self._pd.__version__.split(".")[0]) >= 3:
            named = enumerate(zip(self._names, self._types))
            seen = [k for k, (name, t) in named if t[:1] in "sd" and name not in MISTAKEN]
        frame = self._read({k: t for k, t in types.items() if k not in seen})
        mistaken = [self._names[k] for k in seen if self._is_mistaken(k, frame[k])]
        if mistaken:
            MISTAKEN.update(mistaken)
            frame = self._read(types)
        return frame

    def _is_mistaken(self, position: int, column: Any) -> bool:
        """Return whether pandas has not read a column as text, or has left a gap in it as it stands.

        It does the latter among whole numbers above 2^63: it gives up on them as numbers, and takes
        them for text without looking for what is missing.
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

    def _wide(self) -> Any:
        """Return the rows as the decided types, of a table of very many columns.

        One type for all columns costs pandas nothing, and a type for each one more than reading it:
        the columns of each type are read by themselves.
        """
        groups = {}  # type: dict[str, list[int]]
        for k in range(self._beyond.stop):
            decided = "float64" if k in self._beyond else pandas_type(self._types[k])
            groups.setdefault(decided, []).append(k)
        if len(groups) == 1:
            return self._read(next(iter(groups)))
        columns = [k for group in groups.values() for k in group]
        was_collecting = gc.isenabled()
        gc.disable()  # each column is some objects, and each collection would look at all of them
        try:
            frame = self._pd.concat([self._read(*group) for group in groups.items()], axis=1)
            return frame if columns == sorted(columns) else frame[sorted(columns)]
        finally:
            if was_collecting:
                gc.enable()

    def _more_columns(self, version: tuple[int, ...]) -> int:
        """Return how many columns to read beyond those of the table; a value there is one too many.

        pandas refuses rows that are wider still; before version 1.4 it drops their fields silently,
        so that as many are read as the widest row may have. A wide table is read by groups of
        columns, without a check of pandas: `_count_wide` has counted its fields.
        """
        if len(self._names) >= WIDE:
            return self._count_wide()
        if version >= (1, 4):
            return 1
        separators, _ = self._separators_by_row()
        return max(1, int(separators.max(initial=0)) + 1 - len(self._names))

    def _count_wide(self) -> int:
        """Return 1 if a row of a wide table ends in one more field, else 0.

        Adding a column costs as much as reading the table, so that none is added without need.

        Raises
        ------
        BadInput
            A row has more fields than that.
        """
        separators, starts = self._separators_by_row()
        suspects = (separators >= len(self._names)).nonzero()[0]
        if not len(suspects):
            return 0
        text = without_escapes(self._text.data, self._separator, self._quote, self._escape)
        extra = 0
        for row in suspects.tolist():
            extra = max(extra, self._fields_of(text, int(starts[row]))[0] - len(self._names))
            if extra > 1:
                raise BadInput(self._ragged_at(self._text.byte(int(starts[row]))))
        return max(extra, 0)

    def _separators_by_row(self) -> Any:
        """Return the number of separators in each row, quoted ones included, and the rows' starts."""
        import numpy as np

        is_separator = np.frombuffer(self._text.data, np.uint8) == ord(self._separator)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_separator)])
        edges = np.concatenate([np.zeros(1, np.int64), self._rows(is_last=True)[0]])
        return np.diff(before[edges]), edges[:-1]

    def _read(self, types: dict[int, str] | str, columns: list[int] | None = None) -> Any:
        data = self._text.data
        if self._is_padded or columns is not None:
            # Nor may some columns be chosen where all rows are short.
            at, missing = self._first_end, self._beyond.stop - self._fields
            data = data[:at] + missing * self._separator.encode("ascii") + data[at:]
        data = with_line_feeds(data, self._separator, self._quote, self._escape)
        if data.startswith(b"\xef\xbb\xbf"):
            data = b"\n" + data  # the parser would take a first character for a mark
        return self._pd.read_csv(
            io.BytesIO(data),
            sep=self._separator,
            header=None,
            names=list(range(self._beyond.stop)),
            dtype=types,
            usecols=columns,
            index_col=False,
            engine="c",
            low_memory=False,
            encoding=self._text.encoding,
            quotechar=self._quote or '"',
            quoting=0 if self._quote else 3,
            escapechar=self._escape or None,
            keep_default_na=False,
            na_values=self._missing(),
            **self._precision,
        )

    def _missing(self) -> Any:
        """Return what is read as missing: for all columns, or for each where they differ.

        A list for each of very many columns takes pandas longer than the rows do.
        """
        if self._is_one_list:
            return self._missing_of_text if "str" in self._types else self._missing_of_others
        of_columns = {
            k: self._missing_of_text if decided == "str" else self._missing_of_others
            for k, decided in enumerate(self._types)
        }
        of_columns.update({key: [""] for key in self._beyond})
        return of_columns

    # What is wrong with it

    def _first_row(self) -> tuple[int, int]:
        """Return the number of fields of the first row, and the offset behind the last one."""
        data = without_escapes(self._text.data, self._separator, self._quote, self._escape)
        blanks = b" \t".replace(self._separator.encode("ascii"), b"")
        at = re.compile(b"(?:[%s]*[\r\n])*" % blanks).match(data).end()  # type: ignore[union-attr]
        return self._fields_of(data, at)

    def _fields_of(self, data: bytes, at: int) -> tuple[int, int]:
        """Return the number of fields of the row that starts at an offset, and where it ends."""
        separator = self._separator.encode("ascii")
        field = b"[^%s\r\n]*" % re.escape(separator)
        if self._quote:
            q = re.escape(self._quote.encode("ascii"))
            field = b"(?:%s[^%s]*(?:%s%s[^%s]*)*(?:%s|\\Z))?%s" % (q, q, q, q, q, q, field)
        one, count = re.compile(field), 0
        while True:
            at = one.match(data, at).end()  # type: ignore[union-attr]
            count += 1
            if data[at : at + 1] != separator:
                return count, at
            at += 1

    def _check_width(self, frame: Any) -> None:
        """See that there is nothing in the columns beyond those there are."""
        for position in self._beyond:
            filled = frame[position].notna().to_numpy()
            if filled.any():
                raise BadInput(self._ragged(int(filled.argmax())))

    def _ragged(self, row: int) -> str:
        return self._ragged_at(self._offset_of(row))

    def _ragged_at(self, offset: int) -> str:
        return (
            "%s: the row at byte %d has more fields than the %d columns; quote fields that hold "
            "the separator %r, or correct the row"
            % (self._text.path, offset, len(self._names), self._separator)
        )

    def _unparsable(self, error: Exception) -> BadInput:
        """Name the place of what pandas could not split."""
        found = re.search(r"in line (\d+)", str(error))
        if found:
            return BadInput(self._ragged(int(found.group(1)) - 1))
        unclosed = self._rows(is_last=True)[2]
        if unclosed >= 0:
            return BadInput(
                "%s: the quote at byte %d is never closed"
                % (self._text.path, self._text.byte(unclosed))
            )
        return BadInput("%s, from byte %d: %s" % (self._text.path, self._text.start, error))

    def _mistyped(self, error: Exception) -> BadInput:
        """Find the first value that does not fit its column, or has none."""
        pd = self._pd
        try:
            self._is_one_list = False
            texts = self._read(dict.fromkeys(range(self._beyond.stop), "str"))
        except UnicodeDecodeError as undecodable:
            return self._text.undecodable(undecodable)
        self._check_width(texts)
        for position, decided in enumerate(self._types):
            column = texts[position]
            row = _first_bad(pd, column, decided)
            if row >= 0:
                return self._misfit(position, column, row, decided)
        return BadInput("%s, from byte %d: %s" % (self._text.path, self._text.start, error))

    def _misfit(
        self, position: int, column: Any, row: int, decided: str, why: str = ""
    ) -> BadInput:
        """Name a value that is not of its column's type."""
        value = column.iloc[row]
        shown = "nothing" if self._pd.isna(value) else repr(str(value)[:SHOWN])
        return BadInput(
            "%s: column %r holds %s in the row at byte %d, which %s"
            % (self._text.path, self._names[position], shown, self._offset_of(row),
               why or "is no %s; give the column another type in column_types=" % decided)
        )  # fmt: skip

    def _shortened(self, column: Any, decided: str, position: int) -> Any:
        """Return whole numbers in the decided type, which has a place for all of them."""
        import numpy as np

        limits = np.iinfo(decided)
        if len(column) and not limits.min <= int(column.min()) <= int(column.max()) <= limits.max:
            for row, value in enumerate(column.tolist()):
                if not limits.min <= value <= limits.max:
                    raise self._misfit(position, column, row, decided)
        return column.astype(decided)

    def _converted(self, column: Any, decided: str, position: int) -> Any:
        """Return text as dates, or as whole numbers, all of them exact."""
        if decided in SHORT:
            return self._shortened(column, decided, position)
        if decided == "Float64":
            return column.astype(decided)
        if self._is_one_list and self._missing_of_text != self._missing_of_others:
            column = column.mask(column.isin(self._missing_of_others))
        if decided.startswith("datetime"):
            try:
                return dates_of(self._pd, column, decided)
            except DateError as error:
                raise self._misfit(position, column, error.row, decided, str(error))
        row, numbers = whole_numbers(self._pd, column, decided)
        if row >= 0:
            raise self._misfit(position, column, row, decided)
        return numbers

    def _rows(self, *, is_last: bool) -> Any:
        dialect = (self._separator, self._quote)
        return split_rows(self._text.data, *dialect, is_last=is_last, escape=self._escape)

    def _offset_of(self, row: int) -> int:
        """Return where a row begins in the file; rows are counted without blank lines."""
        ends, is_row, _ = self._rows(is_last=True)
        starts = [0] + [int(end) for end in ends[:-1]]
        kept = [start for start, is_kept in zip(starts, is_row) if is_kept]
        return self._text.byte(kept[min(row, len(kept) - 1)]) if kept else self._text.start


def _first_bad(pd: Any, column: Any, decided: str) -> int:
    """Return the row of the first value that cannot be of the decided type, -1 for none."""
    if pandas_type(decided) == "str":
        return -1
    missing = column.isna()
    if decided in ("bool", "boolean"):
        known = column.str.lower().isin(["true", "false"])
        wrong = ~known if decided == "bool" else ~known & ~missing
    else:
        numbers = pd.to_numeric(column, errors="coerce")
        wrong = numbers.isna() & ~missing
        if decided.lower().startswith(("int", "uint")):
            wrong |= (numbers % 1 != 0) & ~missing
        if decided.startswith(("int", "uint")):
            wrong |= missing
    rows = wrong.to_numpy()
    return int(rows.argmax()) if rows.any() else -1
