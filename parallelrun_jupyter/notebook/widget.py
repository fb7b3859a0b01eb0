"""The widget: the same views as everywhere, fed over a comm. Imported where a widget is shown."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..errors import ParallelRunError
from ..views.mime_bundle import RunOutput
from ..views.queries import QueryContext, answer
from .feed import Feed

_STATIC = Path(__file__).parents[1] / "views" / "static"
_VIEW_MIME = "application/vnd.jupyter.widget-view+json"


class RunWidget(anywidget.AnyWidget):
    """Draws a run. Nothing is sent until a view says hello, nor after its last one said bye."""

    _esm = _STATIC / "widget.js"
    _css = _STATIC / "widget.css"
    output = traitlets.Dict().tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(self, asked: QueryContext, output: RunOutput, feed: Feed) -> None:
        super().__init__(output=dict(output))
        self._asked = asked
        self._feed = feed
        self._latest = output
        self._views: set[str] = set()
        self._has_ended = False
        # The feed's thread and the kernel's meet here.
        self._lock = threading.Lock()
        self.on_msg(self._receive)

    def view_mime(self) -> dict[str, Any]:
        """Return the part of an output that shows this widget."""
        return {
            _VIEW_MIME: {"version_major": 2, "version_minor": 1, "model_id": self.model_id},
        }

    def is_live(self) -> bool:
        """Say whether a view is open."""
        return bool(self._views)

    def show(self, output: RunOutput) -> None:
        """Send the output to the views, if there are any."""
        with self._lock:
            self._latest = output
            if self._views:
                self.output = dict(output)

    def follow_again(self, feed: Feed) -> None:
        """Be told of a run that goes on after its end."""
        with self._lock:
            self._feed = feed
            self._has_ended = False

    def finish(self, problem: str) -> None:
        """Say the last word; without a view left, free the widget on both sides."""
        with self._lock:
            self._has_ended = True
            self.problem = problem
            is_free = not self._views
        if is_free:
            self.close()

    def close(self) -> None:
        """Free the widget and its layout, which is a widget of its own."""
        layout = self.layout
        super().close()
        layout.close()

    def _receive(self, _widget: Any, content: dict[str, Any], _buffers: Any) -> None:
        match content:
            case {"say": "hello", "view": str(view)}:
                self._hello(view)
            case {"say": "bye", "view": str(view)}:
                self._bye(view)
            case {"id": int(number)}:
                self._reply(number, content)

    def _hello(self, view: str) -> None:
        with self._lock:
            self._views.add(view)
            self.output = dict(self._latest)
        self._feed.hurry()

    def _bye(self, view: str) -> None:
        with self._lock:
            self._views.discard(view)
            is_free = self._has_ended and not self._views
        if is_free:
            self.close()

    def _reply(self, number: int, question: dict[str, Any]) -> None:
        try:
            found = answer(self._asked, question)
        except (ParallelRunError, OSError) as error:
            self.send({"id": number, "error": str(error)})
        else:
            self.send({"id": number, "answer": found})
