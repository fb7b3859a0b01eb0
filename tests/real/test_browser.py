"""The views of a run in JupyterLab and Notebook 7, in a real browser.

``PARALLELRUN_SHOTS=FOLDER`` keeps screenshots of every stage, to be looked at.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Locator

from tests.real.front_end_checks import cancel_by_keyboard, violations
from tests.real.jupyter_pages import IN_CHROMIUM, Jupyter, NotebookPage, percent

pytestmark = IN_CHROMIUM

RUN_MIME = "application/vnd.parallelrun.run+json"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
LOAD = "%load_ext parallelrun_jupyter"
BLOCK = "import os, time\nwhile not os.path.exists('free'): time.sleep(0.05)\nos.remove('free')"
"""It keeps the kernel busy until the test makes the file ``free``."""
KNOWN_ERRORS = ("reading 'schema'",)  # a stock Notebook 7.6 throws this one


def run_cell(seconds: float = 0.1, files: str = "*", options: str = "", fails: str = "") -> str:
    """Return a cell that runs over the numbers."""
    raises = f"    if {fails!r} in mini_batch[0]: raise ValueError('no <b>number</b>: ' + mini_batch[0])\n"
    return (
        f'%%parallelrun --input "numbers/{files}.txt" --mini-batch-size 2 --workers 2 '
        f"--name numbers {options}\n"
        "import time\n"
        "def init():\n    print('model loaded')\n"
        "def run(mini_batch):\n"
        f"    time.sleep({seconds})\n"
        "    print('read', mini_batch[0])\n"
        f"{raises if fails else ''}"
        "    return [open(path).read() for path in mini_batch]\n"
    )


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The runs belong to the server's home; Playwright keeps threads of its own."""


