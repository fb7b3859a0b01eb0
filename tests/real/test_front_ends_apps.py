"""marimo, Voila and papermill, each with this package in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Route

from parallelrun_jupyter import Run
from parallelrun_jupyter.views.mime_bundle import RUN_MIME
from tests.real.conftest import end_of
from tests.real.front_end_checks import (
    assert_moves,
    cancel_by_keyboard,
    environ,
    front_ends,
    outside,
    server,
    shot,
    violations,
)
from tests.real.jupyter_pages import IN_CHROMIUM
from tests.real.test_browser import LOAD, brightness, run_cell

pytestmark = IN_CHROMIUM

MARIMO = """\
import marimo

app = marimo.App()


@app.cell
def _():
    import os
    import time
    import parallelrun_jupyter as parallelrun

    def double(number):
        time.sleep(0.3)
        return 2 * number

    run = parallelrun.map(double, list(range(200)), process_count_per_node=2, name="doubled")
    run
    return os, parallelrun, run, time


@app.cell
def _(os, run, time):
    while not os.path.exists("free"):  # the kernel is busy
        time.sleep(0.05)
    os.remove("free")
    return


if __name__ == "__main__":
    app.run()
"""
MARIMO_SETTINGS = """\
[tool.marimo.runtime]
auto_instantiate = true
[tool.marimo.display]
theme = "dark"
"""
MARIMO_CDN = "https://cdn.jsdelivr.net/npm/@marimo-team/frontend@"
MARIMO_SAVED = """\
import marimo

app = marimo.App()


@app.cell
def _():
    import parallelrun_jupyter as parallelrun
    run = parallelrun.Run.list()[0]
    parallelrun.RunDetails(run)
    return


