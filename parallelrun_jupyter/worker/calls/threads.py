"""Makes the calls of a plain ``run()``, many at once, in threads."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections import deque

from .. import protocol, status_page
from ..streams import current_tag, tag_of
from .activity import show
from .timeouts import RESTART_STATUS, failure_of_stack, timeout_of
from .waiting import FOREVER, Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from ..attempt import Attempt, AttemptRunner
    from ..replies import Replies

_STEP_S = 0.2
"""The main thread looks for calls that take too long at least this often."""


class ThreadCalls:
    """The calls of one worker.

    The main thread reads commands, starts calls at their times, and gives up those that take too
    long: a thread cannot be stopped, so another one takes its place, and its result is dropped.

    Parameters
    ----------
    runner
        Makes calls, and describes their ends.
    replies, page
        What the node reads.
    settings
        ``concurrency``, and ``limit_s``, the limit of a call.
    loop
        The event loop of async ``init()`` or ``shutdown()``; not used.
    """

    def __init__(
        self,
        runner: AttemptRunner,
        replies: Replies,
        page: status_page.StatusPage,
        settings: dict[str, Any],
        loop: Any = None,
    ) -> None:
        del loop
        self._runner = runner
        self._replies = replies
        self._page = page
        self._slots = settings["concurrency"]
        self._limit_s = settings["limit_s"]
        self._waiting = Waiting()
        self._lock = threading.Lock()
        self._has_started = threading.Condition(self._lock)
        #: calls that were started, for the next free thread
        self._started: deque[Attempt] = deque()
        #: calls in flight, in the order of their starts, and the thread of each
        self._in_flight: dict[Attempt, int] = {}
        self._idle = self._threads = 0
        #: threads that hang in calls that were given up
        self._hanging = 0
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        self._is_stopped = False
        self._is_ended = False

    def serve(self, commands: protocol.LineReader) -> bool:
        """Make calls until a stop, or the end of the commands; return whether it was a stop."""
        while not self._is_over():
            ready, _, _ = select.select([commands.fd, self._wake_out], [], [], self._wait_s())
            if self._wake_out in ready:
                os.read(self._wake_out, 4096)
            if commands.fd in ready:
                self._read(commands)
            self._give_up_late()
            self._start_due()
            self._replies.flush(time.monotonic())
        self._replies.flush(time.monotonic())
        return not self._is_ended

    def _is_over(self) -> bool:
        if self._is_ended:
            return True
        with self._lock:
            is_idle = not self._in_flight
        if is_idle and self._hanging >= self._slots:
            self._restart()
        return self._is_stopped and is_idle and not self._waiting

    def _restart(self) -> None:
        """End the worker, whose other calls run in the next one: its threads do not come back."""
        text = "the worker ends: %d threads hang in calls that took too long" % self._hanging
        self._runner.log.write_lines(b"ERROR", text.encode("ascii"))
        self._replies.flush(time.monotonic())
        os._exit(RESTART_STATUS)

    def _read(self, commands: protocol.LineReader) -> None:
        for line in commands.read_ready():
            if not line:  # the node has ended
                self._is_ended = True
                return
            command = json.loads(line.decode("ascii"))
            if command[0] == "stop":
                self._is_stopped = True
            else:
                self._waiting.add(command[1])

    def _wait_s(self) -> float:
        """Return the seconds until the main thread has something to do."""
        wait_s = protocol.FLUSH_AFTER_S if self._replies.are_pending else _STEP_S
        if len(self._in_flight) < self._slots:
            wait_s = min(wait_s, self._waiting.next_at() - time.monotonic())
        return max(0.0, wait_s)

    # Calls

    def _start_due(self) -> None:
        """Start the calls whose time has come, as long as fewer than `concurrency` are in flight."""
        with self._lock:
            while len(self._in_flight) < self._slots and self._hanging < self._slots:
                now = time.monotonic()
                at = self._waiting.next_at()
                if at > now or at == FOREVER:
                    break
                if not self._in_flight:
                    self._runner.reserve.fill()
                attempt = self._waiting.take(now)
                self._in_flight[attempt] = 0
                self._started.append(attempt)
                if self._idle >= len(self._started):
                    self._has_started.notify()
                elif self._threads < self._slots:  # else one of them is about to be free
                    self._threads += 1
                    threading.Thread(target=self._work, daemon=True).start()
            show(self._page, self._in_flight)

    def _work(self) -> None:
        """Make calls in a thread, until one of them was given up."""
        while True:
            with self._lock:
                while not self._started:
                    self._idle += 1
                    self._has_started.wait()
                    self._idle -= 1
                attempt = self._started.popleft()
                self._in_flight[attempt] = threading.get_ident()
            current_tag.set(tag_of(attempt.mini_batch))
            if not self._call(attempt):
                return

    def _call(self, attempt: Attempt) -> bool:
        """Make one call, and report how it ended; return whether it was not given up meanwhile."""
        runner, text, rows = self._runner, b"", 0
        attempt.began = time.monotonic()
        try:
            isolates = attempt.isolates
            answer = runner.isolate(attempt) if isolates else runner.answer(attempt, attempt.line)
            reply = runner.ended(attempt, answer)
            rows, text, _ = answer
        except BaseException as error:  # the user's code
            reply = runner.failed(attempt, error)
        now = time.monotonic()
        with self._lock:
            if self._in_flight.pop(attempt, None) is None:
                self._hanging -= 1
                return False
            if reply is not None:
                self._waiting.hold(reply, now)
            show(self._page, self._in_flight)
        if reply is None:
            self._replies.done(attempt, rows, text, int((now - attempt.began) * 1e6))
        else:
            self._replies.report(now, reply, text)
        self._wake()
        return True

    def _give_up_late(self) -> None:
        """Report the calls that take too long, and let other threads go on without them."""
        late = []
        now = time.monotonic()
        with self._lock:
            for attempt, thread in list(self._in_flight.items()):
                if now - attempt.began < self._limit_s:
                    break
                if thread and not attempt.isolates:  # without a thread it has not begun
                    late.append((attempt, thread))
                    del self._in_flight[attempt]
                    self._hanging += 1
                    self._threads -= 1
        for attempt, thread in late:
            frame = sys._current_frames().get(thread)  # noqa: SLF001 - there is no other way
            failure = failure_of_stack(frame, self._runner.roots)
            failure = timeout_of(failure, self._limit_s)
            micros = int((now - attempt.began) * 1e6)
            self._replies.report(now, self._runner.failed_with(attempt, micros, failure))

    def _wake(self) -> None:
        try:
            os.write(self._wake_in, b"!")
        except BlockingIOError:
            pass  # earlier calls have filled the pipe
