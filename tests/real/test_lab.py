"""Runs in JupyterLab beyond the cell: panel, tabs, status bar, notifications, settings."""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Locator

from parallelrun_jupyter.runs.journal.events import AttemptSucceeded
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.real.jupyter_pages import IN_CHROMIUM, Jupyter, NotebookPage, percent
from tests.real.test_browser import LOAD, run_cell
from tests.real.view_page import AXE

pytestmark = IN_CHROMIUM

SETTINGS = "lab/api/settings/parallelrun-jupyter:panel"
_RUN_AGAIN = re.compile(r"Run (this item|these \d items) again")


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """The runs belong to the server's home; Playwright keeps threads of its own."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    started = Jupyter(tmp_path_factory.mktemp("jupyter"), "lab")
    started.write_numbers()
    try:
        yield started
    finally:
        started.stop()


Open = Callable[..., NotebookPage]


@pytest.fixture
def open_page(server: Jupyter, opened: Any, request: pytest.FixtureRequest) -> Iterator[Open]:
    contexts = []

    def open_one(cells: list[str], **options: Any) -> NotebookPage:
        name = re.sub(r"\W", "_", request.node.name) + ".ipynb"
        server.write(name, cells)
        contexts.append(opened.new_context(viewport={"width": 1280, "height": 900}, **options))
        return NotebookPage(contexts[-1], server, name, "lab")

    yield open_one
    for context in contexts:
        context.close()
    server.end_kernels()


def shot(page: NotebookPage, name: str) -> None:
    folder = os.environ.get("PARALLELRUN_SHOTS")
    if folder:
        page.page.screenshot(path=Path(folder) / f"lab-{name}.png")


def started(page: NotebookPage, name: str, seconds: float = 0.2, **options: Any) -> Locator:
    """Run a cell of that name; return its view."""
    page.run(0)
    page.run(1)
    view = page.view(1)
    view.locator(".pr-workers td.pr-busy").first.wait_for()
    return view


def named_cell(name: str, seconds: float = 0.2, **options: Any) -> str:
    return run_cell(seconds, **options).replace("--name numbers", f"--name {name}")


def command(page: NotebookPage, words: str) -> None:
    """Give a command by the palette."""
    page.page.keyboard.press("Control+Shift+C")
    box = page.page.locator(".lm-CommandPalette-input:visible")
    box.fill(words)
    page.page.locator(".lm-CommandPalette-item.lm-mod-active", has_text=words).wait_for()
    page.page.keyboard.press("Enter")


def test_the_status_bar_shows_how_far_a_run_is_and_leads_to_it(open_page: Open) -> None:
    page = open_page(
        [LOAD, named_cell("passing", 0.15, options="--error-threshold 9", fails="012")]
    )
    started(page, "passing")
    item = page.page.locator(".pr-status-button", has_text=re.compile(r"▶ passing \d+ % ✗ 1"))
    item.wait_for()
    shot(page, "status")
    assert "dle" not in item.inner_text(), "galata waits for Idle in the status bar"
    item.click()
    page.page.locator(".pr-tab .pr-run:visible").wait_for()
    notice = page.page.locator(".Toastify__toast", has_text="passing: Completed, 1 item failed")
    notice.wait_for(timeout=60_000)
    shot(page, "notification")
    page.page.locator(".pr-status:visible").wait_for(state="detached", timeout=60_000)


def test_the_panel_filters_and_acts(open_page: Open, server: Jupyter) -> None:
    page = open_page([LOAD, named_cell("stopped_one", 1.5)])
    started(page, "stopped_one")
    page.show_panel()
    panel = page.page.locator(".pr-panel")
    row = panel.locator(".pr-row", has_text="stopped_one").first
    row.wait_for()
    box = panel.locator("input[type=search]")
    box.fill("nothing like that")
    panel.locator(".pr-note", has_text="No run matches").wait_for()
    assert panel.locator(".pr-row").count() == 0
    box.fill("STOPPED_ONE")
    row.wait_for()
    shot(page, "panel-filter")
    if AXE.is_file():
        page.page.evaluate(AXE.read_text())
        found = page.page.evaluate("axe.run('.pr-panel').then((r) => r.violations)")
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    row.locator("button", has_text="cancel").last.click()
    page.page.locator(".jp-Dialog button", has_text="Stop now").click()
    panel.locator(".pr-row[data-state=Canceled]", has_text="stopped_one").wait_for(timeout=60_000)
    row.locator("button", has_text="resume").click()
    panel.locator(".pr-row[data-state=Running]", has_text="stopped_one").wait_for(timeout=60_000)
    row.locator("button", has_text="show in a cell").click()
    page.view(2).wait_for(timeout=60_000)
    assert "Run.attach(" in page.cell(2).locator(".cm-content").inner_text()
    row.locator(".pr-open").focus()
    box.fill("")
    row.locator("button", has_text="cancel").last.click()
    page.page.locator(".jp-Dialog button", has_text="Finish running mini-batches").click()
    panel.locator(".pr-row[data-state=Canceled]", has_text="stopped_one").wait_for(timeout=60_000)


def test_a_tab_is_there_again_after_a_reload(open_page: Open, opened: Any) -> None:
    page = open_page([LOAD, named_cell("restored", 0.01)])
    page.run(0)
    page.run(1)
    page.page.wait_for_selector(".pr-run[data-state=Completed]", timeout=60_000)
    command(page, "Open the Newest Parallel Run")
    page.page.locator(".pr-tab .pr-run:visible").wait_for()
    page.page.wait_for_timeout(2500)  # Lab saves its layout now and then, without an event
    page.page.goto(page.page.url.split("?")[0])
    page.page.locator(".lm-TabBar-tabLabel", has_text="restored").first.wait_for(timeout=60_000)
    page.page.locator(".lm-TabBar-tab", has_text="restored").first.click()
    page.page.locator(".pr-tab .pr-run[data-state=Completed]:visible").wait_for()


def test_running_sessions_name_the_run_and_end_it(open_page: Open) -> None:
    page = open_page([LOAD, named_cell("among", 1.5)])
    view = started(page, "among")
    page.page.locator(".jp-SideBar [data-id=jp-running-sessions]").click()
    item = page.page.locator(".jp-RunningSessions-item", has_text="among")
    item.wait_for()
    shot(page, "sessions")
    item.hover()
    item.locator("button").click()
    page.page.wait_for_selector(".pr-run[data-state=Canceled]", timeout=60_000)
    assert view.count() == 1


def test_the_launcher_makes_a_notebook_that_runs(open_page: Open, server: Jupyter) -> None:
    page = open_page(["1"])
    page.cell(0).locator(".cm-content").click()
    command(page, "New Launcher")
    page.page.locator(".jp-LauncherCard:visible").first.wait_for()
    shot(page, "launcher")
    card = page.page.locator(".jp-LauncherCard[title*='first parallel run']")
    card.wait_for()
    shot(page, "launcher")
    card.click()
    cells = page.page.locator(".jp-NotebookPanel:visible .jp-CodeCell")
    cells.nth(3).wait_for(timeout=30_000)
    page.page.locator(
        ".jp-NotebookPanel:visible .jp-Notebook-ExecutionIndicator[data-status=idle]"
    ).wait_for(state="attached", timeout=60_000)
    command(page, "Run All Cells")
    page.page.wait_for_selector(
        ".jp-NotebookPanel:visible .pr-run[data-state=Completed]", timeout=90_000
    )


def test_settings_are_offered_and_obeyed(open_page: Open, server: Jupyter) -> None:
    schema = server.ask("GET", SETTINGS)
    assert set(schema["schema"]["properties"]) == {"notifications", "statusBar", "refreshSeconds"}
    server.ask("PUT", SETTINGS, {"raw": json.dumps({"notifications": False, "statusBar": False})})
    try:
        page = open_page([LOAD, named_cell("silent", 0.03)])
        page.run(0)
        page.run(1)  # it may end before the page is drawn
        page.page.wait_for_selector(".pr-run[data-state=Completed]", timeout=60_000)
        page.page.wait_for_timeout(2500)
        assert page.page.locator(".pr-status:visible").count() == 0
        assert page.page.locator(".Toastify__toast", has_text="silent").count() == 0
    finally:
        server.ask("PUT", SETTINGS, {"raw": "{}"})


def test_the_cell_is_highlighted_as_python_and_its_options_complete(open_page: Open) -> None:
    page = open_page([LOAD, "x = 1", run_cell(0.1)])
    page.run(0)
    page.wait_until_run(0)
    page.run(1)
    page.wait_until_run(1)
    lines = page.cell(2).locator(".cm-line")
    keywords = lines.filter(has_text="def run(mini_batch)").locator("span")
    assert keywords.first.inner_text() == "def"
    plain = page.cell(2).locator(".cm-line", has_text="import time").locator("span").first
    color = "e => getComputedStyle(e).color"
    editor = page.cell(2).locator(".cm-content").evaluate(color)
    assert plain.inner_text() == "import"
    assert plain.evaluate(color) != editor
    assert keywords.first.evaluate(color) != editor
    cell = page.cell(1)
    cell.locator(".cm-content").click()
    for typed, expected in (
        ("%%parallelrun --err", "--error-threshold"),
        ("%%parallelrun --output-action sum", "summary_only"),
    ):
        complete(page, cell, typed, expected)


def complete(page: NotebookPage, cell: Locator, typed: str, expected: str) -> None:
    """Type, press Tab, and check the completions; type again if the kernel was not ready."""
    content = cell.locator(".cm-content")
    deadline = time.monotonic() + 30
    while True:
        content.click()
        page.page.keyboard.press("Control+A")
        page.page.keyboard.type(typed)
        page.page.keyboard.press("Tab")
        for _ in range(20):
            page.page.wait_for_timeout(100)
            offered = page.page.locator(".jp-Completer-item", has_text=expected).count()
            if offered or expected in content.inner_text():
                page.page.keyboard.press("Escape")
                return
        page.page.keyboard.press("Escape")
        assert time.monotonic() < deadline, content.inner_text()


_WATCH = """
(node) => {
  window.seen = [];
  const look = () => {
    const value = Number(node.textContent.replaceAll(',', ''));
    requestAnimationFrame(() => window.seen.push([value, performance.timeOrigin + performance.now()]));
  };
  new MutationObserver(look).observe(node, {childList: true, characterData: true, subtree: true});
}
"""


@pytest.mark.alone
def test_what_happens_is_seen_within_half_a_second(open_page: Open, server: Jupyter) -> None:
    page = open_page([LOAD, named_cell("latency", 0.1)])
    view = started(page, "latency")
    view.locator(".pr-key-done b").evaluate(_WATCH)
    run_id = view.locator(".pr-id").inner_text()
    page.page.wait_for_selector(".pr-run[data-state=Completed]", timeout=60_000)
    seen = page.page.evaluate("seen")
    folder = RunFolder(server.home / "runs" / run_id)
    created_ms = folder.read_record().created_at * 1000
    done_at = [
        created_ms + event.at_ms
        for event in JournalReader(folder.journal).read()
        if isinstance(event, AttemptSucceeded)
    ]
    delays = [at - done_at[value - 1] for value, at in seen if value > 0]
    print(f"{len(delays)} changes seen, median {statistics.median(delays):.0f} ms after the event")
    # Two workers in step: ten ends of two mini-batches, and the first ones may come before the watch.
    assert len(delays) >= 6
    assert seen[-1][0] == len(done_at)
    assert statistics.median(delays) < 500


def test_a_second_tab_shows_the_same_and_may_be_closed(open_page: Open, server: Jupyter) -> None:
    page = open_page([LOAD, named_cell("twice", 0.2)])
    view = started(page, "twice")
    page.save()
    other = NotebookPage(page.page.context, server, page.name, "lab")
    twin = other.view(1)
    twin.wait_for()
    before = percent(twin)
    deadline = time.monotonic() + 30
    while percent(twin) <= before or percent(view) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    other.page.close()
    page.page.wait_for_selector(".pr-run[data-state=Completed]", timeout=60_000)
    assert percent(view) == 100


def test_a_run_that_is_scrolled_away_is_left_alone_and_catches_up(open_page: Open) -> None:
    tall = "print('line\\n' * 200)"
    page = open_page([LOAD, named_cell("scrolled", 0.6), tall, tall, "1"])
    page.run(2)
    page.run(3)
    view = started(page, "scrolled")
    before = percent(view)
    page.cell(4).scroll_into_view_if_needed()
    page.page.wait_for_timeout(1500)
    asked = len([url for url in page.requests if "/snapshot" in url])
    page.page.wait_for_timeout(2500)
    assert len([url for url in page.requests if "/snapshot" in url]) <= asked + 1
    page.cell(1).scroll_into_view_if_needed()
    deadline = time.monotonic() + 30
    while percent(view) <= before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    page.cell(0).locator(".cm-content").click()
    page.view(1).locator("button", has_text="Cancel").click()
    page.view(1).locator("button", has_text="Stop now").click()
    page.page.wait_for_selector(".pr-run[data-state=Canceled]", timeout=60_000)


def test_a_failed_run_is_retried_from_its_view(open_page: Open, server: Jupyter) -> None:
    cell = named_cell("retried", 0.02, options="--error-threshold 9").replace(
        "    return",
        "    import os; assert os.path.exists('mended') or '012' not in mini_batch[0]\n    return",
    )
    page = open_page([LOAD, cell])
    page.run(0)
    page.run(1)
    page.page.wait_for_selector(".pr-run[data-state=Completed]", timeout=60_000)
    view = page.view(1)
    (server.notebooks / "mended").touch()
    assert view.locator(
        "button", has_text=re.compile(r"Run the \d failed items? again")
    ).is_visible()
    view.locator(".pr-group summary").click()
    view.locator(".pr-group button:visible", has_text=_RUN_AGAIN).click()
    view.get_by_text("200 rows").first.wait_for(timeout=60_000)
    assert view.get_attribute("data-state") == "Completed"
    (server.notebooks / "mended").unlink()
    link = view.locator("a", has_text="Open output").get_attribute("href")
    response = page.page.request.get(str(link))
    assert response.status == 200
    assert response.text().count("number") == 200


def test_a_refused_retry_is_told_and_may_be_asked_for_again(
    open_page: Open, server: Jupyter
) -> None:
    fails = "    assert '019' not in mini_batch[1]\n    return"
    cell = named_cell("refused", 0.02, files="0[01]*").replace("    return", fails)
    page = open_page([LOAD, cell])
    page.run(0)
    page.run(1)
    page.page.wait_for_selector(".pr-run[data-state=Failed]", timeout=60_000)
    view = page.view(1)
    read = server.notebooks / "numbers" / "001.txt"
    times = read.stat()
    read.write_text("another number")
    view.locator(".pr-group button:visible", has_text=_RUN_AGAIN).click()
    said = view.locator(".pr-said.pr-alarm", has_text="has changed since the run was planned")
    said.wait_for(timeout=30_000)
    assert view.get_attribute("data-state") == "Failed"
    read.write_text("number 1")
    os.utime(read, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = view.locator(".pr-group small").first.inner_text()
    view.locator(".pr-actions button", has_text="Resume").click()
    page.page.wait_for_function(
        "(was) => document.querySelector('.pr-group small').innerText !== was", arg=before
    )
    said.wait_for(state="detached", timeout=30_000)


PIPELINE = """
type: pipeline
display_name: two steps
jobs:
  wait:
    type: command
    environment: azureml:base:1
    command: echo waiting; while [ ! -e FLAG ]; do sleep 0.1; done; echo 1 > ${{outputs.done}}/done
    outputs: {done: {}}
  score:
    type: parallel
    inputs:
      numbers: {type: uri_folder, path: ./numbers}
      done: ${{parent.jobs.wait.outputs.done}}
    input_data: ${{inputs.numbers}}
    mini_batch_size: "20"
    max_concurrency_per_instance: 1
    task: {type: run_function, code: ./score, entry_script: score.py, environment: azureml:base:1}
