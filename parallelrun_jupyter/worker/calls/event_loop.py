"""Makes the calls of an async ``run()``, many at once, in one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import json
import time

from .. import protocol, status_page
from ..streams import current_tag, tag_of
from .blocking import BlockingWatch
from .by_item import collected
from .timeouts import timeout_of
from .waiting import FOREVER, Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Generator

    from ..attempt import Answer, Attempt, AttemptRunner
    from ..plan_line import PlanLine
    from ..replies import Replies

BEAT_S = 0.2
"""Seconds between two signs of life of the event loop."""


class EventLoopCalls:
    """The calls of one worker.

    Parameters
    ----------
    runner
        Makes calls, and describes their ends.
    replies, page
        What the node reads.
    settings
        ``concurrency``, and ``limit_s``, the limit of a call.
    loop
        The event loop of the script.
    """

    def __init__(
        self,
        runner: AttemptRunner,
        replies: Replies,
        page: status_page.StatusPage,
        settings: dict[str, Any],
        loop: Any,
    ) -> None:
        self._runner = runner
        self._replies = replies
        self._page = page
        self._slots = settings["concurrency"]
        self._limit_s = settings["limit_s"]
        self._loop = loop
        self._waiting = Waiting()
        #: the tasks in flight, in the order of their starts
        self._in_flight: dict[Attempt, Any] = {}
        self._late: set[Attempt] = set()
        self._timer: Any = None
        self._flush_timer: Any = None
        self._ending: Any = None
        self._is_stopped = False

    def serve(self, commands: protocol.LineReader) -> bool:
        """Make calls until a stop, or the end of the commands; return whether it was a stop."""
        self._commands = commands
        self._ending = self._loop.create_future()
        self._watch = BlockingWatch(self._page, self._runner, self._replies)
        self._watch.start()
        self._loop.add_reader(commands.fd, self._on_commands)
        self._beat()
        self._loop.run_until_complete(self._ending)
        self._loop.remove_reader(commands.fd)
        self._watch.stop()
        self._replies.flush(time.monotonic())
        return self._is_stopped

    def _beat(self) -> None:
        """Show that the event loop runs, and cancel calls that take too long."""
        now = time.monotonic()
        self._page.write_beat(status_page.NONE, now)
        for attempt, task in list(self._in_flight.items()):
            if now - attempt.began < self._limit_s:
                break
            if attempt not in self._late and not attempt.isolates:
                self._late.add(attempt)
                task.cancel()
        self._loop.call_later(BEAT_S, self._beat)

    def _on_commands(self) -> None:
        for line in self._commands.read_ready():
            if not line:  # the node has ended
                self._end()
                return
            command = json.loads(line.decode("ascii"))
            if command[0] == "stop":
                self._is_stopped = True
                self._end_if_done()
            else:
                self._waiting.add(command[1])
        self._start_due()

    def _end(self) -> None:
        if not self._ending.done():
            self._ending.set_result(None)

    def _end_if_done(self) -> None:
        if self._is_stopped and not self._in_flight and not self._waiting:
            self._end()

    def _start_due(self) -> None:
        """Start the calls whose time has come, as long as fewer than `concurrency` are in flight."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while len(self._in_flight) < self._slots:
            at = self._waiting.next_at()
            now = time.monotonic()
            if at > now:
                if at < FOREVER:
                    self._timer = self._loop.call_later(at - now, self._start_due)
                break
            self._start(self._waiting.take(now))
        self._show()

    def _start(self, attempt: Attempt) -> None:
        if not self._in_flight:
            self._runner.reserve.fill()
        context = contextvars.copy_context()
        context.run(current_tag.set, tag_of(attempt.mini_batch))
        self._in_flight[attempt] = context.run(self._loop.create_task, self._call(attempt))

    async def _call(self, attempt: Attempt) -> None:
        """Make one call, and report how it ended. It never raises."""
        runner, text, rows = self._runner, b"", 0
        try:
            answer = await (self._isolated(attempt) if attempt.isolates else self._answer(attempt))
            reply = runner.ended(attempt, answer)
            rows, text, _ = answer
        except BaseException as error:  # the user's code
            reply = runner.failed(attempt, error)
            if attempt in self._late:  # it was canceled
                reply = self._timed_out(reply)
        del self._in_flight[attempt]
        self._late.discard(attempt)
        now = time.monotonic()
        if reply is None:
            self._replies.done(attempt, rows, text, int((now - attempt.began) * 1e6))
            if self._flush_timer is None:
                self._flush_timer = self._loop.call_later(protocol.FLUSH_AFTER_S, self._flush)
        else:
            self._waiting.hold(reply, now)
            self._replies.report(now, reply, text)
        self._start_due()
        self._end_if_done()

    def _timed_out(self, reply: list[Any]) -> list[Any]:
        """Return the reply of a call that was canceled because it took too long."""
        return [*reply[:-1], timeout_of(reply[-1], self._limit_s)]

    def _flush(self) -> None:
        self._flush_timer = None
        self._replies.flush(time.monotonic())

    async def _answer(self, attempt: Attempt, line: PlanLine | None = None) -> Answer:
        line = attempt.line if line is None else line
        failed = self._runner.new_failed()
        call = collected(self._runner.call(attempt, line, failed))
        result = await _Steps(call, attempt.mini_batch, self._page)
        return self._runner.encoded(attempt, result, line, failed)

    async def _isolated(self, attempt: Attempt) -> Answer:
        """Run the items of an attempt in parts, in a thread that waits for the call of each part."""

        def answer_part(attempt: Attempt, part: PlanLine) -> Answer:
            call = asyncio.wait_for(self._answer(attempt, part), self._limit_s)
            return asyncio.run_coroutine_threadsafe(call, self._loop).result()

        context = contextvars.copy_context()

        def isolate() -> Answer:
            return context.run(self._runner.isolate, attempt, answer_part)

        answer: Answer = await self._loop.run_in_executor(None, isolate)
        return answer

    def _show(self) -> None:
        """Show the calls in flight to the node."""
        # Each part of an attempt that isolates has a time limit of its own.
        oldest = next((call for call in self._in_flight if not call.isolates), None)
        phase, mini_batch, since = status_page.WAITING, -1, time.monotonic()
        if oldest is not None:
            phase, mini_batch, since = status_page.RUNNING, oldest.mini_batch, oldest.began
        self._page.write_calls(len(self._in_flight), mini_batch, since)
        self._page.write(phase, mini_batch, since)


class _Steps:
    """Awaits a coroutine, and shows on the page when its code runs: the event loop may be blocked there."""

    def __init__(self, coroutine: Any, mini_batch: int, page: status_page.StatusPage) -> None:
        self._coroutine = coroutine
        self._mini_batch = mini_batch
        self._page = page

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, page, number = self._coroutine, self._page, self._mini_batch
        step, value = coroutine.send, None  # type: Any, Any
        while True:
            page.write_beat(number, time.monotonic())
            try:
                waits_for = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                page.write_beat(status_page.NONE, time.monotonic())
            try:
                value = yield waits_for
                step = coroutine.send
            except BaseException as error:  # such as a cancellation, for the script to handle
                # Without the line above, which is not one of the script.
                trace = error.__traceback__
                step, value = coroutine.throw, error.with_traceback(trace and trace.tb_next)
