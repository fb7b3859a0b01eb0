"""The default names of runs, which tell them apart in lists."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..config.step import Dataset
from ..data.datasets.memory_dataset import MemoryDataset

_LONGEST_INPUT = 40


def default_name(script: str, inputs: Sequence[Dataset], variables: Sequence[str] = ()) -> str:
    """Return a run's default name, such as ``score on digits/*.png``.

    Parameters
    ----------
    script
        Name of the script without its suffix, of the notebook, or of a variable.
    inputs
        The datasets that the run reads.
    variables
        For each input, the notebook's variable that holds it, used in place of its paths; "" for
        none.
    """
    names: list[str] = []
    for number, dataset in enumerate(inputs):
        variable = variables[number] if number < len(variables) else ""
        names += [variable] if variable else _names_of(dataset)
    if not names:
        return script
    others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{script} on {names[0]}{others}"


def _names_of(dataset: Dataset) -> list[str]:
    if isinstance(dataset, MemoryDataset):
        return [dataset.name]
    return [_short_path(path) for path in dataset.spec().get("paths", ())]


def _short_path(path: str) -> str:
    """Return a path relative to the current directory; elsewhere, its last two segments."""
    here = os.getcwd().rstrip(os.sep) + os.sep
    if path.startswith(here):
        path = path[len(here) :]
    else:
        path = "/".join(path.rstrip("/").rsplit("/", 2)[-2:])
    return path if len(path) <= _LONGEST_INPUT else f"...{path[3 - _LONGEST_INPUT :]}"
