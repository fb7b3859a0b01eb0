"""``MLTable`` files as datasets: the subset of Azure's format that public examples use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from ...formatting import nearest_hint
from ..tables.column_layout import ColumnLayout
from ..walker import MLTABLE
from .file_dataset import FileDataset
from .tabular_dataset import TabularDataset

PATH_COLUMN = "Path"
"""Name of the column that ``include_path_column`` adds, as in Azure."""

READERS = {"read_delimited": "csv", "read_parquet": "parquet", "read_json_lines": "jsonl"}
MAKERS: dict[str, Callable[..., TabularDataset]] = {
    "csv": TabularDataset.from_delimited_files,
    "parquet": TabularDataset.from_parquet_files,
    "jsonl": TabularDataset.from_json_lines_files,
}
"""Methods that create a table, by the format of its files."""

_TYPES = {"string": "str", "int": "Int64", "float": "float64", "boolean": "boolean",
          "datetime": "datetime"}  # fmt: skip
_PATH_KINDS = ("file", "folder", "pattern")
_READER_OPTIONS = {
    "csv": ("delimiter", "encoding", "header", "empty_as_string", "include_path_column",
            "support_multi_line"),
    "parquet": ("include_path_column",),
    "jsonl": ("encoding", "include_path_column", "invalid_lines"),
}  # fmt: skip
_OTHER_STEPS = ("extract_columns_from_partition_format", "drop_columns", "keep_columns",
                "convert_column_types")  # fmt: skip
_TOP = {"paths", "transformations", "type", "$schema", "metadata", "traits"}


@dataclass(slots=True)
class MLTable:
    """The content of an ``MLTable`` file.

    Parameters
    ----------
    source
        Path of the file.
    paths
        Absolute paths, globs and URLs.
    form
        ``"csv"``, ``"parquet"`` or ``"jsonl"``; None if the files are not read as a table.
    reading
        Options of the reader, by their names in the file.
    partition_format
        Format of the keys in the paths, or None.
    drops
        Columns to leave out.
    keeps
        Columns to keep; None for all.
    types
        Types by column name, as for ``column_types``.
    """

    source: str
    paths: list[str]
    form: str | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    partition_format: str | None = None
    drops: list[str] = field(default_factory=list)
    keeps: list[str] | None = None
    types: dict[str, str] = field(default_factory=dict)


def mltable_at(path: str) -> str | None:
    """Return the ``MLTable`` file at a path or in a folder, or None."""
    inside = os.path.join(path, MLTABLE)
    if os.path.isfile(inside):
        return inside
    return path if os.path.basename(path) == MLTABLE and os.path.isfile(path) else None


def read_mltable(source: str) -> MLTable:
    """Read an ``MLTable`` file.

    Raises
    ------
    InputError
        The file is not valid, or uses a feature outside the subset, which the message names.
    """
    import yaml

    try:
        with open(source, encoding="utf-8-sig") as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"the MLTable file {source!r} could not be read: {error}"
        raise InputError(msg) from error
    if not isinstance(content, dict) or not isinstance(content.get("paths"), list):
        raise _refusal(
            source, "it has no list of paths", "Write, for example, paths: [{file: a.csv}]"
        )
    _check_names(source, content, _TOP, "")
    table = MLTable(source, [_path(source, entry) for entry in content["paths"]])
    if not table.paths:
        raise _refusal(source, "its list of paths is empty", "Name a file, folder or pattern")
    for step in content.get("transformations") or ():
        _apply(table, step)
    if table.form is None and (table.drops or table.types or table.keeps is not None):
        raise _refusal(
            source, "it has columns, but does not read a table", f"Add {_listed(READERS)}"
        )
    return table


def refused_steps(steps: list[Any]) -> dict[int, str]:
    """Return why transformations of an ``MLTable`` file are outside the subset, by their number."""
    table = MLTable("", [])
    refused = {}
    for number, step in enumerate(steps):
        try:
            _apply(table, step)
        except InputError as error:
            refused[number] = str(error).removeprefix(_head(""))
    return refused


def open_mltable(source: str) -> FileDataset | TabularDataset:
    """Return the dataset that an ``MLTable`` file describes.

    Raises
    ------
    InputError
        The file is not valid, or uses a feature outside the subset, which the message names.
    ConfigError
        Its partition format is invalid.
    """
    content = read_mltable(source)
    if content.form is None:
        return FileDataset(content.paths, partition_format=content.partition_format)
    names = {"delimiter": "separator", "encoding": "encoding", "header": "header"}
    options = {
        ours: content.reading[name] for name, ours in names.items() if name in content.reading
    }
    if content.form != "parquet":
        options["column_types"] = content.types or None
    make = MAKERS[content.form]
    table = make(content.paths, partition_format=content.partition_format, **options)
    keys = set(table.partition_keys)
    file_columns = [name for name in content.types if name not in keys]
    if content.form == "parquet" and file_columns:
        problem = f"convert_column_types names {file_columns[0]!r}, a column of Parquet files"
        raise _refusal(source, problem, "Parquet columns have types already; convert it in run()")
    if file_columns:
        table.options = {**table.options, "ignores_missing_columns": True}
    return table.with_layout(
        ColumnLayout(
            key_types={name: type_ for name, type_ in content.types.items() if name in keys},
            path_column=PATH_COLUMN if content.reading.get("include_path_column") else "",
            drops=tuple(content.drops),
            keeps=tuple(content.keeps or ()),
            empty_is_text=bool(content.reading.get("empty_as_string")),
        )
    )


def _path(source: str, entry: Any) -> str:
    problem = f"its paths contain {entry!r}"
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in _PATH_KINDS:
        example = f"Expected {_listed(_PATH_KINDS)}, such as {{folder: ./data}}"
        raise _refusal(source, problem, example)
    [text] = entry.values()
    if not isinstance(text, str) or not text.strip():
        raise _refusal(source, problem, "Expected a text that is not empty")
    if "://" in text:
        return text
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(source)), text))


def _apply(table: MLTable, step: Any) -> None:
    """Apply a transformation: a name, or a mapping of one name to its options."""
    is_mapping = isinstance(step, dict) and len(step) == 1
    name, options = next(iter(step.items())) if is_mapping else (step, None)
    if isinstance(name, str) and name in READERS:
        _apply_reader(table, name, options)
    elif name == "extract_columns_from_partition_format":
        _apply_format(table, options)
    elif name == "drop_columns":
        table.drops += _columns(table.source, options, name)
    elif name == "keep_columns":
        _apply_keeps(table, _columns(table.source, options, name))
    elif name == "convert_column_types":
        _apply_types(table, options)
    else:
        steps = [*READERS, *_OTHER_STEPS]
        problem = f"the transformation {name!r} is not supported"
        hint = nearest_hint(str(name), steps)
        raise _refusal(table.source, problem, f"Supported are {_listed(steps)}", hint)


def _apply_keeps(table: MLTable, columns: list[str]) -> None:
    """Keep columns; later steps narrow earlier ones."""
    before = table.keeps
    table.keeps = [name for name in columns if before is None or name in before]
    if not table.keeps:
        raise _refusal(table.source, "keep_columns keeps no column", "Name at least one")


def _apply_reader(table: MLTable, name: str, options: Any) -> None:
    if table.form:
        raise _refusal(table.source, "it reads its files twice", f"Keep one of {_listed(READERS)}")
    table.form = READERS[name]
    options = {} if options is None else options
    if not isinstance(options, dict):
        raise _refusal(table.source, f"{name} has the options {options!r}", "Expected a mapping")
    _check_names(table.source, options, _READER_OPTIONS[table.form], f"{name} ")
    invalid = options.get("invalid_lines", "error")
    if invalid != "error":
        problem = f"invalid_lines is {invalid!r}, which would drop rows silently"
        raise _refusal(table.source, problem, "Expected error")
    table.reading = options


def _apply_format(table: MLTable, options: Any) -> None:
    is_mapping = isinstance(options, dict) and len(options) == 1
    text = options.get("partition_format") if is_mapping else options
    if not isinstance(text, str):
        problem = f"extract_columns_from_partition_format is {options!r}"
        example = "Expected a format such as /{user}/{day:yyyy/MM/dd}/*.csv"
        raise _refusal(table.source, problem, example)
    table.partition_format = text


def _apply_types(table: MLTable, conversions: Any) -> None:
    for conversion in conversions if isinstance(conversions, list) else [conversions]:
        if not isinstance(conversion, dict) or set(conversion) != {"columns", "column_type"}:
            problem = f"convert_column_types contains {conversion!r}"
            raise _refusal(table.source, problem, "Expected columns and column_type")
        type_ = _type(table.source, conversion["column_type"])
        for column in _columns(table.source, conversion["columns"], "convert_column_types"):
            table.types[column] = type_


def _type(source: str, column_type: Any) -> str:
    is_mapping = isinstance(column_type, dict) and len(column_type) == 1
    name, options = next(iter(column_type.items())) if is_mapping else (column_type, None)
    if isinstance(name, str) and name in _TYPES and not options:
        return _TYPES[name]
    formats = options.get("formats") if isinstance(options, dict) and len(options) == 1 else None
    if name == "datetime" and isinstance(formats, str | list):
        texts = [formats] if isinstance(formats, str) else formats
        if len(texts) == 1 and isinstance(texts[0], str):
            return f"datetime:{texts[0]}"
    problem = f"the column type {column_type!r} is not supported"
    raise _refusal(
        source, problem, f"Supported are {_listed(_TYPES)}, and datetime with one of formats"
    )


def _columns(source: str, names: Any, step: str) -> list[str]:
    columns = [names] if isinstance(names, str) else names
    if not isinstance(columns, list) or not all(isinstance(column, str) for column in columns):
        raise _refusal(source, f"{step} names the columns {names!r}", "Expected names of columns")
    return columns


def _check_names(source: str, options: dict[str, Any], supported: Any, parent: str) -> None:
    for name in options:
        if name not in supported:
            problem = f"{parent}{name!r} is not supported"
            hint = nearest_hint(str(name), supported)
            raise _refusal(source, problem, f"Supported are {_listed(supported)}", hint)


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))


def _refusal(source: str, problem: str, remedy: str, hint: str = "") -> InputError:
    return InputError(f"{_head(source)}{problem}.{hint} {remedy}.")


def _head(source: str) -> str:
    return f"the MLTable file {source!r}: "
