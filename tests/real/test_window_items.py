"""A group of failures opened to its items in a real browser: pictures, rows and texts of real files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("PIL")
from PIL import Image

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot import snapshot as snapshots
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.views.report import write_report
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.journals import record
from tests.real.jupyter_pages import IN_CHROMIUM, browser
from tests.real.view_page import AXE, ViewPage

pytestmark = IN_CHROMIUM

EVIL = "<img src=x onerror=alert(1)>"
PICTURE, COLOR, VALUE = (
    "UnidentifiedImageError at score.py:12 in run",
    "ValueError at score.py:15 in run",
    "ValueError at score.py:20 in run",
)


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Playwright keeps threads of its own."""


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as started:
        yield started


def pictures(folder: Path) -> list[Path]:
    """Write ten pictures: number 3 is truncated, 5 is no picture, 7 is gone."""
    circle = Image.radial_gradient("L").resize((640, 480))
    paths = []
    for number in range(10):
        bands = [circle.rotate(40 * number), circle.rotate(90), circle]
        paths.append(folder / f"photo-{number}.jpg")
        Image.merge("RGB", bands).save(paths[-1])
    paths[3].write_bytes(paths[3].read_bytes()[:9000])
    paths[5].write_bytes(b"<html>Not found</html>")
    paths[7].unlink()
    return paths


