"""What a table has beside the columns of its files: keys of their paths; and what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import InputError
from ...formatting import nearest_hint
from ..batching import STILL_READING
from ..partitions.group_by_keys import group_by_key
from ..partitions.path_format import PartitionFormat, as_json, combination
from .column_types import Types, type_name

_TABLE = 6
"""Where a plan line says how its table is read."""


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """How the columns of a table differ from those of its files.

    Parameters
    ----------
    key_types
        Types of the keys in the paths; text, or a time where the format has a date, is not named.
    path_column
        Name of a first column with the file's path; empty for none.
    drops
        Columns that are left out.
    empty_is_text
        Whether in columns of text every field is text, the empty one too; else it is missing, as is
        what pandas takes for missing (``NA``, ``null`` and so on).
    """

    key_types: dict[str, str] = field(default_factory=dict)
    path_column: str = ""
    drops: tuple[str, ...] = ()
    empty_is_text: bool = False

    def spec(self) -> dict[str, Any]:
        """Return what a run's record says of it; nothing for an arrangement that changes nothing."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> ColumnLayout:
        """Return the arrangement that a run's record describes."""
        return cls(**{**spec, "drops": tuple(spec.get("drops", ()))})


def split_types(types: Types, keys: list[str]) -> tuple[Types, dict[str, str]]:
    """Return the types that are given for columns of the files, and those for keys of the paths."""
    if not isinstance(types, Mapping):
        return types, {}
    of_keys = {key: type_name(types[key]) for key in keys if key in types}
    return {name: one for name, one in types.items() if name not in of_keys}, of_keys


def arrange(
    lines: Iterator[tuple[bytes, int]],
    arrangement: ColumnLayout,
    form: PartitionFormat | None,
    keys: tuple[str, ...],
) -> Iterator[tuple[bytes, int]]:
    """Tell in the plan lines of a table how its columns are arranged.

    Parameters
    ----------
    lines
        The plan lines and numbers of rows; each line is of one file.
    arrangement, form
        What there is to say; ``form`` has the keys of the paths.
    keys
        Keys of which every combination is one mini-batch; the lines then have whole files.

    Raises
    ------
    InputError
        A path does not match the format.
    """
    arranged = _arranged(lines, arrangement, form)
    if form is None or not keys:
        for row, items in arranged:
            yield (_line(row) if row else b""), items
        return
    first: list[Any] = []

    def pairs() -> Iterator[tuple[str, str] | None]:
        for row, _ in arranged:
            if not row:
                yield None
                continue
            first[:] = first or row[:2]
            values = form.values(row[2][0])
            yield combination({key: values[key] for key in keys}), json.dumps(row[2:])

    for group in group_by_key(pairs()):
        if group is None:
            yield STILL_READING, 0
            continue
        row, items = _joined([json.loads(one) for one in group[1]])
        yield _line([*first, *row, {"keys": json.loads(group[0])}]), items


def _arranged(
    lines: Iterator[tuple[bytes, int]], arrangement: ColumnLayout, form: PartitionFormat | None
) -> Iterator[tuple[list[Any], int]]:
    """Yield the plan lines as lists, with the arrangement in their tables; empty for no line."""
    said: dict[str, Any] = {}
    if arrangement.drops:
        said["drops"] = list(arrangement.drops)
    if arrangement.empty_is_text:
        said["empty_is_text"] = True
    path = ""
    for line, items in lines:
        if not line:
            yield [], items
            continue
        row = json.loads(line)
        if path != row[2][0]:
            path = row[2][0]
            if arrangement.path_column:
                said["path_column"] = [arrangement.path_column, path]
            if form is not None:
                said["key_columns"] = as_json(form.values(path))
                said["key_types"] = form.types()
        row[_TABLE].update(said)
        _check_drops(row[_TABLE], path_column=arrangement.path_column)
        yield row, items


def _check_drops(table: dict[str, Any], path_column: str) -> None:
    if "columns" not in table:
        return  # whoever reads the file knows them
    columns = [*table["columns"], *table.get("key_columns", ()), path_column]
    for name in table.get("drops", ()):
        if name not in columns:
            msg = (
                f"the column {name!r} is to be left out, but the input does not have it."
                f"{nearest_hint(name, columns)} Its columns are: {', '.join(columns[:20])}."
            )
            raise InputError(msg)


def _joined(rows: list[list[Any]]) -> tuple[list[Any], int]:
    """Return one line of the lines of several files, without its head, and its number of rows."""
    *columns, tables, counts = (list(column) for column in zip(*rows, strict=True))
    joined = [[value for one in column for value in one] for column in columns]
    common = {k: v for k, v in tables[0].items() if all(t.get(k, ...) == v for t in tables)}
    each = [{k: v for k, v in table.items() if k not in common} for table in tables]
    if any(each):
        common["each"] = each
    return [*joined, common, sum(counts)], sum(counts)


def _line(row: list[Any]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"