"""
SHOW = """
from parallelrun_jupyter import azureml_v2
job = azureml_v2.run("pipeline.yml")
job.show()
"""


def pipeline_page(open_page: Open, server: Jupyter, flag: Path, seconds: float) -> NotebookPage:
    (server.notebooks / "pipeline.yml").write_text(PIPELINE.replace("FLAG", str(flag)))
    (server.notebooks / "score").mkdir(exist_ok=True)
    (server.notebooks / "score" / "score.py").write_text(
        f"import time\ndef run(items):\n    time.sleep({seconds})\n    return items\n"
    )
    page = open_page([SHOW, "1"])
    page.run(0)
    page.wait_until_run(0)
    page.page.locator(".pr-pipeline pre", has_text="waiting").wait_for()
    return page


def test_a_pipeline_goes_on_after_a_reload_and_a_kernel_restart(
    open_page: Open, server: Jupyter, tmp_path: Path
) -> None:
    page = pipeline_page(open_page, server, tmp_path / "flag", 0.1)
    page.save()
    page.open()
    server.restart_kernel(page.name)
    table = page.page.locator(".pr-pipeline table")
    assert table.locator("tr", has_text="wait").inner_text().split()[2] == "Running"
    (tmp_path / "flag").touch()
    view = page.view(0)
    view.wait_for(timeout=30_000)
    page.page.wait_for_selector(".pr-run[data-state=Completed]", timeout=60_000)
    table.locator("tr", has_text="score").get_by_text("Completed").wait_for(timeout=20_000)
    page.page.locator(".pr-pipeline", has_text="✓ two steps Completed").wait_for(timeout=20_000)
    shot(page, "pipeline")
    page.save()
    outputs = server.read(page.name).cells[0].outputs
    htmls = ["".join(output.data["text/html"]) for output in outputs if "data" in output]
    assert len(htmls) == 2
    assert "✓ two steps</b> Completed" in htmls[0]
    assert not any("Running" in html or "not started" in html for html in htmls)


def test_a_pipeline_is_canceled_from_its_view(
    open_page: Open, server: Jupyter, tmp_path: Path
) -> None:
    page = pipeline_page(open_page, server, tmp_path / "flag", 5)
    (tmp_path / "flag").touch()
    page.view(0).wait_for(timeout=30_000)
    pipeline = page.page.locator(".pr-pipeline").first
    pipeline.locator("button", has_text="Cancel the pipeline").click()
    pipeline.locator("button", has_text="Stop now").click()
    pipeline.get_by_text("■ two steps Canceled").wait_for(timeout=20_000)
    assert pipeline.locator("tr", has_text="score").inner_text().split()[2] == "Canceled"
    page.page.wait_for_selector(".pr-run[data-state=Canceled]", timeout=20_000)
    assert pipeline.locator("button:visible").count() == 0
