"""Runs the attempts of mini-batches, and describes how they ended."""

from __future__ import annotations

import os
import time

from . import status_page
from .context import load
from .context_argument import with_context
from .error_types import is_out_of_memory
from .failures import (
    SHORT_RESULT,
    BadInput,
    BadResult,
    FaultOfAll,
    TypesDiffer,
    describe,
    line_of,
    short_result,
)
from .memory_reserve import MemoryReserve
from .output.formats import CSV, OBJECTS, PARQUET
from .output.results import HoldsErrors, encode_result, materialized, read_frame_options

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable

    from .answers import Answers
    from .context import Failed
    from .isolation import LoadedTable, Parts
    from .plan_line import PlanLine
    from .read_ahead import ReadAhead

    Answered = tuple[list[list[int]], list[list[Any]]]
    """The results of ranges of items, and the failures of others, as in the message "answered"."""

    Answer = tuple[int, bytes, "Answered | None"]
    """The number of rows, their bytes, and the answers if items answer one by one."""


class Attempt:
    """One attempt of a mini-batch.

    Attributes
    ----------
    mini_batch, number
        The mini-batch, and the number of its attempt.
    line
        The plan line, with the items that it runs.
    items
        Number of these items.
    began
        Its start, by ``time.monotonic()``.
    table
        The rows of an attempt that runs in parts.
    parts
        The answers of the parts, if it runs in parts.
    logged
        The failure groups whose traceback is in the log already.
    """

    __slots__ = ("began", "items", "line", "logged", "mini_batch", "number", "parts", "table")

    def __init__(self, mini_batch: int, number: int, line: PlanLine) -> None:
        self.mini_batch = mini_batch
        self.number = number
        self.line = line
        self.items = line.item_count
        self.began = time.monotonic()
        self.table: LoadedTable | None = None
        self.parts: list[Answers] | None = None
        self.logged: set[str] = set()

    @property
    def isolates(self) -> bool:
        """Whether its items run in parts, to find those that fail alone."""
        return bool(self.line.extra.get("isolates"))


