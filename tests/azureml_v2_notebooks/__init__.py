"""Typical notebooks of Azure's SDK v2, with cells separated by ``# %%``, and their execution.

A notebook is run in an environment with azure-ai-ml and this package's dependencies. Only its line with
``MLClient.from_config`` is changed.
"""

from __future__ import annotations

import json
import shutil
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
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=timeout_s, kernel_name=KERNEL, resources=resources).execute()
    return notebook
