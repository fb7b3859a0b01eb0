"""Confirms the columns and types that planning assumed from the first rows of a file.

If the rows of every range confirm the types, then inference over all rows decides the same types. So a
range is only accepted if no other range can turn its values into a reason for another type:

- Text stays text, whatever follows.
- ``int64`` needs a whole number in each row; ``bool`` needs a truth value.
- ``float64`` needs numbers that a float holds exactly, or gaps.
- Numbers with leading zeros are codes, and thus text.
- A column without any value so far must not have missing words, such as ``NA``: it may be text.

Of JSON lines, ``json_frame`` looks at the values itself.
"""

from __future__ import annotations

import io

from ..failures import BadInput, TypesDiffer
from .delimited import csv_options, delimited_frame
from .json_lines import json_frame
from .number_forms import FLOAT_HOLDS, has_long_number, with_leading_zeros
from .row_splitter import with_line_feeds
from .table_columns import columns_of
from .text_range import TextRange

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

NUMBERS = ("int64", "float64")

_FEW = 64
"""More columns are compared at once."""


def confirmed_frame(pd: Any, path: str, range_: list[int], table: dict[str, Any]) -> Any:
    """Return the rows of a range as a DataFrame, if they confirm the assumed types of their table.

    Raises
    ------
    TypesDiffer
        They may not, or the rows cannot be read.
    """
    try:
        text = TextRange(path, range_, table)
    except BadInput as error:
        raise TypesDiffer(str(error))
    return confirmed_rows(pd, text, table)


def confirmed_rows(pd: Any, text: TextRange, table: dict[str, Any]) -> Any:
    """Return the rows of a text, as `confirmed_frame`; rows that are read in parts need it, too."""
    try:
        if table["format"] == "json_lines":
            return json_frame(pd, text, table)
        frame = delimited_frame(pd, text, table)
    except BadInput as error:
        raise TypesDiffer(str(error))
    reason = _Check(pd, table, text).difference(frame)
    if reason:
        raise TypesDiffer("%s, from byte %d: %s" % (text.path, text.start, reason))
    return frame


class _Check:
    """Looks for values of a range that allow for other types.

    Parameters
    ----------
    pd
        pandas.
    table
        Its ``assumed`` has ``is_exact``, and the names of columns: ``given`` for those whose type the
        user gave, and ``empty`` for those without any value in the first rows.
    text
        The text of the range.
    """

    def __init__(self, pd: Any, table: dict[str, Any], text: TextRange) -> None:
        self._pd = pd
        self._is_exact = table["assumed"]["is_exact"]
        self._empty = table["assumed"]["empty"]
        self._columns = columns_of(pd, table)
        self._marks = self._columns.marks
        self._text = text

    def difference(self, frame: Any) -> str:
        """Return why the types may differ, or an empty text."""
        guessed = self._columns.guessed
        numbers = {
            k: name
            for k, name in zip(self._columns.types, self._columns.names)
            if guessed.get(k) in NUMBERS
        }
        if not numbers:
            return ""
        floats = [name for k, name in numbers.items() if guessed[k] == "float64"]
        if _largest(frame, floats) >= FLOAT_HOLDS and has_long_number(self._text.data):
            return "there may be a whole number above 2^53"
        if not self._is_exact:
            return ""
        padded = with_leading_zeros(with_line_feeds(self._text.data, self._marks), self._marks)
        for position in padded.intersection(numbers):
            return "column %r may contain a number with leading zeros" % numbers[position]
        return self._word_in_empty(frame)

    def _word_in_empty(self, frame: Any) -> str:
        """Return that a column without values has a missing word, or an empty text."""
        empty = {name for name in self._empty if frame[name].isna().all()}
        if not empty:
            return ""
        pairs = zip(self._columns.types, self._columns.names)
        positions = {k: name for k, name in pairs if name in empty}
        options = csv_options(self._marks, self._text.encoding, self._columns.width, [])
        data = with_line_feeds(self._text.data, self._marks)
        try:
            texts = self._pd.read_csv(
                io.BytesIO(data), dtype="str", usecols=list(positions), **options
            )
        except self._pd.errors.ParserError:  # no row has a field in one of these columns
            return "columns %s may have words such as NA" % ", ".join(map(repr, empty))
        for position, name in positions.items():
            if (texts[position].fillna("") != "").any():
                return "column %r has no value, but a word such as NA" % name
        return ""


def _largest(frame: Any, names: list[str]) -> float:
    """Return the largest magnitude of a value in columns of numbers."""
    import numpy as np

    if not names or not len(frame):
        return 0.0
    if len(names) > _FEW:
        return float(np.fmax.reduce(np.abs(frame[names].to_numpy()), axis=None))
    return float(np.fmax.reduce([np.fmax.reduce(np.abs(frame[n].to_numpy())) for n in names]))
