"""The rows of real runs in a real browser: beside their pictures, while they are committed, and after."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("PIL")
from PIL import Image

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.notebook.run_details import RunDetails
from tests.real.jupyter_pages import IN_CHROMIUM, browser
from tests.real.view_page import AXE, ViewPage

pytestmark = IN_CHROMIUM

EVIL = "<img src=x onerror=alert(1)>"
SCRIPT = f"""\
import os, time
import pandas as pd
from PIL import Image

def run(mini_batch):
    time.sleep(PAUSE)
    rows = []
    for path in mini_batch:
        number = int(os.path.basename(path)[5:8])
        color = Image.open(path).convert("RGB").getpixel((0, 0))
        note = {EVIL!r} if number == 4 else "first line\\nsecond line" if number == 5 else ""
        rows.append((f"{{number:03d}}", "#%02x%02x%02x" % color, number / 8, note))
    return pd.DataFrame(rows, columns=["id", "color", "score", "note"])
"""


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Playwright keeps threads of its own."""


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    with browser() as started:
        yield started


def color_of(number: int) -> tuple[int, int, int]:
    return number * 6, 255 - number * 6, 128


def name_of(color: tuple[int, int, int]) -> str:
    return f"#{bytes(color).hex()}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Write forty pictures in two folders, each of its own color."""
    for number in range(40):
        path = tmp_path / "photos" / ("cats" if number < 20 else "dogs") / f"photo{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (120, 90), color_of(number)).save(path)
    return tmp_path / "photos"


def start(photos: Path, tmp_path: Path, pause_s: float = 0.0, **settings: Any) -> Run:
    script = tmp_path / "score.py"
    script.write_text(SCRIPT.replace("PAUSE", str(pause_s)))
    settings = {"mini_batch_size": 4, "output_format": "csv", **settings}
    config = ParallelRunConfig(entry_script=str(script), process_count_per_node=2, **settings)
    return submit(config, inputs=str(photos), name="colors")


@pytest.fixture
def scored(photos: Path, tmp_path: Path) -> Run:
    run = start(photos, tmp_path)
    run.wait_for_completion(show_output=False)
    return run


@pytest.fixture
def show(opened: Any) -> Iterator[Any]:
    pages = []

    def open_page(run: Run, **options: Any) -> ViewPage:
        page = ViewPage(opened, run.folder, **options)
        pages.append(page)
        page.read_all()
        page.open(page.output())
        return page

    yield open_page
    for page in pages:
        assert page.errors == []
        page.close()


def open_results(page: Any) -> Any:
    """Open the part by keyboard; return it once it has rows."""
    part = page.locator(".pr-results")
    part.locator("> summary").focus()
    page.keyboard.press("Enter")
    part.locator("tbody tr").first.wait_for()
    return part


def asked(page: ViewPage, kind: str) -> list[Any]:
    """Return the questions of a kind that the view has sent."""
    sent = page.page.evaluate("window.sent")
    return [question for question in sent if question.get("ask") == kind]


def cells(part: Any) -> list[list[str]]:
    """Return the texts of the rows, without their items."""
    return [
        row.locator("td:nth-child(n + 2)").all_inner_texts()
        for row in part.locator("tbody tr").all()
    ]


def test_rows_are_beside_their_pictures(show: Any, scored: Run) -> None:
    page = show(scored)
    time.sleep(1.5)
    assert asked(page, "results") == [], "a closed part asks for nothing"
    part = open_results(page.page)
    assert part.locator("tbody tr").count() == 10
    part.get_by_label("Order of the rows").select_option("first")
    part.locator("tbody tr").nth(19).wait_for()
    assert part.locator("th").all_inner_texts() == ["Item", "id", "color", "score", "note"]
    rows = cells(part)
    assert [row[0] for row in rows] == [f"{number:03d}" for number in range(20)]
    assert [row[1] for row in rows] == [name_of(color_of(n)) for n in range(20)]
    assert rows[4][3] == EVIL
    assert rows[5][3] == "first line\nsecond line"
    assert part.locator("td script, td:nth-child(5) img").count() == 0
    part.locator("tbody img").nth(19).wait_for()
    images = part.locator("tbody img")
    for number in (0, 7, 19):
        pixel = images.nth(number).evaluate(
            "async (e) => { await e.decode(); const c = document.createElement('canvas');"
            "c.width = c.height = 1; const x = c.getContext('2d'); x.drawImage(e, 0, 0, 1, 1);"
            "return [...x.getImageData(0, 0, 1, 1).data.slice(0, 3)]; }"
        )
        assert all(abs(a - b) <= 2 for a, b in zip(pixel, color_of(number), strict=True))
    assert images.nth(7).get_attribute("alt").endswith("cats/photo007.png")
    part.locator("button", has_text="Show more rows").click()
    part.locator("tbody tr").nth(39).wait_for()
    assert cells(part)[39][0] == "039"
    assert not part.locator("button", has_text="Show more rows").is_visible()
    part.locator("button", has_text="mini-batch 9").first.click()
    page.page.locator(".pr-one li", has_text="photo039.png").wait_for()


