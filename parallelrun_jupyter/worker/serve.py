"""The life of a worker: start, ``init()`` once, then one bundle of mini-batches after another."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import zlib

from . import own_package, protocol, status_page
from .azureml import finder
from .child_loop import die_with_parent
from .context import load, with_context
from .error_types import is_out_of_memory
from .failures import (
    SHORT_RESULT,
    BadInput,
    BadResult,
    FaultOfAll,
    describe,
    line_of,
    short_result,
)
from .gc_free_imports import GcFreeImports
from .memory_reserve import MemoryReserve
from .output.formats import CSV, OBJECTS, PARQUET
from .output.results import HoldsErrors, encode_result, materialized, read_frame_options
from .plan_line import PlanLine
from .script import EntryScript
from .status_page import StatusPage
from .streams import UserStreams, WorkerLog

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from .answers import Answers
    from .context import Failed
    from .isolation import LoadedTable, Parts

    Answered = tuple[list[list[int]], list[list[Any]]]
    """The results of ranges of items, and the failures of others, as in the message "answered"."""


class Worker:
    """Serves one node over two pipes and a status page."""

    def __init__(self, commands: int, replies: int, page: StatusPage, dump: int) -> None:
        self._dump = dump
        self._commands = protocol.LineReader(commands)
        self._replies = replies
        self._page = page
        self._done: list[tuple[int, ...]] = []
        self._payload: list[bytes] = []
        self._flushed = time.monotonic()
        self._is_worker = True
        os.register_at_fork(after_in_child=self._on_fork)
        self._roots: list[str] = []
        self._reserve = MemoryReserve()
        #: the rows of an attempt that runs in parts
        self._table: LoadedTable | None = None
        #: the failure groups of an attempt whose first traceback is in the log
        self._logged: set[str] = set()
        #: the answers of the parts of an attempt, if it runs in parts
        self._parts: list[Answers] | None = None
        self._log: Any = None
        self._streams: Any = None

    def serve(self) -> int:
        """Serve commands until a stop; return the exit status."""
        line = self._commands.read()
        if not line:
            return 0
        try:
            self._start(json.loads(line.decode("ascii"))[1])
        except BaseException as error:  # such as a missing folder or wrong settings
            self._send(protocol.encode(["init_failed", self._describe(error, "start")]))
            return 1
        if not self._init():
            return 1
        while True:
            line = self._commands.read()
            if not line:
                return 0
            command = json.loads(line.decode("ascii"))
            if command[0] == "stop":
                return self._shutdown()
            self._run_bundle(command[1])

    def _start(self, start: dict[str, Any]) -> None:
        self._roots = start["roots"]
        self._log = WorkerLog(start["log"])
        self._append_rows = start["append_rows"]
        self._answers_items = start["answers_items"]
        self._script_path = start["script"]
        self._uses = start["uses"]
        # The node reads the stack of a crash or a timeout from this file.
        faulthandler.enable(file=self._dump, all_threads=False)
        faulthandler.register(signal.SIGTERM, file=self._dump, all_threads=False, chain=True)
        self._streams = UserStreams(self._log, start["logging_level"])
        os.chdir(start["cwd"])
        sys.path[:0] = start["sys_path"]
        sys.argv[:] = start["argv"]
        names = ("output_dir", "log_dir", "agent_name")
        finder.install({**{k: start[k] for k in names}, "working_dir": start["cwd"]})
        own_package.install()
        self._link_models()
        self._form = start["output_format"]
        folder = os.path.dirname(start["script"])
        self._frame_options: dict[str, Any] = {}
        if self._append_rows:
            self._frame_options = read_frame_options(folder, start["argv"], self._form)

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
            self._run_line = line_of(script.run)
            self._run = with_context(script.run, self._load, self._page)
            function = "init"
            script.init()
            self._leave_if_forked()
        except BaseException as error:  # the user's code
            self._leave_if_forked(error)
            failure = self._describe(error, function)
            self._send(protocol.encode(["init_failed", failure]))
            return False
        finally:
            imports.remove()
            self._streams.end_mini_batch()
        self._script = script
        now = time.monotonic()
        self._page.write(status_page.WAITING, -1, now)
        self._send(protocol.encode(["ready", int((now - began) * 1000), self._run_line]))
        self._flushed = now
        return True

    def _run_bundle(self, bundle: list[Any]) -> None:
        self._flushed = time.monotonic()
        self._reserve.fill()
        for mini_batch, attempt, row in bundle:
            now = self._attempt(mini_batch, attempt, PlanLine.of_row(row))
            if now - self._flushed > protocol.FLUSH_AFTER_S:
                self._flush(now)
        self._flush(time.monotonic())

    def _attempt(self, mini_batch: int, attempt: int, line: PlanLine) -> float:
        """Run one mini-batch; queue its result, or report failures. Return the time of its end."""
        items = line.item_count
        self._log.set_mini_batch(mini_batch)
        self._logged.clear()
        began = time.monotonic()
        try:
            answer = self._isolate if line.extra.get("isolates") else self._answer
            rows, text, answered = answer(line, mini_batch)
            self._leave_if_forked()
            if rows < items:
                self._log_short(rows, items)
            self._streams.end_mini_batch(time.monotonic() - began)
            if answered is not None and answered[1]:
                from .answers import failed_text

                text_of_failed = failed_text(answered[1], items, self._logged)
                self._log.write_lines(b"ERROR", text_of_failed.encode("utf-8"))
        except BaseException as error:  # the user's code
            self._reserve.release()
            self._leave_if_forked(error)
            now = time.monotonic()
            if isinstance(error, FaultOfAll):
                failure = error.failure
            else:
                suspect = self._suspect_of(error, line)
                failure = dict(self._describe(error, "run"), **suspect)
            reply = ["failed", mini_batch, attempt, items, int((now - began) * 1e6), failure]
            self._report(now, reply)
        else:
            now = time.monotonic()
            micros = int((now - began) * 1e6)
            if answered is not None:
                head = ["answered", mini_batch, len(text), attempt, items, micros]
                self._report(now, [*head, *answered], text)
            else:
                crc = zlib.crc32(text)
                self._done.append((mini_batch, attempt, items, rows, micros, len(text), crc))
                self._payload.append(text)
                self._page.write(status_page.WAITING, -1, now)
        self._log.set_mini_batch(-1)
        return now

    def _report(self, now: float, reply: list[Any], payload: bytes = b"") -> None:
        """Report one attempt, after the finished ones."""
        self._page.write(status_page.WAITING, -1, now)
        self._flush(now)
        self._send(protocol.encode(reply) + payload)

    def _answer(self, line: PlanLine, mini_batch: int) -> tuple[int, bytes, Answered | None]:
        """Run a mini-batch; return its rows, or the results and failures of its single items.

        Everything that it loads and makes is in its own calls, so that `drop_frames` can free it.
        """
        failed: Failed | None = {} if self._answers_items else None
        result = self._run(line, mini_batch, failed)
        if type(result) is not list:
            result = materialized(result)  # a generator may fail items, too
        if self._form == OBJECTS and failed is not None:
            from .output.objects import NotStored, not_stored  # only for functions of a notebook

            try:
                return self._answered(result, line, failed)
            except NotStored:
                errors = not_stored(result)
                failed.update((k, error) for k, error in errors.items() if k not in failed)
        return self._answered(result, line, failed)

    def _answered(
        self, result: Any, line: PlanLine, failed: Failed | None
    ) -> tuple[int, bytes, Answered | None]:
        """Encode the result of a mini-batch; return as `_answer`."""
        if not failed and "items" not in line.extra:
            try:
                rows, text = self._encode(result, seeks_errors=self._answers_items)
                return rows, text, None
            except HoldsErrors:
                pass
        from .answers import FailedItems, answers_of  # only for single items

        answers = answers_of(result, line, failed, self._form)
        results, text = self._encode_pieces(answers.pieces)
        if self._parts is not None:
            self._parts.append(answers)
        groups = FailedItems(self._roots, self._run_line).grouped(answers.failed)
        total = sum(rows for _, _, rows, _, _ in results) + len(answers.failed)
        return total, text, (results, groups)

    def _encode_pieces(self, pieces: list[Any]) -> tuple[list[list[int]], bytes]:
        """Return the results of ranges of items as in the message "answered", and their bytes."""
        results, texts = [], []
        for first, items, elements in pieces:
            rows, text = self._encode(elements, seeks_errors=False)
            results.append([first, items, rows, len(text), zlib.crc32(text)])
            texts.append(text)
        return results, b"".join(texts)

    def _isolate(self, line: PlanLine, mini_batch: int) -> tuple[int, bytes, Answered]:
        """Run the items of an attempt in parts, to find those that fail; return as `_answer`."""

        def answer(part: PlanLine) -> tuple[int, bytes, Answered | None]:
            answered = self._answer(part, mini_batch)
            self._leave_if_forked()
            return answered

        from .isolation import Parts, isolate  # only after a failure

        parts = Parts(line, answer, self._describe_part)
        self._table = self._load_table(line, mini_batch)
        answers = self._parts = []
        try:
            ranges = tuple((first, count) for first, count in line.ranges_of_items)
            alike = isolate(ranges, parts.run, line.extra["suspect"])
        finally:
            self._table = self._parts = None
        if alike:
            raise FaultOfAll(dict(parts.last_failure, alike=alike))
        results, text = self._with_one_form(parts, answers)
        return parts.rows, text, (results, parts.failures)

    def _with_one_form(self, parts: Parts, answers: list[Answers]) -> tuple[list[list[int]], bytes]:
        """Return the results of all parts and their bytes, with the same columns if that is possible."""
        if self._append_rows and self._form in (CSV, PARQUET):
            try:
                from .answers import pieces_of_dicts

                pieces = pieces_of_dicts(answers, self._form)
                if pieces:
                    return self._encode_pieces(pieces)
            except BadResult:
                pass  # such as values of one key that have no type in common
        return parts.results, parts.text

    def _load_table(self, line: PlanLine, mini_batch: int) -> LoadedTable | None:
        """Return the rows of all parts; None for files, and if no rows can be read."""
        if not line.is_table or line.table.get("format") == "memory":
            return None
        self._page.write(status_page.LOADING, mini_batch, time.monotonic())
        from .isolation import LoadedTable

        try:
            return LoadedTable(line)
        except (BadInput, MemoryError):
            return None  # each part loads its own rows, and fails alone

    def _suspect_of(self, error: BaseException, line: PlanLine) -> dict[str, int]:
        """Return the item that probably raised, as part of the failure object; empty if unknown."""
        if not self._answers_items or line.item_count == 1 or is_out_of_memory(error):
            return {}
        from .suspects import NONE, suspect_of

        self._page.read()
        progress = self._page.read_progress()
        suspect = progress[3] if progress is not None else NONE
        if suspect == NONE or isinstance(error, BadResult):  # a result is one of all items
            suspect = suspect_of(error, line, self._roots)
        return {} if suspect == NONE else {"suspect": suspect}

    def _describe_part(
        self, error: BaseException, part: PlanLine, *, is_alone: bool
    ) -> dict[str, Any]:
        """Return the failure of a part; only that of a single item is logged."""
        self._reserve.release()
        self._leave_if_forked(error)
        suspect = self._suspect_of(error, part)
        if is_out_of_memory(error):
            self._table = None  # the next parts load their own rows
        if is_alone:
            failure = self._describe(error, "run")
            self._logged.add(failure["group"])
        else:
            self._reserve.free_for(error)
            failure = describe(error, self._roots, "run")
        self._reserve.fill()
        return dict(failure, **suspect)

    def _load(self, line: PlanLine, mini_batch: int) -> Any:
        """Return the argument of ``run()``; loading a table has its own clock."""
        if line.is_table:
            self._page.write(status_page.LOADING, mini_batch, time.monotonic())
        loaded = load(line) if self._table is None else self._table.only(line)
        self._page.write(status_page.RUNNING, mini_batch, time.monotonic())
        return loaded

    def _encode(self, result: Any, *, seeks_errors: bool) -> tuple[int, bytes]:
        return encode_result(
            result,
            append_rows=self._append_rows,
            frame_options=self._frame_options,
            form=self._form,
            seeks_errors=seeks_errors,
        )

    def _flush(self, now: float) -> None:
        """Report all finished attempts in one message."""
        if self._done:
            payload = b"".join(self._payload)
            elapsed = int((now - self._flushed) * 1e6)
            head = protocol.encode(["done", elapsed, len(payload), self._done])
            self._send(head + payload)
            self._done = []
            self._payload = []
        self._flushed = now

    def _shutdown(self) -> int:
        self._page.write(status_page.STOPPING, -1, time.monotonic())
        failed: list[dict[str, Any]] = []
        try:
            self._script.shutdown()
            self._leave_if_forked()
        except BaseException as error:  # the user's code
            self._leave_if_forked(error)
            failed = [self._describe(error, "shutdown")]
        self._streams.end_mini_batch()
        # The run does not wait for the interpreter's exit: TensorFlow's takes a second.
        self._send(protocol.encode(["stopped", *failed]))
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

    def _log_short(self, rows: int, items: int) -> None:
        """Log a result with fewer elements than the mini-batch has items."""
        text = short_result(rows, items, self._run_line)
        self._streams.end_mini_batch()
        self._log.write_lines(b"ERROR", ("%s: %s" % (SHORT_RESULT, text)).encode("utf-8"))

    def _describe(self, error: BaseException, function: str) -> dict[str, Any]:
        """Return the failure of user code, and log it after the script's output."""
        self._reserve.free_for(error)
        failure = describe(error, self._roots, function)
        if self._streams is not None:
            self._streams.end_mini_batch()
        if self._log is not None:
            text = failure["traceback"] or failure["message"]
            self._log.write_lines(b"ERROR", text.encode("utf-8"))
        return failure

    def _send(self, data: bytes) -> None:
        try:
            protocol.write_all(self._replies, data)
        except BrokenPipeError:  # the node has died; the thread that watches it may not know yet
            os._exit(0)


def main(descriptors: list[int]) -> int:
    """Serve over (commands, replies, status page, stack dump); return the exit status."""
    parent = os.getppid()
    for fd in descriptors:
        os.set_inheritable(fd, False)  # noqa: FBT003 - the script's own children must not hold our pipes
    commands, replies, page, dump = descriptors
    die_with_parent(parent)
    return Worker(commands, replies, StatusPage(page), dump).serve()
