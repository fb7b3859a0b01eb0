"""One Arrow schema for the tables of many mini-batches, with the metadata to restore pandas types."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import OutputError
from ...worker.output.arrow_tables import ALL_MISSING, COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

_PANDAS = b"pandas"
_NULLABLE = {
    "int8": "Int8", "int16": "Int16", "int32": "Int32", "int64": "Int64",
    "uint8": "UInt8", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64",
    "float": "Float32", "double": "Float64", "bool": "boolean",
}  # fmt: skip
"""The pandas type for an Arrow type with missing values."""


def conflict(source: str, columns: str, earlier: str, earlier_columns: str) -> OutputError:
    """Return the error for columns or types that conflict with earlier mini-batches."""
    msg = (
        f"run() returned for {source} the columns {columns}, but for "
        f"{earlier} {earlier_columns}; one file has one set of columns and types. Let run() return the "
        "same for every mini-batch (astype, reindex) and submit again: a resume keeps the rows "
        "of the mini-batches that succeeded, and would fail again."
    )
    return OutputError(msg)


def unify_schemas(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema | None:
    """Return the schema that fits all schemas; None if the list is empty.

    Whole numbers become floats if some mini-batches have floats. A column without values in one
    mini-batch gets its type from the others; whole numbers with such gaps become nullable.

    Parameters
    ----------
    schemas
        Pairs of a source, such as "mini-batch 7", and its schema.

    Raises
    ------
    OutputError
        Two schemas have different columns, or incompatible types.
    """
    first: pa.Schema | None = None
    last: pa.Schema | None = None
    first_source = ""
    columns: dict[str, _Column] = {}
    index: list[list[str | None]] = []
    for source, schema in schemas:
        if last is not None and schema.equals(last, check_metadata=True):
            continue
        last = schema
        notes = json.loads((schema.metadata or {}).get(COLUMNS, b"{}"))
        if first is None:
            first, first_source, index = schema, source, notes.get("index", [])
            columns = {name: _Column(name) for name in schema.names}
        elif set(schema.names) != set(first.names):
            raise conflict(source, f"{schema.names}", first_source, f"{first.names}")
        if notes.get("index", []) != index:
            index = []  # an index in some schemas and a column in others becomes a column
        for arrow_field in schema:
            kind = notes.get("kinds", {}).get(arrow_field.name, "")
            columns[arrow_field.name].add(source, arrow_field, kind)
    return None if first is None else _schema(list(columns.values()), index)


def promoted(schemas: list[pa.Schema]) -> list[pa.Schema]:
    """Return schemas that all have the columns of all, in the order in which they first appear.

    A column that a schema lacks has no values there.

    Parameters
    ----------
    schemas
        The schemas of one mini-batch, in the order of its rows.
    """
    if len(schemas) == 1:
        return schemas
    import pyarrow as pa

    names = dict.fromkeys(name for schema in schemas for name in schema.names)
    if all(len(schema) == len(names) for schema in schemas):
        return schemas
    all_fields = [item for schema in schemas for item in schema]
    typed = {item.name for item in all_fields if not pa.types.is_null(item.type)}
    # pandas makes floats of None and absent values.
    absent = {
        name: pa.field(name, pa.null())
        if name in typed
        else pa.field(name, pa.float64(), metadata={ALL_MISSING: b"1"})
        for name in names
    }
    wide = []
    for schema in schemas:
        fields = list({**absent, **{item.name: item for item in schema}}.values())
        wide.append(pa.schema(fields, metadata=schema.metadata))
    return wide


def filled(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema that it lacks, without values."""
    import pyarrow as pa

    if table.num_columns == len(schema):
        return table
    for name in set(schema.names) - set(table.column_names):
        table = table.append_column(name, pa.nulls(len(table)))
    return table


