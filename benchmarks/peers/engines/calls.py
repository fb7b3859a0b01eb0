"""Calls in a worker for engines without a start hook: ``init()`` runs before the first ``run()``."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any


@functools.cache
def ready(module: str) -> ModuleType:
    """Return the script, after its ``init()``, once in each process."""
    script = importlib.import_module(module)
    script.init()
    return script


def call(module: str, mini_batch: Any) -> Any:
    """Return the rows of a mini-batch."""
    return ready(module).run(mini_batch)


def attempt(module: str, number: int, mini_batch: Any) -> tuple[int, Any]:
    """Return the number and the rows of a mini-batch; None if the script raises."""
    try:
        return number, call(module, mini_batch)
    except Exception:  # the script's own: whatever it is
        return number, None
