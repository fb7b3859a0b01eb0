"""Plans Parquet files: mini-batches are ranges of rows, and all files share one schema."""

from __future__ import annotations

import base64
import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import InputError, MissingExtraError
from ...worker.tables.number_forms import FLOAT_HOLDS
from ..batching import BatchSpec
from ..partitions.path_format import key_columns
from .column_types import used_columns
from .row_ranges import Range
from .table_files import Plan, PlannedBatch, Sources, TableFile, table_text, unreadable

if TYPE_CHECKING:
    import pyarrow as pa

_UNNAMED = re.compile(r"__index_level_\d+__")
"""pandas' name for an index level without a name."""

_RARE = re.compile(r"_view|extension|halffloat|decimal(32|64|256)|run_end|month_")
_VIEWS = {"string_view": "string", "binary_view": "binary"}


def require_pyarrow() -> None:
    """Check that Parquet can be read.

    Raises
    ------
    MissingExtraError
        pyarrow is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        msg = "Parquet needs pyarrow: pip install 'parallelrun-jupyter[parquet]'."
        raise MissingExtraError(msg)


def check_parquet(source: TableFile, options: dict[str, Any]) -> None:  # noqa: ARG001 - as its siblings
    """Check that a file is Parquet.

    Raises
    ------
    InputError
        The file is not Parquet, or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(source.path)
    except (OSError, pa.ArrowException) as error:
        msg = f"the input {source.name!r} could not be read as Parquet: {error}"
        raise InputError(msg) from error


def plan_parquet(sources: Sources, options: dict[str, Any], cut: BatchSpec) -> Plan:
    """Yield the mini-batches of Parquet files, after reading the footers of all files.

    Raises
    ------
    InputError
        The columns of the files differ, or no type can represent a column of all files.
    """
    import pyarrow as pa

    dataset = _Dataset()
    planned: list[_File | PlannedBatch] = []
    for source in sources():
        try:
            file = _read_footer(source, dataset, options)
        except (OSError, pa.ArrowException, ValueError) as error:
            planned.append(unreadable(source, error))
            continue
        dataset.unite(file)
        planned.append(file)
        yield sum(rows for _, rows in file.groups)
    keys = key_columns([file.source.keys for file in planned])
    for file_or_batch, of_path in zip(planned, keys, strict=True):
        if isinstance(file_or_batch, PlannedBatch):
            yield file_or_batch
            continue
        file = file_or_batch
        table = table_text({**dataset.table(), **file.own, **of_path}, file.source)
        for range_ in _ranges(cut, file.groups):
            yield PlannedBatch(file.source, range_, table)


def _ranges(cut: BatchSpec, groups: list[tuple[int, int]]) -> Iterator[Range]:
    """Yield the ranges of a file, given the size in bytes and the number of rows of its row groups.

    By size, a mini-batch is one or more whole row groups. By rows, it has exactly the wanted number of
    rows, across row groups, and the last one has the rest.
    """
    if cut.rows:
        total = sum(rows for _, rows in groups)
        for first in range(0, total, cut.rows):
            end = min(first + cut.rows, total)
            yield first, end, end - first
        return
    start = end = size = 0
    for group_bytes, group_rows in groups:
        if end > start and size + group_bytes > cut.size:
            yield start, end, end - start
            start, size = end, 0
        end += group_rows
        size += group_bytes
    if end > start:
        yield start, end, end - start


@dataclass(frozen=True, slots=True)
class _File:
    """The footer of a file.

    ``groups`` has the size in bytes and the number of rows of each row group. ``own`` is the part of
    its plan lines' table that differs from file to file.
    """

    source: TableFile
    schema: pa.Schema
    groups: list[tuple[int, int]]
    own: dict[str, Any]


