"""Splits delimited text into rows exactly where pandas' C parser does, at memory speed.

The parser is a state machine that reads one byte at a time. This module computes the same row
boundaries with a few numpy passes over a block of bytes:

1. Replace every escape character and the byte after it by letters (`without_escapes`).
2. Find the line ends: a line feed, a carriage return, or the pair.
3. Find the quotes that open and close fields (`quote_edges`). An offset with an odd number of edges
   before it is inside quotes, and a line end there does not end a row.
4. Mark the blank lines, which hold only spaces and tabs: the parser skips them.

The parser's rules decide which quotes are edges. A quote opens a quoted field only as the first byte
of that field. Inside quotes, a doubled quote is a literal one. After the closing quote, the rest of
the field is plain. An escape makes the next byte literal, inside quotes and outside. If the quotes or
escapes of a block do not follow the pattern that the vectorized passes rely on, a slower exact pass
takes over.

All text is in an encoding in which every byte below 128 is that ASCII character.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_LF, _CR = 10, 13
_LETTER = ord("x")


class Marks:
    """The ASCII characters with a meaning in delimited text; an empty quote or escape is off."""

    __slots__ = ("escape", "quote", "separator")

    def __init__(self, separator: str, quote: str = "", escape: str = "") -> None:
        self.separator = separator
        self.quote = quote
        self.escape = escape

    def __str__(self) -> str:
        return self.separator + self.quote + self.escape


def split_rows(data: bytes, marks: Marks, *, is_last: bool) -> tuple[Any, Any, int]:
    """Split text that begins at the start of a line.

    Parameters
    ----------
    data
        The text.
    marks
        Its separator, quote and escape.
    is_last
        Whether the file ends here, so that the last line needs no line end.

    Returns
    -------
    ends : numpy.ndarray of int64
        The offset after each line.
    is_row : numpy.ndarray of bool
        False for the blank lines.
    unclosed : int
        The offset of a quote that is still open at the end of the text, or -1.
    """
    import numpy as np

    data = without_escapes(data, marks)
    array = np.frombuffer(data, np.uint8)
    has_quotes = bool(marks.quote) and marks.quote.encode("ascii") in data
    if has_quotes:  # one search for both is faster
        found = np.flatnonzero((array == _LF) | (array == ord(marks.quote)))
        is_feed = array[found] == _LF
        feeds, quotes = found[is_feed], found[~is_feed]
    else:
        feeds = np.flatnonzero(array == _LF)
    ends = _line_ends(np, array, data, feeds, is_last=is_last)
    unclosed = -1
    if has_quotes:
        edges = _edges_among(np, array, data, quotes, marks)
        if len(edges) % 2:
            unclosed = int(edges[-1])
        ends = ends[is_unquoted(edges, ends - 1)]
    if is_last and unclosed < 0 and len(data) > (int(ends[-1]) if len(ends) else 0):
        ends = np.append(ends, len(data))
    return ends, rows_among(np, array, data, ends, marks.separator), unclosed


def without_escapes(data: bytes, marks: Marks) -> bytes:
    """Replace each escape character and the byte after it by letters.

    The result has the same length, rows, fields and quotes as the original.
    """
    if not marks.escape or marks.escape.encode("ascii") not in data:
        return data
    import numpy as np

    array = np.frombuffer(data, np.uint8)
    escapes = np.flatnonzero(array == ord(marks.escape))
    # In a run of escape characters, every second one is itself escaped.
    begins = np.concatenate([np.ones(1, bool), np.diff(escapes) > 1])
    place = np.arange(len(escapes))
    first = np.maximum.accumulate(np.where(begins, place, 0))
    escaping = escapes[(place - first) % 2 == 0]
    plain = array.copy()
    plain[escaping] = _LETTER
    plain[escaping[escaping < len(data) - 1] + 1] = _LETTER
    text = bytes(plain.tobytes())
    if marks.quote and marks.quote.encode("ascii") in text:
        closing = quote_edges(text, marks)[1::2]
        after = closing[closing < len(data) - 1] + 1
        if (array[after] == ord(marks.escape)).any():
            # The parser takes an escape right after a closing quote literally, which shifts the
            # pairing of the run that it begins.
            return _without_escapes_exactly(data, marks)
    return text


def _without_escapes_exactly(data: bytes, marks: Marks) -> bytes:
    """Do the work of `without_escapes` one special byte at a time."""
    plain = bytearray(data)
    special = re.compile(b"[%s\r\n]" % re.escape(str(marks).encode("ascii")))
    is_quoted = False
    field_start = next_plain = 0  # bytes before next_plain are part of an escape or a doubled quote
    after_quote = -1
    for match in special.finditer(data):
        at, character = match.start(), match.group().decode("ascii")
        if at < next_plain:
            continue
        if character == marks.escape:
            plain[at] = _LETTER
            if at != after_quote:
                plain[at + 1 : at + 2] = b"x" * len(data[at + 1 : at + 2])
                next_plain = at + 2
        elif character == marks.quote and is_quoted:
            if data[at + 1 : at + 2] == match.group():
                next_plain = at + 2
            else:
                is_quoted, after_quote = False, at + 1
        elif character == marks.quote:
            is_quoted = at == field_start
        elif not is_quoted:
            field_start = at + 1
    return bytes(plain)


def with_line_feeds(data: bytes, marks: Marks) -> bytes:
    """Replace the lone carriage returns that end lines by line feeds.

    pandas loses a separator after an empty line that ends in a carriage return, and reads a line
    twice if the next one begins with a space.
    """
    if not _has_lone_returns(data):
        return data
    import numpy as np

    array = np.frombuffer(data, np.uint8).copy()
    lasts = split_rows(data, marks, is_last=True)[0] - 1
    array[lasts[array[lasts] == _CR]] = _LF
    return bytes(array.tobytes())


def _has_lone_returns(data: bytes) -> bool:
    return b"\r" in data and data.count(b"\r\n") != data.count(b"\r")


def _line_ends(np: Any, array: Any, data: bytes, feeds: Any, *, is_last: bool) -> Any:
    """Return the offsets after all line ends, quoted ones included."""
    ends = feeds + 1
    if not _has_lone_returns(data):
        return ends
    returns = np.flatnonzero(array == _CR)
    last = len(data) - 1
    # A carriage return at the very end may be followed by its line feed in the next block.
    is_alone = np.where(returns < last, array[np.minimum(returns + 1, last)] != _LF, is_last)
    return np.sort(np.concatenate([ends, returns[is_alone] + 1]))


def is_unquoted(edges: Any, offsets: Any) -> Any:
    """Return whether each offset is outside quotes, given the `quote_edges` of the text."""
    import numpy as np

    return np.searchsorted(edges, offsets) % 2 == 0


def quote_edges(data: bytes, marks: Marks) -> Any:
    """Return the offsets of the quotes that open and close fields, alternating; without escapes."""
    import numpy as np

    array = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(array == ord(marks.quote))
    return _edges_among(np, array, data, quotes, marks)


def _edges_among(np: Any, array: Any, data: bytes, quotes: Any, marks: Marks) -> Any:
    """Return those of all quotes that open and close fields.

    If every second quote is the first byte of a field, or doubles the quote before it, then all
    quotes alternate. (A doubled quote closes its field and opens it again: the same bytes are
    inside.) Otherwise some quote is a plain character, as in ``5" pipe``.
    """
    opening = quotes[::2]
    before = array[np.maximum(opening - 1, 0)]
    fits = (before == ord(marks.separator)) | (before == _LF) | (before == _CR) | (opening == 0)
    fits[1:] |= quotes[1::2][: len(opening) - 1] + 1 == opening[1:]
    return quotes if fits.all() else _exact_edges(np, data, marks)


def _exact_edges(np: Any, data: bytes, marks: Marks) -> Any:
    """Find the quoted fields with a regular expression that follows the parser's rules."""
    q, s = re.escape(marks.quote).encode("ascii"), re.escape(marks.separator).encode("ascii")
    inside = b"[^%s]*(?:%s%s[^%s]*)*" % (q, q, q, q)
    field = re.compile(
        b"(?:(?<=[%s\r\n])|\\A)%s%s(?:(%s)(?!%s)|\\Z)" % (s, q, inside, q, q), re.DOTALL
    )
    edges = []
    for match in field.finditer(data):
        edges.append(match.start())
        if match.group(1):
            edges.append(match.end() - 1)
    return np.array(edges, np.int64)


def rows_among(np: Any, array: Any, data: bytes, ends: Any, separator: str) -> Any:
    """Return whether each line is a row: not empty, and not only spaces and tabs.

    Only the lines that begin with a space or a tab are examined one by one.
    """
    if not len(ends):
        return np.zeros(0, bool)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    first = array[starts]
    is_row = (first != _LF) & (first != _CR)
    blanks = " \t".replace(separator, "")
    begins_blank = np.zeros(len(first), bool)
    for blank in blanks:
        begins_blank |= first == ord(blank)
    trim = (blanks + "\r\n").encode("ascii")
    for index in np.flatnonzero(begins_blank):
        is_row[index] = bool(data[starts[index] : ends[index]].strip(trim))
    return is_row
