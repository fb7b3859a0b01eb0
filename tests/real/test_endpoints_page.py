"""The page "Calls of a server": each of its examples runs, as a cell of a notebook, against a real server.

The package openai is not one of those that the tests install: if it is not there, a stand-in of forty lines
takes its place, with the same names.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.endpoints.process import Endpoint

PAGE = Path(__file__).parents[2] / "docs" / "endpoints.md"
STAND_INS = Path(__file__).parents[1] / "endpoints" / "stand_ins"

CHECKS = {
    "answers =": "assert answers == prompts\n"
    "_calls = run.calls()\n"
    "assert len(_calls) == 40 and set(_calls.outcome) == {'succeeded'}\n"
    "assert abs(_calls.usd.sum() - 40 * (7 * 2.5 + 20 * 10) / 1e6) < 1e-9",
    "replies =": "assert replies == prompts",
    "vectors =": "assert vectors == [[float(p.count(v)) for v in 'aeiou'] for p in prompts]",
    "classes =": "assert classes == ['11 words'] * 40",
    "names =": "assert names == [f'place {k}' for k in range(40)]",
    "lengths =": "assert lengths == [len(p) for p in prompts]",
}


def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    cells, checked = [], set()
    for block in blocks:
        named = [name for name in CHECKS if f"\n{name}" in f"\n{block}"]
        checked |= set(named)
        cells.append("\n".join([block, *[CHECKS[name] for name in named]]))
    assert checked == set(CHECKS)
    if importlib.util.find_spec("openai") is None:
        paths = [str(STAND_INS), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    with Endpoint(tmp_path, latency_s=0.05) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        texts = [cell.replace("https://api.example.com", server.url) for cell in cells]
        NotebookClient(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in texts]),
            timeout=120,
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        ).execute()
        ledger = server.ledger()
    assert ledger.count() == 40 + 40 + 2 + 40
    assert ledger.frame["key"].nunique() == 40 + 1 + 40  # the others have none
