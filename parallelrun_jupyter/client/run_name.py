"""The name of a run that was given none: its script, and what it reads."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..data.datasets.inputs import Dataset

_LONGEST_INPUT = 40


def default_name(script: str, inputs: Sequence[Dataset], variables: Sequence[str] = ()) -> str:
    """Return a name such as ``score on digits/*.png``.

    Parameters
    ----------
    script
        What runs: the name of a script without its ending, of a notebook, or of a variable.
    inputs
        What it reads.
    variables
        Names of the notebook's variables that hold the inputs, in place of their paths.
    """
    names = list(variables) or [_path_name(path) for dataset in inputs for path in _paths(dataset)]
    if not names:
        return script
    others = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{script} on {names[0]}{others}"


def _paths(dataset: Dataset) -> Sequence[str]:
    paths: Sequence[str] = dataset.spec().get("paths", ())
    return paths


def _path_name(path: str) -> str:
    """Return a path as it would be typed here, or its last parts where that is long."""
    here = os.getcwd().rstrip(os.sep) + os.sep
    if path.startswith(here):
        path = path[len(here) :]
    else:
        path = "/".join(path.rstrip("/").rsplit("/", 2)[-2:])
    return path if len(path) <= _LONGEST_INPUT else f"...{path[3 - _LONGEST_INPUT :]}"


def cell_name(variable: str) -> str:
    """Return what a cell is called: its variable, or its notebook where that is ``run``."""
    if variable != "run":
        return variable
    notebook = os.path.basename(os.environ.get("JPY_SESSION_NAME", ""))
    return notebook.removesuffix(".ipynb") if notebook.endswith(".ipynb") else "cell"
