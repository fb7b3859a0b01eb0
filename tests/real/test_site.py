"""The built documentation site in a browser, from the disk: offline, light and dark, on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

import pytest
from playwright.sync_api import Browser, Page

from tests.real.jupyter_pages import browser, chromium
from tests.real.view_page import AXE, has_axe

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
PAGES = ["index", "tutorial", "options", "python", "runs", "beside-others"]
SMALL = {"index", "tutorial", "beside-others"}
"""Pages that axe checks in a second or two."""

AXE_RULES = """
axe.run('article', {
  runOnly: ['wcag2a', 'wcag2aa'],
  rules: {'definition-list': {enabled: false}},  // Sphinx's own markup of long signatures
}).then((r) => r.violations.map((v) => [v.id, v.nodes[0].html]))
"""
Scheme: TypeAlias = Literal["light", "dark", "null"]
DESK, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    if not (SITE / "run.html").exists() and "CI" not in os.environ:
        pytest.skip("the site is not built: make site")
    if chromium() is None and "CI" not in os.environ:
        pytest.skip("no Chromium here")
    with browser() as found:
        yield found


def page_of(opened: Browser, scheme: Scheme, size: tuple[int, int], requests: list[str]) -> Page:
    """Return a page that adds its requests and errors to a list."""
    width, height = size
    page = opened.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: requests.append(f"error {error}"))
    return page


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)])
def test_pages_ask_for_no_other_site_and_fit_the_screen(
    opened: Browser, scheme: Scheme, size: tuple[int, int]
) -> None:
    requests: list[str] = []
    page = page_of(opened, scheme, size, requests)
    for name in PAGES:
        page.goto(f"{SITE.as_uri()}/{name}.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], name
        if name in SMALL and has_axe():
            page.add_script_tag(path=AXE)
            assert not page.evaluate(AXE_RULES), name
    page.close()
    assert len(requests) > len(PAGES)
    assert [url for url in requests if not url.startswith(SITE.as_uri())] == []


def test_the_first_page_plays_a_run_without_a_kernel(opened: Browser) -> None:
    requests: list[str] = []
    page = page_of(opened, "null", DESK, requests)  # an emulated scheme would override the toggle
    page.goto(f"{SITE.as_uri()}/index.html")
    player = page.locator("parallelrun-player")
    player.locator(".pr-run[data-state=Running]").wait_for()
    player.scroll_into_view_if_needed()
    player.get_by_label("Speed").select_option("4")
    player.locator(".pr-run[data-state=Completed]").wait_for(timeout=60_000)
    group = player.locator("summary", has_text="UnidentifiedImageError")
    group.click()
    player.get_by_text("digit_00731.png").first.wait_for()
    color = "getComputedStyle(document.querySelector('parallelrun-player').shadowRoot.querySelector('.pr-run')).backgroundColor"
    for theme, background in (("dark", "rgb(27, 30, 35)"), ("light", "rgb(255, 255, 255)")):
        page.locator(".theme-toggle:visible").first.click()
        page.wait_for_function(f"document.body.dataset.theme === '{theme}'")
        assert page.evaluate(color) == background
    page.close()
    assert [url for url in requests if not url.startswith(SITE.as_uri())] == []


def test_the_search_works_from_the_disk(opened: Browser) -> None:
    page = page_of(opened, "light", DESK, [])
    page.goto(f"{SITE.as_uri()}/index.html")
    page.locator("input[name=q]:visible").fill("isolate_failures")
    page.keyboard.press("Enter")
    result = page.locator("#search-results a", has_text="Runs").first
    result.click()
    page.wait_for_url("**/runs.html*")
    page.close()
