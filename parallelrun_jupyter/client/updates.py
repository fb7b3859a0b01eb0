"""Finds the earlier run whose rows an update takes."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config.imported_modules import imported_modules
from ..data.datasets import inputs
from ..data.datasets.file_dataset import FileDataset
from ..errors import ConfigError, ParallelRunError
from ..runs.run_folder import RunFolder, list_runs
from ..runs.run_record import RunRecord
from ..runs.snapshot.follower import Follower

_CORRECTED = re.compile(r"\.\d+\.before$")
"""Names of scripts that a resume has replaced."""

_MAX_MODULES = 200


def check_update(record: RunRecord, update: object) -> None:
    """Check that a run with this output can be an update.

    Raises
    ------
    ConfigError
        The value is another, or the run does not write rows that another run could take.
    """
    if update is False or update is None:
        return
    if update is not True and update != "digest":
        msg = (
            f"update is {update!r}; expected True (compare sizes and times, or ETags) or 'digest' "
            "(compare the content of files whose time has changed)."
        )
        raise ConfigError(msg)
    if record.has_variables:
        name = record.inputs.datasets[0]["name"]
        msg = (
            f"update is {update!r}, but the input {name} is a variable: an update compares files. "
            "Omit update, or save the values to files."
        )
        raise ConfigError(msg)
    if not record.output.append_rows:
        msg = (
            f"update is {update!r}, but output_action is 'summary_only': the script writes its own "
            "output, and the run has no rows to take. Use output_action='append_row', or omit update."
        )
        raise ConfigError(msg)
    if record.output.in_parts:
        msg = (
            f"update is {update!r}, but the nodes write Parquet parts into a store, from which rows "
            "cannot be taken. Give output= a local folder, or omit update."
        )
        raise ConfigError(msg)


def check_duplicates(record: RunRecord) -> None:
    """Check that duplicates of content can be found in the inputs of a run, and can get rows.

    Raises
    ------
    ConfigError
        The inputs are not local files, or the run has no rows that can be copied.
    """
    given, inputs_ = "run_duplicates_once is True, but", record.inputs
    omit = "or omit run_duplicates_once."
    if not record.output.append_rows:
        msg = (
            f"{given} output_action is 'summary_only': the script writes its own output, and there "
            f"are no rows to copy. Use output_action='append_row', {omit}"
        )
        raise ConfigError(msg)
    if record.output.in_parts:
        msg = (
            f"{given} the nodes write Parquet parts into a store, from which rows cannot be copied. "
            f"Give output= a local folder, {omit}"
        )
        raise ConfigError(msg)
    if inputs_.partition_keys:
        msg = (
            f"{given} partition_keys is {inputs_.partition_keys!r}: run() receives the whole group, "
            f"from which no file can be left out. Omit partition_keys, {omit}"
        )
        raise ConfigError(msg)
    for spec in inputs_.datasets:
        if spec["kind"] != FileDataset.kind:
            msg = (
                f"{given} the input {spec.get('paths', [])!r} is a table: only files are compared, not "
                f"rows. Pass the files themselves, as FileDataset(...), {omit}"
            )
            raise ConfigError(msg)
        if spec.get("storage"):
            msg = (
                f"{given} the input {spec['paths'][0]!r} is in a store: only local files are "
                f"compared. Copy the files to a folder first, {omit}"
            )
            raise ConfigError(msg)


def with_update(record: RunRecord, folder: RunFolder, *, by_digest: bool) -> RunRecord:
    """Return the record of an update, with the run to take rows from; warn if there is none.

    Parameters
    ----------
    record
        The record of the new run.
    folder
        Its folder, which has its script already.
    by_digest
        Whether files with another time are compared by digest.
    """
    run_id, why = find_earlier(record, folder)
    if why:
        warnings.warn(why, stacklevel=4)
    by = "digest" if by_digest else "version"
    return replace(record, inputs=replace(record.inputs, reuse_from=run_id, update_by=by))


def find_earlier(record: RunRecord, folder: RunFolder) -> tuple[str, str]:
    """Return the id of the run that an update can take rows from, or why there is none.

    It is the newest one over the same paths; without any, the newest one over other paths.
    """
    side_versions = inputs.digest_of(record.inputs.side_inputs)
    nearest: list[str] = []
    nearest_id = newest = ""
    for earlier in list_runs():  # without the new run, which has no record yet
        try:
            other = earlier.read_record()
            differences = list(_differences(record, other))
            if not differences and side_versions != _side_versions(earlier, other):
                differences.append("the versions of its side inputs")
            if not differences:
                differences = _other_differences(folder, earlier)
        except (ParallelRunError, OSError):
            continue  # removed meanwhile, or damaged
        if not differences and _paths(other) == _paths(record):
            return earlier.run_id, ""
        if not differences:
            newest = newest or earlier.run_id
            continue
        is_nearer = not nearest or len(differences) < len(nearest)
        if other.script.path == record.script.path and is_nearer:
            nearest, nearest_id = differences, earlier.run_id
    if newest:
        return newest, ""
    why = "update found no earlier run of this script with the same settings: all items run."
    if nearest:
        why += f" The nearest is run {nearest_id}, which differs in {' and '.join(nearest)}."
    return "", why


def _differences(record: RunRecord, other: RunRecord) -> Iterator[str]:
    """Yield what differs in two runs and could change their rows."""
    ours, theirs = record.script, other.script
    pairs = {
        "the name of its script": (ours.path, theirs.path),
        "its arguments": (ours.arguments, theirs.arguments),
        "its environment variables": (ours.environment_variables, theirs.environment_variables),
        "its Python interpreter": (ours.python, theirs.python),
        "its modules": (ours.modules, theirs.modules),
        "its working directory": (_directory(record), _directory(other)),
        "its side inputs": (_sides(record), _sides(other)),
        "the names given with use": (ours.uses, theirs.uses),
        "its output_format": (record.output.format, other.output.format),
        "its output_action": (record.output.append_rows, other.output.append_rows),
        "its output, which is in parts": (record.output.in_parts, other.output.in_parts),
        "its partition_keys": (_keys(record), _keys(other)),
        # Its copied rows may have the names of other files.
        "its run_duplicates_once": (_has_copies(record, other), _has_copies(other, other)),
    }
    yield from (name for name, (one, two) in pairs.items() if one != two)
    if other.has_variables:
        yield "its inputs, which are variables"


def _other_differences(folder: RunFolder, earlier: RunFolder) -> list[str]:
    """Return what else differs, in two runs with the same settings."""
    if files_of(folder.script) != files_of(earlier.script):
        return ["its script"]
    if files_of(folder.uses) != files_of(earlier.uses):
        return ["the values given with use"]
    follower = Follower(earlier)
    if not follower.refresh()["is_final"]:
        return ["that it is still active"]
    return [] if follower.state.items_succeeded else ["that none of its items succeeded"]


def _paths(record: RunRecord) -> list[Any]:
    return [spec.get("paths") for spec in record.inputs.datasets]


def _directory(record: RunRecord) -> str:
    return record.script.cwd if record.script.source_directory is None else ""


def _sides(record: RunRecord) -> list[Any]:
    return [(side.get("name"), side["paths"]) for side in record.inputs.side_inputs]


def _keys(record: RunRecord) -> list[Any]:
    keys = record.inputs.partition_keys
    return [keys, [spec.get("partition_format") for spec in record.inputs.datasets]] if keys else []


def _has_copies(record: RunRecord, other: RunRecord) -> bool:
    return record.inputs.run_duplicates_once and other.inputs.run_duplicates_once


def _side_versions(folder: RunFolder, record: RunRecord) -> str:
    """Return the digest of the side inputs that a run read; empty if it is unknown."""
    if not record.inputs.side_inputs:
        return inputs.digest_of([])
    try:
        return folder.side_versions.read_text(encoding="ascii")
    except OSError:
        return ""


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a run's script, by relative path."""
    return {
        os.path.relpath(path, folder): _digest(path)
        for path in _files_below(folder)
        if not _CORRECTED.search(path)
    }


def _files_below(folder: Path) -> list[str]:
    return [
        os.path.join(at, name)
        for at, _, names in os.walk(folder)
        for name in names
        if "__pycache__" not in at
    ]


def _digest(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def modules_in(folder: Path, source: str) -> dict[str, str]:
    """Return the SHA-256 of the modules in a folder that a script imports, also through others.

    Parameters
    ----------
    folder
        The directory that a single script imports from.
    source
        The text of the script. A syntax error of this Python version hides its imports.
    """
    digests: dict[str, str] = {}
    texts = [source]
    while texts and len(digests) < _MAX_MODULES:
        for name in imported_modules(texts.pop()):
            package = folder / name
            is_package = (package / "__init__.py").is_file()
            paths = sorted(package.rglob("*.py")) if is_package else [folder / f"{name}.py"]
            for path in paths:
                relative = os.path.relpath(path, folder)
                if relative not in digests and path.is_file():
                    text = path.read_bytes()
                    digests[relative] = hashlib.sha256(text).hexdigest()
                    texts.append(text.decode("utf-8", "replace"))
    return digests
