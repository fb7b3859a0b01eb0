"""The views themselves, in a real browser, fed as a kernel feeds them: every state, by eye and by key."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
import itertools

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.files import JournalWriter
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot import snapshot as snapshots
from tests.journals import Course, write_log, write_run
from tests.real.jupyter_pages import IN_CHROMIUM
from tests.real.view_page import AXE, ROOT, ViewPage

pytestmark = IN_CHROMIUM

EVIL = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>\x1b]0;owned\x07\x1b[31mred\x1b[0m\x9b2J"
)
STATES = ("Planning", "Running", "Finalizing", "Completed", "Failed", "Canceled", "Interrupted")


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Playwright keeps threads of its own."""


@pytest.fixture
def living(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Fake the drivers of the runs here: the last item of the list is whether they are alive."""
    answer = [True]
    monkeypatch.setattr(snapshots, "driver_is_alive", lambda *_: answer[-1])
    return answer


def fails(mini_batch: int, attempt: int) -> bool:
    return mini_batch % 40 == 13 or (mini_batch % 30 == 4 and attempt < 2)


COURSE = Course(
    mini_batches=400,
    fails=fails,
    message=EVIL,
    duration_s=lambda k, rng: 40 if k == 151 else rng.uniform(0.2, 0.9),
)


def run_in_state(home: Path, state: str) -> tuple[RunFolder, float]:
    """Write a run that has reached a state; return it and a time in that state."""
    until = {"Planning": 0.3, "Completed": 1e9}.get(state, 37.0)
    folder = write_run(home, COURSE, until_s=until, limits={"error_threshold": 50})
    for worker in range(4):
        lines = [("STDOUT", k, f"read {k} \x1b[32mok\x1b[0m") for k in range(50)]
        write_log(folder, f"n0w{worker}", [*lines, ("ERROR", 13, EVIL)])
    journal = JournalWriter(folder.journal)
    if state in {"Failed", "Canceled"}:
        reason = "60 items failed; error_threshold allows 50" if state == "Failed" else ""
        journal.append(
            [ev.WarningRaised(37_000, EVIL), ev.RunFinished(37_100, state, reason, "", 0)]
        )
    elif state == "Finalizing":
        journal.append([ev.StateEntered(37_000, state)])
    journal.close()
    return folder, {"Planning": 12.0, "Running": 60.0}.get(state, 37.2)


@pytest.fixture
def show(opened: Any, home: Path, living: list[bool]) -> Iterator[Any]:
    pages = []

    def show_state(state: str = "Running", **options: Any) -> ViewPage:
        folder, at_s = run_in_state(home, state)
        living.append(state != "Interrupted")
        page = ViewPage(opened, folder, **options)
        pages.append(page)
        page.read_all()
        page.open(page.output(at_s))
        return page

    yield show_state
    for page in pages:
        assert page.errors == []
        page.close()


def open_all(page: ViewPage) -> None:
    """Open every section, a group of failures and a mini-batch."""
    for name in ("Timeline", "Log"):
        summary = page.page.locator(".pr-section > summary:visible", has_text=name)
        if summary.count():
            summary.click()
    group = page.page.locator(".pr-group:not([open]) > summary")
    if group.count():
        group.first.click()
        page.page.locator(".pr-attempts button").first.click()
        page.page.locator(".pr-one td").first.wait_for()
    page.page.locator(".pr-log > div").first.wait_for()


@pytest.mark.parametrize("theme", ["light", "dark", "forced"])
@pytest.mark.parametrize("state", STATES)
def test_no_state_in_no_theme_violates_what_axe_knows(show: Any, state: str, theme: str) -> None:
    if not AXE.is_file() and "CI" not in os.environ:
        pytest.skip("axe-core is a development dependency: npm ci in labextension")
    page = show(state, theme=theme)
    assert page.violations() == []
    open_all(page)
    page.page.locator(".pr-grid canvas").focus()
    page.page.keyboard.press("ArrowRight")
    assert page.violations() == []
    folder = os.environ.get("PARALLELRUN_SHOTS")
    if folder:
        page.page.screenshot(path=Path(folder) / f"view-{state}-{theme}.png", full_page=True)


def test_what_is_said_is_what_the_journal_holds(show: Any) -> None:
    page = show()
    text = page.page.locator(".pr-run").inner_text()
    assert "much slower than the others: mini-batch" in text
    assert re.search(r"151\s+on n0w\d for", text)
    assert "no progress for" in text
    failed = page.state.items_failed
    assert f"{failed} of 50 allowed failed items used (error_threshold)" in text
    bar = page.page.locator("[role=progressbar]")
    share = 100 * page.state.items_done // page.state.planned_items
    assert bar.get_attribute("aria-valuenow") == str(share)
    said = f"{share} percent, {page.state.done} of 400 mini-batches, {page.state.failed} failed"
    assert bar.get_attribute("aria-valuetext") == said
    assert page.page.locator(".pr-workers tbody tr").count() == 4
    assert re.search(r"\d+ %", page.page.locator(".pr-workers tbody tr").first.inner_text())


def test_texts_stay_texts_everywhere(show: Any) -> None:
    page = show("Failed")
    open_all(page)
    page.page.locator(".pr-grave", has_text="<script>").first.wait_for()
    view = page.page.locator(".pr-run")
    assert view.locator("img, script").count() == 0
    assert view.inner_text().count("<img src=x onerror=alert(1)>") >= 5
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", view.inner_text())
    assert page.page.locator(".pr-log .pr-ansi-1", has_text="red").count() >= 1
    assert page.page.locator(".pr-log .pr-ansi-2", has_text="ok").count() >= 1
    assert "owned" not in page.page.locator(".pr-log").inner_text()


def test_the_grid_and_the_timeline_walk_by_keyboard(show: Any) -> None:
    page = show()
    grid = page.page.locator(".pr-grid canvas")
    grid.focus()
    page.page.keyboard.press("ArrowRight")
    for _ in range(13):
        page.page.keyboard.press("ArrowRight")
    assert grid.get_attribute("aria-valuetext") == "mini-batch 13: failed"
    page.page.keyboard.press("Enter")
    one = page.page.locator(".pr-one")
    one.locator("li", has_text="000065.png").wait_for()
    assert one.locator("tbody tr").count() == 3
    assert "ValueError at score.py:10 in run" in one.inner_text()
    page.page.keyboard.press("End")
    assert grid.get_attribute("aria-valuetext") == "mini-batch 399: left"
    page.page.locator("summary", has_text="Timeline").click()
    timeline = page.page.locator(".pr-section canvas[aria-label*=Recent]")
    painted = "document.querySelector('canvas[aria-label*=Recent]').ariaValueMax !== '0'"
    page.page.wait_for_function(painted)  # a section is painted a moment after it is opened
    timeline.focus()
    page.page.keyboard.press("ArrowRight")
    first = timeline.get_attribute("aria-valuetext") or ""
    page.page.keyboard.press("ArrowDown")
    second = timeline.get_attribute("aria-valuetext") or ""
    assert (first[:4], second[:4]) == ("n0w0", "n0w1")
    page.page.keyboard.press("End")
    page.page.keyboard.press("Enter")
    shown = re.search(r"mini-batch (\d+)", timeline.get_attribute("aria-valuetext") or "")
    assert shown
    page.page.locator(".pr-one b", has_text=f"Mini-batch {shown[1]}").wait_for()


def test_a_pointer_finds_what_the_keys_find(show: Any) -> None:
    page = show()
    box = page.page.locator(".pr-grid canvas").bounding_box()
    assert box
    page.page.mouse.move(box["x"] + 9 * 13 + 4, box["y"] + 4)
    page.page.locator(".pr-hint", has_text="mini-batch 13: failed").wait_for()
    page.page.mouse.click(box["x"] + 9 * 13 + 4, box["y"] + 4)
    page.page.locator(".pr-one b", has_text="Mini-batch 13").wait_for()


def test_a_cell_of_many_opens_into_its_own_grid(opened: Any, home: Path, living: Any) -> None:
    course = Course(mini_batches=5000, duration_s=lambda _k, _rng: 0.01, fails=fails)
    page = ViewPage(opened, write_run(home, course, limits={"error_threshold": -1}))
    page.read_all()
    page.open(page.output())
    grid = page.page.locator(".pr-grid canvas")
    grid.focus()
    page.page.keyboard.press("ArrowRight")
    assert grid.get_attribute("aria-valuetext") == "mini-batches 0 to 7: all done"
    page.page.keyboard.press("ArrowRight")
    assert grid.get_attribute("aria-valuetext") == "mini-batches 8 to 15: all done, some failed"
    page.page.keyboard.press("Enter")
    page.page.locator(".pr-more", has_text="mini-batches 8 to 15").wait_for()
    page.page.wait_for_function("document.querySelector('.pr-grid canvas').ariaValueMax === '7'")
    page.page.keyboard.press("Escape")
    page.page.wait_for_function("document.querySelector('.pr-grid canvas').ariaValueMax === '624'")
    page.close()


def test_the_log_is_filtered_searched_paused_and_says_what_it_skipped(show: Any) -> None:
    page = show()
    page.page.locator("summary", has_text="Log").click()
    log = page.page.locator(".pr-log")
    log.locator("div", has_text="read 49").first.wait_for()
    page.page.get_by_label("Level").select_option("ERROR")
    log.locator("div", has_text="ERROR").nth(3).wait_for()
    assert log.locator("div", has_text="STDOUT").count() == 0
    page.page.get_by_label("Level").select_option("")
    search = page.page.get_by_label("Search the log")
    search.fill("READ 7 ")
    page.page.wait_for_function("document.querySelectorAll('.pr-log > div').length === 4")
    search.fill("re*d 4*ok")
    page.page.wait_for_function("document.querySelectorAll('.pr-log > div').length === 44")
    search.fill("(a|aa)+$")
    log.locator("div", has_text="no matching lines").wait_for()
    search.fill("")
    page.page.get_by_label("Worker", exact=True).select_option("n0w1")
    page.page.wait_for_function("document.querySelectorAll('.pr-log > div').length === 51")
    write_log(page.folder, "n0w1", [("STDOUT", 60, f"flood {k}") for k in range(5000)])
    page.page.locator(".pr-skipped", has_text="4,800 lines skipped").wait_for()
    log.locator("div", has_text="flood 4999").wait_for()
    log.evaluate("(e) => { e.scrollTop = 0; }")
    page.page.locator(".pr-more", has_text="paused").wait_for()
    write_log(page.folder, "n0w1", [("STDOUT", 61, "while it was paused")])
    page.page.wait_for_timeout(1500)
    assert log.locator("div", has_text="while it was paused").count() == 0
    page.page.locator("button", has_text="follow").click()
    log.locator("div", has_text="while it was paused").wait_for()
    for number in range(8):
        write_log(page.folder, "n0w1", [("STDOUT", 62, f"more {number} {k}") for k in range(180)])
        log.locator("div", has_text=f"more {number} 179").wait_for()
    assert log.locator("> div").count() <= 1001


def test_a_progress_bar_is_one_line_that_moves(show: Any) -> None:
    page = show()
    page.page.locator("summary", has_text="Log").click()
    page.page.get_by_label("Worker", exact=True).select_option("n0w1")
    page.page.wait_for_function("document.querySelectorAll('.pr-log > div').length === 51")
    path = page.folder.user_logs / "n0w1.log"
    log = page.page.locator(".pr-log")
    for percent in (10, 20, 30):
        with path.open("a") as file:
            file.write(f"2026-11-18T11:00:{percent}.000Z STDERR #60 {percent} % done\r\r\n")
        log.locator("div", has_text=f"{percent} % done").wait_for()
        assert log.locator("div", has_text="% done").count() == 1
    with path.open("a") as file:
        file.write("2026-11-18T11:00:40.000Z STDERR #60 100 % done\n")
    log.locator("div", has_text="100 % done").wait_for()
    assert log.locator("> div").count() == 52


def test_nothing_is_announced_twice_in_ten_seconds(show: Any) -> None:
    page = show()
    page.page.clock.install()
    page.page.evaluate("close_view(); open_view()")
    page.page.evaluate(
        "() => { window.said = []; new MutationObserver(() => said.push(Date.now()))"
        ".observe(document.querySelector('.pr-spoken'), {childList: true, characterData: true,"
        " subtree: true}); }"
    )
    for number in range(150):
        page.state.succeeded += 1
        page.draw(page.output(60 + number / 5))
        page.page.clock.run_for(200)
    said = page.page.evaluate("said")
    assert 2 <= len(said) <= 3
    assert all(later - sooner >= 10_000 for sooner, later in itertools.pairwise(said))


def test_a_view_says_that_the_kernel_does_not_answer_until_it_does(show: Any) -> None:
    page = show()
    page.page.clock.install()
    page.page.evaluate("is_silent = true; close_view(); open_view()")
    note = page.page.get_by_text("the kernel does not answer; the run may have continued since")
    elapsed = page.page.locator(".pr-run").get_by_text(re.compile(r"^1:\d\d$|^\d+ s$")).first
    page.page.clock.run_for(3_000)
    assert not note.is_visible()
    page.page.clock.run_for(2_000)
    assert note.is_visible()
    stopped = elapsed.inner_text()
    page.page.clock.run_for(5_000)
    assert elapsed.inner_text() == stopped, "nobody knows how long it has run"
    page.state.succeeded += 1
    page.draw(page.output(61))
    assert not note.is_visible()
    page.page.evaluate("is_silent = false")
    page.page.clock.run_for(20_000)
    assert not note.is_visible()


def test_no_motion_where_none_is_wanted(show: Any) -> None:
    page = show(reduced_motion="reduce")
    fill = page.page.locator(".pr-fill").first
    assert fill.evaluate("e => getComputedStyle(e).transitionDuration") == "0s"
    assert (
        page.page.locator(".pr-run").evaluate(
            "e => e.getAnimations({subtree: true}).filter((a) => a.playState === 'running').length"
        )
        == 0
    )


def test_a_view_that_is_closed_leaves_nothing(show: Any) -> None:
    page = show()
    page.page.evaluate("for (let n = 0; n < 20; n += 1) { close_view(); open_view(); }")
    assert page.page.locator(".pr-run").count() == 1
    assert page.page.evaluate("listeners.get('change:output').size") == 1
    page.page.evaluate("close_view()")
    assert page.page.locator(".pr-run").count() == 0
    assert page.page.evaluate("[...listeners.values()].reduce((n, set) => n + set.size, 0)") == 0
    says = page.page.evaluate("sent.filter((one) => one.say).map((one) => one.say)")
    assert says.count("hello") == says.count("bye")
    before = page.page.evaluate("sent.length")
    page.page.wait_for_timeout(1500)
    assert page.page.evaluate("sent.length") == before


def test_a_view_out_of_sight_says_so(show: Any) -> None:
    page = show()
    page.page.evaluate("document.querySelector('main').style.paddingTop = '5000px'")
    page.page.wait_for_function("sent.at(-1).say === 'bye'")
    page.page.evaluate("document.querySelector('main').style.paddingTop = '0'")
    page.page.wait_for_function("sent.at(-1).say === 'hello'")


_TRANSLATED = """
import { setTranslator } from './model/words';
import { RunView } from './views/run';
setTranslator({ text: (w) => `\u27e6${w}\u27e7`, plural: (one) => `\u27e6${one}\u27e7` });
export { RunView };
"""


def test_every_text_goes_through_the_translator(show: Any) -> None:
    bundler = ROOT / "labextension" / "node_modules" / ".bin" / "esbuild"
    if not bundler.exists() and "CI" not in os.environ:
        pytest.skip("esbuild is a development dependency: npm ci in labextension")
    node = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    code = subprocess.run(
        [str(bundler), "--bundle", "--format=iife", "--global-name=translated", "--loader=ts",
         "--sourcefile=translated.ts"],
        input=_TRANSLATED, capture_output=True, text=True, check=True,
        cwd=ROOT / "labextension" / "src", env={**os.environ, "PATH": node},
    ).stdout  # fmt: skip
    page = show()
    page.page.evaluate("close_view()")
    page.page.evaluate(f"() => {{ {code}; window.translated = translated; }}")
    found = page.page.evaluate(
        """(output) => {
          const never = () => new Promise(() => undefined);
          const host = { logs: never, failures: never, failedItems: never, previews: never,
            miniBatch: never, grid: never,
            actions: { cancel: never, resume: never }, logFile: () => '#', resultFile: () => '#' };
          const view = new translated.RunView(host);
          document.getElementById('place').append(view.node);
          view.draw(output, true);
          for (const part of view.node.querySelectorAll('details')) part.open = true;
          const names = ['aria-label', 'aria-valuetext', 'placeholder', 'title'];
          const texts = [];
          const walker = document.createTreeWalker(view.node, NodeFilter.SHOW_TEXT);
          for (let at = walker.nextNode(); at; at = walker.nextNode()) texts.push(at.nodeValue);
          for (const node of view.node.querySelectorAll('*')) {
            for (const name of names) texts.push(node.getAttribute(name) ?? '');
          }
          return texts.filter((text) => /[a-z]{3}/i.test(text));
        }""",
        page.output(60.0),
    )
    data = ("score.py", "digits", "20261118", "<img", "n0w", "Running", "Traceback")
    plain = [text for text in found if "⟦" not in text and not any(d in text for d in data)]
    assert len(found) > 40
    assert plain == []


def test_the_button_of_a_group_asks_for_that_group_alone(show: Any) -> None:
    page = show("Failed")
    if not page.page.locator(".pr-group[open]").count():
        page.page.locator(".pr-group > summary").first.click()
    retry = page.page.locator(".pr-group button:visible", has_text="Run these")
    lost = page.output()["snapshot"]["groups"][0]
    assert lost["items_failed"] > 1
    assert retry.inner_text() == f"Run these {lost['items_failed']} items again"
    retry.click()
    [sent] = [one for one in page.page.evaluate("window.sent") if one.get("ask") == "resume"]
    assert (sent["failed_only"], sent["group"]) == (True, lost["group"])


def test_no_group_offers_a_retry_while_the_run_goes_on(show: Any) -> None:
    page = show("Running")
    page.page.locator(".pr-group > summary").first.click()
    page.page.locator(".pr-attempts button").first.wait_for()
    assert page.page.locator(".pr-group button:visible", has_text="again").count() == 0