@dataclass(slots=True)
class _Column:
    """One column, unified over the mini-batches so far."""

    name: str
    type: Any = None
    #: the first mini-batch with values
    source: str = ""
    #: pandas extension types of the mini-batches with values; empty for NumPy types
    kinds: set[str] = field(default_factory=set)
    #: whether a mini-batch had no values, and its type and kind
    has_missing: bool = False
    missing_type: Any = None
    missing_kind: str = ""

    def add(self, source: str, arrow_field: pa.Field, kind: str) -> None:
        """Add the column of another mini-batch."""
        import pyarrow as pa

        is_null = pa.types.is_null(arrow_field.type)
        if is_null or ALL_MISSING in (arrow_field.metadata or {}):
            self.has_missing = True
            if self.missing_type is None or pa.types.is_null(self.missing_type):
                self.missing_type, self.missing_kind = arrow_field.type, kind
            return
        self.kinds.add(kind)
        if self.type is None:
            self.type, self.source = arrow_field.type, source
        elif arrow_field.type != self.type:
            both = [pa.schema([(self.name, kind)]) for kind in (self.type, arrow_field.type)]
            try:
                self.type = pa.unify_schemas(both, promote_options="permissive").field(0).type
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                now, before = (
                    f"{self.name!r} as {arrow_field.type}",
                    f"{self.name!r} as {self.type}",
                )
                raise conflict(source, now, self.source, before) from error

    def kind(self) -> str:
        """Return the pandas extension type of the column, empty for a NumPy type."""
        import pyarrow as pa

        if self.type is None:
            return self.missing_kind
        nullable = _NULLABLE.get(str(self.type), "")
        if self.kinds & set(_NULLABLE.values()):
            return nullable
        if len(self.kinds) == 1 and "" not in self.kinds:
            return next(iter(self.kinds))
        return nullable if self.has_missing and pa.types.is_integer(self.type) else ""


def _schema(columns: list[_Column], index: list[list[str | None]]) -> pa.Schema:
    """Return the schema of columns, with metadata for merging and for pandas."""
    import pyarrow as pa

    kinds = {column.name: column.kind() for column in columns if column.kind()}
    fields = [
        pa.field(
            column.name,
            column.missing_type if column.type is None else column.type,
            metadata={ALL_MISSING: b"1"} if column.type is None else None,
        )
        for column in columns
    ]
    if not kinds and not index:
        return pa.schema(fields)
    names = {column: name for column, name in index if column is not None}
    pandas = {
        "index_columns": list(names),
        "column_indexes": [],
        "columns": [
            {
                "name": names.get(item.name, item.name),
                "field_name": item.name,
                "pandas_type": str(item.type),
                "numpy_type": kinds.get(item.name, "object"),
                "metadata": None,
            }
            for item in fields
        ],
    }
    notes = {"kinds": kinds, "index": index}
    metadata = {COLUMNS: json.dumps(notes).encode(), _PANDAS: json.dumps(pandas).encode()}
    return pa.schema(fields, metadata=metadata)


def is_fitting(schema: pa.Schema, target: pa.Schema) -> bool:
    """Return whether files of both schemas are read as the same types."""
    own, other = (each.metadata or {} for each in (schema, target))
    return bool(schema.equals(target)) and own.get(_PANDAS) == other.get(_PANDAS)


def fitted(table: pa.Table, schema: pa.Schema, source: str) -> pa.Table:
    """Return a table with the columns and types of a schema.

    Raises
    ------
    OutputError
        A value cannot be converted to the type of the schema.
    """
    import pyarrow as pa

    columns = []
    for item in schema:
        column = table.column(item.name)
        if column.type != item.type and column.null_count == len(column):
            column = pa.chunked_array([pa.nulls(len(column), item.type)])
        elif column.type != item.type:
            try:
                column = column.cast(item.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                msg = (
                    f"run() returned for {source} the column {item.name!r} as {column.type}, which "
                    f"cannot be converted to {item.type}, the type of the others: {error}. Let run() "
                    "return one type (astype) and submit again: a resume keeps the rows of "
                    "the mini-batches that succeeded, and would fail again."
                )
                raise OutputError(msg) from error
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)
