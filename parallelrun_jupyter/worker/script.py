"""Loads the user's entry script and calls its functions."""

from __future__ import annotations

import importlib.util
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


_ASYNC = 0x80 | 0x200
"""The flags of the code of a coroutine and of an asynchronous generator; inspect is slow to import."""


class EntryScript:
    """The user's script; ``init()`` and ``shutdown()`` are optional, ``run()`` is required.

    Parameters
    ----------
    path
        Its file.
    values
        Variables that it gets by value: its globals, before its first line runs.
    """

    def __init__(self, path: str, values: dict[str, Any]) -> None:
        name = os.path.splitext(os.path.basename(path))[0]
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError("the entry script %r is not a Python file" % path)
        module = importlib.util.module_from_spec(spec)
        module.__dict__.update(values)
        sys.modules.setdefault(name, module)  # pickled classes of the script find their module
        spec.loader.exec_module(module)
        self._module = module
        self.run: Any = getattr(module, "run", None)
        if not callable(self.run):
            raise AttributeError("the entry script has no function run(mini_batch)")

    @property
    def functions(self) -> list[Any]:
        """The script's functions, as far as they exist."""
        others = [getattr(self._module, name, None) for name in ("init", "shutdown")]
        return [self.run, *(function for function in others if function is not None)]

    def init(self) -> Any:
        """Call the script's ``init()`` if it exists; return what is to be awaited if it is async."""
        return _call(self._module, "init")

    def shutdown(self) -> Any:
        """Call the script's ``shutdown()`` if it exists; return what is to be awaited if it is async."""
        return _call(self._module, "shutdown")


def _call(module: Any, name: str) -> Any:
    function = getattr(module, name, None)
    return None if function is None else function()


def is_async(function: Any) -> bool:
    """Return whether a call of a function is to be awaited, or yields its results asynchronously."""
    while hasattr(function, "func"):  # a partial function, or the run() of a function
        function = function.func
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None and not isinstance(function, type):  # an object that can be called
        method = vars(type(function)).get("__call__")
        code = getattr(method, "__code__", None)
    return code is not None and code.co_flags & _ASYNC != 0
