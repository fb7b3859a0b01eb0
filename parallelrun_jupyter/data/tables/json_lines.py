"""JSON lines: an object a row. One pass finds the columns, their types and the rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from ..batching import BatchSpec
from .column_types import known_types
from .row_ranges import Range, RowScan
from .table_files import Plan, PlannedBatch, Sources, TableFile, table_text, unreadable
from .text_encoding import TextFile, text_file

_KINDS = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}
_LARGEST = 1 << 63
_LARGEST_OF_FLOAT = 1 << 53
"""A whole number up to this is the same as a float."""


@dataclass
class _Column:
    """What the rows hold under one name."""

    kinds: set[str] = field(default_factory=set)
    count: int = 0

    def see(self, value: Any) -> None:
        kind = _KINDS.get(type(value), "other")
        if kind == "int" and not -_LARGEST <= value < _LARGEST:
            kind = "other"
        elif kind == "int" and abs(value) > _LARGEST_OF_FLOAT:
            kind = "long"
        self.kinds.add(kind)
        self.count += 1

    def decide(self, rows: int, *, is_exact: bool) -> str:
        """Return the one type: where values are missing, numbers are floats, if none is changed.

        Whole numbers that floats do not hold are ``Int64`` then, where ``is_exact``; else objects.
        """
        kinds = self.kinds - {"null"}
        has_gap = self.count < rows or "null" in self.kinds
        if kinds == {"str"}:
            return "str"
        if kinds == {"bool"} and not has_gap:
            return "bool"
        if kinds and kinds <= {"int", "long"} and not has_gap:
            return "int64"
        if is_exact and "long" in kinds and kinds <= {"int", "long"}:
            return "Int64"
        return "float64" if kinds and kinds <= {"int", "float"} else "object"


def _open(source: TableFile, encoding: str) -> tuple[TextFile, RowScan]:
    text = text_file(source.path, encoding, "")
    return text, RowScan(text, "", "")


def check_json_lines(source: TableFile, options: dict[str, Any]) -> None:
    """See that a file begins with a JSON object.

    Raises
    ------
    InputError
        It does not, or cannot be read.
    """
    try:
        text, scan = _open(source, options["encoding"])
        head, _ = scan.first_row()
        found = json.loads(head.decode("utf-8" if not text.is_transparent else text.encoding))
    except (OSError, EOFError, ValueError) as error:
        msg = f"the input {source.name!r} could not be read as JSON lines: {error}"
        raise InputError(msg) from error
    if not isinstance(found, dict):
        msg = (
            f"the input {source.name!r} holds a {type(found).__name__} in its first line; expected "
            "a JSON object in every line."
        )
        raise InputError(msg)


def plan_json_lines(sources: Sources, options: dict[str, Any], cut: BatchSpec) -> Plan:
    """Yield the mini-batches of JSON lines, once all rows were seen.

    Raises
    ------
    InputError
        A type is given for a column that is not there.
    """
    columns: dict[str, _Column] = {}
    rows = 0
    planned: list[tuple[TableFile, TextFile, list[Range]] | PlannedBatch] = []
    for source in sources():
        ranges: list[Range] = []
        try:
            text, scan = _open(source, options["encoding"])
            scan.watch(lambda data, text=text: _see(data, text, columns))  # type: ignore[misc] # bound now
            for found in scan.ranges(cut, text.start):
                ranges.append(found)
                yield found[2]
        except (OSError, EOFError, ValueError) as error:
            planned.append(unreadable(source, error))
        else:
            planned.append((source, text, ranges))
            rows += sum(found[2] for found in ranges)
    known = known_types(options["column_types"], list(columns))
    is_exact = options.get("inference") == "exact"
    types = [
        known.get(name) or column.decide(rows, is_exact=is_exact)
        for name, column in columns.items()
    ]
    for one in planned:
        if isinstance(one, PlannedBatch):
            yield one
            continue
        source, text, ranges = one
        table = {"format": "json_lines", "columns": list(columns), "types": types, **text.table()}
        shown = table_text(table, source)
        for found in ranges:
            yield PlannedBatch(source, found, shown)


def _see(data: bytes, text: TextFile, columns: dict[str, _Column]) -> None:
    encoding = text.encoding if text.is_transparent else "utf-8"
    for line in data.split(b"\n"):
        try:
            row = json.loads(line.decode(encoding))
        except ValueError:
            continue  # empty, or whoever reads this mini-batch will say what is wrong with it
        if isinstance(row, dict):
            for name, value in row.items():
                if name not in columns:
                    columns[name] = _Column()
                columns[name].see(value)
