"""Every notebook, from top to bottom, in a folder of its own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from parallelrun_jupyter.views.mime_bundle import RUN_MIME
from tests import digits

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def execute(name: str, folder: Path) -> Any:
    folder.mkdir(exist_ok=True)
    shutil.copy(NOTEBOOKS / name, folder)
    notebook = nbformat.read(folder / name, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return notebook


def text_of(notebook: Any) -> str:
    """Return the text outputs of all cells."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            parts.append(output.get("text", "") or data.get("text/plain", ""))
    return "\n".join(parts)


def test_the_quickstart(tmp_path: Path) -> None:
    notebook = execute("01_quickstart.ipynb", tmp_path)
    text = text_of(notebook)
    match = re.search(r"([\d,]+) of 5,188 predictions are right \(([\d.]+)%\)", text)
    assert match, text
    assert float(match[2]) > 88
    assert "Completed, 2 items failed" in text
    assert "5188 rows, 0 failed items" in text
    assert "UnidentifiedImageError at cell.py:6 in" in text
    assert (tmp_path / "predictions" / "predictions.txt").read_text().count("\n") == 5188
    pictures = [
        o for c in notebook.cells for o in c.get("outputs", ()) if "image/png" in o.get("data", {})
    ]
    assert len(pictures) == 1


@pytest.mark.parametrize("data", ["bundled", "mnist"])
def test_the_tensorflow_notebook(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MNIST_FOLDER", raising=False)
    if data == "mnist":
        if not digits.MNIST.is_dir():
            return  # the bundled digits are the same test
        monkeypatch.setenv("MNIST_FOLDER", str(digits.MNIST))
    text = text_of(execute("02_mnist_tensorflow.ipynb", tmp_path))
    match = re.search(r"([\d,]+) of 10,000 predictions are right; rows in input order: True", text)
    assert match, text
    right = int(match[1].replace(",", ""))
    assert right == digits.MNIST_RIGHT if data == "mnist" else right > 9_000


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda p: p.name)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert not [
        cell for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")
    ]


def test_the_dask_notebook(tmp_path: Path) -> None:
    text = text_of(execute("03_dask.ipynb", tmp_path))
    assert re.search(r"the scheduler is at tcp://127\.0\.0\.1:\d+", text), text
    assert "n2 at tcp://127.0.0.1:" in text, text
    assert "is lost" in text, text
    assert "5,188 rows, in order and each once: True" in text, text
    assert "failed attempts: 0" in text, text


def test_the_notebook_of_functions(tmp_path: Path) -> None:
    notebook = execute("04_functions.ipynb", tmp_path)
    for cell in notebook.cells:
        if cell.source.splitlines()[-1] in {"run", "sweep", "disks"}:
            assert [RUN_MIME in output.get("data", {}) for output in cell.outputs] == [True]
            assert "Completed" in cell.outputs[0]["data"]["text/html"], (
                "the view is live to the end"
            )
    text = text_of(notebook)
    match = re.search(r"^([\d,]+) texts of \d\d modules", text, re.MULTILINE)
    assert match, text
    count = match[1]
    assert int(count.replace(",", "")) > 1_500, text
    assert f"Series of {count.replace(',', '')} arrays; the same as in a loop: True" in text, text
    assert "as good as one by one: True" in text, text
    right = re.search(r"Trial\(C=\d+, gamma=[\d.]+, right=([\d.]+)", text)
    assert right, text
    assert float(right[1]) > 0.8
    assert len(re.findall("UnidentifiedImageError|OSError at ", text)) >= 1, text
    assert "Completed, 2 items failed" in text, text
    assert "2 of 40 are missing" in text, text
    assert "40 radii, in the order of the files; the largest error is 0." in text, text
    neighbors = re.search(rf"{count} neighbors; (\d+)% are in the same module", text)
    assert neighbors, text
    assert int(neighbors[1]) > 50
    assert f"words in {count} texts" in text, text


def test_the_notebook_of_endpoints(tmp_path: Path) -> None:
    server = tmp_path / "tests" / "endpoints" / "server.py"
    server.parent.mkdir(parents=True)
    shutil.copy(NOTEBOOKS.parent / "tests" / "endpoints" / "server.py", server)
    notebook = execute("05_endpoints.ipynb", tmp_path / "notebooks")
    [live] = [cell for cell in notebook.cells if cell.source.splitlines()[-1] == "run"]
    assert [RUN_MIME in output.get("data", {}) for output in live.outputs] == [True]
    assert "Completed" in live.outputs[0]["data"]["text/html"], "the view is live to the end"
    text = text_of(notebook)
    forecast = re.search(r"([\d.]+) USD so far, ([\d.]+) to ([\d.]+) expected", text)
    assert forecast, text
    cost = re.search(r"cost: ([\d.]+) USD, 0.000232 for each item", text)
    assert cost, text
    assert float(forecast[2]) - 1e-4 <= float(cost[1]) <= float(forecast[3]) + 1e-4
    assert "all answers are there: True" in text, text
    # The server refuses once as scripted, and more often where a busy machine makes calls late.
    outcomes = re.search(r"{'succeeded': 300, 'failed': 5, 'throttled': (\d+)}", text)
    assert outcomes, text
    refused = int(outcomes[1])
    assert 1 <= refused <= 10
    calls = 305 + refused
    assert f"{calls} requests, {calls} calls; 300 bills for 300 items" in text, text
    assert f"{{200: 300, 500: 3, 0: 2, 429: {refused}}}" in text, text
    longest = re.search(r"the longest time without a request: ([\d.]+) s", text)
    assert longest, text
    assert float(longest[1]) >= 1.9
    assert "its budget of 0.03 USD is spent" in text, text
    assert re.search(r"^129 answers, 0\.0299 USD$", text, re.MULTILINE), text
    assert "300 answers, 0.0696 USD" in text, text
    assert "each item was billed once in each of the two runs: True" in text, text
