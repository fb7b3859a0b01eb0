"""What every front end is checked for: a run that moves, keys that reach it, and axe."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from tests.front_end_environment import python_with_front_ends
from tests.real.jupyter_pages import percent
from tests.real.view_page import AXE

_FOCUSED = """() => {
  let found = document.activeElement;
  while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
  return found?.textContent ?? '';
}"""
#: null if the page has replaced the view since it was found: the one that is there now is to be checked
_VIOLATIONS = """(view) => !view.isConnected ? null : axe.run(view).then(
  ({violations}) => violations.flatMap(
    (one) => one.nodes.map((node) => `${one.id}: ${node.html.slice(0, 200)}`)),
  (error) => { if (view.isConnected) throw error; return null; })"""


def assert_moves(view: Locator, places: int = 3) -> None:
    """See the bar of a run at several places."""
    seen: set[int] = set()
    deadline = time.monotonic() + 40
    while len(seen) < places:
        assert time.monotonic() < deadline, f"it does not move: {seen}, {view.inner_text()}"
        seen.add(percent(view))
        time.sleep(0.05)


def tab_to(page: Page, words: str, key: str = "Tab") -> None:
    """Press a key until a control with these words has the focus."""
    passed = []
    for _ in range(8):
        page.keyboard.press(key)
        passed.append(page.evaluate(_FOCUSED).strip()[:30])
        if passed[-1] == words:
            return
    msg = f"no key leads to {words!r}: {passed}"
    raise AssertionError(msg)


def cancel_by_keyboard(view: Locator) -> None:
    """Cancel a run without a mouse, from the first control of its view on."""
    page = view.page
    view.locator("button", has_text="copy ID").focus()
    tab_to(page, "Cancel")
    page.keyboard.press("Enter")
    assert page.evaluate(_FOCUSED) == "Keep running"  # a second Enter does no harm
    tab_to(page, "Stop now", "Shift+Tab")
    page.keyboard.press("Enter")


def violations(view: Locator) -> list[str]:
    """Return the violations that axe-core finds in a view, also in a shadow tree."""
    if not view.page.evaluate("'axe' in window"):
        view.page.evaluate(AXE.read_text())
    for _ in range(20):
        found: list[str] | None = view.evaluate(_VIOLATIONS)
        if found is not None:
            return found
        view.page.wait_for_timeout(100)
    raise AssertionError("the view was replaced for two seconds")


def outside(requests: Sequence[str]) -> list[str]:
    """Return the requests to other machines."""
    ours = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    return [url for url in requests if not url.startswith(ours)]


def shot(page: Page, name: str) -> None:
    """Take a picture of a page, if ``PARALLELRUN_SHOTS`` names a folder."""
    folder = os.environ.get("PARALLELRUN_SHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"front-end-{name}.png")


def front_ends() -> str:
    """Return the python of the front ends; without one, fail in CI and skip elsewhere."""
    python, reason = python_with_front_ends()
    if not python and "CI" in os.environ:
        pytest.fail(reason)
    if not python:
        pytest.skip(reason)
    return python


def environ(home: Path, folder: Path) -> dict[str, str]:
    """Return variables that keep a server apart from everything else, with this package."""
    jupyter = {f"JUPYTER_{name}_DIR": str(folder / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    root = str(Path(__file__).parents[2])
    own = {"PARALLELRUN_HOME": str(home), "IPYTHONDIR": str(folder / "ipython")}
    return {**os.environ, **jupyter, **own, "XDG_CONFIG_HOME": str(folder), "PYTHONPATH": root}


@contextlib.contextmanager
def server(words: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """Start a server with a free port for ``{port}`` in its words, and return its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [word.format(port=port) for word in words],
            cwd=folder, env=dict(variables), stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
