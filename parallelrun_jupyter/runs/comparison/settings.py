"""The settings of two runs that differ, by the names of `ParallelRunConfig` where they have one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from ...worker.memory_items import MEMORY
from ..run_record import RunRecord

_NAMES = {
    "script.path": "entry_script",
    "script.python": "environment",
    "script.cwd": "working directory",
    "script.modules": "module",
    "inputs.datasets": "inputs",
    "output.destination": "output",
    "output.file_name": "append_row_file_name",
    "output.format": "output_format",
    "output.append_rows": "appends rows",
    "output.in_parts": "output in parts",
    "placement.compute": "compute_target",
}
"""Sections and fields of a record whose name is another one for users."""

_LEFT_OUT = (
    "run_id", "name", "created_at", "schema", "driver_python", "script.is_python_named",
    "inputs.reuse_from", "placement.requested",
)  # fmt: skip
_OF_VARIABLES = ("kind", "name", "container", "count")
"""The fields of a variable as an input; the others describe its file in the run's folder."""

_SECTIONS = ("script.", "inputs.", "output.", "placement.", "limits.")
_DIGEST_CHARS = 12


class Setting(NamedTuple):
    """A setting that differs; None in a run that lacks it."""

    setting: str
    this: Any
    other: Any


def differing_settings(
    this: RunRecord, other: RunRecord, files: tuple[Mapping[str, str], Mapping[str, str]]
) -> list[Setting]:
    """Return the settings that differ.

    Parameters
    ----------
    this, other
        The records of the runs.
    files
        For each, the SHA-256 of the files of its script, such as ``script score.py``, and of what it got
        by value.
    """
    one, two = (_settings(record, own) for record, own in zip((this, other), files, strict=True))
    return [
        Setting(name, one.get(name), two.get(name))
        for name in dict.fromkeys([*one, *two])
        if one.get(name) != two.get(name)
    ]


def _settings(record: RunRecord, files: Mapping[str, str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    fields = asdict(record)
    fields["inputs"]["datasets"] = [_shown_input(spec) for spec in fields["inputs"]["datasets"]]
    _flatten("", fields, flat)
    settings = {_shown(name): value for name, value in flat.items() if _is_shown(name)}
    for name, value in settings.items():
        if name.startswith("module "):
            settings[name] = value[:_DIGEST_CHARS]
    digests = {name: digest[:_DIGEST_CHARS] for name, digest in sorted(files.items())}
    return {**settings, **digests}


def _shown_input(spec: dict[str, Any]) -> dict[str, Any]:
    if spec.get("kind") != MEMORY:
        return spec
    return {name: spec[name] for name in _OF_VARIABLES if name in spec}


def _flatten(prefix: str, value: Any, flat: dict[str, Any]) -> None:
    """Add the values of a record by their path: ``limits.run_max_try``, ``inputs.datasets[0].paths``."""
    if isinstance(value, dict):
        for key, each in value.items():
            _flatten(f"{prefix}.{key}" if prefix else key, each, flat)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for number, each in enumerate(value):
            _flatten(f"{prefix}[{number}]", each, flat)
    elif isinstance(value, list):
        texts = [each if isinstance(each, str) else json.dumps(each) for each in value]
        flat[prefix] = " ".join(texts)
    else:
        flat[prefix] = value


def _is_shown(name: str) -> bool:
    return not name.startswith(_LEFT_OUT)


def _shown(name: str) -> str:
    for field, shown in _NAMES.items():
        if name == field or name.startswith((f"{field}.", f"{field}[")):
            rest = name[len(field) :]
            if field == "script.modules":
                return f"{shown} {rest[1:]}"
            return f"{shown}{rest}"
    for section in _SECTIONS:
        if name.startswith(section):
            return name[len(section) :]
    return name
