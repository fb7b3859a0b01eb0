"""Notes on the rows of an output file: types and line ends that its text cannot represent.

They are lines of JSON, in the order of the rows. For text, one line for each mini-batch with a line end
inside a row::

    {"offset": 120, "lengths": [18, 7]}         offset of its first row, length of each row (bytes)

For CSV and JSON lines, one line for each new kind of table, and one for consecutive rows of the
same kind::

    {"kind": {"columns": [["id", "text"], ["n", "int64"]], "sep": ",", "header": true}}
    [4000, 0]                                   number of rows, number of their kind
    [3, 0, {"id": "sns"}]                       with a letter for each value of a column

A null kind means that the kind of the rows is unknown. The last line has the size of the file:
``{"size_bytes": ...}``.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Kind = dict[str, Any] | None


class NoteLines:
    """Writes the notes of an output file; see the module.

    Parameters
    ----------
    write
        Receives each line with its line end.
    """

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._numbers: dict[str, int] = {}
        self._rows = 0
        self._number = -1
        #: whether any note is needed to read the file
        self.is_needed = False
        #: offset and length of the header; without one, empty
        self.header: list[int] = []

    def add(self, note: dict[str, Any]) -> None:
        """Add the note of the next mini-batch that has one, or the place of the header."""
        if "header_at" in note:
            self.header = note["header_at"]
            return
        if "lengths" in note:
            self.is_needed = True
            self._write_line(note)
            return
        kind, codes = without_codes(note)
        number = self._number_of(kind)
        if codes or number != self._number:
            self._end_range()
            self._number = number
        self._rows += note["rows"]
        if codes:
            self._write_line([self._rows, number, codes])
            self._rows = 0

    def end(self, size_bytes: int) -> None:
        """Write the last range, and the size of the file that the notes belong to."""
        self._end_range()
        self._write_line({"size_bytes": size_bytes})

    def _end_range(self) -> None:
        if self._rows:
            self._write_line([self._rows, self._number])
            self._rows = 0

    def _number_of(self, kind: Kind) -> int:
        text = json.dumps(kind)
        if text not in self._numbers:
            self._end_range()
            self._numbers[text] = len(self._numbers)
            self._write_line({"kind": kind})
            self.is_needed = self.is_needed or kind is not None
        return self._numbers[text]

    def _write_line(self, line: Any) -> None:
        self._write(json.dumps(line, separators=(",", ":")) + "\n")


def without_codes(note: dict[str, Any]) -> tuple[Kind, dict[str, str]]:
    """Return the kind of a table, and the letters of the values of each column."""
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
    """The notes of a file."""

    size_bytes: int = -1
    #: of text: offset of consecutive rows, and the length of each in bytes
    row_lengths: list[tuple[int, array[int]]] = field(default_factory=list)
    #: of tables: number of rows, kind, letters by column
    ranges: list[tuple[int, Kind, dict[str, str]]] = field(default_factory=list)


def read_notes(lines: Iterable[str]) -> RowNotes:
    """Parse the lines of notes."""
    notes = RowNotes()
    kinds: list[Kind] = []
    for line in lines:
        match json.loads(line):
            case {"offset": offset, "lengths": lengths}:
                notes.row_lengths.append((offset, array("L", lengths)))
            case {"kind": kind}:
                kinds.append(kind)
            case [rows, number, *codes]:
                notes.ranges.append((rows, kinds[number], codes[0] if codes else {}))
            case {"size_bytes": size_bytes}:
                notes.size_bytes = size_bytes
    return notes