@app.cell
def _(run):
    print(run.wait_for_completion(raise_on_error=False))
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Playwright keeps threads of its own."""


def test_a_run_in_marimo(home: Path, tmp_path: Path, opened: Any) -> None:
    python = front_ends()
    (tmp_path / "notebook.py").write_text(MARIMO)
    (tmp_path / "pyproject.toml").write_text(MARIMO_SETTINGS)
    words = [python, "-m", "marimo", "-q", "edit", "notebook.py", "--headless", "--no-token",
             "--skip-update-check", "--port={port}"]  # fmt: skip
    page = opened.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    with server(words, tmp_path, environ(home, tmp_path)) as url:
        page.goto(url)
        view = page.locator(".pr-run")
        view.wait_for(timeout=60_000)
        assert_moves(view)
        (tmp_path / "free").touch()
        assert brightness(view.evaluate("e => getComputedStyle(e).backgroundColor")) < 60
        assert violations(view) == []
        shot(page, "marimo")
        page.reload()
        view.wait_for()
        assert_moves(view)
        cancel_by_keyboard(view)
        page.locator(".pr-run[data-state=Canceled]").wait_for()
        page.reload()
        page.locator(".pr-run[data-state=Canceled]").wait_for()
        view.locator("summary", has_text="Results").click()
        view.locator(
            "td", has_text="2"
        ).first.wait_for()  # the kernel answers after the end as well
    assert outside(requests) == []
    page.close()


def test_a_notebook_of_marimo_as_a_page_and_as_a_script(
    start: Callable[..., Run], home: Path, tmp_path: Path, opened: Any
) -> None:
    python = front_ends()
    run = start("slow.py", mini_batch_size=20)
    assert end_of(run) == "Completed"
    (tmp_path / "notebook.py").write_text(MARIMO_SAVED)
    variables = environ(home, tmp_path)
    export = [python, "-m", "marimo", "-q", "export", "html", "notebook.py", "-o", "saved.html"]
    exporting = subprocess.Popen(export, cwd=tmp_path, env=variables)
    printed = subprocess.run(
        [python, "notebook.py"], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, timeout=60
    )
    assert b"Completed: 100 %" in printed.stdout
    assert exporting.wait(60) == 0
    [static] = Path(python).parents[1].glob("lib/*/site-packages/marimo/_static")

    def serve(route: Route) -> None:
        name = urlsplit(route.request.url).path.partition("/dist/")[2]
        file = static / name
        headers = {"access-control-allow-origin": "*"}
        route.fulfill(path=file, headers=headers) if file.is_file() else route.abort()

    page = opened.new_page()
    page.route(f"{MARIMO_CDN}**", serve)
    page.goto((tmp_path / "saved.html").as_uri())
    view = page.locator(".pr-run[data-state=Completed]")
    view.first.wait_for(timeout=30_000)
    assert violations(view.first) == []
    page.close()


def test_a_run_in_voila(start: Callable[..., Run], home: Path, tmp_path: Path, opened: Any) -> None:
    python = front_ends()
    run = start("slow.py", process_count_per_node=1, mini_batch_size=1, inputs=many(tmp_path))
    write(tmp_path / "app.ipynb", ["from parallelrun_jupyter import Run\nRun.list()[0]", "6 * 7"])
    words = [python, "-m", "voila", "app.ipynb", "--no-browser", "--Voila.ip=127.0.0.1",
             "--port={port}"]  # fmt: skip
    page = opened.new_page(viewport={"width": 1200, "height": 900})
    page.route("https://cdn.jsdelivr.net/**", lambda route: route.abort())  # fonts of Voila's
    try:
        with server(words, tmp_path, environ(home, tmp_path)) as url:
            page.goto(url)
            view = page.locator(".pr-run")
            view.wait_for(timeout=60_000)
            assert_moves(view)
            assert violations(view) == []
            shot(page, "voila")
            page.reload()  # a new kernel runs the notebook again
            view.wait_for(timeout=60_000)
            assert_moves(view)
            cancel_by_keyboard(view)
            page.locator(":is(.pr-run[data-state=Canceled], .pr-saved)").first.wait_for()
    finally:
        run.cancel()
    assert end_of(run) == "Canceled"
    page.close()


def test_a_notebook_that_papermill_executes_and_nbconvert_turns_into_a_page(
    home: Path, tmp_path: Path, opened: Any
) -> None:
    python = front_ends()
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    for number in range(20):
        (numbers / f"{number:03d}.txt").write_text(f"number {number}")
    cell = run_cell(0.01, options="--as run --error-threshold 9", fails="012")
    write(tmp_path / "a.ipynb", [LOAD, cell, "run.wait_for_completion(show_output=False)"])
    variables = environ(home, tmp_path)
    for command in (
        [python, "-m", "papermill", "--no-progress-bar", "-k", "python3", "a.ipynb", "b.ipynb"],
        [sys.executable, "-m", "nbconvert", "--to", "html", "b.ipynb"],
    ):
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    executed = nbformat.read(tmp_path / "b.ipynb", as_version=4)
    (output,) = executed.cells[1].outputs
    assert set(output.data) == {RUN_MIME, "text/html", "text/plain"}
    assert output.data[RUN_MIME]["snapshot"]["state"] == "Completed"
    assert "widgets" not in executed.metadata
    page = opened.new_context(offline=True).new_page()
    page.goto((tmp_path / "b.html").as_uri(), wait_until="domcontentloaded")
    saved = page.locator(".pr-saved")
    assert "Completed, 1 item failed" in saved.inner_text()
    summary = saved.locator("summary").first
    summary.focus()
    trace = saved.locator("pre", has_text="ValueError: no <b>number</b>")
    for is_open in (False, True):
        page.keyboard.press("Enter")
        assert trace.is_visible() is is_open
    shot(page, "nbconvert")
    assert violations(saved) == []
    page.context.close()


def many(folder: Path) -> Path:
    """Return a folder of files that a run is busy with for long enough."""
    made = folder / "many"
    made.mkdir()
    for number in range(1000):
        (made / f"{number:04d}.txt").touch()
    return made


def write(path: Path, cells: list[str]) -> None:
    """Write a notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = python
    nbformat.write(notebook, path)