class AttemptRunner:
    """Calls the script's ``run()`` for attempts.

    Parameters
    ----------
    start
        The settings of the worker, with the keys ``protocol.START_KEYS``.
    page
        Shows the activity. None: several calls are in flight, and their runner shows them.
    log, streams
        The worker's log, and the script's output to it.
    leave_if_forked
        Ends a child process that the script forked, given the exception that it raised.
    """

    def __init__(
        self,
        start: dict[str, Any],
        page: status_page.StatusPage,
        log: Any,
        streams: Any,
        leave_if_forked: Callable[..., None],
    ) -> None:
        self._append_rows = start["append_rows"]
        self._answers_items = start["answers_items"]
        self._form = start["output_format"]
        self.roots = start["roots"]
        self._page = page
        self.log = log
        self._streams = streams
        self._leave_if_forked = leave_if_forked
        self.reserve = MemoryReserve()
        self.run_line = ""
        #: whether one call at a time is made, so that the page shows its activity
        self.shows_activity = True
        #: reads the next mini-batch while run() has this one, in a worker that makes one call at a time
        self.ahead: ReadAhead | None = None
        self._run: Any = None
        self._frame_options: dict[str, Any] = {}
        if self._append_rows:
            folder = os.path.dirname(start["script"])
            self._frame_options = read_frame_options(folder, start["argv"], self._form)

    def prepare(self, run: Callable[..., Any], calls: Any = None) -> None:
        """Set the script's ``run``; ``calls`` is as in `with_context`."""
        self.run_line = line_of(run)
        page = self._page if self.shows_activity else None
        self._run = with_context(run, self._load, page, calls)

    # Answers

    def answer(self, attempt: Attempt, line: PlanLine) -> Answer:
        """Run an attempt, or a part of it; return its rows, or the results and failures of its items.

        Everything that it loads and makes is in its own calls, so that `drop_frames` can free it.
        """
        failed: Failed | None = {} if self._answers_items else None
        return self.encoded(attempt, self._run(line, attempt, failed), line, failed)

    def call(self, attempt: Attempt, line: PlanLine, failed: Failed | None) -> Any:
        """Call ``run()``; return its result, or what is to be awaited for it."""
        return self._run(line, attempt, failed)

    def new_failed(self) -> Failed | None:
        """Return an empty dict for the items that a call fails; None if they do not fail one by one."""
        return {} if self._answers_items else None

    def encoded(
        self, attempt: Attempt, result: Any, line: PlanLine, failed: Failed | None
    ) -> Answer:
        """Encode the result of ``run()``."""
        if type(result) is not list:
            result = materialized(result)  # a generator may fail items, too
        if self._form == OBJECTS and failed is not None:
            from .output.objects import NotStored, not_stored  # only for functions of a notebook

            try:
                return self._answered(attempt, result, line, failed)
            except NotStored:
                errors = not_stored(result)
                failed.update((k, error) for k, error in errors.items() if k not in failed)
        return self._answered(attempt, result, line, failed)

    def _answered(
        self, attempt: Attempt, result: Any, line: PlanLine, failed: Failed | None
    ) -> Answer:
        if not failed and "items" not in line.extra:
            try:
                rows, text = self._encode(result, seeks_errors=self._answers_items)
                return rows, text, None
            except HoldsErrors:
                pass
        from .answers import FailedItems, answers_of  # only for single items

        answers = answers_of(result, line, failed, self._form)
        results, text = self._encode_pieces(answers.pieces)
        if attempt.parts is not None:
            attempt.parts.append(answers)
        groups = FailedItems(self.roots, self.run_line).grouped(answers.failed)
        total = sum(rows for _, _, rows, _, _ in results) + len(answers.failed)
        return total, text, (results, groups)

    def _encode_pieces(self, pieces: list[Any]) -> tuple[list[list[int]], bytes]:
        """Return the results of ranges of items as in the message "answered", and their bytes."""
        from zlib import crc32

        results, texts = [], []
        for first, items, elements in pieces:
            rows, text = self._encode(elements, seeks_errors=False)
            results.append([first, items, rows, len(text), crc32(text)])
            texts.append(text)
        return results, b"".join(texts)

    def _encode(self, result: Any, *, seeks_errors: bool) -> tuple[int, bytes]:
        return encode_result(
            result,
            append_rows=self._append_rows,
            frame_options=self._frame_options,
            form=self._form,
            seeks_errors=seeks_errors,
        )

    # Parts

    def isolate(
        self, attempt: Attempt, answer: Callable[[Attempt, PlanLine], Answer] | None = None
    ) -> Answer:
        """Run the items of an attempt in parts, to find those that fail; ``answer`` runs a part."""
        answer_part = answer or self.answer

        def run_part(part: PlanLine) -> Answer:
            answered = answer_part(attempt, part)
            self._leave_if_forked()
            return answered

        def describe_part(error: BaseException, part: PlanLine, *, is_alone: bool) -> Any:
            return self._describe_part(attempt, error, part, is_alone=is_alone)

        from .isolation import Parts, isolate  # only after a failure

        line = attempt.line
        parts = Parts(line, run_part, describe_part)
        attempt.table = self._load_table(line, attempt.mini_batch)
        answers = attempt.parts = []
        try:
            ranges = tuple((first, count) for first, count in line.ranges_of_items)
            alike = isolate(ranges, parts.run, line.extra["suspect"])
        finally:
            attempt.table = attempt.parts = None
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
        self._show(status_page.LOADING, mini_batch)
        from .isolation import LoadedTable

        try:
            return LoadedTable(line)
        except TypesDiffer:
            raise
        except (BadInput, MemoryError):
            return None  # each part loads its own rows, and fails alone

    def _load(self, line: PlanLine, attempt: Attempt) -> Any:
        """Return the argument of ``run()``; loading a table has its own clock."""
        ahead = None
        if line.is_table:
            self._show(status_page.LOADING, attempt.mini_batch)
            ahead = None if attempt.isolates else self.ahead
        if ahead is not None:
            loaded = ahead.load(attempt.mini_batch, attempt.number, line)
        else:
            loaded = load(line) if attempt.table is None else attempt.table.only(line)
        self._show(status_page.RUNNING, attempt.mini_batch)
        if ahead is not None:
            ahead.begin(attempt.mini_batch)
        return loaded

    def _show(self, phase: int, mini_batch: int) -> None:
        if self.shows_activity:
            self._page.write(phase, mini_batch, time.monotonic())

    # Ends

    def ended(self, attempt: Attempt, answer: Answer) -> list[Any] | None:
        """Log an attempt that has returned; return its reply, or None if all of it succeeded."""
        rows, text, answered = answer
        self._leave_if_forked()
        if rows < attempt.items:
            self._log_short(rows, attempt.items)
        now = time.monotonic()
        self._streams.end_mini_batch(now - attempt.began)
        if answered is None:
            return None
        if answered[1]:
            from .answers import failed_text

            text_of_failed = failed_text(answered[1], attempt.items, attempt.logged)
            self.log.write_lines(b"ERROR", text_of_failed.encode("utf-8"))
        micros = int((now - attempt.began) * 1e6)
        head = [attempt.mini_batch, len(text), attempt.number, attempt.items, micros]
        return ["answered", *head, *answered]

    def failed(self, attempt: Attempt, error: BaseException) -> list[Any]:
        """Log the exception that has ended an attempt; return the reply."""
        self.reserve.release()
        if self.ahead is not None and is_out_of_memory(error):
            self.ahead.end()
        self._leave_if_forked(error)
        micros = int((time.monotonic() - attempt.began) * 1e6)
        if isinstance(error, FaultOfAll):
            failure = error.failure
        elif isinstance(error, TypesDiffer):  # nothing is wrong: it runs again, with other types
            failure = describe(error, self.roots, "run")
        else:
            suspect = self._suspect_of(error, attempt.line)
            failure = dict(self.describe(error, "run"), **suspect)
        return self.failed_with(attempt, micros, failure)

    @staticmethod
    def failed_with(attempt: Attempt, micros: int, failure: dict[str, Any]) -> list[Any]:
        """Return the reply of an attempt that failed."""
        return ["failed", attempt.mini_batch, attempt.number, attempt.items, micros, failure]

    def describe(self, error: BaseException, function: str) -> dict[str, Any]:
        """Return the failure of user code, and log it after the script's output."""
        self.reserve.free_for(error)
        failure = describe(error, self.roots, function)
        self._streams.end_mini_batch()
        text = failure["traceback"] or failure["message"]
        self.log.write_lines(b"ERROR", text.encode("utf-8"))
        return failure

    def _describe_part(
        self, attempt: Attempt, error: BaseException, part: PlanLine, *, is_alone: bool
    ) -> dict[str, Any]:
        """Return the failure of a part; only that of a single item is logged."""
        self.reserve.release()
        self._leave_if_forked(error)
        suspect = self._suspect_of(error, part)
        if is_out_of_memory(error):
            attempt.table = None  # the next parts load their own rows
        if is_alone:
            failure = self.describe(error, "run")
            attempt.logged.add(failure["group"])
        else:
            self.reserve.free_for(error)
            failure = describe(error, self.roots, "run")
        self.reserve.fill()
        return dict(failure, **suspect)

    def _suspect_of(self, error: BaseException, line: PlanLine) -> dict[str, int]:
        """Return the item that probably raised, as part of the failure object; empty if unknown."""
        if not self._answers_items or line.item_count == 1 or is_out_of_memory(error):
            return {}
        from .suspects import NONE, suspect_of

        progress = None
        if self.shows_activity:
            self._page.read()
            progress = self._page.read_progress()
        suspect = progress[3] if progress is not None else NONE
        if suspect == NONE or isinstance(error, BadResult):  # a result is one of all items
            suspect = suspect_of(error, line, self.roots)
        return {} if suspect == NONE else {"suspect": suspect}

    def _log_short(self, rows: int, items: int) -> None:
        """Log a result with fewer elements than the mini-batch has items."""
        text = short_result(rows, items, self.run_line)
        self._streams.end_mini_batch()
        self.log.write_lines(b"ERROR", ("%s: %s" % (SHORT_RESULT, text)).encode("utf-8"))
