"""The finder that serves ``azureml`` where the real package is absent."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ...errors import OutsideSurfaceError
from ...formatting import nearest_hint
from .name_table import TABLE, load, outside

_MARK = "__parallelrun__"


class Finder:
    """Makes the modules of the table. It is appended to ``sys.meta_path``: real modules come first."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of the table.

        Raises
        ------
        OutsideSurfaceError
            It is a module below ``azureml`` that nobody has; the message says what to use.
        """
        if name.partition(".")[0] != "azureml" or real_sdk(self):
            return None
        if name not in TABLE:
            parent, _, last = name.rpartition(".")
            if not is_ours(sys.modules.get(parent)) or last.startswith("_"):
                return None  # below a real package: its own business
            raise OutsideSurfaceError(outside(name, nearest_hint(last, _names_of(parent))))
        loader: Any = self
        return importlib.util.spec_from_loader(name, loader, is_package=True)

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave the making to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module: its names are loaded when they are first used."""
        names = TABLE[module.__name__]

        def get(name: str) -> Any:
            home = names.get(name)
            if home is None:
                full = f"{module.__name__}.{name}"
                hint = "" if name.startswith("__") else nearest_hint(name, names)
                raise AttributeError(outside(full, hint))
            value = load(home)
            setattr(module, name, value)
            return value

        setattr(module, _MARK, True)
        module.__getattr__ = get  # type: ignore[method-assign] # PEP 562
        module.__dict__["__all__"] = sorted(names)
        module.__dict__["__dir__"] = lambda: sorted({*names, *module.__dict__})


def _names_of(module: str) -> list[str]:
    below = [name.rpartition(".")[2] for name in TABLE if name.rpartition(".")[0] == module]
    return [*TABLE.get(module, ()), *below]


def is_ours(module: ModuleType | None) -> bool:
    """Say whether a module was made by the finder."""
    return module is not None and module.__dict__.get(_MARK) is True


def real_sdk(finder: Finder | None = None) -> bool:
    """Say whether a real ``azureml.core`` can be imported, or is: then nothing is served."""
    loaded = sys.modules.get("azureml.core")
    if loaded is not None:
        return not is_ours(loaded)
    parent = sys.modules.get("azureml")
    if is_ours(parent):
        return False
    search = getattr(parent, "__path__", None)
    others = [one for one in sys.meta_path if not isinstance(one, Finder)]
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
    """Serve ``azureml`` from here on, unless the real SDK is there; return whether that is so."""
    if real_sdk():
        return False
    if not any(isinstance(one, Finder) for one in sys.meta_path):
        sys.meta_path.append(Finder())
    return True


def uninstall() -> None:
    """Take the finder and its modules back."""
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, Finder)]
    for name in [n for n, m in sys.modules.items() if n.startswith("azureml") and is_ours(m)]:
        del sys.modules[name]
