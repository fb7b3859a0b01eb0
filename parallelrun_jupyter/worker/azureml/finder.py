"""The names of ``azureml`` in scripts, by an appended finder: where the real package is, it comes first."""

from __future__ import annotations

import importlib
import importlib.util
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

CONTEXT_VARIABLE = "PARALLELRUN_AZUREML_CONTEXT"
"""Names the file that says what a script may know: its run, workspace, models, datasets."""

_SCRIPT = "core"
_TABLES = "data"
TABLE: dict[str, dict[str, str]] = {
    "azureml": {},
    "azureml.core": {
        "VERSION": _SCRIPT,
        "Dataset": _SCRIPT,
        "Experiment": _SCRIPT,
        "Model": _SCRIPT,
        "Run": _SCRIPT,
        "Workspace": _SCRIPT,
    },
    "azureml.core.dataset": {"Dataset": _SCRIPT},
    "azureml.core.experiment": {"Experiment": _SCRIPT},
    "azureml.core.model": {"Model": _SCRIPT},
    "azureml.core.run": {"Run": _SCRIPT},
    "azureml.core.workspace": {"Workspace": _SCRIPT},
    "azureml.data": {"FileDataset": _TABLES, "TabularDataset": _TABLES},
    "azureml.data.file_dataset": {"FileDataset": _TABLES},
    "azureml.data.tabular_dataset": {"TabularDataset": _TABLES},
}
"""What scripts can import, and the module of this folder that has it."""


class Finder:
    """Makes the modules of the table; a name is loaded when it is first used."""

    def find_spec(self, name: str, *_: Any) -> Any:
        """Find the modules of the table, and no others; never beside a real azureml.core."""
        if name not in TABLE or _is_real(sys.modules.get("azureml.core")):
            return None
        loader: Any = self
        return importlib.util.spec_from_loader(name, loader, is_package=True)

    def create_module(self, *_: Any) -> Any:
        """Leave the making to Python."""
        return

    def exec_module(self, module: Any) -> None:
        """Fill a module."""
        names = TABLE[module.__name__]

        def load(name: str) -> Any:
            if name not in names:
                raise AttributeError(
                    "%s.%s is not among the names that scripts have here (%s); docs/azureml.md "
                    "lists them" % (module.__name__, name, ", ".join(sorted(names)) or "none")
                )
            found = importlib.import_module("." + names[name], __package__)
            value = getattr(found, name)
            setattr(module, name, value)
            return value

        module.__parallelrun__ = True
        module.__getattr__ = load
        module.__all__ = sorted(names)


def _is_real(module: Any) -> bool:
    return module is not None and not getattr(module, "__parallelrun__", False)


def install() -> None:
    """Let the script import the names, unless something real has them."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
