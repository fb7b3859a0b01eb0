"""Infers the types of the columns of a block of delimited text: what was seen, not yet decided."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...worker.tables.delimited import MISSING
from ...worker.tables.row_splitter import quoted_edges, with_line_feeds, without_escapes
from .column_types import Inference, kinds_of, see_numbers, see_texts

_OPEN_ROW = re.compile(r"EOF inside string starting at row (\d+)")
"""What pandas says of a quote that is never closed; rows count from 0."""

_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d+\s*")
_NUMBERS = ("int64", "uint64", "float64")
_LONG = 16
"""How many digits a whole number above 2^53 has at least."""

_ZERO, _TEN = ord("0"), 10


@dataclass(frozen=True, slots=True)
class Reading:
    """How a block of text is read.

    Parameters
    ----------
    separator, quote, escape, encoding
        How it is written; quote and escape are empty where there is none.
    missing
        The fields that count as missing; None for those of pandas. An empty field that is no text is
        missing in any case.
    is_exact
        Whether digits with leading zeros are text, and whole numbers above 2^53 stay what they are;
        else numbers are what pandas makes of them.
    """

    separator: str
    quote: str
    escape: str
    encoding: str
    missing: tuple[str, ...] | None = None
    is_exact: bool = True

    def frame(self, text: bytes, width: int, **more: Any) -> Any:
        """Return text as pandas reads it, by the numbers of the columns."""
        import pandas as pd

        missing = list(MISSING if self.missing is None else self.missing)
        return pd.read_csv(
            io.BytesIO(text),
            sep=self.separator,
            header=None,
            names=list(range(width)),
            index_col=False,
            low_memory=False,
            encoding=self.encoding,
            encoding_errors="replace",
            quotechar=self.quote or '"',
            quoting=0 if self.quote else 3,
            escapechar=self.escape or None,
            keep_default_na=False,
            na_values=missing if "" in missing else [*missing, ""],
            **more,
        )


def infer_block(data: bytes, width: int, wanted: list[int], reading: Reading) -> list[Inference]:
    """Return what is seen of some columns of a block of whole lines.

    Parameters
    ----------
    data
        The lines.
    width
        The number of columns of the file.
    wanted
        The numbers of the columns to look at, ascending.
    reading
        How the text is read.
    """
    import pandas as pd

    seen = [Inference() for _ in wanted]
    text = with_line_feeds(data, reading.separator, reading.quote, reading.escape)
    rows: dict[str, Any] = {}
    try:
        frame = reading.frame(text, width, usecols=wanted)
    except pd.errors.EmptyDataError:
        return seen
    except pd.errors.ParserError as error:
        # Whoever reads a bad row will say what is wrong with it; the others decide the types.
        # And where every row is short, pandas refuses to be asked for the columns behind.
        open_row = _OPEN_ROW.search(str(error))
        rows = {"on_bad_lines": "skip", **({"nrows": int(open_row[1])} if open_row else {})}
        # Of a first row that is long, pandas warns in place of skipping it.
        warnings.filterwarnings("ignore", "Length of header or names", pd.errors.ParserWarning)
        try:
            frame = reading.frame(text, width, **rows)[wanted]
        except pd.errors.ParserError:
            return seen
    if not reading.is_exact:
        kinds_of(frame, seen)
        return seen
    doubtful = _see_exactly(frame, text, dict(zip(wanted, seen, strict=True)), reading)
    if doubtful:
        # What pandas makes of these may not be what is written: their text decides.
        some = rows or {"usecols": doubtful}
        texts = reading.frame(text, width, dtype=dict.fromkeys(doubtful, "str"), **some)
        for column in doubtful:
            see_texts(seen[wanted.index(column)], texts[column])
    return seen


def _see_exactly(
    frame: Any, text: bytes, seen: dict[int, Inference], reading: Reading
) -> list[int]:
    """Take into account what is certain; return the columns whose text has to be looked at."""
    doubtful = set()
    worded = _with_words(frame, text, reading)
    numbers = [k for k in seen if frame[k].dtype.name in _NUMBERS]
    padded = _with_leading_zeros(text, reading) if numbers else frozenset()
    for column, one in seen.items():
        if column not in numbers:
            first = frame[column].head(20).tolist()
            missing = {"", *(MISSING if reading.missing is None else reading.missing)}
            filled = [str(value) for value in first if value == value and value not in missing]  # noqa: PLR0124 - a gap is not itself
            if frame[column].dtype.name != "bool" and (
                not filled or _WHOLE_NUMBER.fullmatch(filled[0])
            ):
                doubtful.add(column)  # pandas makes text of large whole numbers with gaps
            else:
                kinds_of(frame[[column]], [one])
        elif column in worded:
            one.see("empty", has_gap=True, has_word=True)
        elif column in padded:
            doubtful.add(column)
        elif not see_numbers(one, frame[column]):
            if _has_long_number(text):
                doubtful.add(column)
            else:
                one.see("float64", has_gap=bool(frame[column].isna().any()), has_fraction=True)
    return sorted(doubtful)


def _with_words(frame: Any, text: bytes, reading: Reading) -> frozenset[int]:
    """Return the columns of a frame that hold nothing but what is missing, and words among that.

    Where nothing else is given, such words are missing numbers, but are text in a column of text.
    """
    if reading.missing is not None:
        return frozenset()
    floats = [k for k in frame.columns if frame[k].dtype.name == "float64" and len(frame)]
    empty = [k for k in floats if frame[k].isna().iloc[0] and frame[k].isna().all()]
    if not empty:
        return frozenset()
    plain = without_escapes(text, reading.separator, reading.quote, reading.escape)
    ends = re.escape(f"{reading.separator}{reading.quote}\n\r".encode("ascii"))
    words = b"|".join(re.escape(word.encode("ascii")) for word in MISSING if word)
    field = re.compile(rb"(?<![^%s])(?:%s)(?![^%s])" % (ends, words, ends))
    places = [match.start() for match in field.finditer(plain)]
    return frozenset(_columns_of(plain, places, reading) if places else ()).intersection(empty)


def _with_leading_zeros(text: bytes, reading: Reading) -> frozenset[int]:
    """Return the columns in which a field may begin with a zero and another digit.

    At most a few columns too many: it looks at bytes, at memory speed.
    """
    import numpy as np

    plain = without_escapes(text, reading.separator, reading.quote, reading.escape)
    array = np.frombuffer(plain, np.uint8)
    zeros = np.flatnonzero(array[:-1] == _ZERO)
    zeros = zeros[(array[zeros + 1] - _ZERO) < _TEN]  # below zero is far above, in unsigned bytes
    zeros = zeros[((array[zeros - 1] - _ZERO) >= _TEN) | (zeros == 0)]
    is_end = np.zeros(256, bool)
    is_end[list(f"{reading.separator}{reading.quote}\n\r \t".encode("ascii"))] = True
    is_sign = np.zeros(256, bool)
    is_sign[list(b"+-")] = True
    before = zeros - 1
    before -= is_sign[array[before]]
    zeros = zeros[is_end[array[before]] | (before < 0)]
    if not len(zeros):
        return frozenset()
    return frozenset(_columns_of(plain, zeros, reading))


def _columns_of(plain: bytes, places: Any, reading: Reading) -> Sequence[int]:
    """Return the columns that places of a text are in, which has no escapes and line feeds only."""
    import numpy as np

    array = np.frombuffer(plain, np.uint8)
    marks = np.flatnonzero((array == ord(reading.separator)) | (array == ord("\n")))
    if reading.quote and reading.quote.encode("ascii") in plain:
        edges = quoted_edges(plain, reading.separator, reading.quote)
        marks = marks[np.searchsorted(edges, marks) % 2 == 0]
    if not len(marks):
        return [0]
    # Behind each mark stands column 0 of a line, or the column next to the one before.
    order = np.searchsorted(marks, places)
    lines = np.flatnonzero(array[marks] == ord("\n")) + 1
    starts = np.concatenate([np.zeros(1, np.int64), lines])
    columns = order - starts[np.searchsorted(starts, order, side="right") - 1]
    found: list[int] = np.flatnonzero(np.bincount(columns)).tolist()
    return found


def _has_long_number(text: bytes) -> bool:
    """Return whether a whole number that may be above 2^53 is written out, in digits only."""
    import numpy as np

    array = np.frombuffer(b"," + text + b",", np.uint8)
    others = np.flatnonzero((array - _ZERO) >= _TEN)
    before = np.flatnonzero(np.diff(others) > _LONG)
    is_number = array[others[before]] != ord(".")
    for mark in b".eE":
        is_number &= array[others[before + 1]] != mark
    return bool(is_number.any())
