"""Datasets of a run as inputs of a v2 job; tables and globs become ``MLTable`` files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from ...data.datasets.inputs import open_path
from ...errors import ConfigError, ParallelRunError

_READERS = {
    "delimited": "read_delimited", "parquet": "read_parquet", "json_lines": "read_json_lines",
}  # fmt: skip
_OPTIONS = {"separator": "delimiter", "encoding": "encoding", "header": "header"}
_TYPES = {
    "str": "string", "Int64": "int", "int64": "int", "float64": "float", "boolean": "boolean",
    "bool": "boolean", "datetime": "datetime",
}  # fmt: skip


def data_input(name: str, spec: dict[str, Any], folder: Path, notes: list[str]) -> dict[str, Any]:
    """Return a dataset as the value of an input: its type, path and mode.

    Parameters
    ----------
    name
        The input.
    spec
        The dataset's spec in the record of a run.
    folder
        The folder of the job, which receives an ``MLTable`` file where the dataset needs one.
    notes
        Receives a sentence for each difference.

    Raises
    ------
    ConfigError
        The dataset is a variable of the notebook.
    """
    kind = spec.get("kind", "files")
    if kind not in {"files", "tabular"}:
        msg = (
            f"the input {name!r} is a variable of the notebook, which a v2 job cannot read; save it to "
            "a file, such as frame.to_csv('data/rows.csv'), and run over that."
        )
        raise ConfigError(msg)
    if spec.get("storage"):
        note = f"the input {name} is in a store; give Azure a datastore's path or a registered name"
        notes.append(note)
    paths = spec["paths"]
    is_plain = kind == "files" and len(paths) == 1 and not spec.get("partition_format")
    if is_plain and (os.path.exists(paths[0]) or "://" in paths[0]):
        type_ = "uri_file" if os.path.isfile(paths[0]) else "uri_folder"
        return {"type": type_, "path": _relative(paths[0], folder), "mode": "ro_mount"}
    target = folder / "data" / name
    target.mkdir(parents=True)
    record = {"type": "mltable", "paths": [_entry(path, target) for path in paths]}
    transformations = _transformations(spec)
    if transformations:
        record["transformations"] = transformations
    text = yaml.safe_dump(record, sort_keys=False)
    (target / "MLTable").write_text(text, encoding="utf-8")
    if not _reads_alike(target, spec):
        notes.append(
            f"data/{name}/MLTable does not say all of how the input {name} was read; compare the rows"
        )
    outside = [
        path
        for path in paths
        if "://" not in path and not Path(path).is_relative_to(folder.absolute())
    ]
    if outside:
        notes.append(
            f"data/{name}/MLTable has files of this machine, such as {outside[0]}, which Azure cannot read; "
            "upload them, and give their path in the store"
        )
    mode = "direct" if kind == "tabular" else "eval_mount"
    return {"type": "mltable", "path": f"./data/{name}", "mode": mode}


def _relative(path: str, folder: Path) -> str:
    if "://" in path:
        return path
    text = os.path.relpath(path, folder)
    return text if text.startswith(".") else f"./{text}"


def _entry(path: str, folder: Path) -> dict[str, str]:
    kind = "pattern"
    if os.path.isdir(path):
        kind = "folder"
    elif os.path.isfile(path):
        kind = "file"
    return {kind: _relative(path, folder)}


def _transformations(spec: dict[str, Any]) -> list[Any]:
    steps: list[Any] = []
    options = spec.get("options", {})
    layout = spec.get("arrangement", {})
    if spec.get("kind") == "tabular":
        reading = {_OPTIONS[k]: v for k, v in options.items() if k in _OPTIONS and v is not None}
        if reading.get("encoding") == "utf-8":
            reading["encoding"] = "utf8"  # Azure's name of it
        if layout.get("path_column"):
            reading["include_path_column"] = True
        if layout.get("empty_is_text"):
            reading["empty_as_string"] = True
        steps.append({_READERS[spec["form"]]: reading} if reading else _READERS[spec["form"]])
    if spec.get("partition_format"):
        steps.append({"extract_columns_from_partition_format": spec["partition_format"]})
    types = {**(options.get("column_types") or {}), **layout.get("key_types", {})}
    conversions = [
        {"columns": column, "column_type": _type(str(type_))} for column, type_ in types.items()
    ]
    if conversions:
        steps.append({"convert_column_types": conversions})
    if layout.get("keeps"):
        steps.append({"keep_columns": list(layout["keeps"])})
    if layout.get("drops"):
        steps.append({"drop_columns": list(layout["drops"])})
    return steps


def _type(name: str) -> Any:
    kind, _, form = name.partition(":")
    return {"datetime": {"formats": form}} if form else _TYPES.get(kind, kind)


def _reads_alike(folder: Path, spec: dict[str, Any]) -> bool:
    """Return whether the ``MLTable`` of a folder is read as the dataset was."""
    try:
        found = open_path(folder).spec()
    except ParallelRunError:
        return False
    if "options" in found:  # the run has read its columns, so that none is missing
        found["options"] = {**found["options"]}
        found["options"].pop("ignores_missing_columns", None)
    return {**found, "storage": None} == {**spec, "storage": None}
