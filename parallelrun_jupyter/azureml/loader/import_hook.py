"""The finder that serves ``azureml`` if the real package is not installed."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Any

from ...errors import OutsideSurfaceError
from ...formatting import nearest_hint
from ...worker.azureml.finder import LazyFinder, is_ours
from .name_table import TABLE, load, missing_name


class Finder(LazyFinder):
    """Serves the modules of the table, at the end of ``sys.meta_path``: real modules come first."""

    def names_in(self, module: str) -> dict[str, str] | None:
        """Return the names in a module of the table; None for other modules.

        Raises
        ------
        OutsideSurfaceError
            The module is below ``azureml`` and not in the table; the message names a replacement.
        """
        if module.partition(".")[0] != "azureml" or real_sdk():
            return None
        if module not in TABLE:
            parent, _, last = module.rpartition(".")
            if not is_ours(sys.modules.get(parent)) or last.startswith("_"):
                return None  # a submodule of a real package
            raise OutsideSurfaceError(missing_name(module, nearest_hint(last, _names_in(parent))))
        return TABLE[module]

    def load(self, module: str, name: str) -> Any:
        """Return the object for a name in a module of the table."""
        names = TABLE[module]
        if name not in names:
            hint = "" if name.startswith("__") else nearest_hint(name, names)
            raise AttributeError(missing_name(f"{module}.{name}", hint))
        return load(names[name])


def _names_in(module: str) -> list[str]:
    submodules = [name.rpartition(".")[2] for name in TABLE if name.rpartition(".")[0] == module]
    return [*TABLE.get(module, ()), *submodules]


def real_sdk() -> bool:
    """Return whether a real ``azureml.core`` is or can be imported; if so, nothing is served."""
    loaded = sys.modules.get("azureml.core")
    if loaded is not None:
        return not is_ours(loaded)
    parent = sys.modules.get("azureml")
    if is_ours(parent):
        return False
    search = getattr(parent, "__path__", None)
    others = [other for other in sys.meta_path if not isinstance(other, Finder)]
    if search is None:
        spec = _find(others, "azureml", None)
        search = spec.submodule_search_locations if spec is not None else None
        if search is None:
            return False
    return _find(others, "azureml.core", search) is not None


def _find(finders: list[Any], name: str, path: Any) -> ModuleSpec | None:
    for finder in finders:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find(name, path) if find is not None else None
        if spec is not None:
            return spec
    return None


def install() -> bool:
    """Start serving ``azureml`` unless the real SDK is installed; return whether it is served."""
    if real_sdk():
        return False
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
    return True


def uninstall() -> None:
    """Remove the finder and its modules."""
    sys.meta_path[:] = [other for other in sys.meta_path if not isinstance(other, Finder)]
    for name in [n for n, m in sys.modules.items() if n.startswith("azureml") and is_ours(m)]:
        del sys.modules[name]
