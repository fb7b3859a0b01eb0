"""Imports without looking for garbage meanwhile: what they make lives as long as the process.

TensorFlow makes 600,000 objects. Looking through them again and again takes a quarter of its import
(3.0 s, and 2.3 s so), and afterwards a fifth of a second whenever all objects are looked through.
"""

from __future__ import annotations

import gc
import sys
from importlib.machinery import SourceFileLoader

from .failures import is_under

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


_IMPORTS = "<frozen importlib._bootstrap_external>"


class QuickImports:
    """A finder that looks after the import of every package, while it is installed.

    Parameters
    ----------
    own
        Folders of the user's own modules. These may do anything while they are imported, so they
        run as ever; what they import does not.
    """

    def __init__(self, own: list[str]) -> None:
        self._own = own
        self._is_busy = False

    def install(self) -> None:
        """Look after imports from here on."""
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Leave imports alone again."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Find a module as the others do; have the outermost one of an import run undisturbed."""
        if self._is_busy:
            return None
        self._is_busy = True
        try:
            spec = self._ask_others(name, path, target)
        finally:
            self._is_busy = False
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return spec
        loader: Any = spec.loader
        is_taken = "exec_module" in vars(loader)  # by a finder that has its own reasons
        if not is_taken and not is_under(str(spec.origin), self._own):
            loader.exec_module = self._undisturbed(loader)
        return spec

    def _ask_others(self, name: str, path: Any, target: Any) -> Any:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and finder is not self else None
            if spec is not None:
                return spec
        return None

    def _undisturbed(self, loader: Any) -> Any:
        """Return what executes a module, once, in the place of its loader."""

        def exec_module(module: Any) -> None:
            del loader.exec_module
            was_enabled = gc.isenabled()
            gc.disable()
            self._is_busy = True
            try:
                loader.exec_module(module)
            finally:
                self._is_busy = False
                gc.freeze()
                if was_enabled:
                    gc.enable()

        code: Any = exec_module.__code__
        if hasattr(code, "replace"):  # from Python 3.8 on
            # Python leaves its own frames of an import out of tracebacks, and of what a warning is
            # said of. This is one more of them.
            exec_module.__code__ = code.replace(co_filename=_IMPORTS)
        return exec_module
