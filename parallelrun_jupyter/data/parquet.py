"""Parquet: mini-batches are row groups, and one schema is decided for all files."""

from __future__ import annotations

import base64
import importlib.util
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MissingExtraError
from .cut import Cut
from .sources import GroupCutter, Plan, Planned, Source, Sources, table_text, unreadable

if TYPE_CHECKING:
    import pyarrow as pa


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


def check_parquet(source: Source, options: dict[str, Any]) -> None:  # noqa: ARG001 - as its siblings
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
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"the input {source.name!r} is no Parquet file that can be read: {error}"
        raise InputError(msg) from error


def plan_parquet(sources: Sources, options: dict[str, Any], cut: Cut) -> Plan:  # noqa: ARG001 - as its siblings
    """Yield the mini-batches of Parquet files, once the footers of all were read.

    Raises
    ------
    InputError
        The files have other columns, or types that do not fit together.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema: pa.Schema | None = None
    first = ""
    gaps: set[str] = set()
    planned: list[tuple[Source, list[tuple[int, int]]] | Planned] = []
    for source in sources():
        yield None
        try:
            with pq.ParquetFile(source.path) as file:
                found = _plain_schema(file.schema_arrow)
                gaps |= _gaps(file, found)
                groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
        except (OSError, pa.ArrowInvalid) as error:
            planned.append(unreadable(source, error))
            continue
        schema, first = _united(schema, found, source.name, first), first or source.name
        planned.append((source, [(_size_of(group), group.num_rows) for group in groups]))
    for one in planned:
        if isinstance(one, Planned):
            yield one
        elif schema is not None:
            table = table_text(_table(schema, gaps), one[0])
            for part in GroupCutter(cut).ranges(one[1]):
                yield Planned(one[0], part, table)


def _table(schema: pa.Schema, gaps: set[str]) -> dict[str, Any]:
    text = base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")
    return {"format": "parquet", "schema": text, "gaps": sorted(gaps)}


def _size_of(group: Any) -> int:
    return sum(group.column(k).total_compressed_size for k in range(group.num_columns))


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema without what differs by file: pandas' notes and dictionaries."""
    import pyarrow as pa

    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema([pa.field(field.name, field.type) for field in plain])


def _gaps(file: Any, schema: pa.Schema) -> set[str]:
    """Return the columns of whole numbers and truth values in which a value is missing.

    pandas has other types for those: one row group that has a gap decides for all.
    """
    import pyarrow as pa

    found: set[str] = set()
    wanted = {f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_boolean(f.type)}
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        for k in range(group.num_columns):
            column = group.column(k)
            name = column.path_in_schema
            if name in wanted - found:
                statistics = column.statistics
                if statistics is not None and statistics.has_null_count:
                    missing = statistics.null_count
                else:
                    missing = file.read_row_group(number, columns=[name])[name].null_count
                if missing:
                    found.add(name)
    return found


def _united(before: pa.Schema | None, found: pa.Schema, name: str, first: str) -> pa.Schema:
    import pyarrow as pa

    if before is None or found == before:
        return found
    if set(found.names) != set(before.names):
        msg = (
            f"{name!r} has the columns {', '.join(found.names)}, but {first!r} has "
            f"{', '.join(before.names)}. Give files of the same columns in each dataset."
        )
        raise InputError(msg)
    try:
        return pa.unify_schemas([before, found], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        msg = f"the types of {name!r} do not fit those of {first!r}: {error}"
        raise InputError(msg) from error
