"""Plans JSON lines, one object per row: one pass finds the columns, their types and the rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from ...errors import InputError
from ...worker.tables.json_lines import parse_lines
from ...worker.tables.number_forms import FLOAT_HOLDS
from ...worker.tables.row_splitter import Marks
from ..batching import BatchSpec
from .column_types import fixed_types_of, used_columns
from .first_look import HEAD_BYTES, LOOKED_AT
from .row_ranges import Range, RowScan
from .table_files import Plan, PlannedBatch, Sources, TableFile, table_text, unreadable
from .text_encoding import TextFile, text_file

_KINDS = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}
_INT64_LIMIT = 1 << 63


@dataclass
class _Column:
    """The kinds of values under one name, and their number; nothing of a column that is not read."""

    is_used: bool = True
    kinds: set[str] = field(default_factory=set)
    count: int = 0

    def add(self, value: Any) -> None:
        kind = _KINDS.get(type(value), "other")
        if kind == "int" and abs(value) > FLOAT_HOLDS:
            kind = "long" if -_INT64_LIMIT <= value < _INT64_LIMIT else "other"
        self.kinds.add(kind)
        self.count += 1

    def decide(self, rows: int, *, is_exact: bool) -> str:
        """Return the type that holds all values.

        Whole numbers with gaps are floats. If one is too large for that, they are ``Int64`` if
        ``is_exact``, else objects.
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
    return text, RowScan(text, Marks(""))


def check_json_lines(source: TableFile, options: dict[str, Any]) -> None:
    """Check that a file begins with a JSON object.

    Raises
    ------
    InputError
        The file does not begin with one, or cannot be read.
    """
    try:
        text, scan = _open(source, options["encoding"])
        line, _ = scan.first_row()
        value = json.loads(line.decode(text.content_encoding))
    except (OSError, EOFError, ValueError) as error:
        msg = f"the input {source.name!r} could not be read as JSON lines: {error}"
        raise InputError(msg) from error
    if not isinstance(value, dict):
        msg = (
            f"the first line of the input {source.name!r} is a {type(value).__name__}; expected "
            "a JSON object in every line."
        )
        raise InputError(msg)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a dataset that are read, with their types.

    ``given`` are those whose type the user gave, and ``empty`` those without any value.
    """

    types: dict[str, str]
    given: list[str]
    empty: list[str]

    @classmethod
    def decide(cls, columns: dict[str, _Column], rows: int, options: dict[str, Any]) -> _Columns:
        """Return the given types, and the ones that hold all values so far.

        Raises
        ------
        InputError
            A type is given for a column that does not exist.
        """
        fixed_types = fixed_types_of(options, list(columns))
        is_exact = options.get("inference") == "exact"
        types = {
            name: fixed_types.get(name) or columns[name].decide(rows, is_exact=is_exact)
            for name in used_columns(options, list(columns))
        }
        given = [name for name in types if name in fixed_types]
        return cls(types, given, [name for name in types if columns[name].kinds <= {"null"}])

    def table(self, text: TextFile, source: TableFile, assumed: dict[str, Any]) -> str:
        """Return the JSON table of a file."""
        columns, types = list(self.types), list(self.types.values())
        table = {"format": "json_lines", "columns": columns, "types": types, **text.table()}
        return table_text({**table, **assumed}, source)


def plan_json_lines(sources: Sources, options: dict[str, Any], cut: BatchSpec) -> Plan:
    """Yield the mini-batches of JSON lines.

    They follow one pass over all rows, or at once if the types are assumed from the first rows.

    Raises
    ------
    InputError
        A type is given for a column that does not exist.
    """
    assumed = _first_look(sources, options) if cut.assumes_types else None
    if assumed is not None:
        yield from _plan_assumed(sources, options, cut, assumed)
        return
    columns: dict[str, _Column] = {}
    rows = 0
    planned: list[tuple[TableFile, TextFile, list[Range]] | PlannedBatch] = []
    for source in sources():
        ranges: list[Range] = []
        try:
            text, scan = _open(source, options["encoding"])
            scan.watch(partial(_watch, text, columns, options))
            for range_ in scan.ranges(cut, text.start):
                ranges.append(range_)
                yield range_[2]
        except (OSError, EOFError, ValueError) as error:
            planned.append(unreadable(source, error))
        else:
            planned.append((source, text, ranges))
            rows += sum(range_[2] for range_ in ranges)
    decided = _Columns.decide(columns, rows, options)
    for batches in planned:
        if isinstance(batches, PlannedBatch):
            yield batches
            continue
        source, text, ranges = batches
        table = decided.table(text, source, {})
        for range_ in ranges:
            yield PlannedBatch(source, range_, table)


def _first_look(sources: Sources, options: dict[str, Any]) -> _Columns | None:
    """Return the columns that the first rows of some files have; None to infer them from all rows."""
    columns: dict[str, _Column] = {}
    probes: list[tuple[bytes, TextFile]] = []
    rows = 0
    is_cut = False
    try:
        for source in islice(sources(), LOOKED_AT):
            text, _ = _open(source, options["encoding"])
            head = text.head(text.start, HEAD_BYTES)
            if head is None:
                return None
            known = len(columns)
            rows += _infer(head[: head.rfind(b"\n") + 1], text, columns, options)
            if is_cut and len(columns) > known:
                return (
                    None  # the rest of an earlier file may have columns that precede the new ones
                )
            is_cut |= len(head) >= HEAD_BYTES
            probes += ((lines, text) for lines in text.probes(text.start))
        first_names = list(columns)
        for lines, text in probes:
            rows += _infer(lines, text, columns, options)
        is_known = bool(columns) and list(columns) == first_names
        return _Columns.decide(columns, rows, options) if is_known else None
    except (OSError, EOFError, ValueError):  # InputError is one: a column may come later
        return None


def _plan_assumed(
    sources: Sources, options: dict[str, Any], cut: BatchSpec, assumed: _Columns
) -> Plan:
    key: dict[str, Any] = {"given": assumed.given, "empty": assumed.empty}
    if not options.get("keeps"):  # another column would be one of the table
        key["others"] = sorted(options.get("drops", ()))
    for source in sources():
        try:
            text, scan = _open(source, options["encoding"])
            table = assumed.table(text, source, {"assumed": key})
            for range_ in scan.ranges(cut, text.start):
                yield PlannedBatch(source, range_, table)
        except (OSError, EOFError, ValueError) as error:
            yield unreadable(source, error)


def _watch(
    text: TextFile, columns: dict[str, _Column], options: dict[str, Any], data: bytes
) -> None:
    _infer(data, text, columns, options)


def _infer(
    data: bytes, text: TextFile, columns: dict[str, _Column], options: dict[str, Any]
) -> int:
    """Add the values of a block, and return its number of lines.

    A bad line is reported by the mini-batch that reads it.
    """
    keeps, drops = options.get("keeps", ()), options.get("drops", ())
    lines = 0
    for _, row in parse_lines(data, text.content_encoding):
        lines += 1
        if isinstance(row, dict):
            for name, value in row.items():
                column = columns.get(name)
                if column is None:
                    is_used = name not in drops and (not keeps or name in keeps)
                    column = columns[name] = _Column(is_used=is_used)
                if column.is_used:
                    column.add(value)
    return lines
