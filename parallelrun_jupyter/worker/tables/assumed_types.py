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
from .delimited import csv_options, delimited_frame, marks_of
from .json_lines import json_frame
from .number_forms import FLOAT_HOLDS, has_long_number, with_leading_zeros
from .row_splitter import with_line_feeds
from .text_range import TextRange

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

NUMBERS = ("int64", "float64")


def confirmed_frame(pd: Any, path: str, range_: list[int], table: dict[str, Any]) -> Any:
    """Return the rows of a range as a DataFrame, if they confirm the assumed types of their table.

    Raises
    ------
    TypesDiffer
        They may not, or the rows cannot be read.
    """
    try:
        text = TextRange(path, range_, table)
        if table["format"] == "json_lines":
            return json_frame(pd, text, table)
        frame = delimited_frame(pd, text, table)
    except BadInput as error:
        raise TypesDiffer(str(error))
    reason = _Check(table, text).difference(pd, frame)
    if reason:
        raise TypesDiffer("%s, from byte %d: %s" % (path, range_[0], reason))
    return frame


class _Check:
    """Looks for values of a range that allow for other types.

    Parameters
    ----------
    table
        Its ``assumed`` has ``is_exact``, and the names of columns: ``given`` for those whose type the
        user gave, and ``empty`` for those without any value in the first rows.
    text
        The text of the range.
    """

    def __init__(self, table: dict[str, Any], text: TextRange) -> None:
        assumed = table["assumed"]
        self._is_exact = assumed["is_exact"]
        self._empty = assumed["empty"]
        self._names = table["columns"]
        given = set(assumed["given"])
        self._numbers = [
            (k, name, decided)
            for k, (name, decided) in enumerate(zip(self._names, table["types"]))
            if decided in NUMBERS and name not in given
        ]
        self._marks = marks_of(table)
        self._text = text

    def difference(self, pd: Any, frame: Any) -> str:
        """Return why the types may differ, or an empty text."""
        if not self._numbers:
            return ""
        for _, name, decided in self._numbers:
            if decided == "float64" and self._has_large(frame[name]):
                return "column %r may contain a whole number above 2^53" % name
        if not self._is_exact:
            return ""
        padded = with_leading_zeros(with_line_feeds(self._text.data, self._marks), self._marks)
        for k, name, _ in self._numbers:
            if k in padded:
                return "column %r may contain a number with leading zeros" % name
        return self._word_in_empty(pd, frame)

    def _has_large(self, column: Any) -> bool:
        """Return whether a column may contain whole numbers that a float does not represent."""
        import numpy as np

        values = column.to_numpy()
        largest = np.fmax.reduce(np.abs(values)) if len(values) else 0
        return bool(largest >= FLOAT_HOLDS) and has_long_number(self._text.data)

    def _word_in_empty(self, pd: Any, frame: Any) -> str:
        """Return that a column without values has a missing word, or an empty text."""
        names = [name for name in self._empty if frame[name].isna().all()]
        if not names:
            return ""
        positions = [self._names.index(name) for name in names]
        options = csv_options(self._marks, self._text.encoding, len(self._names), [])
        data = with_line_feeds(self._text.data, self._marks)
        texts = pd.read_csv(io.BytesIO(data), dtype="str", usecols=positions, **options)
        for position, name in zip(positions, names):
            if (texts[position].fillna("") != "").any():
                return "column %r has no value, but a word such as NA" % name
        return ""