@dataclass
class _Dataset:
    """The common schema of all files, and which of its columns need a type with gaps.

    ``gaps`` are columns with missing values, ``large`` those with numbers above 2^53, ``uuids`` those
    of UUIDs: a single file with such values decides for all.
    """

    schema: pa.Schema | None = None
    first: str = ""
    gaps: set[str] = field(default_factory=set)
    large: set[str] = field(default_factory=set)
    uuids: set[str] = field(default_factory=set)
    _table: dict[str, Any] = field(default_factory=dict)

    def unite(self, file: _File) -> None:
        """Extend the schema to hold the values of one more file.

        Raises
        ------
        InputError
            The file has other columns, or types that do not fit.
        """
        import pyarrow as pa

        name, schema = file.source.name, file.schema
        if self.schema is None:
            self.schema, self.first = schema, name
        elif set(schema.names) != set(self.schema.names):
            msg = (
                f"{name!r} has the columns {', '.join(schema.names)}, but {self.first!r} has "
                f"{', '.join(self.schema.names)}. Give each dataset files with the same columns."
            )
            raise InputError(msg)
        elif schema != self.schema:
            try:
                self.schema = pa.unify_schemas([self.schema, schema], promote_options="permissive")
            except pa.ArrowException as error:
                msg = f"the types of {name!r} do not fit the types of {self.first!r}: {error}"
                raise InputError(msg) from error

    def table(self) -> dict[str, Any]:
        """Return the part of a plan line's table that is the same for all files."""
        if not self._table and self.schema is not None:
            text = base64.b64encode(self.schema.serialize().to_pybytes()).decode("ascii")
            self._table = {
                "format": "parquet",
                "by": "rows",
                "schema": text,
                "gaps": self._dtypes(),
            }
            if self.uuids:
                self._table["uuids"] = sorted(self.uuids)
        return self._table

    def _dtypes(self) -> dict[str, str]:
        """Return the pandas dtypes of the columns that have gaps."""
        import pyarrow as pa

        dtypes = {}
        for column in self.schema or ():
            if column.name not in self.gaps:
                continue
            if pa.types.is_boolean(column.type):
                dtypes[column.name] = "object"
            elif pa.types.is_integer(column.type):
                exact = "UInt64" if pa.types.is_unsigned_integer(column.type) else "Int64"
                dtypes[column.name] = exact if column.name in self.large else "float64"
        return dtypes


