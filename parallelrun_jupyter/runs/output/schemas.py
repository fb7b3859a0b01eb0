"""One Arrow schema for the tables of many mini-batches, from which pandas restores its types."""

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
"""The type of pandas that holds the values of an Arrow type, and gaps."""


def conflict(whose: str, what: str, before: str, what_before: str) -> OutputError:
    """Return the error for columns or types that do not fit those of earlier mini-batches."""
    msg = (
        f"run() returned for {whose} the columns {what}, but for "
        f"{before} {what_before}; one file has one set of columns and types. Let run() return the "
        "same for every mini-batch (astype, reindex) and submit again: run.resume() keeps the rows "
        "of the mini-batches that have succeeded, and would end here again."
    )
    return OutputError(msg)


def unify_schemas(schemas: Iterable[tuple[str, pa.Schema]]) -> pa.Schema | None:
    """Return the schema that fits all; None where there are none.

    Whole numbers give way to floats. A column without any value in a mini-batch has the type that
    the others give it; whole numbers with such gaps are pandas' nullable ones.

    Parameters
    ----------
    schemas
        Each with what it is of, such as "mini-batch 7".

    Raises
    ------
    OutputError
        Two of them have other columns, or types that do not fit together.
    """
    first: pa.Schema | None = None
    last: pa.Schema | None = None
    first_whose = ""
    columns: dict[str, _Column] = {}
    index: list[list[str | None]] = []
    for whose, schema in schemas:
        if last is not None and schema.equals(last, check_metadata=True):
            continue
        last = schema
        notes = json.loads((schema.metadata or {}).get(COLUMNS, b"{}"))
        if first is None:
            first, first_whose, index = schema, whose, notes.get("index", [])
            columns = {name: _Column(name) for name in schema.names}
        elif set(schema.names) != set(first.names):
            raise conflict(whose, f"{schema.names}", first_whose, f"{first.names}")
        if notes.get("index", []) != index:
            index = []  # an index here, a plain column of that name there: a column for all
        for arrow_field in schema:
            kind = notes.get("kinds", {}).get(arrow_field.name, "")
            columns[arrow_field.name].take(whose, arrow_field, kind)
    return None if first is None else _schema(list(columns.values()), index)


@dataclass(slots=True)
class _Column:
    """What the mini-batches so far say of one column."""

    name: str
    type: Any = None
    #: the first mini-batch with values in it
    whose: str = ""
    #: pandas' extension types of mini-batches with values, empty for numpy's
    kinds: set[str] = field(default_factory=set)
    #: whether a mini-batch had no value, and the type and kind it had all the same
    has_missing: bool = False
    missing_type: Any = None
    missing_kind: str = ""

    def take(self, whose: str, arrow_field: pa.Field, kind: str) -> None:
        """Take the column of one more mini-batch into account."""
        import pyarrow as pa

        is_null = pa.types.is_null(arrow_field.type)
        if is_null or ALL_MISSING in (arrow_field.metadata or {}):
            self.has_missing = True
            if self.missing_type is None or pa.types.is_null(self.missing_type):
                self.missing_type, self.missing_kind = arrow_field.type, kind
            return
        self.kinds.add(kind)
        if self.type is None:
            self.type, self.whose = arrow_field.type, whose
        elif arrow_field.type != self.type:
            both = [pa.schema([(self.name, kind)]) for kind in (self.type, arrow_field.type)]
            try:
                self.type = pa.unify_schemas(both, promote_options="permissive").field(0).type
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                now, before = (
                    f"{self.name!r} as {arrow_field.type}",
                    f"{self.name!r} as {self.type}",
                )
                raise conflict(whose, now, self.whose, before) from error

    def kind(self) -> str:
        """Return pandas' extension type of the column, empty for the one of numpy."""
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
    """Return the schema of columns; its metadata is ours, for joining, and pandas' own."""
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


def is_fitting(schema: pa.Schema, to: pa.Schema) -> bool:
    """Return whether a file of a schema reads as one of another does."""
    mine, other = (each.metadata or {} for each in (schema, to))
    return bool(schema.equals(to)) and mine.get(_PANDAS) == other.get(_PANDAS)


def fitted(table: pa.Table, schema: pa.Schema, whose: str) -> pa.Table:
    """Return a table with the columns and types of a schema.

    Raises
    ------
    OutputError
        A value has no place in the type that fits the others.
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
                    f"run() returned for {whose} the column {item.name!r} as {column.type}, for "
                    f"others as what fits {item.type}, which cannot hold it: {error}. Let run() "
                    "return one type (astype) and submit again: run.resume() keeps the rows of "
                    "the mini-batches that have succeeded, and would end here again."
                )
                raise OutputError(msg) from error
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)
