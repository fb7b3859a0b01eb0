"""Locates the fields of delimited text with very many columns, and takes the text of some columns.

pandas spends about ten microseconds on each column of a read, however few rows it has. So the fields
of all columns of one type are written below each other here, and are parsed as one column.
"""

from __future__ import annotations

from .row_splitter import (
    Marks,
    is_unquoted,
    quote_edges,
    rows_among,
    with_line_feeds,
    without_escapes,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_LF, _CR = 10, 13
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FieldGrid:
    """The fields of rows that all have the same number of them.

    Attributes
    ----------
    text
        The text without blank lines; every row has ``width`` fields and ends in a line feed.
    plain
        The same as an array of bytes, in which escaped ones are letters.
    ends
        The offset of the byte after each field, which ends it; a row's last field includes a carriage
        return.
    rows, width
        The number of rows and of columns.
    """

    def __init__(self, text: bytes, plain: Any, ends: Any, width: int) -> None:
        self.text = text
        self.plain = plain
        self.ends = ends
        self.width = width
        self.rows = len(ends) // width

    @property
    def starts(self) -> Any:
        """The offset of each field."""
        import numpy as np

        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1] + 1])

    def below_each_other(self, columns: Any) -> bytes:
        """Return the fields of some columns, row by row, each on its own line.

        Parameters
        ----------
        columns
            An array of bool: for each column, whether it is taken.
        """
        import numpy as np

        lines = np.frombuffer(self.text, np.uint8).copy()
        lines[self.ends] = _LF
        kept = self._bytes_of(columns)
        lasts = self.ends[self.width - 1 :: self.width]
        returns = lasts[self.plain[lasts - 1] == _CR] - 1
        if len(returns):
            kept = np.ones(len(lines), bool) if kept is None else kept
            kept[returns] = False
        return bytes((lines if kept is None else lines[kept]).tobytes())

    def table_of(self, columns: Any) -> bytes:
        """Return the text of some columns, as rows of delimited text."""
        import numpy as np

        text = np.frombuffer(self.text, np.uint8).copy()
        kept = self._bytes_of(columns)
        if kept is None:
            return self.text
        last = int(np.flatnonzero(columns)[-1])
        text[self.ends[last :: self.width]] = _LF
        return bytes(text[kept].tobytes())

    def _bytes_of(self, columns: Any) -> Any:
        """Return whether each byte belongs to one of some columns; None if all do."""
        import numpy as np

        if columns.all():
            return None
        lengths = np.diff(self.ends, prepend=-1)
        return np.repeat(np.tile(columns, self.rows), lengths)


def field_grid(data: bytes, marks: Marks, width: int) -> FieldGrid | None:
    """Return the fields of a text of whole lines; None if pandas has to read it.

    That is so if a quote is never closed, if a row has fields beyond the table's that are not one empty
    field, or if the text has a byte order mark, which pandas would drop at the start of a column.

    Parameters
    ----------
    data
        The text.
    marks
        Its separator, quote and escape.
    width
        The number of columns. Rows with fewer fields are filled up with empty ones.
    """
    if _BYTE_ORDER_MARK in data:
        return None
    data = with_line_feeds(data, marks)
    if not data.endswith(b"\n"):
        data += b"\n"
    for _ in range(2):  # the second time, the lines are rows of the same width
        plain = without_escapes(data, marks)
        lines = _Lines(plain, marks)
        if lines.is_open:
            return None
        if lines.are_rows_of(width):
            return FieldGrid(data, lines.array, lines.ends, width)
        data = lines.filled_up(data, width, marks)
        if not data:
            return None
    return None


class _Lines:
    """The lines of a text, and the ends of their fields."""

    def __init__(self, plain: bytes, marks: Marks) -> None:
        import numpy as np

        self.array = array = np.frombuffer(plain, np.uint8)
        ends = np.flatnonzero((array == ord(marks.separator)) | (array == _LF))
        self.is_open = False
        if marks.quote and marks.quote.encode("ascii") in plain:
            edges = quote_edges(plain, marks)
            self.is_open = len(edges) % 2 > 0
            ends = ends[is_unquoted(edges, ends)]
        # An escape may hide the last line feed.
        self.is_open = self.is_open or not len(ends) or int(ends[-1]) < len(plain) - 1
        self.ends = ends
        self._lasts = np.flatnonzero(array[ends] == _LF)
        self._counts = np.diff(self._lasts, prepend=-1)
        self._line_ends = ends[self._lasts] + 1
        self._is_row = rows_among(np, array, plain, self._line_ends, marks.separator)

    def are_rows_of(self, width: int) -> bool:
        """Return whether each line is a row with this number of fields."""
        return bool(self._is_row.all() and (self._counts == width).all())

    def filled_up(self, data: bytes, width: int, marks: Marks) -> bytes:
        """Return the rows with this number of fields each; empty if one has too many, or there is none."""
        separator = marks.separator.encode("ascii")
        pieces, start = [], 0
        for end, count, is_row, last in zip(
            self._line_ends.tolist(), self._counts.tolist(), self._is_row.tolist(), self._lasts
        ):
            if is_row:
                line = data[start:end]
                size = 2 if end - start > 1 and self.array[end - 2] == _CR else 1
                line, ending = line[:-size], line[-size:]
                if count == width + 1 and len(line) + start == self.ends[last - 1] + 1:
                    line = line[:-1]
                elif count > width:
                    return b""
                pieces += [line, separator * (width - count), ending]
            start = end
        return b"".join(pieces)