def _read_footer(source: TableFile, dataset: _Dataset, options: dict[str, Any]) -> _File:
    """Read the footer of a file; add its gaps, large numbers and UUIDs to ``dataset``.

    Raises
    ------
    OSError, pyarrow.ArrowException, ValueError
        The file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(source.path) as file:
        physical = file.schema_arrow
        names = physical.names
        if len(set(names)) < len(names):
            twice = min(name for name in names if names.count(name) > 1)
            msg = f"it has several columns named {twice!r}"
            raise ValueError(msg)
        unnamed, counted = _index_of(physical, file.metadata.num_rows)
        used = _used_of(options, [n for n in names if n not in unnamed], counted, source)
        counted = {name: level for name, level in counted.items() if name in used}
        fields, rare = [], {}
        for column in physical:
            if column.name not in used:
                continue
            plain = plain_type(column.type)
            fields.append(pa.field(column.name, plain))
            if is_rare(column.type):
                rare[column.name] = str(column.type)
            if str(column.type) == "extension<arrow.uuid>":
                dataset.uuids.add(column.name)
        schema = pa.schema(fields + [pa.field(name, pa.int64()) for name in counted])
        _add_values(file, schema, dataset)
        groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
    own: dict[str, Any] = {"counted": counted} if counted else {}
    own.update({"rare": rare} if rare else {})
    return _File(source, schema, [(_size_of(group), group.num_rows) for group in groups], own)


def _used_of(
    options: dict[str, Any], names: list[str], counted: dict[str, list[int]], source: TableFile
) -> set[str]:
    """Return the columns of a file that are read, of those in it and those that are only described.

    All are if a column to keep does not exist: then the mini-batches fail, and name the columns.
    """
    existing = [*names, *counted]
    added = [*options.get("added", ()), *source.keys]
    if not {*existing, *added}.issuperset(options.get("keeps", ())):
        return set(existing)
    used = set(used_columns({**options, "added": added}, existing))
    return used if used.intersection(names) else {*used, *names[:1]}


def _size_of(group: Any) -> int:
    return sum(group.column(k).total_compressed_size for k in range(group.num_columns))


def _index_of(schema: pa.Schema, rows: int) -> tuple[set[str], dict[str, list[int]]]:
    """Return the index of the DataFrame that was written, from pandas' metadata in a schema.

    Returns
    -------
    unnamed : set
        The columns that are index levels without a name; pandas does not return them as columns.
    counted : dict
        By name, the start and step of an index that is only described in the metadata.
    """
    metadata = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    unnamed, counted = set(), {}
    for level in metadata.get("index_columns", ()):
        if isinstance(level, str):
            if _UNNAMED.fullmatch(level):
                unnamed.add(level)
        elif level.get("kind") == "range" and level.get("name") is not None:
            name, values = str(level["name"]), range(level["start"], level["stop"], level["step"])
            if name not in schema.names and len(values) == rows:
                counted[name] = [values.start, values.step]
    return unnamed, counted


def _add_values(file: Any, schema: pa.Schema, dataset: _Dataset) -> None:
    """Add the columns of whole numbers and truth values that have gaps, or numbers above 2^53."""
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
            missing, largest = _missing_and_largest(file, number, column)
            if missing:
                dataset.gaps.add(name)
            if name in numbers and largest > FLOAT_HOLDS:
                dataset.large.add(name)


def _missing_and_largest(file: Any, number: int, column: Any) -> tuple[int, int]:
    """Return the number of missing values of a column in a row group, and the largest magnitude.

    They come from the footer's statistics; if these are incomplete, from the values.
    """
    statistics = column.statistics
    if (
        statistics is not None
        and statistics.has_null_count
        and (statistics.has_min_max or statistics.null_count == column.num_values)
    ):
        values = [statistics.min, statistics.max] if statistics.has_min_max else []
        return statistics.null_count, max((abs(value) for value in values), default=0)
    import pyarrow.compute as pc

    values = file.read_row_group(number, columns=[column.path_in_schema])[column.path_in_schema]
    ends = pc.min_max(values).as_py()
    return values.null_count, max((abs(end) for end in ends.values() if end is not None), default=0)


def is_rare(kind: pa.DataType) -> bool:
    """Return whether an old pyarrow cannot open a file that has a column of this type."""
    return bool(_RARE.search(str(kind)))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that represents the same values and that every pyarrow since 2020 supports.

    A dictionary becomes the type of its values, an extension its storage type, a view its plain
    type; in lists and structs as well.
    """
    import pyarrow as pa

    types = pa.types
    for name, plain in _VIEWS.items():
        is_view = getattr(types, f"is_{name}", None)
        if is_view is not None and is_view(kind):
            return getattr(pa, plain)()
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if types.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    return _plain_nested(kind)


def _plain_nested(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    types = pa.types
    if types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if types.is_struct(kind):
        return pa.struct([_plain_field(kind.field(k)) for k in range(kind.num_fields)])
    if types.is_fixed_size_list(kind):
        return pa.list_(_plain_field(kind.value_field), kind.list_size)
    is_list_view = getattr(types, "is_list_view", None)
    if types.is_list(kind) or (is_list_view is not None and is_list_view(kind)):
        return pa.list_(_plain_field(kind.value_field))
    is_large_view = getattr(types, "is_large_list_view", None)
    if types.is_large_list(kind) or (is_large_view is not None and is_large_view(kind)):
        return pa.large_list(_plain_field(kind.value_field))
    return kind


def _plain_field(field: pa.Field) -> pa.Field:
    return field.with_type(plain_type(field.type)).remove_metadata()
