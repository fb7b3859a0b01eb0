"""Paths as notebooks give them, as paths and URLs that the rest of this package reads."""

from __future__ import annotations

import os
from typing import Any

from ..core.references import DataPath, DataReference
from ..exceptions import UserErrorException


def paths_of(path: Any) -> list[Any]:
    """Return the single paths of what a factory was given: one, or a list of them."""
    if isinstance(path, list):
        return list(path)
    if isinstance(path, tuple) and not _is_in_datastore(path):
        return list(path)
    return [path]


def _is_in_datastore(path: tuple[Any, ...]) -> bool:
    return len(path) == 2 and hasattr(path[0], "datastore_type")


def native_path(path: Any) -> Any:
    """Return one path as a dataset takes it.

    Raises
    ------
    UserErrorException
        It is of no kind that is known.
    """
    if isinstance(path, DataPath | DataReference):
        return in_datastore(path.datastore, path.path_on_datastore)
    if isinstance(path, tuple | list) and _is_in_datastore(tuple(path)):
        return in_datastore(path[0], str(path[1]))
    if isinstance(path, str | os.PathLike):
        return os.fspath(path)
    if hasattr(path, "datastore_type"):
        return in_datastore(path, "")
    msg = (
        f"path holds {path!r}; expected a path, a URL, (datastore, path), or what "
        "datastore.path(...) returns."
    )
    raise UserErrorException(msg)


def in_datastore(datastore: Any, path: str) -> Any:
    """Return a place in a datastore as a dataset takes it."""
    return datastore.native.path(path.strip("/")).place()


def target_of(target: Any) -> tuple[Any, str]:
    """Return the datastore and the path of a target, as notebooks give it.

    Raises
    ------
    UserErrorException
        It is none.
    """
    if isinstance(target, tuple | list) and _is_in_datastore(tuple(target)):
        return target[0], str(target[1])
    if isinstance(target, DataPath | DataReference):
        return target.datastore, target.path_on_datastore
    if hasattr(target, "datastore_type"):
        return target, ""
    msg = f"target is {target!r}; expected (datastore, path) or what datastore.path(...) returns."
    raise UserErrorException(msg)
