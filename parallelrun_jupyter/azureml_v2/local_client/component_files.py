"""Components read by our own reader, as plain values with absolute paths."""

from __future__ import annotations

import os
from typing import Any

from ...errors import ConfigError
from ..model.jobs import Component
from ..reader.tree import read_tree

_PATHS = ("code", "conda_file", "environment", "component")
_NESTED = ("task", "environment", "build")


def record_of_component(component: Component) -> dict[str, Any]:
    """Return the fields of a component's file; its own components are in place.

    Raises
    ------
    ConfigError
        The component was not read from a file.
    """
    if not component.file:
        msg = f"the component {component.name!r} is in no file; read it with load_component(path)."
        raise ConfigError(msg)
    return record_of_file(component.file)


def record_of_file(file: str) -> dict[str, Any]:
    """Return the fields of a file with absolute paths, and without its schema."""
    plain: dict[str, Any] = read_tree(file).plain()
    plain.pop("$schema", None)
    return _absolute(plain, os.path.dirname(os.path.abspath(file)))


def _absolute(record: dict[str, Any], folder: str) -> dict[str, Any]:
    changed = dict(record)
    for name, value in record.items():
        if name in _PATHS and isinstance(value, str):
            changed[name] = _path(name, value, folder)
        elif name == "additional_includes":
            changed[name] = [os.path.normpath(os.path.join(folder, path)) for path in value]
        elif name in _NESTED and isinstance(value, dict):
            changed[name] = _absolute(value, folder)
        elif name == "jobs":
            changed[name] = {step: _absolute(fields, folder) for step, fields in value.items()}
    return changed


def _path(name: str, value: str, folder: str) -> Any:
    path = os.path.normpath(os.path.join(folder, os.path.expanduser(value.removeprefix("file:"))))
    if not os.path.exists(path):
        return value  # a name, such as azureml:base@latest
    return record_of_file(path) if name == "component" else path
