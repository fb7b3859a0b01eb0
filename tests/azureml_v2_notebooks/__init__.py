"""Typical notebooks of Azure's SDK v2, with cells separated by ``# %%``, and their execution.

A notebook is run in an environment with azure-ai-ml and this package's dependencies. Only its line with
``MLClient.from_config`` is changed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
KERNEL = "parallelrun-azure-ai-ml"
AZURES_LINE = "ml_client = MLClient.from_config(credential=credential)"
OUR_LINE = (
    "from parallelrun_jupyter.azureml_v2 import LocalClient; ml_client = LocalClient(credential)"
)


def install_kernel(python: str, prefix: Path) -> None:
    """Write the kernel spec of the environment's python, which imports this repository's package."""
    folder = prefix / "share" / "jupyter" / "kernels" / KERNEL
    folder.mkdir(parents=True)
    spec = {
        "argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "azure-ai-ml", "language": "python", "env": {"PYTHONPATH": str(REPOSITORY)},
    }  # fmt: skip
    (folder / "kernel.json").write_text(json.dumps(spec))


def read_notebook(name: str) -> Any:
    """Return a notebook with the cells of a file, and our client's line in the place of Azure's."""
    text = (FOLDER / f"{name}.py").read_text()
    assert text.count(AZURES_LINE) == 1
    text = text.replace(AZURES_LINE, OUR_LINE)
    _, *cells = text.split("# %%\n")
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c.strip()) for c in cells])


def execute(name: str, folder: Path, last: str = "", timeout_s: int = 120) -> Any:
    """Run a notebook in a folder with its sources; ``last`` is an additional last cell."""
    shutil.copytree(FOLDER / "src", folder / "src", dirs_exist_ok=True)
    notebook = read_notebook(name)
    if last:
        notebook.cells.append(nbformat.v4.new_code_cell(last))
    _execute(notebook, folder, timeout_s)
    return notebook


def execute_in_one_kernel(folders: Mapping[str, Path], timeout_s: int = 120) -> dict[str, Any]:
    """Run notebooks by name, each in its folder, one after the other; return them.

    azure-ai-ml is imported once: it takes longer than these notebooks.
    """
    notebooks = {name: read_notebook(name) for name in folders}
    cells = []
    for name, folder in folders.items():
        cells += [nbformat.v4.new_code_cell(f"%cd -q {folder}"), *notebooks[name].cells]
    together = nbformat.v4.new_notebook(cells=cells)
    _execute(together, next(iter(folders.values())), timeout_s)
    ran = iter(together.cells)
    for notebook in notebooks.values():
        next(ran)
        notebook.cells = [next(ran) for _ in notebook.cells]
    return notebooks


def _execute(notebook: Any, folder: Path, timeout_s: int) -> None:
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=timeout_s, kernel_name=KERNEL, resources=resources).execute()
