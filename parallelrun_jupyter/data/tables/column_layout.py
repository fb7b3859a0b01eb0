"""The layout of a table: columns added to those of its files (keys, paths), and dropped columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...worker.plan_line import PlanLine
from ..batching import STILL_READING
from ..partitions.group_by_keys import group_by_key
from ..partitions.path_format import PartitionFormat, as_json, combination
from .column_types import Types, type_name


@dataclass(frozen=True, slots=True)
class ColumnLayout:
    """The differences between the columns of a table and the columns of its files.

    Parameters
    ----------
    key_types
        Types of the keys in the paths. Default for each key: text, or a time if the format has a date.
    path_column
        Name of a first column with the file's path. Default: no such column.
    drops
        Columns to drop; one that does not exist is ignored, as in Azure.
    keeps
        Columns to keep, in the order of the table; those in ``drops`` are dropped. Default: all.
    empty_is_text
        Whether every field of a column of text is text, even an empty one. Default: False, an empty
        field is missing, and so are the words that pandas treats as missing (``NA``, ``null``, ...).
    """

    key_types: dict[str, str] = field(default_factory=dict)
    path_column: str = ""
    drops: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    empty_is_text: bool = False

    def spec(self) -> dict[str, Any]:
        """Return the JSON value for a run's record; empty for a layout that changes nothing."""
        return {name: value for name, value in asdict(self).items() if value}

    def planning(self, keys: list[str]) -> dict[str, Any]:
        """Return the options with which the files are planned, given the keys in their paths."""
        options: dict[str, Any] = {}
        if self.empty_is_text:
            options["empty_is_text"] = True
        if self.keeps or self.drops:
            added = [*keys, *([self.path_column] if self.path_column else [])]
            options.update(keeps=self.keeps, drops=self.drops, added=added)
        return options

    @classmethod
    def of_spec(cls, spec: Mapping[str, Any]) -> ColumnLayout:
        """Return the layout from a run's record."""
        names = {name: tuple(spec.get(name, ())) for name in ("drops", "keeps")}
        return cls(**{**spec, **names})


def split_types(types: Types, keys: list[str]) -> tuple[Types, dict[str, str]]:
    """Separate the types of the files' columns from the types of the keys in the paths."""
    if not isinstance(types, Mapping):
        return types, {}
    of_keys = {key: type_name(types[key]) for key in keys if key in types}
    return {name: type_ for name, type_ in types.items() if name not in of_keys}, of_keys


def arrange(
    lines: Iterator[tuple[bytes, int]],
    layout: ColumnLayout,
    form: PartitionFormat | None,
    keys: tuple[str, ...],
) -> Iterator[tuple[bytes, int]]:
    """Add a column layout to the plan lines of a table.

    Parameters
    ----------
    lines
        The plan lines, each of one file, and their numbers of rows.
    layout, form
        The layout, and the format of the keys in the paths.
    keys
        Keys of which every combination of values is one mini-batch; each line is then a whole file.

    Raises
    ------
    InputError
        A path does not match the format.
    """
    arranged = _arranged(lines, layout, form)
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
        merged = _merged([PlanLine.decode(text.encode("ascii")) for text in group[1]])
        merged.extra["keys"] = json.loads(group[0])
        yield merged.encode() + b"\n", merged.rows


def _arranged(
    lines: Iterator[tuple[bytes, int]], layout: ColumnLayout, form: PartitionFormat | None
) -> Iterator[tuple[PlanLine | None, int]]:
    """Yield the plan lines with the layout in their tables; None as a sign of progress."""
    added: dict[str, Any] = {}
    if layout.drops:
        added["drops"] = list(layout.drops)
    if layout.keeps:
        added["keeps"] = list(layout.keeps)
    if layout.empty_is_text:
        added["empty_is_text"] = True
    path = ""
    for text, items in lines:
        if not text:
            yield None, items
            continue
        line = PlanLine.decode(text)
        if path != line.paths[0]:
            path = line.paths[0]
            if layout.path_column:
                added["path_column"] = [layout.path_column, path]
            if form is not None:
                added["key_columns"] = as_json(form.values(path))
                added["key_types"] = form.types()
        line.table.update(added)
        yield line, items


def _merged(lines: list[PlanLine]) -> PlanLine:
    """Merge the lines of several files into one."""
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
