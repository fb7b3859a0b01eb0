"""The modules that a run's fork server imports once for all workers."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.compute import Compute
from ..config.entry_script import imported_modules
from ..config.run_config import ParallelRunConfig
from ..data.datasets.memory_dataset import ARRAY, FRAME, SERIES, TABLE, MemoryDataset
from ..engine.node.fork_server import CAN_FORK
from ..environment import as_environment
from .script import Script

if TYPE_CHECKING:
    from ..config.step import Dataset

_MODULES_OF = {
    FRAME: ("pandas", "pyarrow"),  # the results are Arrow
    SERIES: ("pandas", "pyarrow"),
    TABLE: ("pyarrow",),
    ARRAY: ("numpy",),
}
"""The modules with which workers load the parts of a container of values."""


def preload_of(
    script: Script, config: ParallelRunConfig, target: Compute, inputs: Sequence[Dataset] = ()
) -> list[str]:
    """Return the modules to import once, in the fork server."""
    can_fork = CAN_FORK and target.backend == "local"
    if config.preload and not can_fork:
        text = (
            f"preload={config.preload!r} has no effect: workers are forked only on this machine, and "
            "only on Linux; in this run each worker imports its own modules"
        )
        warnings.warn(text, stacklevel=6)
        return []
    if config.preload is None and script.call and can_fork and not has_other_python(config):
        # A warm fork server then starts a worker in some milliseconds.
        return modules_of_values(inputs)
    if config.preload != "auto":
        return list(config.preload or ())
    text = script.source()
    folders = {script.path.parent, script.source_directory, Path.cwd()} - {None}
    siblings = [name for at in folders if at for name in os.listdir(at)]
    own = {name.removesuffix(".py") for name in siblings}
    others = [name for name in script.preload if name.partition(".")[0] not in own]
    readers = ["pandas"] if any(dataset.kind == "tabular" for dataset in inputs) else []
    return list(dict.fromkeys([*imported_modules(text, siblings), *others, *readers]))


def modules_of_values(inputs: Sequence[Dataset]) -> list[str]:
    """Return the modules that a function and its items are loaded with, for any values."""
    containers = [values.container for values in inputs if isinstance(values, MemoryDataset)]
    needed = [name for container in containers for name in _MODULES_OF.get(container, ())]
    return list(dict.fromkeys(["cloudpickle", *needed]))


def has_other_python(config: ParallelRunConfig) -> bool:
    """Return whether the workers have another interpreter than this process."""
    return as_environment(config.environment).python != sys.executable
