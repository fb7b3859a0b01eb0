"""The widget managers of Colab and of VS Code, as published, before a real kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright")
from tests.real.bare_notebook import BareNotebook, has_managers, make_page
from tests.real.front_end_checks import assert_moves, cancel_by_keyboard, outside, shot, violations
from tests.real.jupyter_pages import IN_CHROMIUM, Jupyter
from tests.real.test_browser import BLOCK, LOAD, run_cell

pytestmark = [
    *IN_CHROMIUM,
    pytest.mark.skipif(
        not has_managers() and "CI" not in os.environ,
        reason="the widget managers are not installed: npm ci in tests/front_ends, or make test",
    ),
]


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The runs belong to the server's home; Playwright keeps threads of its own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    static = make_page(tmp_path_factory.mktemp("static"))
    started = Jupyter(
        tmp_path_factory.mktemp("jupyter"),
        "server",
        options=[f"--ServerApp.extra_static_paths={static}"],
    )
    started.write_numbers()
    try:
        yield started
    finally:
        started.stop()


@pytest.mark.parametrize("manager", ["html", "code"])
def test_a_run_in_a_page_with_a_published_widget_manager(
    server: Jupyter, opened: Any, manager: str
) -> None:
    context = opened.new_context(viewport={"width": 1200, "height": 900})
    notebook = BareNotebook(context, server, manager)
    page = notebook.page
    notebook.run(f"import os\nos.chdir({str(server.notebooks)!r})\n{LOAD}")
    notebook.run(run_cell(0.2))
    blocked = notebook.run(BLOCK)  # asked for before the view can say that it is there
    view = page.locator(".pr-run")
    view.wait_for()
    assert_moves(view)
    assert blocked.get_attribute("data-state") == "busy", (
        "the kernel was free, so nothing is proven"
    )
    (server.notebooks / "free").touch()
    shot(page, manager)
    assert violations(view) == []
    notebook.open()
    view.wait_for()
    assert_moves(view)
    cancel_by_keyboard(view)
    saved = page.locator(".pr-saved", has_text="Canceled")
    saved.wait_for()  # the last output needs no widget
    assert "numbers/000.txt" in saved.inner_text()
    assert violations(saved) == []
    assert outside(notebook.requests) == []
    assert notebook.errors == []
    context.close()
