"""The window of a run whose calls wait for a server, in a real browser: what it shows, and for whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")

from parallelrun_jupyter.runs.journal.call_events import CallsHeld
from parallelrun_jupyter.runs.snapshot import snapshot as snapshots
from tests.call_journals import CallCourse, write_run
from tests.real.jupyter_pages import IN_CHROMIUM
from tests.real.view_page import ViewPage, has_axe

pytestmark = IN_CHROMIUM


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Playwright keeps threads of its own."""


@pytest.fixture(autouse=True)
def living(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "driver_is_alive", lambda *_: True)


def refused(k: int, attempt: int) -> str:
    return "throttled" if k % 50 == 3 and attempt == 1 else "succeeded"


def facts(view: Any) -> dict[str, str]:
    cells = view.locator(".pr-calls > div:visible").all()
    return {c.locator("dt").inner_text(): c.locator("dd").inner_text() for c in cells}


@pytest.mark.parametrize("theme", ["light", "dark", "forced"])
@pytest.mark.parametrize("width", [1000, 420])
def test_the_numbers_of_calls_are_shown_and_accessible(
    opened: Any, tmp_path: Path, theme: str, width: int
) -> None:
    course = CallCourse(rate_per_s=40, tokens_per_s=1e5, budget_usd=20, outcome=refused)
    folder = write_run(tmp_path, course, until_s=8.2)
    viewport = {"width": width, "height": 1100}
    page = ViewPage(opened, folder, theme=theme, viewport=viewport)
    page.read_all()
    view = page.open(page.output(8.2))
    shown = facts(view)
    spent = sum(call.usd for call in course.ledger if call.end_s <= 8.2)
    assert shown["Calls wait for"] == "rate limit"
    assert shown["Call rate"].endswith(" / 40 calls/s")
    assert shown["429 or 503"] == str(
        sum(c.outcome == "throttled" and c.end_s <= 8.2 for c in course.ledger)
    )
    assert shown["Cost"] == f"{spent:.2f} / 20 USD"
    assert len(shown) == 10
    assert view.get_by_text("Calls wait for rate_limit = 40/s 93 % of the time.").is_visible()
    assert "in flight" in view.locator(".pr-workers tbody").inner_text()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    clipped = "[...document.querySelectorAll('.pr-calls dd')].filter(e => e.scrollWidth > e.parentElement.clientWidth + 1).length"
    assert page.page.evaluate(clipped) == 0
    if has_axe():
        assert page.violations() == []
    assert page.errors == []
    page.close()


def test_a_pause_of_the_server_counts_down_between_snapshots(opened: Any, tmp_path: Path) -> None:
    folder = write_run(tmp_path, CallCourse(rate_per_s=40), until_s=5.0)
    page = ViewPage(opened, folder)
    page.read_all()
    page.state.apply(CallsHeld(5000, "server", 0, 65_000, 0))
    view = page.open(page.output(5.5))
    note = view.get_by_text("The server asked for a pause")
    words = "The server asked for a pause (429 or 503): calls go on in"
    assert note.inner_text() == f"{words} 1:00."
    page.page.wait_for_function(
        "document.querySelector('.pr-notices').innerText.includes('calls go on in 5')"
    )
    assert facts(view)["Calls wait for"] == "server's pause"
    page.close()
