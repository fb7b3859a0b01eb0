"""Azure ML v2 jobs on this machine: a reader of their files, their checks, and what runs them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks.files import check_file as check
    from .checks.findings import Finding

_HOMES = {
    "Finding": ("checks.findings", "Finding"),
    "check": ("checks.files", "check_file"),
}

__all__ = ["Finding", "check"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that importing the package is fast."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(f".{module}", __name__), attribute)
    globals()[name] = value
    return value
