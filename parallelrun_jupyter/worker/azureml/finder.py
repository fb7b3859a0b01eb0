"""Serves ``azureml`` and ``azureml_user`` to scripts, by finders at the end of ``sys.meta_path``.

Installed packages with these names come first.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

CONTEXT_VARIABLE = "PARALLELRUN_AZUREML_CONTEXT"
"""Path of the JSON file with the script's run, workspace and datasets."""

_CORE = "core"
_DATA = "data"
TABLE: dict[str, dict[str, str]] = {
    "azureml": {},
    "azureml.core": {
        "VERSION": _CORE,
        "Dataset": _CORE,
        "Experiment": _CORE,
        "Model": _CORE,
        "Run": _CORE,
        "Workspace": _CORE,
    },
    "azureml.core.dataset": {"Dataset": _CORE},
    "azureml.core.experiment": {"Experiment": _CORE},
    "azureml.core.model": {"Model": _CORE},
    "azureml.core.run": {"Run": _CORE},
    "azureml.core.workspace": {"Workspace": _CORE},
    "azureml.data": {"FileDataset": _DATA, "TabularDataset": _DATA},
    "azureml.data.file_dataset": {"FileDataset": _DATA},
    "azureml.data.tabular_dataset": {"TabularDataset": _DATA},
}
"""Modules for scripts -> their names -> the module of this folder with the object."""

_USER_MODULE = "azureml_user.parallel_run"


class LazyFinder:
    """Base of finders of modules whose names are loaded on first use."""

    def names_in(self, module: str) -> Any:
        """Return the names in a module; None for other modules."""
        raise NotImplementedError

    def load(self, module: str, name: str) -> Any:
        """Return the object for a name in a module.

        Raises
        ------
        AttributeError
            The module does not have the name.
        """
        raise NotImplementedError

    def find_spec(self, name: str, *_: Any) -> Any:
        """Return the spec of a module that has names, else None."""
        if self.names_in(name) is None:
            return None
        loader: Any = self
        return importlib.util.spec_from_loader(name, loader, is_package=True)

    def create_module(self, *_: Any) -> Any:
        """Let Python create the module."""
        return

    def exec_module(self, module: Any) -> None:
        """Fill a module: loaded names become its attributes."""
        module.__parallelrun__ = True  # before names_in, which recognizes modules by the mark
        names = sorted(self.names_in(module.__name__))

        def load(name: str) -> Any:
            value = self.load(module.__name__, name)
            setattr(module, name, value)
            return value

        module.__all__ = names
        module.__getattr__ = load
        module.__dir__ = lambda: sorted(set(names).union(module.__dict__))


def is_ours(module: Any) -> bool:
    """Return whether a module was filled by a finder of this kind."""
    return module is not None and module.__dict__.get("__parallelrun__") is True


class AzuremlFinder(LazyFinder):
    """Serves the modules of the table, unless a real ``azureml.core`` was imported."""

    def names_in(self, module: str) -> Any:
        """Return the names in a module of the table."""
        core = sys.modules.get("azureml.core")
        return TABLE.get(module) if core is None or is_ours(core) else None

    def load(self, module: str, name: str) -> Any:
        """Return the object for a name in a module of the table."""
        names = TABLE[module]
        if name not in names:
            raise AttributeError(
                "%s.%s is not available to scripts (available: %s); docs/azureml.md lists all "
                "names" % (module, name, ", ".join(sorted(names)) or "none")
            )
        return getattr(importlib.import_module("." + names[name], __package__), name)


class EntryScriptFinder(LazyFinder):
    """Serves ``azureml_user.parallel_run``, which is not part of an installable package."""

    def __init__(self, facts: dict[str, str]) -> None:
        self._facts = facts

    def names_in(self, module: str) -> Any:
        """Return the names in the package or its module."""
        return {"azureml_user": (), _USER_MODULE: ("EntryScript",)}.get(module)

    def load(self, module: str, name: str) -> Any:
        """Return the class ``EntryScript``."""
        if module != _USER_MODULE or name != "EntryScript":
            raise AttributeError("module %r has no attribute %r" % (module, name))
        return _entry_script(self._facts)


def _entry_script(facts: dict[str, str]) -> Any:
    """Return the class ``EntryScript``, a singleton."""
    import logging
    import os

    class EntryScript:
        """Folders, logger and worker name of the running script."""

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
            os.makedirs(facts["log_dir"], exist_ok=True)  # scripts expect it to exist
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

    EntryScript.__module__ = _USER_MODULE
    EntryScript.__qualname__ = "EntryScript"
    return EntryScript


def install(facts: dict[str, str]) -> None:
    """Serve both packages to the script.

    Parameters
    ----------
    facts
        The attributes of ``EntryScript``: ``output_dir``, ``log_dir``, ``agent_name`` and
        ``working_dir``.
    """
    sys.meta_path.append(EntryScriptFinder(facts))
    if not any(isinstance(finder, AzuremlFinder) for finder in sys.meta_path):
        sys.meta_path.append(AzuremlFinder())
