"""Reads ranges of delimited text with pandas, and says what is wrong where it cannot."""

from __future__ import annotations

import gc
import io
import re

from .failures import BadInput
from .records import split_rows, with_line_feeds
from .text_ranges import TextRange

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

SHOWN = 60

MISSING = ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND",
           "1.#QNAN", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]  # fmt: skip
"""What pandas documents as missing."""

WIDE = 256
"""From this number of columns on, the columns of each type are read by themselves."""

MISTAKEN = set()  # type: set[str]
"""Columns of text that pandas has taken for something else in a range, such as codes of digits."""


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
    kind = "datetime64[ns]" if decided.startswith("datetime") else decided
    if kind == "bool" or kind.startswith(("int", "uint")):
        raise BadInput(
            "%s has no column %r, and %s has no missing values; give the column another type in "
            "column_types=, such as 'Int64' or 'boolean'" % (path, name, decided)
        )
    return pd.Series([None] * rows, dtype=text_type(pd) if kind == "str" else kind)


def text_type(pd: Any) -> Any:
    """Return the type that ``read_csv`` makes of text: old pandas has objects."""
    return "str" if int(pd.__version__.split(".")[0]) >= 3 else object


def pandas_type(decided: str) -> str:
    """Return what a decided type is read as; dates are read as text and converted then."""
    return "str" if decided.startswith("datetime") else decided


class DelimitedRange:
    """One range of a delimited file, and what to say when it cannot be read."""

    def __init__(self, pd: Any, text: TextRange, table: dict[str, Any]) -> None:
        self._pd = pd
        self._text = text
        self._separator = table["separator"]
        self._quote = table["quote"]
        self._names = table.get("names") or table["columns"]
        known = dict(zip(table["columns"], table["types"]))
        self._types = [known[name] for name in self._names]
        self._empty_is_text = table.get("empty_is_text", False)
        version = tuple(map(int, pd.__version__.split(".")[:2]))
        # These refuse a text whose only row is shorter than the names that they are given.
        self._is_padded = (1, 4) <= version < (2, 0)
        # The default since; named where it is not, as naming it is deprecated in the newest.
        self._precision = {"float_precision": "high"} if version < (1, 2) else {}
        self._fields, self._first_end = self._first_row()
        self._beyond = range(len(self._names), len(self._names) + self._more_columns(version))

    def frame(self) -> Any:
        """Return the rows as a DataFrame, whatever is ragged or of the wrong type refused."""
        try:
            if self._fields > self._beyond.stop:  # pandas does not count those of the first row
                raise BadInput(self._ragged(0))
            frame = self._typed() if len(self._names) < WIDE else self._wide()
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
            if decided.startswith("datetime"):
                frame[position] = self._dates(frame[position], decided, position)
        frame.columns = self._names
        return frame

    def _typed(self) -> Any:
        """Return the rows as the decided types, whatever is ragged in them.

        pandas 3 makes text of what it sees to be text in two thirds of the time that it takes where it
        is told so. Where it sees something else in a range, that one is read again.
        """
        types = {k: pandas_type(t) for k, t in enumerate(self._types)}
        # Where there is nothing, which is everywhere, numbers take the least time.
        types.update(dict.fromkeys(self._beyond, "float64"))
        seen = []
        if int(self._pd.__version__.split(".")[0]) >= 3:
            seen = [k for k in types if types[k] == "str" and self._names[k] not in MISTAKEN]
        frame = self._read({k: t for k, t in types.items() if k not in seen})
        mistaken = [self._names[k] for k in seen if frame[k].dtype != "str"]
        if mistaken:
            MISTAKEN.update(mistaken)
            frame = self._read(types)
        return frame

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
        """Return how many columns are read beyond those there are: what stands there is too much.

        pandas refuses rows that are wider still; before version 1.4 it drops their fields silently,
        so that as many are read as any row may have. Where there are very many columns, taking one
        out again would cost as much as reading them: none is added where no row can be too wide.
        """
        is_wide = len(self._names) >= WIDE
        if version >= (1, 4) and not is_wide:
            return 1
        import numpy as np

        separators = np.frombuffer(self._text.data, np.uint8) == ord(self._separator)
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(separators)])
        ends = np.concatenate([np.zeros(1, np.int64), self._rows(is_last=True)[0]])
        widest = int(np.diff(before[ends]).max()) + 1 if len(ends) > 1 else 0
        more = max(0 if is_wide else 1, widest - len(self._names))
        return min(more, 1) if version >= (1, 4) else more

    def _read(self, types: dict[int, str] | str, columns: list[int] | None = None) -> Any:
        data = self._text.data
        if (
            self._is_padded or columns is not None
        ):  # nor may some be chosen where all rows are short
            at, missing = self._first_end, self._beyond.stop - self._fields
            data = data[:at] + missing * self._separator.encode("ascii") + data[at:]
        data = with_line_feeds(data, self._separator, self._quote)
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
            **self._missing(),
            **self._precision,
        )

    def _missing(self) -> dict[str, Any]:
        """Return what is read as missing, where that is not what pandas takes for it."""
        if not self._empty_is_text:
            return {}
        of_columns = {k: MISSING for k, decided in enumerate(self._types) if decided != "str"}
        of_columns.update({key: [""] for key in self._beyond})
        return {"keep_default_na": False, "na_values": of_columns}

    # What is wrong with it

    def _first_row(self) -> tuple[int, int]:
        """Return the number of fields of the first row, and the offset behind the last one."""
        data, separator = self._text.data, self._separator.encode("ascii")
        blanks = b" \t".replace(separator, b"")
        at = re.compile(b"(?:[%s]*[\r\n])*" % blanks).match(data).end()  # type: ignore[union-attr]
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
        return (
            "%s: the row at byte %d has more fields than the %d columns; quote fields that hold "
            "the separator %r, or correct the row"
            % (self._text.path, self._offset_of(row), len(self._names), self._separator)
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
        texts = self._read(dict.fromkeys(range(self._beyond.stop), "str"))
        self._check_width(texts)
        for position, decided in enumerate(self._types):
            column = texts[position]
            row = _first_bad(pd, column, decided)
            if row >= 0:
                value = column.iloc[row]
                what = "nothing" if pd.isna(value) else repr(str(value)[:SHOWN])
                return BadInput(
                    "%s: column %r holds %s in the row at byte %d, which is no %s; give the column "
                    "another type in column_types="
                    % (self._text.path, self._names[position], what, self._offset_of(row), decided)
                )
        return BadInput("%s, from byte %d: %s" % (self._text.path, self._text.start, error))

    def _dates(self, column: Any, decided: str, position: int) -> Any:
        form = decided.partition(":")[2] or None
        if form is None and int(self._pd.__version__.split(".")[0]) >= 2:
            form = "ISO8601"
        dates = self._pd.to_datetime(column, format=form, errors="coerce")
        wrong = (dates.isna() & column.notna()).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            raise BadInput(
                "%s: column %r holds %r in the row at byte %d, which is no date of the form %s; "
                "write the form in column_types=, such as 'datetime:%%d.%%m.%%Y'"
                % (self._text.path, self._names[position], str(column.iloc[row])[:SHOWN],
                   self._offset_of(row), form or "ISO 8601")
            )  # fmt: skip
        return dates.astype("datetime64[ns]")

    def _rows(self, *, is_last: bool) -> Any:
        return split_rows(self._text.data, self._separator, self._quote, is_last=is_last)

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
