"""Finds calls that block the event loop, and so all other calls of their worker."""

from __future__ import annotations

import os
import sys
import threading
import time

from .. import status_page
from ..failures import is_under

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from ..attempt import AttemptRunner
    from ..replies import Replies

BLOCKED_S = 1.0
"""A call that runs for this long without waiting is named."""

_EVERY_S = 0.25
_MOST_WARNINGS = 5


class BlockingWatch:
    """A thread that looks at the main thread when the event loop shows no sign of life.

    Parameters
    ----------
    page
        The page with the beat of the loop.
    runner
        Has the folders of the user's code.
    replies
        Takes the warnings.
    """

    def __init__(
        self, page: status_page.StatusPage, runner: AttemptRunner, replies: Replies
    ) -> None:
        self._page = page
        self._roots = runner.roots
        self._replies = replies
        self._main = threading.get_ident()
        self._named: set[str] = set()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="blocking-watch", daemon=True)

    def start(self) -> None:
        """Start watching; the caller is the thread of the event loop."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._is_stopped.set()

    def _run(self) -> None:
        last_beat = (0, 0.0)
        while not self._is_stopped.wait(_EVERY_S):
            beat = self._page.read_beat()
            blocked_s = time.monotonic() - beat[1]
            if beat == last_beat and blocked_s > BLOCKED_S:
                self._name(beat[0], blocked_s)
            last_beat = beat

    def _name(self, mini_batch: int, blocked_s: float) -> None:
        """Warn of the line that blocks the loop, once for each line."""
        frame = sys._current_frames().get(self._main)  # noqa: SLF001 - there is no other way
        place, called = self._place(frame)
        if not place or place in self._named or len(self._named) >= _MOST_WARNINGS:
            return
        self._named.add(place)
        call = (
            "a call" if mini_batch == status_page.NONE else "the call of mini-batch %d" % mini_batch
        )
        text = (
            "%s has blocked the event loop for %.1f s at %s%s: meanwhile no other call of its worker "
            "goes on. Await an async client there, or run the plain function in a thread: await "
            "asyncio.get_running_loop().run_in_executor(None, function)"
            % (call, blocked_s, place, called)
        )
        self._replies.report(time.monotonic(), ["warning", text])

    def _place(self, frame: Any) -> tuple[str, str]:
        """Return the innermost line of the user's code, and the function of a package that it calls."""
        called = ""
        while frame is not None:
            code = frame.f_code
            if is_under(code.co_filename, self._roots):
                name = os.path.basename(code.co_filename)
                return "%s:%d in %s" % (name, frame.f_lineno, code.co_name), called
            if not called and not code.co_filename.startswith("<frozen "):
                called = " (in %s of %s)" % (code.co_name, os.path.basename(code.co_filename))
            frame = frame.f_back
        return "", ""
