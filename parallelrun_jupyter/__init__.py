"""ParallelRunStep for notebooks: runs an entry script over many mini-batches, with a live view.

The path of a run through the package:

    commands/            ->  magics and terminal commands           magics, cli, options
    config/              ->  settings, inputs, compute              run_config, step, compute
    client/              ->  run folder, driver process             submit, launcher, run, results
    engine/              ->  plan, scheduler, nodes, output         planning/ scheduling/ node/ output/
    backends/            ->  nodes on this machine or a cluster     local, dask/
    worker/              ->  the user's script                      standard library only, Python 3.7+
    data/                ->  the inputs of a run                    datasets/ tables/ storage/ staging/
    runs/                ->  the run folder: journal, state, logs   journal/ snapshot/ logs/ output/
    views/, notebook/    ->  text, HTML, live widget                text, html, widget
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .client.functions import map, map_batches  # noqa: A004 - the name that people know
    from .client.run import Run
    from .client.submit import submit
    from .config.azureml_compute import AzureMLCompute
    from .config.compute import LocalCompute, name_compute
    from .config.dask_compute import DaskCompute
    from .config.entry_function import entry
    from .config.run_config import ParallelRunConfig
    from .config.step import ParallelRunStep
    from .data.datasets.file_dataset import FileDataset
    from .data.datasets.grid import grid
    from .data.datasets.memory_dataset import MemoryDataset
    from .data.datasets.tabular_dataset import TabularDataset
    from .data.storage.credentials import EnvironmentVariable, Keyring
    from .data.storage.datastores import Datastore
    from .environment import Environment
    from .errors import ParallelRunError
    from .notebook.run_details import RunDetails
    from .worker.retry_after import RetryAfter

_HOMES = {
    "AzureMLCompute": "config.azureml_compute",
    "DaskCompute": "config.dask_compute",
    "Datastore": "data.storage.datastores",
    "Environment": "environment",
    "EnvironmentVariable": "data.storage.credentials",
    "FileDataset": "data.datasets.file_dataset",
    "Keyring": "data.storage.credentials",
    "LocalCompute": "config.compute",
    "MemoryDataset": "data.datasets.memory_dataset",
    "ParallelRunConfig": "config.run_config",
    "ParallelRunError": "errors",
    "ParallelRunStep": "config.step",
    "RetryAfter": "worker.retry_after",
    "Run": "client.run",
    "RunDetails": "notebook.run_details",
    "TabularDataset": "data.datasets.tabular_dataset",
    "entry": "config.entry_function",
    "grid": "data.datasets.grid",
    "map": "client.functions",
    "map_batches": "client.functions",
    "name_compute": "config.compute",
    "submit": "client.submit",
}

__all__ = [
    "AzureMLCompute",
    "DaskCompute",
    "Datastore",
    "Environment",
    "EnvironmentVariable",
    "FileDataset",
    "Keyring",
    "LocalCompute",
    "MemoryDataset",
    "ParallelRunConfig",
    "ParallelRunError",
    "ParallelRunStep",
    "RetryAfter",
    "Run",
    "RunDetails",
    "TabularDataset",
    "__version__",
    "entry",
    "grid",
    "map",
    "map_batches",
    "name_compute",
    "submit",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that importing the package is fast."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """Register ``%%parallelrun`` and ``%parallelrun``, for ``%load_ext parallelrun_jupyter``."""
    from .commands.magics import load

    load(ipython)
