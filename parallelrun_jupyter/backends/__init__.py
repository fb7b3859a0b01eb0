"""Backends: they run the nodes. Each is a module, imported when a run selects it."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:  # slow to import: a new driver starts workers before it imports the rest
    from ..engine.node_pool import PoolFactory


def find_backend(name: str) -> PoolFactory:
    """Return the pool factory of a backend.

    Raises
    ------
    ConfigError
        The backend is unknown.
    """
    factory: PoolFactory = find_module(name).make_pool
    return factory


def find_module(name: str) -> ModuleType:
    """Return the module of a backend, which has ``make_pool``, or ``make_driver`` for a driver of its own.

    Raises
    ------
    ConfigError
        The backend is unknown.
    """
    try:
        return importlib.import_module(f".{name}", __name__)
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        msg = (
            f"the run uses the backend {name!r}, which this version of parallelrun-jupyter does "
            "not have."
        )
        raise ConfigError(msg) from error
