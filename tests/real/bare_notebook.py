"""A page with a published widget manager before a kernel of a Jupyter server: no front end of Jupyter's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page

from tests.real.jupyter_process import TOKEN, Jupyter
from tests.real.view_page import ROOT

FILES = ROOT / "tests" / "front_ends"
NBEXTENSIONS = Path(sys.prefix) / "share" / "jupyter" / "nbextensions"
"""Where pip puts the scripts of widgets: Colab and VS Code take the same files, from a CDN."""

_MODULES = FILES / "node_modules"
_LOADED = {
    FILES / "page.html": "page.html",
    FILES / "page.js": "page.js",
    _MODULES / "requirejs" / "require.js": "require.js",
    _MODULES / "@jupyter-widgets" / "html-manager" / "dist" / "embed-amd.js": "html-manager.js",
    _MODULES / "@vscode" / "jupyter-ipywidgets8" / "dist" / "ipywidgets.js": "vscode.js",
    NBEXTENSIONS / "anywidget" / "index.js": "anywidget.js",
}
_EXTENSION = ROOT / "labextension" / "node_modules"


def has_managers() -> bool:
    """Return whether the published widget managers are installed."""
    return (_MODULES / "requirejs").is_dir() and _EXTENSION.is_dir()


def make_page(folder: Path) -> Path:
    """Fill a folder with the page and all that it loads, for a Jupyter server to serve as ``static/``."""
    page = folder / "bare"
    for origin, name in _LOADED.items():
        target = page / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, target)  # Jupyter serves no links
    esbuild = _EXTENSION / ".bin" / "esbuild"
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
    subprocess.run(
        [esbuild, FILES / "kernel.js", "--bundle", "--format=iife",
         f"--outfile={page / 'kernel.js'}", "--log-level=warning"],
        check=True, env={**os.environ, "NODE_PATH": str(_EXTENSION), "PATH": path},
    )  # fmt: skip
    return folder


class BareNotebook:
    """A notebook in a page of the tests' own.

    Parameters
    ----------
    manager
        ``"html"`` for html-manager, ``"code"`` for the bundle of VS Code.
    """

    def __init__(self, context: BrowserContext, server: Jupyter, manager: str) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_extra_http_headers({"Authorization": f"token {TOKEN}"})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self._url = f"{server.url}static/bare/page.html?token={TOKEN}&manager={manager}"
        self.open()

    def open(self) -> None:
        """Open the page, or open it again: it then shows the last output, in the same kernel."""
        self.page.goto(self._url)
        self.page.locator("body[data-state=ready]").wait_for(timeout=60_000)

    def run(self, code: str) -> Locator:
        """Run a cell; return it with its outputs."""
        count = self.page.locator(".cell").count()
        self.page.evaluate("code => execute(code)", code)
        return self.page.locator(".cell").nth(count)
