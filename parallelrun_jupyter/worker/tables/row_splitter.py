"""Finds the rows of delimited text exactly as pandas' C parser does, at memory speed.

A line ends at a line feed, a carriage return or both, outside of quotes. A quote opens a quoted
field at the start of a field only; in one, two quotes stand for one. A line of nothing but spaces
and tabs is no row. Where there is an escape character, the byte after it is plain, in quotes and
outside of them.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_LF, _CR = 10, 13
_LETTER = ord("x")


def split_rows(
    data: bytes, separator: str, quote: str, *, is_last: bool, escape: str = ""
) -> tuple[Any, Any, int]:
    """Return (ends, is_row, unclosed) of text that begins at the start of a line.

    Parameters
    ----------
    data
        Bytes in an encoding in which every byte below 128 is that ASCII character.
    separator, quote
        One ASCII character each; no quote where quoting is off.
    is_last
        Whether the text ends here, so that its last line needs no line end.
    escape
        One ASCII character; empty where there is none.

    Returns
    -------
    tuple
        The offset behind each line, an array; whether each line is a row, an array; and the offset
        of a quote that is open at the end of the data, -1 for none.
    """
    import numpy as np

    data = without_escapes(data, separator, quote, escape)
    array = np.frombuffer(data, np.uint8)
    ends = _line_ends(np, array, data, is_last=is_last)
    unclosed = -1
    if quote and quote.encode("ascii") in data:
        edges = _quote_edges(np, array, data, separator, quote)
        if len(edges) % 2:
            unclosed = int(edges[-1])
        ends = ends[np.searchsorted(edges, ends - 1) % 2 == 0]
    if is_last and unclosed < 0 and len(data) > (int(ends[-1]) if len(ends) else 0):
        ends = np.append(ends, len(data))
    return ends, _rows_among(np, array, data, ends, separator), unclosed


def without_escapes(data: bytes, separator: str, quote: str, escape: str) -> bytes:
    """Return text of the same length in which escaped characters, with their escape, are letters.

    Its rows, fields and quotes are those of the original.
    """
    if not escape or escape.encode("ascii") not in data:
        return data
    import numpy as np

    array = np.frombuffer(data, np.uint8)
    escapes = np.flatnonzero(array == ord(escape))
    # In a run of escape characters every second one is escaped; so is what follows an odd run.
    begins = np.concatenate([np.ones(1, bool), np.diff(escapes) > 1])
    place = np.arange(len(escapes))
    first = np.maximum.accumulate(np.where(begins, place, 0))
    escaping = escapes[(place - first) % 2 == 0]
    plain = array.copy()
    plain[escaping] = _LETTER
    plain[escaping[escaping < len(data) - 1] + 1] = _LETTER
    text = bytes(plain.tobytes())
    if quote and quote.encode("ascii") in text:
        closing = _quote_edges(np, plain, text, separator, quote)[1::2]
        behind = closing[closing < len(data) - 1] + 1
        if (array[behind] == ord(escape)).any():
            # Behind a closing quote it is no escape; what follows from that is seen step by step.
            return _replaced_by_steps(data, separator, quote, escape)
    return text


def _replaced_by_steps(data: bytes, separator: str, quote: str, escape: str) -> bytes:
    """Do what `without_escapes` does, byte by byte."""
    plain = bytearray(data)
    special = re.compile(b"[%s\r\n]" % re.escape((separator + quote + escape).encode("ascii")))
    is_quoted = False
    field = next_plain = 0  # where the field begins; where the next byte that is not escaped stands
    closed = -1
    for found in special.finditer(data):
        at, character = found.start(), found.group().decode("ascii")
        if at < next_plain:
            continue
        if character == escape:
            plain[at] = _LETTER
            if at != closed:
                plain[at + 1 : at + 2] = b"x" * len(data[at + 1 : at + 2])
                next_plain = at + 2
        elif character == quote and is_quoted:
            if data[at + 1 : at + 2] == found.group():
                next_plain = at + 2
            else:
                is_quoted, closed = False, at + 1
        elif character == quote:
            is_quoted = at == field
        elif not is_quoted:
            field = at + 1
    return bytes(plain)


def with_line_feeds(data: bytes, separator: str, quote: str, escape: str = "") -> bytes:
    """Return text whose lines end in line feeds where they ended in lone carriage returns.

    pandas loses a separator behind an empty line that ends in one, and reads lines twice where the
    next one begins with a space.
    """
    if b"\r" not in data or data.count(b"\r\n") == data.count(b"\r"):
        return data
    import numpy as np

    array = np.frombuffer(data, np.uint8).copy()
    lasts = split_rows(data, separator, quote, is_last=True, escape=escape)[0] - 1
    array[lasts[array[lasts] == _CR]] = _LF
    return bytes(array.tobytes())


def _line_ends(np: Any, array: Any, data: bytes, *, is_last: bool) -> Any:
    """Return the offsets behind all line ends, quoted ones too."""
    ends = np.flatnonzero(array == _LF) + 1
    if b"\r" not in data or data.count(b"\r\n") == data.count(b"\r"):
        return ends
    returns = np.flatnonzero(array == _CR)
    last = len(data) - 1
    # A carriage return at the very end may have its line feed in what is read next.
    alone = np.where(returns < last, array[np.minimum(returns + 1, last)] != _LF, is_last)
    return np.sort(np.concatenate([ends, returns[alone] + 1]))


def quoted_edges(data: bytes, separator: str, quote: str) -> Any:
    """Return the offsets of the quotes that open and close fields, in turn; no escapes are there."""
    import numpy as np

    return _quote_edges(np, np.frombuffer(data, np.uint8), data, separator, quote)


def _quote_edges(np: Any, array: Any, data: bytes, separator: str, quote: str) -> Any:
    """Return the offsets of the quotes that open and close fields, in turn.

    Where every second quote stands at the start of a field, or doubles the one before it, the
    quotes take turns. Otherwise one is a plain character inside a field, as in ``5" pipe``.
    """
    quotes = np.flatnonzero(array == ord(quote))
    opening = quotes[::2]
    before = array[np.maximum(opening - 1, 0)]
    fits = (before == ord(separator)) | (before == _LF) | (before == _CR) | (opening == 0)
    fits[1:] |= quotes[1::2][: len(opening) - 1] + 1 == opening[1:]
    if fits.all():
        return quotes
    return _exact_edges(np, data, separator, quote)


def _exact_edges(np: Any, data: bytes, separator: str, quote: str) -> Any:
    q, s = re.escape(quote).encode("ascii"), re.escape(separator).encode("ascii")
    inside = b"[^%s]*(?:%s%s[^%s]*)*" % (q, q, q, q)
    field = re.compile(
        b"(?:(?<=[%s\r\n])|\\A)%s%s(?:(%s)(?!%s)|\\Z)" % (s, q, inside, q, q), re.DOTALL
    )
    edges = []
    for found in field.finditer(data):
        edges.append(found.start())
        if found.group(1):
            edges.append(found.end() - 1)
    return np.array(edges, np.int64)


def _rows_among(np: Any, array: Any, data: bytes, ends: Any, separator: str) -> Any:
    """Say of each line whether it is a row: neither empty nor blank."""
    if not len(ends):
        return np.zeros(0, bool)
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    first = array[starts]
    is_row = (first != _LF) & (first != _CR)
    blanks = " \t".replace(separator, "")
    strange = np.zeros(len(first), bool)
    for blank in blanks:
        strange |= first == ord(blank)
    trim = (blanks + "\r\n").encode("ascii")
    for index in np.flatnonzero(strange):
        is_row[index] = bool(data[starts[index] : ends[index]].strip(trim))
    return is_row
