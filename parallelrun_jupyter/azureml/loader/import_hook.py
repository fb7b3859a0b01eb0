"""The finder that serves ``azureml`` if the real package is not installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ...errors import OutsideSurfaceError
from ...formatting import nearest_hint
from .name_table import TABLE, load, missing_name

_MARK = "__parallelrun__"


class Finder:
    """Creates the modules of the table, at the end of ``sys.meta_path``: real modules come first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the table, None for other names.

        Raises
        ------
        OutsideSurfaceError
            The module is below ``azureml`` and not in the table; the message names a replacement.
        """
        if name.partition(".")[0] != "azureml" or real_sdk():
            return None
        if name not in TABLE:
            parent, _, last = name.rpartition(".")
            if not is_ours(sys.modules.get(parent)) or last.startswith("_"):
                return None  # a submodule of a real package
            raise OutsideSurfaceError(missing_name(name, nearest_hint(last, _names_in(parent))))
        loader: Any = self
        return importlib.util.spec_from_loader(name, loader, is_package=True)

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module; each of its names is loaded on first use."""
        names = TABLE[module.__name__]

        def get(name: str) -> Any:
            home = names.get(name)
            if home is None:
                full = f"{module.__name__}.{name}"
                hint = "" if name.startswith("__") else nearest_hint(name, names)
                raise AttributeError(missing_name(full, hint))
            value = load(home)
            setattr(module, name, value)
            return value

        setattr(module, _MARK, True)
        module.__getattr__ = get  # type: ignore[method-assign] # PEP 562
        module.__dict__["__all__"] = sorted(names)
        module.__dict__["__dir__"] = lambda: sorted({*names, *module.__dict__})


def _names_in(module: str) -> list[str]:
    submodules = [name.rpartition(".")[2] for name in TABLE if name.rpartition(".")[0] == module]
    return [*TABLE.get(module, ()), *submodules]


def is_ours(module: ModuleType | None) -> bool:
    """Return whether the finder created a module."""
    return module is not None and module.__dict__.get(_MARK) is True


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
    """Start to serve ``azureml``, unless the real SDK is installed; return whether it is served."""
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
