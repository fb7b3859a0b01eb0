"""``MLTable`` files: the subset that public examples use, read into what a dataset is made from."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...errors import InputError
from ...formatting import nearest_hint
from ..local.listing import MLTABLE
from ..tables.column_layout import ColumnLayout
from .file_dataset import FileDataset
from .tabular_dataset import TabularDataset

PATH_COLUMN = "Path"
"""What the column of ``include_path_column`` is called, as in Azure."""

READERS = {"read_delimited": "csv", "read_parquet": "parquet", "read_json_lines": "jsonl"}
MAKERS: dict[str, Callable[..., TabularDataset]] = {
    "csv": TabularDataset.from_delimited_files,
    "parquet": TabularDataset.from_parquet_files,
    "jsonl": TabularDataset.from_json_lines_files,
}
"""What makes a table of files, by their format."""

_TYPES = {"string": "str", "int": "Int64", "float": "float64", "boolean": "boolean",
          "datetime": "datetime"}  # fmt: skip
_PATH_KINDS = ("file", "folder", "pattern")
_READER_OPTIONS = {
    "csv": ("delimiter", "encoding", "header", "empty_as_string", "include_path_column",
            "support_multi_line"),
    "parquet": ("include_path_column",),
    "jsonl": ("encoding", "include_path_column", "invalid_lines"),
}  # fmt: skip
_OTHER_STEPS = ("extract_columns_from_partition_format", "drop_columns", "convert_column_types")
_TOP = {"paths", "transformations", "type", "$schema", "metadata", "traits"}


@dataclass(slots=True)
class MLTable:
    """What an ``MLTable`` file says.

    Parameters
    ----------
    where
        The file.
    paths
        Absolute paths, globs and URLs.
    form
        ``"csv"``, ``"parquet"``, ``"jsonl"``; None for files that are not read.
    reading
        Options of the reader, under the names of the file.
    partition_format
        Which parts of the paths are keys; None for none.
    drops
        Columns that are left out.
    types
        Types of columns, by name, as ``column_types`` has them.
    """

    where: str
    paths: list[str]
    form: str | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    partition_format: str | None = None
    drops: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)


def mltable_at(path: str) -> str | None:
    """Return the ``MLTable`` file that a path is, or a folder that a path is holds; or None."""
    inside = os.path.join(path, MLTABLE)
    if os.path.isfile(inside):
        return inside
    return path if os.path.basename(path) == MLTABLE and os.path.isfile(path) else None


def read_mltable(where: str) -> MLTable:
    """Read an ``MLTable`` file.

    Raises
    ------
    InputError
        It is no such file, or it says something beyond the subset; the message names that.
    """
    import yaml

    try:
        with open(where, encoding="utf-8-sig") as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"the MLTable file {where!r} could not be read: {error}"
        raise InputError(msg) from error
    if not isinstance(content, dict) or not isinstance(content.get("paths"), list):
        raise _refusal(where, "it has no list of paths", "Write for example paths: [{file: a.csv}]")
    _check_names(where, content, _TOP, "")
    table = MLTable(where, [_path(where, one) for one in content["paths"]])
    if not table.paths:
        raise _refusal(where, "its list of paths is empty", "Name a file, folder or pattern")
    for step in content.get("transformations") or ():
        _apply(table, step)
    if table.form is None and (table.drops or table.types):
        raise _refusal(where, "it has columns, but reads no table", f"Add {_listed(READERS)}")
    return table


def open_mltable(where: str) -> FileDataset | TabularDataset:
    """Return the dataset that an ``MLTable`` file describes.

    Raises
    ------
    InputError
        It is no such file, or it says something beyond the subset; the message names that.
    ConfigError
        Its partition format is none.
    """
    said = read_mltable(where)
    if said.form is None:
        return FileDataset(said.paths, partition_format=said.partition_format)
    names = {"delimiter": "separator", "encoding": "encoding", "header": "header"}
    options = {ours: said.reading[name] for name, ours in names.items() if name in said.reading}
    if said.form != "parquet":
        options["column_types"] = said.types or None
    table = MAKERS[said.form](said.paths, partition_format=said.partition_format, **options)
    keys = set(table.partition_keys)
    of_files = [name for name in said.types if name not in keys]
    if said.form == "parquet" and of_files:
        what = f"convert_column_types names {of_files[0]!r}, a column of Parquet files"
        raise _refusal(where, what, "Those have their types; convert it in run()")
    return table.arranged(
        ColumnLayout(
            key_types={name: one for name, one in said.types.items() if name in keys},
            path_column=PATH_COLUMN if said.reading.get("include_path_column") else "",
            drops=tuple(said.drops),
            empty_is_text=bool(said.reading.get("empty_as_string")),
        )
    )


def _path(where: str, given: Any) -> str:
    if not isinstance(given, dict) or len(given) != 1 or next(iter(given)) not in _PATH_KINDS:
        example = f"Expected {_listed(_PATH_KINDS)}, such as {{folder: ./data}}"
        raise _refusal(where, f"it holds the path {given!r}", example)
    [text] = given.values()
    if not isinstance(text, str) or not text.strip():
        raise _refusal(where, f"it holds the path {given!r}", "Expected a text that is not empty")
    if "://" in text:
        return text
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(where)), text))


def _apply(table: MLTable, step: Any) -> None:
    """Read one transformation: a name, or a mapping of one name to its options."""
    is_mapping = isinstance(step, dict) and len(step) == 1
    name, given = next(iter(step.items())) if is_mapping else (step, None)
    if isinstance(name, str) and name in READERS:
        _apply_reader(table, name, given)
    elif name == "extract_columns_from_partition_format":
        _apply_format(table, given)
    elif name == "drop_columns":
        table.drops += _columns(table.where, given, name)
    elif name == "convert_column_types":
        _apply_types(table, given)
    else:
        known = [*READERS, *_OTHER_STEPS]
        what = f"the transformation {name!r} is none that is read here"
        hint = nearest_hint(str(name), known)
        raise _refusal(table.where, what, f"Those are {_listed(known)}", hint)


def _apply_reader(table: MLTable, name: str, given: Any) -> None:
    if table.form:
        raise _refusal(table.where, "it reads its files twice", f"Keep one of {_listed(READERS)}")
    table.form = READERS[name]
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise _refusal(table.where, f"{name} has the options {given!r}", "Expected a mapping")
    _check_names(table.where, given, _READER_OPTIONS[table.form], f"{name} ")
    invalid = given.get("invalid_lines", "error")
    if invalid != "error":
        what = f"invalid_lines is {invalid!r}, and rows would be left out without a word"
        raise _refusal(table.where, what, "Expected error")
    table.reading = given


def _apply_format(table: MLTable, given: Any) -> None:
    text = given.get("partition_format") if isinstance(given, dict) and len(given) == 1 else given
    if not isinstance(text, str):
        what = f"extract_columns_from_partition_format is {given!r}"
        raise _refusal(
            table.where, what, "Expected a format such as /{user}/{day:yyyy/MM/dd}/*.csv"
        )
    table.partition_format = text


def _apply_types(table: MLTable, given: Any) -> None:
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, dict) or set(one) != {"columns", "column_type"}:
            what = f"convert_column_types holds {one!r}"
            raise _refusal(table.where, what, "Expected columns and column_type")
        decided = _type(table.where, one["column_type"])
        for column in _columns(table.where, one["columns"], "convert_column_types"):
            table.types[column] = decided


def _type(where: str, given: Any) -> str:
    is_mapping = isinstance(given, dict) and len(given) == 1
    name, options = next(iter(given.items())) if is_mapping else (given, None)
    if isinstance(name, str) and name in _TYPES and not options:
        return _TYPES[name]
    forms = options.get("formats") if isinstance(options, dict) and len(options) == 1 else None
    if name == "datetime" and isinstance(forms, str | list):
        texts = [forms] if isinstance(forms, str) else forms
        if len(texts) == 1 and isinstance(texts[0], str):
            return f"datetime:{texts[0]}"
    what = f"the column type {given!r} is none that is read here"
    raise _refusal(where, what, f"Those are {_listed(_TYPES)}, and datetime with one of formats")


def _columns(where: str, given: Any, name: str) -> list[str]:
    columns = [given] if isinstance(given, str) else given
    if not isinstance(columns, list) or not all(isinstance(one, str) for one in columns):
        raise _refusal(where, f"{name} names the columns {given!r}", "Expected names of columns")
    return columns


def _check_names(where: str, given: dict[str, Any], known: Any, of: str) -> None:
    for name in given:
        if name not in known:
            what = f"{of}{name!r} is nothing that is read here"
            raise _refusal(
                where, what, f"Known are {_listed(known)}", nearest_hint(str(name), known)
            )


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))


def _refusal(where: str, what: str, remedy: str, hint: str = "") -> InputError:
    return InputError(f"the MLTable file {where!r}: {what}.{hint} {remedy}.")
