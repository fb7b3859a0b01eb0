"""Typical notebooks of Azure's SDK v1, with cells separated by ``# %%``, and their execution."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
KERNEL = "python38-azureml"
"""The kernel name in Azure's own notebooks."""

SUBSTITUTES: dict[str, str] = {}
"""Replacements that a test makes in the scripts: old text -> new text."""


def read_notebook(name: str) -> Any:
    """Return a notebook with the cells of a file."""
    text = (FOLDER / f"{name}.py").read_text()
    _, *cells = text.split("# %%\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c.strip()) for c in cells])
    notebook.metadata["kernelspec"] = {
        "name": KERNEL, "display_name": "Python 3.8 - AzureML", "language": "python",
    }  # fmt: skip
    return notebook


def execute(name: str, folder: Path, first: str = "", timeout_s: int = 120) -> Any:
    """Run a notebook in a folder with the scripts; ``first`` is an additional first cell."""
    shutil.copytree(FOLDER / "scripts", folder / "scripts", dirs_exist_ok=True)
    for path in (folder / "scripts").glob("*.py") if SUBSTITUTES else ():
        text = path.read_text()
        for old, new in SUBSTITUTES.items():
            text = text.replace(old, new)
        path.write_text(text)
    notebook = read_notebook(name)
    if first:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    client = NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_name=KERNEL,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return notebook


def text_of(notebook: Any) -> str:
    """Return the text output of all cells."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            parts.append(output.get("text", "") or data.get("text/plain", ""))
    return "\n".join(parts)
