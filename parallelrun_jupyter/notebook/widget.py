"""The live widget: the views of the front end, fed over a comm. Imported when it is shown."""

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
    """Draws a run. It sends nothing before the first view's hello or after the last view's bye.

    Except while the kernel runs a cell: then a hello waits for its end, and so would the view.
    """

    stays = False
    """Whether the front end closes the widget; else it closes itself after its last use."""

    _esm = _STATIC / "widget.js"
    _css = _STATIC / "widget.css"
    output = traitlets.Dict().tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)

    def __init__(self, context: QueryContext, output: RunOutput, feed: Feed) -> None:
        super().__init__(output=dict(output))
        self._context = context
        self._feed = feed
        self._latest = output
        self._views: set[str] = set()
        self._has_ended = False
        # Guards the state that the thread of the feed and the kernel's thread share.
        self._lock = threading.Lock()
        self.on_msg(self._receive)

    def view_mime(self) -> dict[str, Any]:
        """Return the MIME entry that shows this widget in an output."""
        return {
            _VIEW_MIME: {"version_major": 2, "version_minor": 1, "model_id": self.model_id},
        }

    def view_metadata(self) -> dict[str, Any]:
        """Return what the front end has to know to draw the view: Colab asks for its widget manager."""
        shown = self._repr_mimebundle_()
        return shown[1] if isinstance(shown, tuple) else {}

    def is_live(self) -> bool:
        """Return whether a view is open."""
        return bool(self._views) and self._has_comm()

    def show(self, output: RunOutput, *, unasked: bool = False) -> None:
        """Send the output to the open views; ``unasked`` to those as well that have said nothing."""
        with self._lock:
            self._latest = output
            if (self._views or unasked) and self._has_comm():
                self.output = dict(output)

    def _has_comm(self) -> bool:
        """Return whether the front end has not closed the comm: marimo does so without a message."""
        return self.comm is not None and not getattr(self.comm, "_closed", False)

    def follow_again(self, feed: Feed) -> None:
        """Follow the run again after it was resumed."""
        with self._lock:
            self._feed = feed
            self._has_ended = False

    def finish(self, problem: str) -> None:
        """Send the problem, if any; without an open view, free the widget on both sides."""
        with self._lock:
            self._has_ended = True
            self.problem = problem
            is_free = not self._views and not self.stays
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
        self.send({"say": "welcome"})
        self._feed.wake()

    def _bye(self, view: str) -> None:
        with self._lock:
            self._views.discard(view)
            is_free = self._has_ended and not self._views and not self.stays
        if is_free:
            self.close()

    def _reply(self, number: int, question: dict[str, Any]) -> None:
        try:
            reply = answer(self._context, question)
        except (ParallelRunError, OSError) as error:
            self.send({"id": number, "error": str(error)})
        else:
            self.send({"id": number, "answer": reply})
