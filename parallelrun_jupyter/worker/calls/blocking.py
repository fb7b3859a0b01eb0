"""Finds calls that block the event loop, and so all other calls of their worker."""

from __future__ import annotations

import os
import sys
import threading
import time

from .. import status_page
from ..failures import is_of_user

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from ..attempt import AttemptRunner
    from ..replies import Replies

BLOCKED_S = 1.0
"""A call that runs for this long without waiting is named."""

_EVERY_S = 0.05
_LOOK_S = 5.0
_MOST_SHARE = 0.5
"""A line at which the loop is found in more than this share of looks is named: calls block it in turn."""

_MOST_WARNINGS = 5
_REMEDY = (
    "Await an async client there, or run the plain function in a thread: await "
    "asyncio.get_running_loop().run_in_executor(None, function)"
)


class BlockingWatch:
    """A thread that looks at what the event loop does.

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
        #: looks at the loop since `_look_at`, and at which lines of calls it was found
        self._looks = 0
        self._found: dict[tuple[str, str], int] = {}
        self._look_at = time.monotonic()
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
        while not self._is_stopped.wait(_EVERY_S) and len(self._named) < _MOST_WARNINGS:
            beat = self._page.read_beat()
            now = time.monotonic()
            if beat == last_beat and now - beat[1] > BLOCKED_S:
                self._name_long(beat[0], now - beat[1])
            self._look(beat[0], now)
            last_beat = beat

    def _look(self, mini_batch: int, now: float) -> None:
        """Note where the loop is; warn if it is mostly at one line of several calls."""
        self._looks += 1
        if mini_batch != status_page.NONE and self._page.read_calls()[0] > 1:
            line = self._line()
            self._found[line] = self._found.get(line, 0) + 1
        if now < self._look_at + _LOOK_S:
            return
        for line, count in self._found.items():
            if count > _MOST_SHARE * self._looks:
                share = 100 * count // self._looks
                text = "calls keep the event loop busy for %d %% of the time" % share
                self._warn(line, text, "so that few of them go on together")
        self._looks, self._look_at = 0, now
        self._found.clear()

    def _name_long(self, mini_batch: int, blocked_s: float) -> None:
        """Warn of a call that has blocked the loop for long."""
        is_known = mini_batch != status_page.NONE
        call = "the call of mini-batch %d" % mini_batch if is_known else "a call"
        text = "%s has blocked the event loop for %.1f s" % (call, blocked_s)
        self._warn(self._line(), text, "and meanwhile no other call of its worker goes on")

    def _warn(self, line: tuple[str, str], text: str, effect: str) -> None:
        """Warn of a line of the user's code, once."""
        place, called = line
        if not place or place in self._named:
            return
        self._named.add(place)
        text = "%s at %s%s, %s. %s" % (text, place, called, effect, _REMEDY)
        self._replies.report(time.monotonic(), ["warning", text])

    def _line(self) -> tuple[str, str]:
        """Return the innermost line of the user's code, and the function of a package that it calls."""
        frame: Any = sys._current_frames().get(self._main)  # noqa: SLF001 - there is no other way
        called = ""
        while frame is not None:
            code = frame.f_code
            if is_of_user(code.co_filename, self._roots):
                name = os.path.basename(code.co_filename)
                return "%s:%d in %s" % (name, frame.f_lineno, code.co_name), called
            if not called and not code.co_filename.startswith("<frozen "):
                called = " (in %s of %s)" % (code.co_name, os.path.basename(code.co_filename))
            frame = frame.f_back
        return "", ""
