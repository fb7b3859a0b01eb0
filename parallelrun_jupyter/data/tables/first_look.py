"""A first look at delimited text: guesses column types from the first rows of some files.

Workers confirm the types as they read the rows (``worker/tables/assumed_types.py``), so a wrong guess
costs time and nothing else. A guess must be of a type that all later rows can confirm. If a field is
unusual, there is no guess, and the types are inferred from all rows. pandas is not imported: the first
mini-batch of a run waits for this.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import dropwhile

from ...worker.tables.row_splitter import split_rows
from ...worker.tables.table_columns import MISSING
from .type_inference import Reading, Rules

HEAD_BYTES = 1 << 18
LOOKED_AT = 4
"""The number of files whose first rows suggest the types."""

_ROWS = 1000
_FIELDS = 200_000
_ODD_SHARE = 0.1
"""If a larger share of the rows of a probe has another width, it probably begins in a quote."""

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,14})", re.ASCII)
_FRACTION = re.compile(
    r"-?(?:0|[1-9]\d{0,14})?(?:\.\d+(?:[eE][+-]?\d{1,2})?|(?<=\d)[eE][+-]?\d{1,2})", re.ASCII
)
_WHOLES, _NUMBERS = (
    re.compile(f"(?:{kind})(?:\0(?:{kind}))*", re.ASCII)
    for kind in (_WHOLE.pattern, f"{_WHOLE.pattern}|{_FRACTION.pattern}")
)
"""Fields of one kind, joined by zero bytes, which no text here contains."""

_CODE = re.compile(r"[+-]?0\d+", re.ASCII)
_NUMBER_LIKE = re.compile(r"[\d+\-.eE\s]*\d[\d+\-.eE\s]*", re.ASCII)
_TWO_NUMBERS = re.compile(r"[^.]*\.[^.]*\..*|[^\s].*(?<![eE])[+-].*", re.DOTALL)
"""Like a number, but with two points, or with a sign inside: dates and versions."""

_NOT_PLAIN = frozenset("eEiInNtTfF")
"""The letters that a number, a truth value or a special value may begin with."""

_TRUTH_VALUES = frozenset({"True", "TRUE", "true", "False", "FALSE", "false"})
_SPECIAL = frozenset({"inf", "infinity", "nan"})


@dataclass(frozen=True, slots=True)
class FirstLook:
    """The guessed type of each column, and the columns without any value in the first rows."""

    types: dict[str, str]
    empty: tuple[str, ...]


class _Column:
    """The fields of one column in the first rows."""

    __slots__ = ("is_unusual", "kinds", "rules")

    def __init__(self, rules: Rules) -> None:
        self.kinds: set[str] = set()
        self.is_unusual = False
        self.rules = rules

    def add(self, fields: Iterable[str]) -> None:
        """Add the kinds of some fields: those of numbers and of plain text together."""
        values = set(fields)
        missing = self.rules.missing
        others = values.difference(MISSING if missing is None else missing, ("",))
        if len(others) < len(values):
            self.kinds.update(map(self._kind, values - others))
        joined = "\0".join(others)
        if _WHOLES.fullmatch(joined):
            self.kinds.add("int64")
        elif _NUMBERS.fullmatch(joined):
            self.kinds.add("float64")
        else:
            for field in others:
                is_plain = field[0].isalpha() and field[0] not in _NOT_PLAIN
                kind = "str" if is_plain else self._kind(field)
                self.kinds.add(kind)
                self.is_unusual |= not kind

    def _kind(self, field: str) -> str:
        """Return the kind of a field, or an empty text if it is unusual."""
        missing = self.rules.missing
        if field == "":
            return "gap"
        if field in (MISSING if missing is None else missing):
            return "word"
        if _WHOLE.fullmatch(field):
            return "int64"
        if _FRACTION.fullmatch(field):
            return "float64"
        if field in _TRUTH_VALUES:
            return "bool"
        if _CODE.fullmatch(field):
            return "str" if self.rules.is_exact else ""
        if field.strip().lstrip("+-").lower() in _SPECIAL:
            return ""
        if _NUMBER_LIKE.fullmatch(field) and not _TWO_NUMBERS.fullmatch(field):
            return ""
        return "str"

    def guess(self) -> str:
        """Return a type that all later rows can confirm; an empty text if there is none."""
        kinds = self.kinds - {"gap", "word"}
        has_gap = kinds != self.kinds
        if self.is_unusual:
            return ""
        if not kinds:
            is_number = not (self.rules.empty_is_text or "word" in self.kinds)
            return "float64" if is_number else ""
        if "str" in kinds or ("bool" in kinds and (has_gap or len(kinds) > 1)):
            return "str"
        if kinds == {"bool"}:
            return "bool"
        return "float64" if has_gap or "float64" in kinds else "int64"

    @property
    def is_empty(self) -> bool:
        """Whether no field has a value."""
        return self.kinds <= {"gap", "word"}


def first_look(
    heads: Sequence[bytes],
    probes: Sequence[bytes],
    columns: Sequence[str],
    wanted: Container[str],
    reading: Reading,
) -> FirstLook | None:
    """Return the guessed types of columns; None if a field of the first rows is unusual.

    There is no guess either if later rows suggest other types.

    Parameters
    ----------
    heads
        The first rows of some files, each at most `HEAD_BYTES`; the last row of each may be cut.
    probes
        Lines from later places of the files, which need not be whole rows: those that have another
        number of fields are ignored.
    columns, wanted
        All columns, and those to guess.
    reading
        How the text is read.
    """
    found = [_Column(reading.rules) for _ in columns]
    for head in heads:
        rows = _rows(head, reading, len(columns))
        if rows is None:
            return None
        for column, fields in zip(found, zip(*rows, strict=True), strict=False):
            column.add(fields)
    guessed = {n: column for n, column in zip(columns, found, strict=True) if n in wanted}
    types = {name: column.guess() for name, column in guessed.items()}
    if not all(types.values()):
        return None
    look = FirstLook(types, tuple(name for name, column in guessed.items() if column.is_empty))
    for probe in probes:
        rows = _rows_of_probe(probe, reading, len(columns))
        for column, fields in zip(found, zip(*rows, strict=True), strict=False):
            column.add(fields)
    is_alike = all(column.guess() == types[name] for name, column in guessed.items())
    return look if is_alike else None


def _rows(head: bytes, reading: Reading, width: int) -> list[list[str]] | None:
    """Return the complete rows of a text, padded to a width; None if one is wider, or unreadable."""
    ends, _, _ = split_rows(head, reading.marks, is_last=False)
    if not len(ends):
        return None
    limit = max(1, min(_ROWS, _FIELDS // width))
    rows = _parsed(head[: int(ends[min(limit, len(ends)) - 1])], reading)
    if not rows or any(len(row) > width for row in rows):
        return None
    if any(len(row) == 1 and (width > 1 or row[0]) and not row[0].strip() for row in rows):
        return None  # a blank line, or one that pandas takes for it
    return [row + [""] * (width - len(row)) for row in rows]


def _rows_of_probe(lines: bytes, reading: Reading, width: int) -> list[list[str]]:
    """Return the rows of some lines, padded to a width; none if the lines seem to begin in a quote."""
    rows = list(dropwhile(lambda row: len(row) != width, _parsed(lines, reading) or []))
    whole = [row for row in rows if len(row) == width]
    if len(rows) - len(whole) > len(rows) * _ODD_SHARE:
        return []
    return [row + [""] * (width - len(row)) for row in rows if len(row) <= width]


def _parsed(text: bytes, reading: Reading) -> list[list[str]] | None:
    """Return the rows of a text without the empty ones; None if it cannot be read."""
    marks = reading.marks
    try:
        reader = csv.reader(
            io.StringIO(text.decode(reading.encoding), newline=""),
            delimiter=marks.separator,
            quotechar=marks.quote or None,
            quoting=csv.QUOTE_MINIMAL if marks.quote else csv.QUOTE_NONE,
            escapechar=marks.escape or None,
        )
        return None if b"\0" in text else [row for row in reader if row]
    except (UnicodeDecodeError, csv.Error):
        return None
