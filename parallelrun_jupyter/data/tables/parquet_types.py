"""Types of Parquet columns that every pyarrow since 2020 can read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that holds the same values and that old versions of pyarrow know too.

    A dictionary is its values, an extension what it is stored as, a view what it is a view of; in
    lists and structs as well.
    """
    import pyarrow as pa

    is_view = {name: getattr(pa.types, f"is_{name}", None) for name in _VIEWS}
    for name, plain in _VIEWS.items():
        check = is_view[name]
        if check is not None and check(kind):
            return getattr(pa, plain)()
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    return _plain_nested(kind)


def is_rare(kind: pa.DataType) -> bool:
    """Tell whether an old pyarrow cannot open a file that has a column of this type."""
    return bool(_RARE.search(str(kind)))


_RARE = re.compile(r"_view|extension|halffloat|decimal(32|64|256)|run_end|month_")
_VIEWS = {"string_view": "string", "binary_view": "binary"}


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
