"""Parquet: mini-batches are ranges of rows, and one schema is decided for all files."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import InputError, MissingExtraError
from ..batching import BatchSpec
from ..partitions.path_format import key_columns
from .parquet_types import is_rare, plain_type
from .table_files import Plan, PlannedBatch, Sources, TableFile, cut_groups, table_text, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_UNNAMED = re.compile(r"__index_level_\d+__")
"""What pandas calls the levels of an index that have no name."""

_LARGEST_OF_FLOAT = 1 << 53
"""A whole number up to this is the same as a float."""


def require_pyarrow() -> None:
    """See that Parquet can be read.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        msg = "Parquet needs pyarrow: pip install 'parallelrun-jupyter[parquet]'."
        raise MissingExtraError(msg)


def check_parquet(source: TableFile, options: dict[str, Any]) -> None:  # noqa: ARG001 - as its siblings
    """See that a file is Parquet.

    Raises
    ------
    InputError
        It is not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(source.path)
    except (OSError, pa.ArrowException) as error:
        msg = f"the input {source.name!r} is no Parquet file that can be read: {error}"
        raise InputError(msg) from error


def plan_parquet(sources: Sources, options: dict[str, Any], cut: BatchSpec) -> Plan:  # noqa: ARG001 - as its siblings
    """Yield the mini-batches of Parquet files, once the footers of all were read.

    Raises
    ------
    InputError
        The files have other columns, or types that do not fit together.
    """
    import pyarrow as pa

    dataset = _Dataset()
    planned: list[_File | PlannedBatch] = []
    for source in sources():
        try:
            file = _read_footer(source, dataset)
        except (OSError, pa.ArrowException, ValueError) as error:
            planned.append(unreadable(source, error))
            continue
        dataset.unite(file)
        planned.append(file)
        yield sum(rows for _, rows in file.groups)
    keys = key_columns([one.source.keys for one in planned])
    for one, of_path in zip(planned, keys, strict=True):
        if isinstance(one, PlannedBatch):
            yield one
            continue
        table = table_text({**dataset.table(), **one.own, **of_path}, one.source)
        for part in cut_groups(cut, one.groups):
            yield PlannedBatch(one.source, part, table)


@dataclass(frozen=True, slots=True)
class _File:
    """What the footer of a file says; ``own`` is what its plan lines tell of it alone."""

    source: TableFile
    schema: pa.Schema
    groups: list[tuple[int, int]]
    own: dict[str, Any]


@dataclass
class _Dataset:
    """What all files of a dataset have in common."""

    schema: pa.Schema | None = None
    first: str = ""
    gaps: set[str] = field(default_factory=set)
    large: set[str] = field(default_factory=set)
    uuids: set[str] = field(default_factory=set)
    _table: dict[str, Any] = field(default_factory=dict)

    def unite(self, file: _File) -> None:
        """Decide on types that hold the values of one more file too.

        Raises
        ------
        InputError
            It has other columns, or there are no such types.
        """
        import pyarrow as pa

        name, schema = file.source.name, file.schema
        if self.schema is None:
            self.schema, self.first = schema, name
        elif set(schema.names) != set(self.schema.names):
            msg = (
                f"{name!r} has the columns {', '.join(schema.names)}, but {self.first!r} has "
                f"{', '.join(self.schema.names)}. Give files of the same columns in each dataset."
            )
            raise InputError(msg)
        elif schema != self.schema:
            try:
                self.schema = pa.unify_schemas([self.schema, schema], promote_options="permissive")
            except pa.ArrowException as error:
                msg = f"the types of {name!r} do not fit those of {self.first!r}: {error}"
                raise InputError(msg) from error

    def table(self) -> dict[str, Any]:
        """Return what a worker has to know to read any of the files."""
        if not self._table and self.schema is not None:
            text = base64.b64encode(self.schema.serialize().to_pybytes()).decode("ascii")
            self._table = {"format": "parquet", "by": "rows", "schema": text, "gaps": self._kinds()}
            if self.uuids:
                self._table["uuids"] = sorted(self.uuids)
        return self._table

    def _kinds(self) -> dict[str, str]:
        """Return the types of columns that have gaps: one row group that has one decides for all."""
        import pyarrow as pa

        kinds = {}
        for column in self.schema or ():
            if column.name not in self.gaps:
                continue
            if pa.types.is_boolean(column.type):
                kinds[column.name] = "object"
            elif pa.types.is_integer(column.type):
                exact = "UInt64" if pa.types.is_unsigned_integer(column.type) else "Int64"
                kinds[column.name] = exact if column.name in self.large else "float64"
        return kinds


def _read_footer(source: TableFile, dataset: _Dataset) -> _File:
    """Read what a file is; gaps and large numbers in it are noted in ``dataset``.

    Raises
    ------
    OSError, pyarrow.ArrowException, ValueError
        It cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(source.path) as file:
        physical = file.schema_arrow
        names = physical.names
        twice = (
            sorted({name for name in names if names.count(name) > 1})
            if len(set(names)) < len(names)
            else []
        )
        if twice:
            msg = f"it has several columns of the name {twice[0]!r}"
            raise ValueError(msg)
        unnamed, counted = _index_of(physical, file.metadata.num_rows)
        fields, rare = [], {}
        for column in physical:
            if column.name in unnamed:
                continue
            plain = plain_type(column.type)
            fields.append(pa.field(column.name, plain))
            if is_rare(column.type):
                rare[column.name] = str(column.type)
            if str(column.type) == "extension<arrow.uuid>":
                dataset.uuids.add(column.name)
        schema = pa.schema(fields + [pa.field(name, pa.int64()) for name in counted])
        _see_values(file, schema, dataset)
        groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
    own: dict[str, Any] = {"counted": counted} if counted else {}
    own.update({"rare": rare} if rare else {})
    return _File(source, schema, [(_size_of(group), group.num_rows) for group in groups], own)


