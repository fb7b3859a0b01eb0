"""The shipped widget in a page of its own, fed as a kernel feeds it, without a Jupyter server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page

from parallelrun_jupyter.errors import ParallelRunError
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.runs.snapshot.snapshot import take_snapshot
from parallelrun_jupyter.views.mime_bundle import RunOutput, run_output
from parallelrun_jupyter.views.queries import QueryContext, answer

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "parallelrun_jupyter" / "views" / "static"
AXE = ROOT / "labextension" / "node_modules" / "axe-core" / "axe.min.js"

_MODEL = """
async (code) => {
  const url = URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
  const module = (await import(url)).default;
  const listeners = new Map();
  const of = (event) => listeners.get(event) ?? listeners.set(event, new Set()).get(event);
  const values = {output: null, problem: ''};
  window.tasks = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) window.tasks.push(entry.duration);
  }).observe({entryTypes: ['longtask']});
  const model = {
    get: (name) => values[name],
    on: (event, call) => of(event).add(call),
    off: (event, call) => of(event).delete(call),
    send: (content) => {
      window.sent.push(content);
      if (content.say === 'hello' && !window.is_silent) {
        setTimeout(() => of('msg:custom').forEach((call) => call({say: 'welcome'})));
      }
      if ('id' in content) {
        window.ask(JSON.stringify(content)).then((text) => {
          for (const call of of('msg:custom')) call(JSON.parse(text));
        });
      }
    },
  };
  window.sent = [];
  window.listeners = listeners;
  window.draw = (output) => {
    values.output = typeof output === 'string' ? JSON.parse(output) : output;
    for (const call of of('change:output')) call();
  };
  window.open_view = () => {
    window.close_view = module.render({model, el: document.getElementById('place')});
  };
}
"""


class ViewPage:
    """A page with one view of a run, which asks its questions of the run's real folder."""

    def __init__(
        self,
        opened: Browser,
        folder: RunFolder,
        *,
        state: RunState | None = None,
        theme: str = "light",
        **options: Any,
    ) -> None:
        self.folder = folder
        self._follower = Follower(folder)
        self.state = self._follower.state if state is None else state
        self.context = opened.new_context(
            color_scheme="dark" if theme == "dark" else "light",
            forced_colors="active" if theme == "forced" else "none",
            **{"viewport": {"width": 800, "height": 1200}, **options},
        )
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.expose_function("ask", self._answer)
        css = (STATIC / "widget.css").read_text()
        paper = "#111418" if theme == "dark" else "#fff"
        self.page.set_content(
            f"<!doctype html><html lang=en style='color-scheme:light dark'><title>A run</title><style>{css}</style>"
            f"<body style='background:{paper};margin:12px'><main><h1 style='display:contents;font-size:0'>A run</h1><div id=place></div></main>"
        )
        self.page.evaluate(_MODEL, (STATIC / "widget.js").read_text())

    def _answer(self, text: str) -> str:
        question = json.loads(text)
        try:
            asked = QueryContext(self.folder, lambda: self.state, lambda *_: None)
            return json.dumps({"id": question["id"], "answer": answer(asked, question)})
        except (ParallelRunError, OSError) as error:
            return json.dumps({"id": question["id"], "error": str(error)})

    def output(self, at_s: float | None = None) -> RunOutput:
        """Return the output that would be drawn at a moment of the run."""
        record = self._follower.record
        now = record.created_at + (self.state.at_ms / 1000 if at_s is None else at_s)
        return run_output(take_snapshot(self.folder, record, self.state, now))

    def open(self, output: RunOutput) -> Locator:
        """Draw a view of it."""
        self.draw(output)
        self.page.evaluate("open_view()")
        view = self.page.locator(".pr-run")
        view.wait_for()
        return view

    def read_all(self) -> None:
        """Fold the whole journal."""
        self._follower.refresh()
        self.state = self._follower.state

    def draw(self, output: RunOutput) -> None:
        """Draw an output of the run."""
        self.page.evaluate("draw", json.dumps(output))

    def violations(self) -> list[str]:
        """Return the violations that axe-core finds."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document).then((r) => r.violations)")
        return [
            f"{one['id']}: {one['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for one in found
            for node in one["nodes"]
        ]

    def close(self) -> None:
        """Close the page."""
        self.context.close()


def has_axe() -> bool:
    """Return whether the development dependencies are installed."""
    return AXE.is_file() or shutil.which("npm") is None
