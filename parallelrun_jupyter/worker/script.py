"""Loads the user's entry script and calls its functions."""

from __future__ import annotations

import importlib.util
import os
import sys

from .failures import BadResult
from .output.results import is_coroutine

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


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

    def init(self) -> None:
        """Call the script's ``init()`` if it exists."""
        call_plainly(self._module, "init")

    def shutdown(self) -> None:
        """Call the script's ``shutdown()`` if it exists."""
        call_plainly(self._module, "shutdown")


def call_plainly(module: Any, name: str) -> None:
    """Call a function of a script without arguments, if it exists.

    Raises
    ------
    BadResult
        The function is async.
    """
    function = getattr(module, name, None)
    if function is not None and is_coroutine(function()):
        raise BadResult(
            "wrong_result",
            "%s() is async, and is never awaited. Write a plain %s() that calls asyncio.run(...)"
            % (name, name),
        )
