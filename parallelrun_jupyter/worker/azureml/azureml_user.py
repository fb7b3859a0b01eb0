"""``azureml_user.parallel_run``, which no installable package has: what entry scripts import of it.

Served through an appended finder, so that a real package of that name comes first.
"""

from __future__ import annotations

import importlib.util
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_NAMES = ("azureml_user", "azureml_user.parallel_run")


class Finder:
    """Makes the two modules; ``facts`` are what ``EntryScript`` says."""

    def __init__(self, facts: dict[str, str]) -> None:
        self._facts = facts

    def find_spec(self, name: str, *_: Any) -> Any:
        """Find the names of Azure's package, and no others."""
        if name not in _NAMES:
            return None
        loader: Any = self
        return importlib.util.spec_from_loader(name, loader, is_package=name == _NAMES[0])

    def create_module(self, *_: Any) -> Any:
        """Leave the making to Python."""
        return

    def exec_module(self, module: Any) -> None:
        """Fill a module."""
        if module.__name__ == _NAMES[1]:
            module.EntryScript = _entry_script(self._facts)


def _entry_script(facts: dict[str, str]) -> Any:
    """Return the class ``EntryScript``: every call gives the one instance."""
    import logging
    import os

    class EntryScript:
        """What the running script may know of its surroundings."""

        _instance = None

        def __new__(cls) -> Any:
            if cls._instance is None:
                cls._instance = super(EntryScript, cls).__new__(cls)
            return cls._instance

        def __reduce__(self) -> Any:
            return EntryScript, ()

        @property
        def logger(self) -> Any:
            return logging.getLogger("EntryScript")

        @property
        def log_dir(self) -> str:
            os.makedirs(facts["log_dir"], exist_ok=True)  # scripts write there at once
            return facts["log_dir"]

        @property
        def agent_name(self) -> str:
            return facts["agent_name"]

        @property
        def output_dir(self) -> str:
            return facts["output_dir"]

        @property
        def working_dir(self) -> str:
            return facts["working_dir"]

    EntryScript.__module__ = _NAMES[1]
    EntryScript.__qualname__ = "EntryScript"
    return EntryScript


def install(facts: dict[str, str]) -> None:
    """Let the script import the names, unless something real has them."""
    sys.meta_path.append(Finder(facts))
