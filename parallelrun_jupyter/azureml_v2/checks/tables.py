"""Checks ``MLTable`` files."""

from __future__ import annotations

import csv
import glob
import io
import os
import re
from collections.abc import Mapping

from ...data.datasets.mltable import refused_steps
from ...formatting import nearest_hint
from ..model.places import Place
from ..model.problems import JobFileError
from ..reader.tree import Node, read_tree
from .findings import Findings

MLTABLE = "MLTable"
_TOP = ("paths", "transformations", "type", "$schema", "metadata", "traits", "query_source")
_KINDS = ("file", "folder", "pattern")
_OPTIONS = {
    "read_delimited": ("delimiter", "header", "support_multi_line", "empty_as_string", "encoding",
        "include_path_column", "infer_column_types", "path_column", "partition_size"),
    "read_parquet": ("include_path_column", "path_column"),
    "read_json_lines": ("invalid_lines", "encoding", "include_path_column", "path_column", "partition_size"),
    "read_delta_lake": ("version_as_of", "timestamp_as_of", "include_path_column"),
}  # fmt: skip
"""The options of each reader."""

_STEPS = (*_OPTIONS, "convert_column_types", "drop_columns", "keep_columns", "filter", "skip", "take",
    "take_random_sample", "extract_columns_from_partition_format", "sample", "select_partitions")  # fmt: skip
_TYPES = ("string", "int", "float", "boolean", "datetime", "stream_info")
_ENCODINGS = ("utf8", "utf-8", "iso88591", "latin1", "ascii", "utf16", "windows1252")
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "read_delimited": {
        "encoding": (*_ENCODINGS, "utf8 bom", "iso-8859-1", "latin-1", "utf-16", "windows-1252"),
        "header": ("no_header", "from_first_file", "all_files_different_headers", "all_files_same_headers"),
    },
    "read_json_lines": {"encoding": (*_ENCODINGS, "utf8bom"), "invalid_lines": ("error", "drop")},
}  # fmt: skip
"""The words that options accept. All of these are those of the schema in Azure's package mltable 1.7."""

_PATH_COLUMN = "Path"


def check_table(path: str, findings: Findings, place: Place | None = None) -> None:
    """Check an ``MLTable`` file, or the one in a folder.

    Parameters
    ----------
    path
        The file or its folder.
    findings
        Receives the mistakes.
    place
        The place in another file that names the table, for a folder without one.
    """
    file = path if os.path.basename(path) == MLTABLE else os.path.join(path, MLTABLE)
    if not os.path.isfile(file):
        message = (
            f"the data has 'type: mltable', but there is no file {file}. Add one, or write 'type: "
            "uri_folder'."
        )
        if os.path.isdir(path) or place is None:
            findings.error(place or Place(file), message)
        return
    try:
        tree = read_tree(file)
    except JobFileError as error:
        findings.add(error.problems)
        return
    _Table(tree, file, findings).check()


