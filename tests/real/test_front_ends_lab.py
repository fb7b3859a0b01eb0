"""JupyterLab and Notebook 7 without this package's extensions: the kernel has it, the server has not."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
from tests.real.front_end_checks import (
    assert_moves,
    cancel_by_keyboard,
    outside,
    shot,
    violations,
)
from tests.real.jupyter_pages import IN_CHROMIUM, Jupyter, NotebookPage
from tests.real.test_browser import BLOCK, LOAD, RUN_MIME, WIDGET_MIME, run_cell

pytestmark = IN_CHROMIUM

LABEXTENSIONS = Path(sys.prefix) / "share" / "jupyter" / "labextensions"


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The runs belong to the server's home; Playwright keeps threads of its own."""


@pytest.fixture(scope="module", params=["lab", "notebook"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Jupyter]:
    folder = tmp_path_factory.mktemp("jupyter")
    widgets = folder / "labextensions"
    for name in ("@jupyter-widgets", "anywidget"):  # all that a Lab has to have
        shutil.copytree(LABEXTENSIONS / name, widgets / name)
    without = [
        "--ServerApp.jpserver_extensions={'parallelrun_jupyter': False}",
        f"--LabServerApp.labextensions_path={widgets}",
    ]
    started = Jupyter(folder, request.param, options=without)
    started.write_numbers()
    try:
        yield started
    finally:
        started.stop()


def test_a_run_without_the_extension(server: Jupyter, opened: Any) -> None:
    server.write("bare.ipynb", [LOAD, run_cell(0.25), BLOCK, run_cell(0, "00*")])
    context = opened.new_context(viewport={"width": 1280, "height": 900})
    page = NotebookPage(context, server, "bare.ipynb", server.app)
    assert not [url for url in page.requests if "parallelrun" in url], "the extension is there"
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.wait_for()
    page.run(2)
    assert_moves(view)
    assert page.is_busy(2), "the kernel was free, so nothing is proven"
    (server.notebooks / "free").touch()
    page.wait_until_run(2)
    assert violations(view) == []
    shot(page.page, f"{server.app}-without")
    page.save()
    (output,) = server.read("bare.ipynb").cells[1].outputs
    assert WIDGET_MIME in output.data
    assert "the run may have continued since" in output.data["text/html"]
    page.open()
    view.wait_for()
    assert_moves(view)
    cancel_by_keyboard(view)
    page.cell(1).locator(".pr-run[data-state=Canceled]").wait_for()
    page.run(3)
    saved = page.cell(3).locator(".pr-saved", has_text="Completed")
    saved.wait_for()  # it takes the place of the widget
    assert violations(saved) == []
    page.save()
    (output,) = server.read("bare.ipynb").cells[3].outputs
    assert set(output.data) == {RUN_MIME, "text/html", "text/plain"}
    assert "Completed" in output.data["text/plain"]
    assert outside(page.requests) == []
    context.close()
