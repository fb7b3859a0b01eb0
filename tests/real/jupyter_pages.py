"""Chromium before a Jupyter server, for the tests that look at pages."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, sync_playwright

from tests.real.jupyter_process import TOKEN, Jupyter

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str | None:
    """Return the browser of the system, if one is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


IN_CHROMIUM = [
    pytest.mark.skipif(
        chromium() is None and "CI" not in os.environ,
        reason="there is no Chromium: apt-get install chromium",
    ),
    # Playwright's own event loop leaves these to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""The marks of tests in a browser: they need Chromium, and fail without it in CI."""


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Give a browser."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        try:
            yield opened
        finally:
            opened.close()


class NotebookPage:
    """A notebook in JupyterLab or Notebook 7."""

    def __init__(self, context: BrowserContext, server: Jupyter, name: str, app: str) -> None:
        self.app = app
        self.name = name
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page: Page = context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        place = "lab/tree" if app == "lab" else "notebooks"
        self._url = f"{server.url}{place}/{name}?token={TOKEN}" + ("&reset" if app == "lab" else "")
        self.open()

    def open(self) -> None:
        """Open the page, or open it again."""
        self.page.goto(self._url)
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        self._choose_kernel()
        self.page.wait_for_selector(
            ".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=60_000, state="attached"
        )

    def _choose_kernel(self) -> None:
        """Choose the kernel, if a busy server listed its kernels after the page had looked for it."""
        choice = self.page.locator(".jp-Dialog", has_text="Select Kernel")
        name = self.page.locator(".jp-Toolbar-kernelName", has_text="Python 3")
        choice.or_(name).first.wait_for(timeout=60_000)
        if choice.is_visible():
            choice.locator(".jp-mod-accept").click()
            name.first.wait_for(timeout=60_000)

    def cell(self, index: int) -> Locator:
        """Return a cell."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)

    def view(self, index: int) -> Locator:
        """Return the view of a run under a cell."""
        return self.cell(index).locator(".jp-OutputArea-output .pr-run:visible")

    def run(self, index: int) -> None:
        """Run a cell; press again if a kernel that is not quite ready drops it."""
        cell = self.cell(index)
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.inner_text()
        for _ in range(20):
            cell.locator(".jp-InputArea-editor").click()
            self.page.keyboard.press("Control+Enter")
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                now = prompt.inner_text()
                if now != before and re.fullmatch(r"\[(\*|\d+)\]:?", now.strip()):
                    return
                time.sleep(0.05)
        msg = f"cell {index} was not accepted: {prompt.inner_text()!r}"
        raise AssertionError(msg)

    def wait_until_run(self, index: int, timeout_s: float = 60) -> None:
        """Wait until a cell has run."""
        deadline = time.monotonic() + timeout_s
        prompt = self.cell(index).locator(".jp-InputPrompt")
        while not re.fullmatch(r"\[\d+\]:?", prompt.inner_text().strip()):
            assert time.monotonic() < deadline, f"cell {index} runs on"
            time.sleep(0.05)

    def run_to_end(self, index: int) -> None:
        """Run a cell to its end; run it again if a restarting kernel has lost the request."""
        for _ in range(5):
            self.run(index)
            with contextlib.suppress(AssertionError):
                self.wait_until_run(index, timeout_s=12)
                return
        msg = f"cell {index} was lost five times"
        raise AssertionError(msg)

    def is_busy(self, index: int) -> bool:
        """Return whether a cell is running."""
        return "*" in self.cell(index).locator(".jp-InputPrompt").inner_text()

    def show_panel(self) -> None:
        """Open the panel of runs."""
        if self.app == "lab":
            self.page.locator(".jp-SideBar [data-id=parallelrun-runs]").click()
        else:
            self.page.locator(".lm-MenuBar-item", has_text="View").click()
            self.page.locator(".lm-Menu-item", has_text="Left Sidebar").hover()
            self.page.locator(".lm-Menu-item", has_text="Parallel runs").click()

    def save(self) -> None:
        """Save the notebook and wait until it is on the disk."""
        self.page.keyboard.press("Escape")
        with self.page.expect_response(
            lambda r: "/api/contents/" in r.url and r.request.method == "PUT"
        ):
            self.page.keyboard.press("Control+S")

    def outside_requests(self) -> list[str]:
        """Return the requests of the page to other machines."""
        ours = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
        return [url for url in self.requests if not url.startswith(ours)]


def percent(view: Locator) -> int:
    """Return how far the bar of a view is."""
    return int(view.locator("[role=progressbar]").get_attribute("aria-valuenow") or 0)


__all__ = ["Jupyter", "NotebookPage", "browser", "chromium", "percent"]
