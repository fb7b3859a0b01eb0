"""What an output file cannot say of its rows: types of columns, and rows that hold line ends.

The notes are lines of JSON, in the order of the rows. Of text there is a line for each mini-batch
with a line end inside of a row::

    {"offset": 120, "lengths": [18, 7]}         bytes in the file of its first row, and of each row

Of CSV and JSON lines there is a line for each kind of table, when it first comes, and one for
rows that follow one another and have the same kind::

    {"kind": {"columns": [["id", "text"], ["n", "int64"]], "sep": ",", "header": true}}
    [4000, 0]                                   so many rows, the number of their kind
    [3, 0, {"id": "sns"}]                       and letters of each value of a column

A kind of null is that of rows of which nothing is known. The last line is ``{"size_bytes": ...}``
of the file.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Kind = dict[str, Any] | None


class NoteLines:
    """Turns the notes of mini-batches into lines, and joins what is alike.

    Parameters
    ----------
    write
        Takes each line, with its line end.
    """

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._numbers: dict[str, int] = {}
        self._rows = 0
        self._number = -1
        #: whether there is anything that the file itself does not say
        self.is_needed = False

    def take(self, note: dict[str, Any]) -> None:
        """Take the note of the next mini-batch that has one."""
        if "lengths" in note:
            self.is_needed = True
            self._say(note)
            return
        kind, codes = _without_codes(note)
        number = self._number_of(kind)
        if codes or number != self._number:
            self._end_range()
            self._number = number
        self._rows += note["rows"]
        if codes:
            self._say([self._rows, number, codes])
            self._rows = 0

    def end(self, size_bytes: int) -> None:
        """Write what is left, and the size of the file that the notes are of."""
        self._end_range()
        self._say({"size_bytes": size_bytes})

    def _end_range(self) -> None:
        if self._rows:
            self._say([self._rows, self._number])
            self._rows = 0

    def _number_of(self, kind: Kind) -> int:
        text = json.dumps(kind)
        if text not in self._numbers:
            self._end_range()
            self._numbers[text] = len(self._numbers)
            self._say({"kind": kind})
            self.is_needed = self.is_needed or kind is not None
        return self._numbers[text]

    def _say(self, line: Any) -> None:
        self._write(json.dumps(line, separators=(",", ":")) + "\n")


def _without_codes(note: dict[str, Any]) -> tuple[Kind, dict[str, str]]:
    """Return the kind of a table, and by column the letters of its values."""
    if note["columns"] is None:
        return None, {}
    codes, columns = {}, []
    for name, kind, *extras in note["columns"]:
        extra = dict(extras[0]) if extras else {}
        if "codes" in extra:
            codes[name] = extra.pop("codes")
        columns.append([name, kind, extra])
    return {**{k: v for k, v in note.items() if k != "rows"}, "columns": columns}, codes


@dataclass(slots=True)
class RowNotes:
    """The notes of a file, as they were read."""

    size_bytes: int = -1
    #: of text: the offset of a stretch of rows, and the bytes of each
    stretches: list[tuple[int, array[int]]] = field(default_factory=list)
    #: of tables: rows, kind, letters by column
    ranges: list[tuple[int, Kind, dict[str, str]]] = field(default_factory=list)


def read_notes(lines: Iterable[str]) -> RowNotes:
    """Return the notes that lines hold."""
    notes = RowNotes()
    kinds: list[Kind] = []
    for line in lines:
        match json.loads(line):
            case {"offset": offset, "lengths": lengths}:
                notes.stretches.append((offset, array("L", lengths)))
            case {"kind": kind}:
                kinds.append(kind)
            case [rows, number, *codes]:
                notes.ranges.append((rows, kinds[number], codes[0] if codes else {}))
            case {"size_bytes": size_bytes}:
                notes.size_bytes = size_bytes
    return notes