class _Table:
    """The content of one file, while it is checked."""

    def __init__(self, tree: Node, file: str, findings: Findings) -> None:
        self._tree = tree
        self._folder = os.path.dirname(os.path.abspath(file))
        self._findings = findings
        self._local: list[str] = []
        self._keys: set[str] = set()
        self._columns: set[str] | None = None

    def check(self) -> None:
        """Check the paths, then the transformations in their order."""
        for name, place in self._tree.keys.items():
            if name not in _TOP:
                hint = nearest_hint(name, _TOP) or f" Its fields are: {', '.join(_TOP)}."
                self._findings.error(place, f"{name!r} is not a field of an MLTable file.{hint}")
        self._check_paths()
        steps = self._tree.value.get("transformations")
        if steps is None or steps.value is None:
            return
        if not isinstance(steps.value, list):
            message = "transformations is not a list; write '- read_delimited: ...' below it."
            self._findings.error(steps.place, message)
            return
        self._keys = set(re.findall(r"\{(\w+)(?::[^}]*)?\}", str(steps.plain())))
        refused = refused_steps([step.plain() for step in steps.value])
        for number, step in enumerate(steps.value):
            before = len(self._findings)
            self._check_step(step)
            if number in refused and len(self._findings) == before:
                message = (
                    f"{refused[number]} Azure reads it; here a step that divides this table into "
                    "mini-batches is refused."
                )
                self._findings.warn(step.place, message)

    def _check_paths(self) -> None:
        paths = self._tree.value.get("paths")
        if paths is None or not isinstance(paths.value, list) or not paths.value:
            place = paths.place if paths is not None else self._tree.place
            message = "the file has no list of paths. Write, for example, paths: [{file: ./a.csv}]."
            self._findings.error(place, message)
            return
        for entry in paths.value:
            self._check_path(entry)

    def _check_path(self, entry: Node) -> None:
        if not isinstance(entry.value, dict) or len(entry.value) != 1:
            message = "a path is not a mapping of one kind. Write {file: ./a.csv}, {folder: ./data} or {pattern: ./*.csv}."
            self._findings.error(entry.place, message)
            return
        [(kind, node)] = entry.value.items()
        if kind not in _KINDS:
            hint = nearest_hint(kind, _KINDS)
            message = f"{kind!r} is not a kind of path; expected file, folder or pattern.{hint}"
            self._findings.error(entry.keys[kind], message)
            return
        text = node.value
        if not isinstance(text, str) or not text.strip():
            self._findings.error(node.place, f"{kind} is {text!r}; expected a path.")
            return
        if "://" in text or text.startswith(("azureml:", "/", "~")):
            return
        path = os.path.join(self._folder, text.removeprefix("file:"))
        if kind == "pattern" or any(c in path for c in "*?["):
            found = glob.glob(path, recursive=True)
            if not found:
                self._findings.error(node.place, f"the pattern {text!r} matches no file below {self._folder}. Correct it.")  # fmt: skip
            self._local += sorted(found)
        elif not os.path.exists(path):
            message = f"the {kind} {text!r} does not exist: {os.path.normpath(path)}. Paths are relative to the MLTable file."
            self._findings.error(node.place, message)
        elif kind == "file":
            self._local.append(path)

    def _check_step(self, step: Node) -> None:
        if isinstance(step.value, dict) and len(step.value) == 1:
            [(name, options)] = step.value.items()
            place = step.keys[name]
        elif isinstance(step.value, str):
            name, options, place = step.value, Node(None, step.place), step.place
        else:
            message = "a transformation is not one name with its options; begin each with '- '."
            self._findings.error(step.place, message)
            return
        if name not in _STEPS:
            hint = nearest_hint(name, _STEPS) or f" The transformations are: {', '.join(_STEPS)}."
            self._findings.error(place, f"{name!r} is not a transformation.{hint}")
            return
        if name in _OPTIONS:
            reading = options.value if isinstance(options.value, dict) else {}
            self._check_reader(name, reading, options.keys)
            self._columns = self._header(reading) if name == "read_delimited" else None
        elif name == "extract_columns_from_partition_format" and isinstance(options.value, str):
            if options.value:
                message = f"{name} is a text, which Azure refuses. Write {name}: {{partition_format: {options.value!r}}}"
                self._findings.warn(options.place, message)
        elif name == "convert_column_types":
            self._check_types(options)
        elif name in {"keep_columns", "drop_columns"}:
            self._check_columns(name, options)

    def _check_reader(
        self, reader: str, options: Mapping[str, Node], places: Mapping[str, Place]
    ) -> None:
        for name, place in places.items():
            if name not in _OPTIONS[reader]:
                names = _OPTIONS[reader]
                hint = nearest_hint(name, names) or f" Its options are: {', '.join(names)}."
                self._findings.error(place, f"{name!r} is not an option of {reader}.{hint}")
        for name, choices in _WORDS.get(reader, {}).items():
            node = options.get(name)
            if node is not None and node.value not in choices:
                hint = nearest_hint(str(node.value), choices)
                message = f"{name} is {node.value!r}; expected one of {', '.join(choices)}.{hint}"
                self._findings.error(node.place, message)
        node = options.get("delimiter")
        if node is not None and not 1 <= len(str(node.value)) <= 2:
            message = (
                f"delimiter is {node.value!r}; expected one or two characters, such as ',', ';' or "
                '"\\t" in double quotes.'
            )
            self._findings.error(node.place, message)

    def _check_types(self, options: Node) -> None:
        conversions = options.value if isinstance(options.value, list) else [options]
        for conversion in conversions:
            if not isinstance(conversion.value, dict):
                continue
            node = conversion.value.get("column_type")
            if node is None:
                message = "a conversion has no column_type. Write {columns: a, column_type: int}."
                self._findings.error(conversion.place, message)
                continue
            is_mapping = isinstance(node.value, dict) and len(node.value) == 1
            name = next(iter(node.value)) if is_mapping else node.value
            if name not in _TYPES:
                hint = nearest_hint(str(name), _TYPES)
                message = f"column_type is {name!r}; expected one of {', '.join(_TYPES)}.{hint}"
                self._findings.error(node.place, message)
            elif node.value == "datetime":
                message = "column_type is datetime without formats, which Azure refuses. Write column_type: {datetime: {formats: ['%Y-%m-%d']}}"
                self._findings.warn(node.place, message)
            columns = conversion.value.get("columns")
            if columns is not None:
                self._check_columns("convert_column_types", columns)

    def _check_columns(self, step: str, options: Node) -> None:
        """Check that columns are in the header of the first local file."""
        if self._columns is None:
            return
        nodes = options.value if isinstance(options.value, list) else [options]
        for node in nodes:
            if isinstance(node.value, str) and node.value not in self._columns:
                hint = nearest_hint(node.value, self._columns)
                names = f" Its columns are: {', '.join(sorted(self._columns))}."
                message = (
                    f"{step} names the column {node.value!r}, which {os.path.basename(self._local[0])} "
                    f"does not have.{hint or names}"
                )
                if step == "keep_columns":
                    self._findings.error(node.place, message)
                else:  # it has no effect
                    self._findings.warn(node.place, message)

    def _header(self, options: Mapping[str, Node]) -> set[str] | None:
        """Return the columns of the first local file; None if they are not known."""
        header = options["header"].value if "header" in options else "all_files_same_headers"
        delimiter = str(options["delimiter"].value) if "delimiter" in options else ","
        encoding = options["encoding"].value if "encoding" in options else "utf8"
        if not self._local or header == "no_header" or len(delimiter) != 1:
            return None
        if encoding not in {"utf8", "utf-8", "utf8 bom", "ascii"}:
            return None
        try:
            with open(self._local[0], encoding="utf-8-sig") as file:
                line = file.readline(1_000_000)
        except (OSError, UnicodeDecodeError):
            return None
        if not line.strip() or line.count('"') % 2:
            return None
        names = {name.strip() for name in next(csv.reader(io.StringIO(line), delimiter=delimiter))}
        return names | self._keys | ({_PATH_COLUMN} if "include_path_column" in options else set())
