"""Makes the calls of an async ``run()``, many at once, in one event loop."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import threading
import time

from .. import protocol, status_page
from ..failures import Timeout
from ..streams import current_tag, tag_of
from .activity import show
from .blocking import BlockingWatch
from .by_item import collected
from .timeouts import PATIENCE_S, RESTART_STATUS, failure_of_call, timeout_of, timeout_text
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
        #: the coroutines of the calls in flight
        self._coroutines: dict[Attempt, Any] = {}
        #: calls that were given up, and go on
        self._hanging = 0
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
        while not self._ending.done():
            try:
                self._loop.run_until_complete(self._ending)
            except (SystemExit, KeyboardInterrupt):
                pass  # of a task that a call has made: the call gets it, if it waits for the task
            except RuntimeError as error:
                if not str(error).startswith("Event loop stopped"):
                    raise
        self._loop.remove_reader(commands.fd)
        self._watch.stop()
        self._replies.flush(time.monotonic())
        return self._is_stopped

    def _beat(self) -> None:
        """Show that the event loop runs, and cancel calls that take too long."""
        now = time.monotonic()
        self._page.write_beat(status_page.NONE, now)
        for attempt, task in list(self._in_flight.items()):
            late_s = now - attempt.began - self._limit_s
            if late_s < 0:
                break
            if attempt.isolates:
                continue
            if attempt not in self._late:
                self._late.add(attempt)
                task.cancel()
            elif late_s > PATIENCE_S:
                self._give_up(attempt, now)
        self._loop.call_later(BEAT_S, self._beat)

    def _give_up(self, attempt: Attempt, now: float) -> None:
        """Report a call that was canceled and goes on; its result is dropped."""
        failure = failure_of_call(self._coroutines.get(attempt), self._runner.roots)
        failure = timeout_of(failure, self._limit_s)
        micros = int((now - attempt.began) * 1e6)
        self._hanging += 1
        self._forget(attempt)
        self._replies.report(now, self._runner.failed_with(attempt, micros, failure))
        self._start_due()
        self._end_if_done()

    def _forget(self, attempt: Attempt) -> None:
        del self._in_flight[attempt]
        self._coroutines.pop(attempt, None)
        self._late.discard(attempt)

    def _restart_if_stuck(self) -> None:
        """End the worker, whose other calls run in the next one, if too many calls do not end."""
        if self._hanging >= self._slots and not self._in_flight:
            text = "the worker ends: %d calls go on though they were canceled" % self._hanging
            self._runner.log.write_lines(b"ERROR", text.encode("ascii"))
            show(self._page, self._in_flight)
            self._replies.flush(time.monotonic())
            os._exit(RESTART_STATUS)

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
        else:
            self._restart_if_stuck()

    def _start_due(self) -> None:
        """Start the calls whose time has come, as long as fewer than `concurrency` are in flight."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while len(self._in_flight) < self._slots and self._hanging < self._slots:
            at = self._waiting.next_at()
            now = time.monotonic()
            if at > now:
                if at < FOREVER:
                    self._timer = self._loop.call_later(at - now, self._start_due)
                break
            self._start(self._waiting.take(now))
        show(self._page, self._in_flight)

    def _start(self, attempt: Attempt) -> None:
        if not self._in_flight:
            self._runner.reserve.fill()
        context = contextvars.copy_context()
        context.run(current_tag.set, tag_of(attempt.mini_batch))
        # Not create_task: a task factory of the script may start tasks at once.
        task = context.run(lambda: asyncio.Task(self._call(attempt), loop=self._loop))
        self._in_flight[attempt] = task

    async def _call(self, attempt: Attempt) -> None:
        """Make one call, and report how it ended. It never raises."""
        runner, text, rows = self._runner, b"", 0
        try:
            answer = await (self._isolated(attempt) if attempt.isolates else self._answer(attempt))
            if attempt not in self._in_flight:
                self._hanging -= 1
                return
            reply = runner.ended(attempt, answer)
            rows, text, _ = answer
        except BaseException as error:  # the user's code
            if attempt not in self._in_flight:
                self._hanging -= 1
                return
            reply = runner.failed(attempt, error)
            if attempt in self._late:  # it was canceled
                reply = self._timed_out(reply)
        self._forget(attempt)
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
        self._coroutines[attempt] = call
        result = await _Steps(call, attempt.mini_batch, self._page)
        return self._runner.encoded(attempt, result, line, failed)

    async def _isolated(self, attempt: Attempt) -> Answer:
        """Run the items of an attempt in parts, in a thread that waits for the call of each part."""

        def answer_part(attempt: Attempt, part: PlanLine) -> Answer:
            call = self._part(attempt, part)
            result = asyncio.run_coroutine_threadsafe(call, self._loop).result()
            return _answer_of(result)

        def isolate() -> None:
            result = None  # type: Any
            try:
                result = context.run(self._runner.isolate, attempt, answer_part)
            except BaseException as error:  # the user's code
                result = error
            self._loop.call_soon_threadsafe(lambda: ended.done() or ended.set_result(result))

        ended = self._loop.create_future()
        context = contextvars.copy_context()
        # Not in the executor of the loop: all of its threads might wait for calls that wait for it.
        threading.Thread(target=isolate, name="isolate", daemon=True).start()
        return _answer_of(await ended)

    async def _part(self, attempt: Attempt, part: PlanLine) -> Any:
        """Return the answer of a part, or its error: some errors would end the event loop here."""

        async def caught() -> Any:
            try:
                return await self._answer(attempt, part)
            except BaseException as error:  # the user's code
                return error

        task = asyncio.Task(caught(), loop=self._loop)
        await asyncio.wait([task], timeout=self._limit_s)
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_S)
        result = task.result() if task.done() else None
        if result is None or isinstance(result, BaseException):
            timeout = Timeout(timeout_text(self._limit_s))
            timeout.__cause__ = result
            return timeout
        return result


def _answer_of(result: Any) -> Answer:
    """Return an answer, or raise it if it is an error."""
    if isinstance(result, BaseException):
        raise result
    answer: Answer = result
    return answer


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
