"""Yields the results of a function as they are committed, each with its item."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

from ..errors import Remedy, WaitTimeoutError
from ..runs.journal.events import AttemptSucceeded, ItemsSucceeded
from ..runs.journal.files import JournalReader
from ..runs.journal.state import FAILED, PARTLY, SUCCEEDED, RunState
from ..runs.output.blocks import BlockReader, ItemBlock, Plan
from ..runs.output.earlier_rows import Result
from ..runs.output.unreadable_values import values_of
from ..runs.snapshot.follower import Follower
from ..worker.context import load
from ..worker.function_script import BATCH
from ..worker.memory_items import close_files, located
from ..worker.plan_line import PlanLine
from ..worker.single_items import single_items
from .result_values import check_objects, class_finder, not_read

_SHORTEST_POLL_S, _LONGEST_POLL_S = 0.005, 0.1
_SHARE_OF_WAIT = 0.05
"""A new result is seen after at most this share of the time that it took, within the two limits."""

_CHECK_S = 0.1
"""Seconds between looks at the state of the run."""

_DONE = {SUCCEEDED, FAILED, PARTLY}


class ResultStream:
    """Reads the pairs of items and results of a run, while it runs.

    Only the results of one mini-batch are in memory.

    Parameters
    ----------
    follower
        The run; its snapshots tell when it has ended.
    is_ordered
        Whether pairs come in input order; else they come in the order of their commits.
    """

    def __init__(self, follower: Follower, *, is_ordered: bool) -> None:
        folder, record = follower.folder, follower.record
        check_objects(folder, record)
        self._follower = follower
        self._new_results = self._in_order() if is_ordered else self._as_committed()
        self._is_batched = record.script.call == BATCH
        self._journal = JournalReader(folder.journal)
        self._blocks = BlockReader(folder, record)
        self._plan = Plan(folder, record)
        self._find = class_finder(folder, record)
        self._is_over = False

    def pairs(self, timeout_s: float | None) -> Iterator[tuple[Any, Any]]:
        """Yield (item, result) until the run has ended.

        Raises
        ------
        WaitTimeoutError
            No pair came for ``timeout_s`` seconds.
        OutputError
            A file with results is missing, or was changed; or a result cannot be read back.
        """
        since, checked = time.monotonic(), 0.0
        with ExitStack() as files:
            files.enter_context(closing(self._blocks))
            files.callback(close_files, str(self._follower.folder.data))
            for result in self._new_results:
                if result is not None:
                    yield from self._pairs_of(result)
                    since = time.monotonic()
                    continue
                now = time.monotonic()
                if timeout_s is not None and now - since >= timeout_s:
                    self._raise_timeout(timeout_s)
                if now - checked >= _CHECK_S:
                    # The journal is read after it, with the last events of the run.
                    self._is_over, checked = self._follower.refresh()["is_final"], now
                if not self._is_over:
                    pause_s = max(_SHARE_OF_WAIT * (now - since), _SHORTEST_POLL_S)
                    time.sleep(min(pause_s, _LONGEST_POLL_S))

    def _as_committed(self) -> Iterator[Result | None]:
        """Yield results as they are committed; None if there is none at present."""
        while True:
            is_last = self._is_over
            for event in self._journal.read():
                self._blocks.note([event])
                if isinstance(event, AttemptSucceeded | ItemsSucceeded):
                    first = event.first if isinstance(event, ItemsSucceeded) else 0
                    yield from self._blocks.results.of(event.mini_batch, first)
            if is_last:
                return
            yield None

    def _in_order(self) -> Iterator[Result | None]:
        """Yield results in input order, once their mini-batch and those before it are done."""
        state, mini_batch = RunState(), 0
        while True:
            is_last = self._is_over
            for event in self._journal.read():
                self._blocks.note([event])
                state.apply(event)
            statuses = state.statuses
            while mini_batch < len(statuses) and (is_last or statuses[mini_batch] in _DONE):
                yield from self._blocks.results.of(mini_batch)
                mini_batch += 1
            if is_last:
                return
            yield None

    def _pairs_of(self, result: Result) -> Iterator[tuple[Any, Any]]:
        block = self._blocks.read(result)
        if block is None:
            return
        values, unread = values_of(block, self._find)
        line = self._plan.line(result.mini_batch)
        if result.items < result.of:
            line.extra["items"] = [[result.first, result.items]]
        items = self._load(line)
        if self._is_batched and not unread:
            is_view = hasattr(values, "setflags") and not values.flags.writeable
            yield items, values.copy() if is_view else values
        elif not self._is_batched:
            readable = values[: min(unread)] if unread else values  # a list, or nothing of one
            yield from zip(single_items(items), readable, strict=not unread)
        if unread:
            position = min(unread)
            place = ItemBlock(
                self._plan.first(result.mini_batch) + result.first, result.items, block
            )
            folder, record = self._follower.folder, self._follower.record
            raise not_read(folder, record, place, position, unread[position])

    def _load(self, line: PlanLine) -> Any:
        if line.is_table and self._follower.record.inputs.datasets[line.input_number].get(
            "storage"
        ):
            from ..data.staging.local_copies import local_line

            text = local_line(line.encode(), self._follower.record.inputs.datasets)
            line = PlanLine.decode(text)
        return load(located(line, str(self._follower.folder.data)))

    def _raise_timeout(self, timeout_s: float) -> None:
        run_id = self._follower.folder.run_id
        state = self._follower.refresh()["state"]
        msg = (
            f"run {run_id} is {state} and has committed no further result for {timeout_s:g} s; it "
            "continues."
        )
        raise WaitTimeoutError(msg, run_id, remedy=[Remedy.WAIT, Remedy.CANCEL])
