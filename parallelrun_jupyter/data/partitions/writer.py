"""Writes the rows of a table as Parquet files, in folders by the values of keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...errors import ConfigError, InputError, MissingExtraError
from ...formatting import nearest_hint
from ..storage.storage import Place
from ..storage.transfer import upload_all
from ..walker import MLTABLE
from .path_format import KeyValue, PartitionFormat

if TYPE_CHECKING:
    import pandas as pd

_PREFIX = "partitions-"
_MLTABLE_TYPES = {"int": "int", "uint": "int", "float": "float", "bool": "boolean",
                  "datetime": "datetime"}  # fmt: skip


def write_partitions(
    frames: Iterable[pd.DataFrame], keys: Sequence[str], target: Place, name: str | None
) -> tuple[Place, str, dict[str, str]]:
    """Write frames as Parquet files into a new folder in ``target``, in folders ``key=value``.

    Each frame becomes one file per combination, so only one frame is in memory. An ``MLTable`` file
    in the new folder, written last, describes how to read the files.

    Parameters
    ----------
    frames
        The rows, in order; all frames have the same columns and types.
    keys
        Columns that become folders; the first is the outermost.
    target
        A folder on this machine or in a store; created if it does not exist.
    name
        A name for the ``MLTable`` file's metadata, or None.

    Returns
    -------
    tuple
        The new folder, the partition format of its files, and the types of the keys.

    Raises
    ------
    ConfigError
        A key is not a column, or all columns are keys.
    InputError
        The table has no rows, a key's values cannot be in a path, or the store refuses.
    MissingExtraError
        pyarrow is not installed.
    OSError
        The folder cannot be written.
    """
    arrow = _arrow()
    if target.storage is None:
        os.makedirs(target.path, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=target.path)
        return Place(folder), *_write(arrow, frames, keys, folder, name)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        form, types = _write(arrow, frames, keys, folder, name)
        place = Place(f"{target.path.rstrip('/')}/{os.path.basename(folder)}", target.storage)
        paths = [os.path.join(at, file) for at, _, files in os.walk(folder) for file in files]
        pairs = [(path, os.path.relpath(path, folder)) for path in sorted(paths, reverse=True)]
        upload_all(pairs, place, overwrite=True)
    return place, form, types


def _write(
    arrow: Any, frames: Iterable[pd.DataFrame], keys: Sequence[str], folder: str, name: str | None
) -> tuple[str, dict[str, str]]:
    form = "/".join(f"{key}={{{key}}}" for key in keys) + "/*.parquet"
    schema: Any = None
    for number, frame in enumerate(frames):
        if schema is None:
            _check_keys(frame, keys)
            types = {key: _type(frame, key) for key in keys}
            schema = _schema(arrow, frame.drop(columns=list(keys)))
            tree = PartitionFormat(form)
        for values, rows in _groups(frame, keys):
            path = os.path.join(folder, tree.path(values).replace("*", f"part-{number:05d}"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            table = arrow.Table.from_pandas(rows, schema=schema, preserve_index=False)
            arrow.parquet.write_table(table, path)
    if schema is None:
        msg = "the table has no rows to partition; check its input."
        raise InputError(msg)
    _write_mltable(folder, form, types, name)
    return form, types


def _arrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        msg = (
            "a partitioned copy is written as Parquet, which needs pyarrow: "
            "pip install 'parallelrun-jupyter[parquet]'"
        )
        raise MissingExtraError(msg) from error
    return pa


def _check_keys(frame: pd.DataFrame, keys: Sequence[str]) -> None:
    columns = [str(column) for column in frame.columns]
    for key in keys:
        if key not in columns:
            msg = (
                f"partition_keys is {list(keys)!r}, but the table has no column {key!r}."
                f"{nearest_hint(key, columns)} Its columns are: {', '.join(columns[:20])}."
            )
            raise ConfigError(msg)
    if not keys or len(set(keys)) == len(columns) or len(set(keys)) < len(keys):
        msg = (
            f"partition_keys is {list(keys)!r}; expected some of the columns, but not all, each once. "
            f"The table has {', '.join(columns[:20])}."
        )
        raise ConfigError(msg)


def _type(frame: pd.DataFrame, key: str) -> str:
    name = frame[key].dtype.name
    if name.startswith("datetime64["):
        if "," in name:
            msg = (
                f"the key {key!r} has times with a time zone, which a path cannot represent; "
                "convert them to UTC without a zone."
            )
            raise InputError(msg)
        return name
    return "str" if name in {"object", "string", "str", "category"} else name


def _schema(arrow: Any, frame: pd.DataFrame) -> Any:
    """Return the schema of all files; a column without values so far is text."""
    schema = arrow.Schema.from_pandas(frame, preserve_index=False)
    for position, column in enumerate(schema):
        if arrow.types.is_null(column.type):
            schema = schema.set(position, column.with_type(arrow.string()))
    return schema


def _groups(
    frame: pd.DataFrame, keys: Sequence[str]
) -> Iterable[tuple[dict[str, KeyValue], pd.DataFrame]]:
    for _, rows in frame.groupby(list(keys), sort=False, dropna=False, observed=True):
        values = {key: _plain(rows[key].iloc[0], key) for key in keys}
        yield values, rows.drop(columns=list(keys))


def _plain(value: Any, key: str) -> KeyValue:
    """Return a key's value as a plain Python value."""
    import pandas as pd

    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        if value.nanosecond:
            msg = (
                f"the key {key!r} has the value {value}, whose nanoseconds a path cannot represent; "
                "round it to microseconds."
            )
            raise InputError(msg)
        return value.to_pydatetime().isoformat()
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float):
        return repr(plain)
    if not isinstance(plain, str | int | datetime):
        msg = (
            f"the key {key!r} has a value of the type {type(plain).__name__}, which a path "
            "cannot represent; convert it to text."
        )
        raise InputError(msg)
    return plain


def _write_mltable(folder: str, form: str, types: dict[str, str], name: str | None) -> None:
    import yaml

    steps: list[Any] = ["read_parquet", {"extract_columns_from_partition_format": form}]
    converted = [
        {"columns": [key], "column_type": mltable_type}
        for key, type_ in types.items()
        for prefix, mltable_type in _MLTABLE_TYPES.items()
        if type_.lower().startswith(prefix)
    ]
    if converted:
        steps.append({"convert_column_types": converted})
    content: dict[str, Any] = {"type": "mltable", "paths": [{"folder": "./"}]}
    content["transformations"] = steps
    if name:
        content["metadata"] = {"name": name}
    with open(os.path.join(folder, MLTABLE), "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False)