def _size_of(group: Any) -> int:
    return sum(group.column(k).total_compressed_size for k in range(group.num_columns))


def _index_of(schema: pa.Schema, rows: int) -> tuple[set[str], dict[str, list[int]]]:
    """Return what pandas' notes in a schema say of the index that a frame had.

    Returns
    -------
    tuple
        The columns that are levels without a name, which pandas does not give back as columns; and
        the start and step of an index that has a name and is in the notes alone, by its name.
    """
    notes = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    unnamed, counted = set(), {}
    for level in notes.get("index_columns", ()):
        if isinstance(level, str):
            if _UNNAMED.fullmatch(level):
                unnamed.add(level)
        elif level.get("kind") == "range" and level.get("name") is not None:
            name, values = str(level["name"]), range(level["start"], level["stop"], level["step"])
            if name not in schema.names and len(values) == rows:
                counted[name] = [values.start, values.step]
    return unnamed, counted


def _see_values(file: Any, schema: pa.Schema, dataset: _Dataset) -> None:
    """Note the columns of whole numbers and truth values that have gaps, or numbers beyond 2^53."""
    import pyarrow as pa

    numbers = {f.name for f in schema if pa.types.is_int64(f.type) or pa.types.is_uint64(f.type)}
    wanted = {f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_boolean(f.type)}
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for k in range(group.num_columns):
            column = group.column(k)
            name = column.path_in_schema
            is_open = name in wanted - dataset.gaps or name in numbers - dataset.large
            if not is_open:
                continue
            missing, largest = _seen(file, number, column)
            if missing:
                dataset.gaps.add(name)
            if name in numbers and largest > _LARGEST_OF_FLOAT:
                dataset.large.add(name)


def _seen(file: Any, number: int, column: Any) -> tuple[int, int]:
    """Return how many values of a column are missing in a row group, and the size of the largest."""
    found = column.statistics
    if (
        found is not None
        and found.has_null_count
        and (found.has_min_max or found.null_count == column.num_values)
    ):
        values = [found.min, found.max] if found.has_min_max else []
        return found.null_count, max((abs(value) for value in values), default=0)
    import pyarrow.compute as pc

    values = file.read_row_group(number, columns=[column.path_in_schema])[column.path_in_schema]
    ends = pc.min_max(values).as_py()
    return values.null_count, max((abs(end) for end in ends.values() if end is not None), default=0)