def test_items_are_found_by_path_and_by_number(show: Any, scored: Run, photos: Path) -> None:
    number = next(k for k in range(10, 40) if str(k) not in str(photos))  # else it finds all paths
    page = show(scored)
    part = open_results(page.page)
    search = part.get_by_label("Search the rows by item")
    search.fill("DOGS*03")
    part.locator("tbody tr:first-child", has_text="photo030").wait_for()
    assert [row[0] for row in cells(part)] == [f"03{digit}" for digit in range(10)]
    search.fill(str(number))
    part.locator("tbody tr:only-child", has_text=f"0{number}").wait_for()
    assert f"item {number}, mini-batch {number // 4}" in part.inner_text()
    search.fill("nowhere")
    part.locator("[role=status]", has_text="no item with this text or number").wait_for()
    scored.folder.final_file(scored.folder.read_record()).unlink()
    search.fill("photo001")
    part.locator("[role=status]", has_text="was moved or deleted").wait_for()


def test_an_open_part_follows_its_run(show: Any, photos: Path, tmp_path: Path) -> None:
    run = start(photos, tmp_path, pause_s=0.6)
    page = show(run)
    while not page.state.rows:
        time.sleep(0.05)
        page.read_all()
    page.draw(page.output())
    part = open_results(page.page)
    part.locator("tbody img").first.wait_for()
    began = time.monotonic()
    first = cells(part)
    while run.status not in {"Completed", "Failed"}:
        page.read_all()
        page.draw(page.output())
        time.sleep(0.1)
    page.read_all()
    page.draw(page.output())
    took = time.monotonic() - began
    part.locator("summary", has_text="Results: 40 rows").wait_for()
    page.page.wait_for_function(
        "document.querySelector('.pr-results tbody').innerText.includes('03')"
    )
    assert cells(part) != first
    assert 2 <= len(asked(page, "results")) <= took / 2 + 3


@pytest.mark.parametrize("width", [360, 900])
@pytest.mark.parametrize("theme", ["light", "dark", "forced"])
def test_open_results_violate_nothing_that_axe_knows(
    show: Any, scored: Run, theme: str, width: int
) -> None:
    if not AXE.is_file() and "CI" not in os.environ:
        pytest.skip("axe-core is a development dependency: npm ci in labextension")
    page = show(scored, theme=theme, viewport={"width": width, "height": 1000})
    part = open_results(page.page)
    part.get_by_label("Order of the rows").select_option("first")
    part.locator("tbody img").nth(19).wait_for()
    assert page.violations() == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    folder = os.environ.get("PARALLELRUN_SHOTS")
    if folder:
        page.page.screenshot(path=Path(folder) / f"results-{theme}-{width}.png", full_page=True)


def test_a_report_has_the_first_and_the_latest_rows(
    opened: Any, scored: Run, tmp_path: Path
) -> None:
    path = scored.report(tmp_path / "run.html")
    page = opened.new_context(viewport={"width": 900, "height": 1000}, offline=True).new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    part = open_results(page)
    part.get_by_label("Order of the rows").select_option("first")
    part.locator("tbody img").nth(19).wait_for()
    assert [row[0] for row in cells(part)] == [f"{number:03d}" for number in range(20)]
    search = part.get_by_label("Search the rows by item")
    search.fill("photo013")
    part.locator("tbody tr:only-child", has_text="013").wait_for()
    assert "only the first and the latest rows are recorded" in part.inner_text()
    assert errors == []
    page.context.close()


def test_a_saved_notebook_has_some_rows(opened: Any, scored: Run) -> None:
    html = RunDetails(scored)._repr_mimebundle_()["text/html"]
    page = opened.new_context(viewport={"width": 900, "height": 700}).new_page()
    page.set_content(f"<!doctype html><html lang=en><title>A run</title><main>{html}</main>")
    tables = page.locator(".pr-rows table")
    assert tables.count() == 2
    first = tables.first.locator("tr").all()
    assert first[0].locator("th").all_inner_texts() == ["item", "id", "color", "score", "note"]
    ids = [row.locator("td").nth(1).inner_text() for row in first[1:]]
    assert ids == ["000", "001", "002", "003", "004"]
    assert first[5].locator("td").nth(4).inner_text() == EVIL
    assert tables.nth(1).locator("tr").count() == 6
    folder = os.environ.get("PARALLELRUN_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / "results-saved.png", full_page=True)
    page.context.close()
