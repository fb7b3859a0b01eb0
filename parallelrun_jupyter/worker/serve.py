"""The life of a worker: start, ``init()`` once, then one bundle of mini-batches after another."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time

from . import own_package, protocol, status_page
from .attempt import Attempt, AttemptRunner
from .azureml import finder
from .child_loop import die_with_parent
from .failures import describe
from .gc_free_imports import GcFreeImports
from .plan_line import PlanLine
from .read_ahead import ReadAhead
from .replies import Replies
from .script import EntryScript, is_async
from .spending import Spending
from .status_page import StatusPage
from .streams import UserStreams, WorkerLog

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


_UNPACED = 3
"""The length of the row of a mini-batch that may start at once."""


class Worker:
    """Serves one node over two pipes and a status page."""

    def __init__(self, commands: int, replies: int, page: StatusPage, dump: int) -> None:
        self._dump = dump
        self._commands = protocol.LineReader(commands)
        self._replies = Replies(replies)
        self._page = page
        self._is_worker = True
        os.register_at_fork(after_in_child=self._on_fork)
        self._roots: list[str] = []
        self._log: Any = None
        self._streams: Any = None
        #: mini-batches that a limit lets start later
        self._waiting: Any = None
        #: the event loop of an async script
        self._loop: Any = None
        #: how many bundles have come, and how many of them the node has withdrawn
        self._bundles = self._withdrawn = 0

    def serve(self) -> int:
        """Serve commands until a stop; return the exit status."""
        line = self._commands.read()
        if not line:
            return 0
        try:
            self._start(json.loads(line.decode("ascii"))[1])
        except BaseException as error:  # such as a missing folder or wrong settings
            self._replies.send(protocol.encode(["init_failed", self._describe(error, "start")]))
            return 1
        if not self._init():
            return 1
        if self._has_tables_only:
            self._prepare_for_tables()
        if self._loop is not None or self._concurrency > 1:
            return self._serve_calls()
        ahead = self._runner.ahead = ReadAhead(self._commands, self._page, self._replies.note_load)
        while True:
            command = ahead.next_command()
            if command is None:
                return 0
            if command[0] == "stop":
                return self._shutdown()
            self._run_bundle(ahead, *command[1:])

    def _start(self, start: dict[str, Any]) -> None:
        self._roots = start["roots"]
        self._calls = start["calls"]
        self._concurrency = self._calls["concurrency"]
        self._log = WorkerLog(start["log"])
        self._script_path = start["script"]
        self._uses = start["uses"]
        self._has_tables_only = start["has_tables_only"]
        # The node reads the stack of a crash or a timeout from this file.
        faulthandler.enable(file=self._dump, all_threads=False)
        faulthandler.register(signal.SIGTERM, file=self._dump, all_threads=False, chain=True)
        self._streams = UserStreams(self._log, start["logging_level"])
        if self._concurrency > 1:
            self._streams.divide_by_call()
        os.chdir(start["cwd"])
        sys.path[:0] = start["sys_path"]
        sys.argv[:] = start["argv"]
        names = ("output_dir", "log_dir", "agent_name")
        finder.install({**{k: start[k] for k in names}, "working_dir": start["cwd"]})
        own_package.install()
        self._link_models()
        self._runner = AttemptRunner(
            start, self._page, self._log, self._streams, self._leave_if_forked
        )

    @staticmethod
    def _link_models() -> None:
        """Link the registered models into the folder that Azure's SDK reads, for steps of a workspace."""
        if os.environ.get(finder.CONTEXT_VARIABLE):
            from .azureml.core import read_context
            from .azureml.model_store import link_models

            link_models(read_context()["workspace_folder"])

    def _init(self) -> bool:
        began = time.monotonic()
        self._page.write(status_page.INIT, -1, began)
        function = "import"
        imports = GcFreeImports(self._roots)
        imports.install()
        try:
            values: dict[str, Any] = {}
            if self._uses["names"]:
                from .uses import load_uses, name_in_main

                values = load_uses(self._uses["folder"], self._uses["names"])
                name_in_main(values)
            script = EntryScript(self._script_path, values)
            self._prepare(script)
            function = "init"
            self._call_plainly(script.init)
            self._leave_if_forked()
        except BaseException as error:  # the user's code
            self._leave_if_forked(error)
            failure = self._describe(error, function)
            self._replies.send(protocol.encode(["init_failed", failure]))
            return False
        finally:
            imports.remove()
            self._streams.end_mini_batch()
        self._script = script
        now = time.monotonic()
        self._page.write(status_page.WAITING, -1, now)
        run_line = self._runner.run_line
        if self._loop is None and self._concurrency == 1:
            self._page.allow_withdrawal()
        self._replies.report(now, ["ready", int((now - began) * 1000), run_line])
        return True

    def _prepare_for_tables(self) -> None:
        """Get ready to read tables, while the first mini-batch is planned."""
        from .freed_memory import keep_freed_memory
        from .tables.reader import import_ahead

        keep_freed_memory()
        imports = GcFreeImports(self._roots)
        imports.install()
        import_ahead()
        imports.remove()

    def _prepare(self, script: EntryScript) -> None:
        """Get ready to call the script's functions: an event loop for async ones."""
        if any(map(is_async, script.functions)):
            import asyncio  # slow to import

            self._loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self._loop)
        is_run_async = is_async(script.run)
        if self._concurrency > 1 or is_run_async:
            self._runner.shows_activity = False
            self._log.is_divided = True
        if is_run_async:  # the node expects a beat from now on
            self._page.write_beat(status_page.NONE, time.monotonic())
        spending = Spending(self._calls, self._replies.spend)
        run = script.run
        if self._calls["by_item"]:
            from .calls.by_item import by_item

            run = by_item(run)
        self._runner.prepare(run, spending)

    def _call_plainly(self, function: Any) -> None:
        """Call ``init`` or ``shutdown``, and await it if it is async."""
        result = function()
        if self._loop is not None and hasattr(type(result), "__await__"):
            self._loop.run_until_complete(result)

    def _serve_calls(self) -> int:
        """Serve with several calls in flight; return the exit status."""
        if is_async(self._script.run):
            from .calls.event_loop import EventLoopCalls as Calls
        else:
            from .calls.threads import ThreadCalls as Calls  # type: ignore[assignment]
        calls = Calls(self._runner, self._replies, self._page, self._calls, self._loop)
        is_stopped = calls.serve(self._commands)
        return self._shutdown() if is_stopped else 0

    def _run_bundle(self, ahead: ReadAhead, bundle: list[Any], report_after: int) -> None:
        replies = self._replies
        self._bundles += 1
        if self._bundles <= self._withdrawn:
            self._return(bundle)
            return
        if len(bundle) > 1:
            replies.begin_bundle()
        if not replies.are_pending:
            replies.flushed = time.monotonic()
        self._runner.reserve.fill()
        ahead.bundle = bundle
        if len(bundle[0]) > _UNPACED:
            self._run_paced(bundle)
            return
        before = time.monotonic()
        for index, (mini_batch, number, row) in enumerate(bundle, 1):
            now = self._run_attempt(Attempt(mini_batch, number, PlanLine.of_row(row)))
            was_long, before = now - before > protocol.LATEST_REPORT_S, now
            if was_long:
                self._withdrawn = self._page.withdrawn
                if self._bundles <= self._withdrawn:
                    self._return(bundle[index:])
                    return
            is_late = now - replies.flushed > protocol.LATEST_REPORT_S
            if is_late or replies.done_count >= report_after:
                replies.flush(now)
        if not self._commands.is_waiting():  # the next bundle reports these, too
            replies.flush(time.monotonic())

    def _return(self, rows: list[Any]) -> None:
        """Return the rest of a withdrawn bundle, which others have run during a long attempt."""
        mini_batches = [row[0] for row in rows]
        self._replies.report(time.monotonic(), ["returned", self._bundles, mini_batches])

    def _run_paced(self, bundle: list[Any]) -> None:
        """Run mini-batches one after another, none before its time."""
        from .calls.waiting import Waiting

        if self._waiting is None:
            self._waiting = Waiting()
        waiting = self._waiting
        waiting.add(bundle)
        while waiting:
            now = time.monotonic()
            wait_s = waiting.next_at() - now
            if wait_s > 0:
                time.sleep(wait_s)
                now += wait_s
            now = self._run_attempt(waiting.take(now))
            self._replies.flush(now)

    def _run_attempt(self, attempt: Attempt) -> float:
        """Run one mini-batch; queue its result, or report failures. Return the time of its end."""
        runner, line = self._runner, attempt.line
        self._log.set_mini_batch(attempt.mini_batch)
        text = b""
        rows = 0
        try:
            answer = runner.isolate(attempt) if attempt.isolates else runner.answer(attempt, line)
            reply = runner.ended(attempt, answer)
            rows, text, _ = answer
        except BaseException as error:  # the user's code
            reply = runner.failed(attempt, error)
        now = time.monotonic()
        self._page.write(status_page.WAITING, -1, now)
        if reply is None:
            self._replies.done(attempt, rows, text, int((now - attempt.began) * 1e6))
        else:
            self._replies.report(now, reply, text)
        self._log.set_mini_batch(-1)
        return now

    def _shutdown(self) -> int:
        self._replies.flush(time.monotonic())
        self._page.write(status_page.STOPPING, -1, time.monotonic())
        failed: list[dict[str, Any]] = []
        try:
            self._call_plainly(self._script.shutdown)
            self._leave_if_forked()
        except BaseException as error:  # the user's code
            self._leave_if_forked(error)
            failed = [self._describe(error, "shutdown")]
        self._streams.end_mini_batch()
        # The run does not wait for the interpreter's exit: TensorFlow's takes a second.
        self._replies.send(protocol.encode(["stopped", *failed]))
        return 0

    def _on_fork(self) -> None:
        self._is_worker = False

    def _leave_if_forked(self, error: BaseException | None = None) -> None:
        """End a child process that the script forked and that returned here: it is not the worker."""
        if self._is_worker:
            return
        code: Any = 0
        if isinstance(error, SystemExit):
            code = error.code
        elif error is not None:
            code = 1
            self._describe(error, "run")
        self._streams.end_mini_batch(0.0)
        os._exit(code if isinstance(code, int) else int(code is not None))

    def _describe(self, error: BaseException, function: str) -> dict[str, Any]:
        """Return the failure of user code, and log it after the script's output."""
        failure = describe(error, self._roots, function)
        if self._streams is not None:
            self._streams.end_mini_batch()
        if self._log is not None:
            text = failure["traceback"] or failure["message"]
            self._log.write_lines(b"ERROR", text.encode("utf-8"))
        return failure


def main(descriptors: list[int]) -> int:
    """Serve over (commands, replies, status page, stack dump); return the exit status."""
    parent = os.getppid()
    for fd in descriptors:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the script's own children must not hold our pipes
    commands, replies, page, dump = descriptors
    die_with_parent(parent)
    return Worker(commands, replies, StatusPage(page), dump).serve()
