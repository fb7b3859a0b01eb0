"""The page "From a loop to a run": each of its examples runs, as a cell of a notebook."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = Path(__file__).parents[2] / "docs" / "from-a-loop.md"

VECTORS = """
from math import hypot as _hypot
_counts = [[text.count(vowel) for vowel in "aeiou"] for text in texts]
assert vectors == [[count / _hypot(*row) for count in row] for row in _counts]
del vectors
"""
"""Added to each block that makes vectors: they are those of a plain loop, in its order."""

CHECKS = {
    "joined =": "assert list(joined['characters']) == list(frame['length']) == [len(t) for t in texts]",
    "scores =": "assert scores == [1.5, 2.5, 3.0, 5.0]",
    "resized =": "assert resized == ['a.png at 64', 'b.png at 128']",
    "results = run.resume": "assert results == [0.25, 0.5, 0.0, 1.0]",
    "results = run.results": "assert results == [0.25, 0.5, None, 1.0]\n"
    "assert failed['error'].tolist() == ['ZeroDivisionError'], failed",
    "counts =": "assert counts == _counts",
}


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def runs_here(block: str) -> bool:
    """Return whether the packages of a block are there, and its pool can find a notebook's function."""
    packages = re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)
    has_all = all(importlib.util.find_spec(name) for name in packages)
    return has_all and ("Executor" not in block or multiprocessing.get_start_method() == "fork")


def test_every_example_gives_what_the_loop_gives(tmp_path: Path) -> None:
    blocks = [block for block in examples() if runs_here(block)]
    left_out = {block for block in examples() if "tqdm" in block or "Executor(" in block}
    assert set(examples()) - set(blocks) <= left_out
    cells = []
    for block in blocks:
        checks = [check for start, check in CHECKS.items() if f"\n{start}" in f"\n{block}"]
        if re.search(r"^(    )?vectors(\.append| = [^\[]| = \[e)", block, re.MULTILINE):
            checks.append(VECTORS)
        cells.append(nbformat.v4.new_code_cell("\n".join([block, *checks])))
    assert sum("del vectors" in cell.source for cell in cells) >= 7
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()


@pytest.mark.parametrize("before", ["Parallel(", "pool.map(", "client.map("])
def test_each_line_that_is_replaced_is_followed_by_one_line(before: str) -> None:
    blocks = examples()
    [number] = [k for k, block in enumerate(blocks) if before in block]
    after = blocks[number + 1].strip().splitlines()
    assert len(after) == 1
    assert math.prod(line.count("parallelrun.map(") for line in after) == 1
