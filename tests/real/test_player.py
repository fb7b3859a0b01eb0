"""The player of a recorded run in a browser: in a report, in a page of one's own, in a saved cell."""

from __future__ import annotations

import http.server
import re
import threading
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Locator, Page

from parallelrun_jupyter import Run
from parallelrun_jupyter.errors import OutputError
from tests.real.hostile_run import hostile_run
from tests.real.jupyter_pages import IN_CHROMIUM
from tests.real.view_page import AXE, has_axe

pytestmark = IN_CHROMIUM


@pytest.fixture
def run(numbers: Path, tmp_path: Path) -> Run:
    """Return a run of about three seconds, in which mini-batch 13 fails."""
    return hostile_run(numbers, tmp_path, sleep_s=0.1)


def page_of(opened: Browser, requests: list[str], **options: Any) -> Page:
    page = opened.new_page(**{"viewport": {"width": 900, "height": 1000}, **options})
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: requests.append(f"error {error}"))
    return page


def done(page: Page) -> int:
    return int(page.locator(".pr-key-done b").inner_text())


def seek(slider: Locator, share: float) -> None:
    """Drag the slider, as a reader does with the mouse."""
    box = slider.bounding_box()
    assert box is not None
    thumb = 16
    x = thumb / 2 + share * (box["width"] - thumb)
    slider.click(position={"x": x, "y": box["height"] / 2})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_plays_the_run_without_a_request(
    run: Run, opened: Browser, tmp_path: Path, scheme: Literal["light", "dark"]
) -> None:
    path = run.report(tmp_path / "run.html")
    requests: list[str] = []
    page = page_of(opened, requests, color_scheme=scheme)
    page.goto(path.as_uri())
    view = page.locator(".pr-run[data-state=Completed]")
    view.wait_for()
    assert done(page) == 59, "a report shows the end first"
    page.get_by_role("button", name="Play").click()
    page.locator(".pr-run[data-state=Running]").wait_for()
    early = done(page)
    page.wait_for_function(
        "n => Number(document.querySelector('parallelrun-player').shadowRoot"
        ".querySelector('.pr-key-done b').innerText) > n",
        arg=early,
    )
    page.get_by_role("button", name="Pause").click()
    paused = done(page)
    page.wait_for_timeout(500)
    assert done(page) == paused
    assert paused < 59
    slider = page.get_by_role("slider", name="Time in the run")
    seek(slider, 0.5)
    middle = done(page)
    assert 15 <= middle <= 45
    page.locator("summary", has_text="Log").click()
    page.locator(".pr-log > div").nth(5).wait_for()
    page.wait_for_timeout(300)
    lines = page.locator(".pr-log > div", has_text="STDOUT").count()
    assert abs(lines - middle) <= 4, "the log of that moment"
    slider.focus()
    page.keyboard.press("Home")
    page.get_by_text("no output yet").wait_for()
    page.keyboard.press("End")
    page.locator(".pr-run[data-state=Completed]").wait_for()
    assert done(page) == 59
    page.locator(".pr-group summary").click()
    page.locator(".pr-attempts tbody tr").first.wait_for()
    assert page.title() != "owned"
    assert requests == [path.as_uri()]
    if has_axe():
        page.evaluate(AXE.read_text())
        assert page.evaluate("axe.run(document).then((r) => r.violations.map((v) => v.id))") == []
    page.close()


def test_failures_and_rows_appear_when_they_were_known(
    run: Run, opened: Browser, tmp_path: Path
) -> None:
    requests: list[str] = []
    page = page_of(opened, requests)
    page.goto(run.report(tmp_path / "run.html").as_uri())
    slider = page.get_by_role("slider", name="Time in the run")
    page.locator(".pr-results summary").click()
    page.locator(".pr-results td", has_text="059.txt").first.wait_for()
    page.locator(".pr-group summary").click()
    page.locator(".pr-attempts tbody tr").nth(2).wait_for()
    slider.focus()
    page.keyboard.press("Home")
    assert page.locator(".pr-group").count() == 0
    seek(slider, 0.6)
    page.wait_for_timeout(300)
    shown = page.locator(".pr-results tbody tr").all_inner_texts()
    numbers = [int(found[1]) for text in shown if (found := re.search(r"(\d{3})\.txt", text))]
    assert numbers
    assert max(numbers) <= done(page) + 2, "a row was shown before its mini-batch had ended"
    assert not [line for line in requests if line.startswith("error")]
    page.close()


def test_a_page_of_ones_own_plays_and_waits_for_readers_who_want_no_motion(
    run: Run, opened: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    run.recording().save(folder / "run.json")
    assert (folder / "parallelrun-player.js").read_bytes().isascii()
    (folder / "index.html").write_text(
        "<!doctype html><html lang=en><title>Mine</title><h1>Mine</h1>"
        "<style>td, article { font: 30px serif; border: 9px solid red }</style>"
        "<script src='parallelrun-player.js'></script>"
        "<parallelrun-player src='run.json' autoplay></parallelrun-player>"
        "<parallelrun-player src='none.json'></parallelrun-player>"
    )
    with served(folder) as url:
        requests: list[str] = []
        page = page_of(opened, requests)
        page.goto(url)
        page.locator(".pr-run[data-state=Running]").wait_for()
        page.locator(".pr-run[data-state=Completed]").wait_for()
        view = "document.querySelector('parallelrun-player').shadowRoot.querySelector('.pr-run')"
        assert "✓" in page.evaluate(f"{view}.innerText"), "the page declares no encoding"
        assert page.evaluate(f"getComputedStyle({view}).borderWidth") == "1px", "the page's style"
        said = page.get_by_text("The recording cannot be shown: none.json: 404")
        said.wait_for()
        assert {r.removeprefix(url) for r in requests} <= {
            "", "parallelrun-player.js", "run.json", "none.json", "favicon.ico",
        }  # fmt: skip
        page.close()
        page = page_of(opened, [], reduced_motion="reduce")
        page.goto(url)
        page.locator(".pr-run[data-state=Completed]").wait_for()
        page.wait_for_timeout(500)
        page.get_by_role("button", name="Play").wait_for()
        page.close()


def test_a_saved_cell_plays_in_any_page(run: Run, opened: Browser, tmp_path: Path) -> None:
    recorded = run.recording()
    assert run.run_id in repr(recorded)
    html = recorded._repr_html_()
    assert len(html) < 500_000
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><html lang=en><title>Saved</title><h1>Saved</h1>{html}")
    requests: list[str] = []
    page = page_of(opened, requests)
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="Play").click()
    frame.locator(".pr-run[data-state=Running]").wait_for()
    assert page.title() == "Saved"
    assert {r for r in requests if not r.startswith("about:")} == {path.as_uri()}
    page.close()


def test_a_report_without_its_past_and_a_folder_that_does_not_exist(
    run: Run, tmp_path: Path
) -> None:
    playing, still = run.report(tmp_path / "a.html"), run.report(tmp_path / "b.html", play=False)
    assert '"frames":null' in still.read_text()
    assert still.stat().st_size < playing.stat().st_size < 400_000
    with pytest.raises(OutputError, match=r"recording .* could not be written .*; choose another"):
        run.recording().save(still / "run.json")


class served:  # noqa: N801 - a context manager
    """Serves a folder on loopback."""

    def __init__(self, folder: Path) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Quiet, directory=str(folder))
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