@pytest.fixture(scope="module", params=["lab", "notebook"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Jupyter]:
    started = Jupyter(tmp_path_factory.mktemp("jupyter"), request.param)
    started.write_numbers()
    try:
        yield started
    finally:
        started.stop()


Open = Callable[..., NotebookPage]


@pytest.fixture
def open_page(server: Jupyter, opened: Any, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Yield a function that opens a notebook of some cells; its kernels end with the test."""
    contexts = []

    def open_one(cells: list[str], **options: Any) -> NotebookPage:
        name = re.sub(r"\W", "_", request.node.name) + ".ipynb"
        server.write(name, cells)
        contexts.append(opened.new_context(viewport={"width": 1280, "height": 900}, **options))
        return NotebookPage(contexts[-1], server, name, server.app)

    yield open_one
    for context in contexts:
        context.close()
    server.end_kernels()


def shot(page: NotebookPage, name: str) -> None:
    folder = os.environ.get("PARALLELRUN_SHOTS")
    if folder:
        page.page.screenshot(path=Path(folder) / f"{page.app}-{name}.png")


def assert_seen_to_move(view: Locator) -> None:
    """See the bar of a run at five places or more before its end."""
    seen: set[int] = set()
    deadline = time.monotonic() + 60
    while view.get_attribute("data-state") != "Completed":
        assert time.monotonic() < deadline, seen
        seen.add(percent(view))
        time.sleep(0.05)
    assert len({share for share in seen if 0 < share < 100}) >= 5, seen


def test_a_run_is_seen_to_move_while_another_cell_blocks_the_kernel_and_to_end(
    open_page: Open, server: Jupyter
) -> None:
    page = open_page([LOAD, run_cell(options="--error-threshold 9", fails="012"), BLOCK])
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.wait_for()
    page.run(2)
    assert_seen_to_move(view)
    assert page.is_busy(2), "the kernel was free, so nothing is proven"
    (server.notebooks / "free").touch()
    assert percent(view) == 100
    assert "Completed, 1 item failed" in view.inner_text()
    assert "ValueError at cell.py" in view.inner_text()
    failure = view.locator(".pr-group")
    failure.locator("summary").click()
    view.locator(".pr-traceback", has_text="Traceback (most recent call last)").wait_for()
    view.locator(".pr-attempts tbody tr").nth(2).wait_for()
    assert view.locator("b", has_text="number").count() == 0, "markup of the user's became ours"
    view.locator(".pr-attempts button").first.click()
    one = view.locator(".pr-one:visible")
    one.locator("li", has_text="012.txt").wait_for()
    one.locator("td", has_text="ValueError at cell.py").first.wait_for()
    one.locator("button", has_text="log").click()
    view.locator(".pr-log", has_text="#6 ").wait_for()
    shot(page, "failures")
    page.save()
    (output,) = server.read(page.name).cells[1].outputs
    assert output.data[RUN_MIME]["snapshot"]["state"] == "Completed"
    assert WIDGET_MIME not in output.data
    assert "Completed, 1 item failed" in output.data["text/html"]
    assert "Completed, 1 item failed" in output.data["text/plain"]
    assert "widgets" not in server.read(page.name).metadata
    assert page.outside_requests() == []
    assert [e for e in page.errors if not any(known in e for known in KNOWN_ERRORS)] == []


def test_a_long_call_shows_how_far_it_is(open_page: Open) -> None:
    cell = (
        '%%parallelrun --input "numbers/00*.txt" --mini-batch-size 5 --workers 2 --name epochs\n'
        "import time\n"
        "def run(mini_batch, context):\n"
        "    for epoch in range(12):\n"
        "        context.progress(epoch, 12)\n"
        "        time.sleep(0.6)\n"
        "    return mini_batch\n"
    )
    page = open_page([LOAD, cell])
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.locator(".pr-workers tbody tr", has_text=" of 12").first.wait_for()
    view.locator("summary", has_text="Timeline").click()
    shown: dict[int, float] = {}
    while view.get_attribute("data-state") != "Completed":
        for text, share in view.locator(".pr-workers td:nth-child(5)").evaluate_all(
            "cells => cells.filter((cell) => cell.clientWidth > 0).map((cell) => [cell.textContent, cell.querySelector('span > span')"
            ".clientWidth / cell.querySelector('span').clientWidth])"
        ):
            if text:
                shown[int(text.partition(" of 12")[0])] = share
        if len(shown) == 4:
            shot(page, "call-progress")
        time.sleep(0.1)
    assert len(shown) >= 4, shown
    assert shown == {epoch: pytest.approx(epoch / 12, abs=0.02) for epoch in shown}


def test_rows_are_seen_while_the_kernel_is_busy_and_are_saved(
    open_page: Open, server: Jupyter
) -> None:
    page = open_page([LOAD, run_cell(0.2), BLOCK])
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.locator(".pr-workers td.pr-busy").first.wait_for()
    page.run(2)
    part = view.locator(".pr-results")
    part.locator("> summary").click()
    part.locator("tbody tr").nth(9).wait_for()
    part.get_by_label("Search the rows by item").fill("numbers*003")
    part.locator("tbody tr:only-child", has_text="number 3").wait_for()
    assert page.is_busy(2), "the kernel was free, so nothing is proven"
    (server.notebooks / "free").touch()
    shot(page, "results")
    page.page.wait_for_selector(".pr-run[data-state=Completed]")
    part.locator("button", has_text="mini-batch 1").focus()  # a text field keeps its keys
    page.save()
    (output,) = server.read(page.name).cells[1].outputs
    assert "<td>numbers/000.txt</td><td>number 0</td>" in output.data["text/html"]
    assert "latest rows" in output.data["text/html"]
    assert [e for e in page.errors if not any(known in e for known in KNOWN_ERRORS)] == []


def test_a_run_is_canceled_while_the_kernel_is_busy(open_page: Open) -> None:
    page = open_page([LOAD, run_cell(0.5), BLOCK])
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.locator(".pr-workers td.pr-busy").first.wait_for()
    page.run(2)
    assert violations(view) == []
    began = time.monotonic()
    cancel_by_keyboard(view)
    page.page.wait_for_selector(".pr-run[data-state=Canceled]", timeout=10_000)
    assert page.is_busy(2), "the kernel was free, so nothing is proven"
    assert time.monotonic() - began < 5
    assert 0 <= percent(view) < 100
    shot(page, "canceled")


def test_a_reloaded_page_shows_the_run_as_it_is(open_page: Open) -> None:
    page = open_page([LOAD, run_cell(0.15)])
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.locator(".pr-workers td.pr-busy").first.wait_for()
    page.save()
    saved = percent(view)
    page.open()
    view.wait_for()
    deadline = time.monotonic() + 30
    while percent(view) <= saved:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    page.page.wait_for_selector(".pr-run[data-state=Completed]")
    page.open()  # after the end, too
    page.page.wait_for_selector(".pr-run[data-state=Completed]")
    assert percent(view) == 100
    assert "200 rows" in view.inner_text()


def test_a_run_goes_on_when_its_kernel_is_restarted_and_is_saved_as_it_ended(
    open_page: Open, server: Jupyter
) -> None:
    page = open_page([LOAD, run_cell(0.15), "1 + 1"])
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.locator(".pr-workers td.pr-busy").first.wait_for()
    server.restart_kernel(page.name)
    before = percent(view)
    page.run_to_end(2)
    page.page.wait_for_selector(".pr-run[data-state=Completed]")
    assert before < 100
    server.end_kernels()
    page.save()
    (output,) = server.read(page.name).cells[1].outputs
    assert output.data[RUN_MIME]["snapshot"]["succeeded"] == 100
    assert "Completed" in output.data["text/html"]
    assert WIDGET_MIME not in output.data


def test_a_notebook_that_is_saved_in_the_middle_says_when_that_was(
    open_page: Open, server: Jupyter
) -> None:
    page = open_page([LOAD, run_cell(0.3)])
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.locator(".pr-workers td.pr-busy").first.wait_for()
    server.end_kernels()
    began = percent(view)
    deadline = time.monotonic() + 30
    while percent(view) < max(began + 20, 30):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    shown = percent(view)
    page.save()
    (output,) = server.read(page.name).cells[1].outputs
    snapshot = output.data[RUN_MIME]["snapshot"]
    assert snapshot["state"] == "Running"
    assert snapshot["succeeded"] >= shown - 25
    assert "the run may have continued since" in output.data["text/html"]
    view.locator("button", has_text="Cancel").click()
    view.locator("button", has_text="Finish running mini-batches").click()
    page.page.wait_for_selector(".pr-run[data-state=Canceled]")


def test_a_run_that_the_server_cannot_read_is_drawn_by_its_widget(
    open_page: Open, server: Jupyter, tmp_path: Path
) -> None:
    elsewhere = f"import os\nos.environ['PARALLELRUN_HOME'] = {str(tmp_path / 'other')!r}\n"
    page = open_page([elsewhere + LOAD, run_cell(0.15), BLOCK])
    page.run(0)
    page.wait_until_run(0)
    page.run(1)
    page.wait_until_run(1)
    view = page.view(1)
    view.wait_for()
    page.cell(1).locator(".jp-OutputArea-output .jupyter-widgets, .pr-run").first.wait_for()
    view.locator(".pr-workers td.pr-busy").first.wait_for()
    page.run(2)
    assert_seen_to_move(view)
    assert page.is_busy(2), "the kernel was free, so nothing is proven"
    (server.notebooks / "free").touch()
    page.page.wait_for_selector(".pr-run[data-state=Completed]:visible")
    assert percent(page.view(1)) == 100


def test_the_panel_lists_runs_and_opens_one(open_page: Open) -> None:
    page = open_page([LOAD, run_cell(0.05)])
    page.run(0)
    page.run(1)
    page.view(1).wait_for()
    page.show_panel()
    row = page.page.locator(".pr-panel .pr-row", has_text="numbers").first
    row.wait_for()
    page.page.locator(".pr-panel .pr-row[data-state=Completed]").first.wait_for()
    shot(page, "panel")
    row.click()
    tab = page.page.locator(".pr-tab .pr-run[data-state=Completed]:visible")
    tab.wait_for()
    assert "numbers" in tab.inner_text()
    shot(page, "tab")


def test_a_saved_notebook_is_a_plain_page_that_tells_the_truth(
    open_page: Open, server: Jupyter, opened: Any, tmp_path: Path
) -> None:
    page = open_page([LOAD, run_cell(0.01, options="--error-threshold 9", fails="012")])
    page.run(0)
    page.run(1)
    page.page.wait_for_selector(".pr-run[data-state=Completed]")
    page.save()
    pages = {
        theme: plain_page(server.read(page.name), tmp_path / f"{theme}.html", theme)
        for theme in ("light", "dark")
    }
    for theme, path in pages.items():
        context = opened.new_context(
            color_scheme=theme, offline=True, viewport={"width": 1000, "height": 700}
        )
        plain = context.new_page()
        plain.goto(path.as_uri(), wait_until="domcontentloaded")
        saved = plain.locator(".pr-saved")
        assert "Completed, 1 item failed" in saved.inner_text()
        assert "100 of 100" in saved.inner_text()
        assert saved.locator("pre", has_text="ValueError: no <b>number</b>").is_visible()
        assert saved.locator(".pr-ok").evaluate("e => e.getBoundingClientRect().width") > 300
        if os.environ.get("PARALLELRUN_SHOTS"):
            folder = Path(os.environ["PARALLELRUN_SHOTS"])
            plain.screenshot(path=folder / f"{server.app}-plain-{theme}.png")
        context.close()


def plain_page(notebook: Any, target: Path, theme: str) -> Path:
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(theme=theme).from_notebook_node(notebook)
    target.write_text(body, encoding="utf-8")
    return target


def test_the_dark_theme_is_followed(open_page: Open, server: Jupyter) -> None:
    server.theme("JupyterLab Dark")
    try:
        page = open_page([LOAD, run_cell(0.1, options="--error-threshold 9", fails="012")])
        page.run(0)
        page.run(1)
        view = page.view(1)
        view.locator(".pr-group").wait_for()
        view.locator("summary", has_text="Log").click()
        view.locator(".pr-log", has_text="STDOUT").wait_for()
        color = view.evaluate("e => getComputedStyle(e).backgroundColor")
        text = view.evaluate("e => getComputedStyle(e).color")
        assert brightness(color) < 60
        assert brightness(text) > 150
        shot(page, "dark")
        page.page.wait_for_selector(".pr-run[data-state=Completed]")
    finally:
        server.theme("JupyterLab Light")


def brightness(color: str) -> float:
    """Return how bright a computed color is, 0 to 255."""
    parts = [float(part) for part in re.findall(r"[\d.]+", color)[:3]]
    return sum(parts) / 3