def rows_of(path: Path) -> PlanLine:
    """Write a table of thirty rows; return the plan line of its one mini-batch."""
    rows = [
        {"city": EVIL if number == 4 else f"city {number}", "price": number / 2, "rooms": number}
        for number in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = {"format": "json_lines", "encoding": "utf-8", "columns": ["city", "price", "rooms"],
             "types": ["string", "float64", "int64"]}  # fmt: skip
    status = path.stat()
    return PlanLine(1, [str(path)], [status.st_size], [status.st_mtime_ns],
                    ranges=[[0, status.st_size]], table=table, rows=30)  # fmt: skip


def items_failed(
    mini_batch: int, group: str, texts: dict[int, str], of: int, attempt: int = 1
) -> ev.ItemsFailed:
    ranges = tuple((position, 1) for position in texts)
    error = group.partition(" ")[0]
    trace = f"Traceback (most recent call last):\n  File score.py, line 12\n{error}: bad\n"
    return ev.ItemsFailed(mini_batch, attempt, "n0w0", 2000, len(texts), "exception", error,
                          next(iter(texts.values())), group, trace, ranges, tuple(texts.values()), of)  # fmt: skip


def succeeded(mini_batch: int, of: int, failed: set[int]) -> list[ev.Event]:
    good = [k for k in range(of) if k not in failed]
    return [
        ev.ItemsSucceeded(
            mini_batch, 1, "n0w0", 2000, 900_000 * (k == good[0]), k, 1, of, 1, 0, 0, 1, 0
        )
        for k in good
    ]


@pytest.fixture
def folder(home: Path, tmp_path: Path) -> RunFolder:
    """A run over pictures, a table and texts, of which some items failed."""
    run = record(limits={"error_threshold": -1})
    folder = RunFolder(home / "runs" / run.run_id)
    for place in (folder.script, folder.output, folder.user_logs, folder.control):
        place.mkdir(parents=True)
    folder.record.write_text(run.to_json())
    photos = pictures(tmp_path)
    texts = [tmp_path / f"note-{number}.txt" for number in range(3)]
    for path in texts:
        path.write_text(f"{path.name}\n{EVIL}\nlast line\n")
    many = [f"/gone/{number:04d}.png" for number in range(50)]
    lines = [
        PlanLine(0, list(map(str, photos)), [], []),
        rows_of(tmp_path / "houses.jsonl"),
        PlanLine(0, list(map(str, texts)), [], []),
        PlanLine(0, many, [], []),
    ]
    folder.plan.write_bytes(b"".join(line.encode() + b"\n" for line in lines))
    bad = {3: "image file is truncated", 5: "cannot identify photo-5", 7: f"gone {EVIL}"}
    events: list[ev.Event] = [
        ev.RunStarted(0, 1, 1, "here"),
        ev.WorkerStarted(10, "n0w0", "n0", 7),
        ev.WorkerReady(400, "n0w0", 400),
        ev.PlanFinished(400, 4, 93),
        ev.StateEntered(400, "Running"),
        ev.ResultsReused(500, "20261101-070809-abcd", 999_990, 2, 8, 3),
        *succeeded(0, 10, set(bad)),
        items_failed(0, PICTURE, bad, 10),
        *succeeded(1, 30, {4, 17}),
        items_failed(1, VALUE, {4: "no city", 17: "17 is odd"}, 30),
        items_failed(2, COLOR, {0: "no color", 1: "no color", 2: "no color"}, 3),
        ev.CallLimited(2100, 25),
    ]
    events += [
        ev.AttemptFailed(3, attempt, "n0w0", 3000 + attempt, 500_000, 50, attempt == 3, "exception",
                         "KeyError", "'size'", "KeyError at score.py:30 in run", "Traceback\n")
        for attempt in (1, 2, 3)
    ]  # fmt: skip
    events.append(ev.StateEntered(4000, "Finalizing"))
    events.append(ev.RunFinished(4100, "Completed", "", "/out/rows.txt", 10))
    folder.journal.write_text("".join(encode(event) + "\n" for event in events))
    return folder


@pytest.fixture
def show(opened: Any, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(snapshots, "driver_is_alive", lambda *_: False)
    pages = []

    def open_page(**options: Any) -> ViewPage:
        page = ViewPage(opened, folder, **options)
        pages.append(page)
        page.read_all()
        page.open(page.output())
        return page

    yield open_page
    for page in pages:
        assert page.errors == []
        page.close()


def open_group(page: Any, name: str) -> Any:
    """Open a group of failures; return it once its items have their previews."""
    group = page.locator(".pr-group", has_text=name)
    group.locator("> summary").click()
    group.locator(".pr-failed-items li").first.wait_for()
    return group


def test_a_group_opens_to_its_pictures(show: Any) -> None:
    page = show()
    group = open_group(page.page, PICTURE)
    image = group.locator("li img")
    image.wait_for()
    items = group.locator(".pr-failed-items li")
    assert items.count() == 3
    assert image.count() == 1
    assert image.get_attribute("alt").endswith("photo-3.jpg")
    size = image.evaluate("e => [e.naturalWidth, e.naturalHeight, e.complete]")
    assert size == [96, 72, True]
    texts = items.all_inner_texts()
    assert "shown in part: image file is truncated" in texts[0]
    assert "item 3 of mini-batch 0" in texts[0]
    assert "cannot be shown: its content is not a PNG, JPEG, GIF, WebP or BMP picture" in texts[1]
    assert "the file no longer exists" in texts[2]
    assert EVIL in texts[2]
    assert "3 items failed, first in mini-batch 0" in group.locator("summary").inner_text()
    items.nth(0).locator("button", has_text="0").click()
    one = page.page.locator(".pr-one")
    one.locator("td").first.wait_for()
    said = one.inner_text()
    assert "partly failed: 3 items failed (items 3, 5, 7)" in said
    assert one.locator("tbody tr").count() == 1
    assert "✓ done, 7 rows, 3 items failed" in said


def test_a_group_opens_to_rows_and_to_texts(show: Any) -> None:
    page = show()
    rows = open_group(page.page, VALUE)
    rows.locator("dd").nth(5).wait_for()
    assert rows.locator("li").nth(1).locator("dt").all_inner_texts() == ["city", "price", "rooms"]
    assert rows.locator("li").nth(1).locator("dd").all_inner_texts() == ["city 17", "8.5", "17"]
    assert rows.locator("li").nth(0).locator("dd").first.inner_text() == EVIL
    assert "row 17 of mini-batch 1" in rows.locator("li").nth(1).inner_text()
    texts = open_group(page.page, COLOR)
    texts.locator("li pre").nth(2).wait_for()
    assert texts.locator("li pre").nth(1).inner_text() == f"note-1.txt\n{EVIL}\nlast line"
    assert page.page.locator(".pr-run img, .pr-run script").count() == 0


def test_the_pages_of_items_follow_by_key(show: Any) -> None:
    page = show()
    group = open_group(page.page, "KeyError at score.py:30")
    items = group.locator(".pr-failed-items li")
    assert items.count() == 20
    assert "item 0 of mini-batch 3, 3 tries" in items.first.inner_text()
    more = group.locator("button", has_text="Show more items")
    group.locator(".pr-failed-items").focus()
    while not more.evaluate("e => e === document.activeElement"):
        page.page.keyboard.press("Tab")
    for count in (40, 50):
        page.page.keyboard.press("Enter")
        page.page.wait_for_function(
            f"document.querySelectorAll('.pr-group[open] .pr-failed-items li').length === {count}"
        )
    assert not more.is_visible()
    names = group.locator(".pr-item-name").all_inner_texts()
    assert names == [f"/gone/{number:04d}.png" for number in range(50)]


def test_reused_results_and_a_limit_of_calls_are_named(show: Any) -> None:
    said = show().page.locator(".pr-notices").inner_text()
    assert (
        "999,990 items taken from run 20261101-070809-abcd, 10 run: 8 new, 2 changed; 3 gone"
        in said
    )
    assert "run() receives at most 25 items: more do not fit into memory" in said


@pytest.mark.parametrize("width", [360, 900])
@pytest.mark.parametrize("theme", ["light", "dark", "forced"])
def test_open_items_violate_nothing_that_axe_knows(show: Any, theme: str, width: int) -> None:
    if not AXE.is_file() and "CI" not in os.environ:
        pytest.skip("axe-core is a development dependency: npm ci in labextension")
    page = show(theme=theme, viewport={"width": width, "height": 1200})
    for name in (PICTURE, VALUE, COLOR):
        open_group(page.page, name)
    page.page.locator("li img").first.wait_for()
    page.page.locator("li dd").first.wait_for()
    page.page.locator("li pre").first.wait_for()
    assert page.violations() == []
    wide = page.page.evaluate(
        "[...document.querySelectorAll('.pr-failed-items, .pr-failed-items > li')]"
        ".filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert wide == 0
    folder = os.environ.get("PARALLELRUN_SHOTS")
    if folder:
        page.page.screenshot(path=Path(folder) / f"items-{theme}-{width}.png", full_page=True)


def test_a_report_has_the_first_items_and_their_pictures(
    opened: Any, folder: RunFolder, tmp_path: Path
) -> None:
    follower = Follower(folder)
    snapshot = follower.refresh()
    path = write_report(folder, follower.state, snapshot, tmp_path / "run.html")
    context = opened.new_context(viewport={"width": 900, "height": 1200})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    group = open_group(page, PICTURE)
    image = group.locator("li img")
    image.wait_for()
    assert image.evaluate("e => e.naturalWidth") == 96
    many = open_group(page, "KeyError at score.py:30")
    assert many.locator("li").count() == 20
    assert "and 30 other items: run.failed_items() lists all" in many.inner_text()
    assert errors == []
    context.close()
