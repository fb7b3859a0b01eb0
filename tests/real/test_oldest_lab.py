"""The wheel in a browser, beside the oldest Python, JupyterLab and ipywidgets that are allowed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")
from parallelrun_jupyter.version import __version__
from tests import wheel_environments
from tests.real.jupyter_pages import IN_CHROMIUM, Jupyter, NotebookPage, browser
from tests.real.test_browser import run_cell

pytestmark = IN_CHROMIUM

OLDEST = wheel_environments.ENVIRONMENTS[0]
VERSIONS = """
import sys, parallelrun_jupyter as p, jupyterlab, ipywidgets
print(sys.prefix, p.__version__, jupyterlab.__version__, ipywidgets.__version__)
%load_ext parallelrun_jupyter
"""


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The runs belong to the server's home; Playwright keeps threads of its own."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with wheel_environments.built([OLDEST]) as made:
        folder = made[OLDEST]
        if isinstance(folder, str) and "CI" not in os.environ:
            pytest.skip(f"{OLDEST} could not be made: {folder}")
        assert isinstance(folder, Path), f"{OLDEST} could not be made: {folder}"
        yield folder


def test_a_cell_is_live_and_the_panel_lists_its_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)  # the server has the wheel alone
    server = Jupyter(tmp_path / "jupyter", python=str(folder / "bin" / "python"))
    numbers = server.notebooks / "numbers"
    numbers.mkdir()
    for number in range(40):
        (numbers / f"{number:03d}.txt").write_text(f"number {number}")
    server.write("oldest.ipynb", [VERSIONS, run_cell(0.4)])
    try:
        with browser() as opened:
            page = NotebookPage(opened.new_context(), server, "oldest.ipynb", "lab")
            page.run_to_end(0)
            words = page.cell(0).locator(".jp-OutputArea-output").inner_text().split()
            assert words == [str(folder), __version__, OLDEST.lab, OLDEST.widgets]
            page.run(1)
            view = page.view(1)
            view.locator(".pr-workers td.pr-busy").first.wait_for()
            view.get_by_text("Completed").first.wait_for(timeout=60_000)
            page.show_panel()
            page.page.locator("#parallelrun-runs", has_text="numbers").wait_for()
            assert page.errors == []
            assert page.outside_requests() == []
    finally:
        server.stop()
