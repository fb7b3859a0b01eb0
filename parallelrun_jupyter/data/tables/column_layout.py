"""What a table has beside the columns of its files: keys of their paths; and what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import InputError
from ...formatting import nearest_hint
from ...worker.plan_line import PlanLine
from ..batching import STILL_READING
from ..partitions.group_by_keys import group_by_key
from ..partitions.path_format import PartitionFormat, as_json, combination
from .column_types import Types, type_name


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
        for line, items in arranged:
            yield (line.encode() + b"\n" if line else STILL_READING), items
        return

    def pairs() -> Iterator[tuple[str, str] | None]:
        for line, _ in arranged:
            if line is None:
                yield None
                continue
            values = form.values(line.paths[0])
            yield combination({key: values[key] for key in keys}), line.encode().decode("ascii")

    for group in group_by_key(pairs()):
        if group is None:
            yield STILL_READING, 0
            continue
        joined = _joined([PlanLine.decode(text.encode("ascii")) for text in group[1]])
        joined.extra["keys"] = json.loads(group[0])
        yield joined.encode() + b"\n", joined.rows


def _arranged(
    lines: Iterator[tuple[bytes, int]], arrangement: ColumnLayout, form: PartitionFormat | None
) -> Iterator[tuple[PlanLine | None, int]]:
    """Yield the plan lines with the arrangement in their tables; None while files are read."""
    said: dict[str, Any] = {}
    if arrangement.drops:
        said["drops"] = list(arrangement.drops)
    if arrangement.empty_is_text:
        said["empty_is_text"] = True
    path = ""
    for text, items in lines:
        if not text:
            yield None, items
            continue
        line = PlanLine.decode(text)
        if path != line.paths[0]:
            path = line.paths[0]
            if arrangement.path_column:
                said["path_column"] = [arrangement.path_column, path]
            if form is not None:
                said["key_columns"] = as_json(form.values(path))
                said["key_types"] = form.types()
        line.table.update(said)
        _check_drops(line.table, path_column=arrangement.path_column)
        yield line, items


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


def _joined(lines: list[PlanLine]) -> PlanLine:
    """Return one line of the lines of several files."""
    tables = [line.table for line in lines]
    common = {k: v for k, v in tables[0].items() if all(t.get(k, ...) == v for t in tables)}
    each = [{k: v for k, v in table.items() if k not in common} for table in tables]
    if any(each):
        common["each"] = each
    return PlanLine(
        lines[0].input_number,
        [path for line in lines for path in line.paths],
        [size for line in lines for size in line.sizes],
        [version for line in lines for version in line.versions],
        ranges=[range_ for line in lines for range_ in line.ranges],
        table=common,
        rows=sum(line.rows for line in lines),
    )
