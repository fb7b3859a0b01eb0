"""Reads the files that workers in a job write, and makes the scheduler's signals of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from ...engine.node.worker_failure import failure_of
from ...engine.scheduling import signals
from ...engine.scheduling.signals import ItemFailures, RangeResult, Signal, Success
from ...runs.journal.events import ItemRanges
from ...worker.item_ranges import merged

DONE, WORKERS, STATUS = "done/", "workers/", "status/"
"""The subfolders of the results: finished attempts, workers that have started, their activity."""

_DONE_NAME = re.compile(r"done/(\d+)\.(.+)\.(\d+)")

KeepRows = Callable[[bytes], tuple[int, int]]


def mini_batch_of(path: str) -> int:
    """Return the mini-batch of a file of a finished attempt; -1 for other files."""
    match = _DONE_NAME.fullmatch(path)
    return int(match[1]) if match else -1


@dataclass(frozen=True, slots=True)
class Result:
    """A finished attempt.

    Parameters
    ----------
    path
        Its file, in the folder of results.
    mini_batch, worker
        Its number, and the process that ran it.
    duration_us
        Its microseconds.
    reply
        The message of the worker, as in ``worker/protocol.py``.
    rows
        The rows.
    spent
        Tokens, and billionths of a US dollar; empty if none.
    """

    path: str
    mini_batch: int
    worker: str
    duration_us: int
    reply: list[Any]
    rows: bytes
    spent: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """``done``, ``answered`` or ``failed``."""
        return str(self.reply[0])

    @property
    def number(self) -> int:
        """The number of the attempt among those of its worker."""
        match = _DONE_NAME.fullmatch(self.path)
        return int(match[3]) if match else 0

    @property
    def items(self) -> int:
        """Number of the items that it ran."""
        if self.kind == "done":
            return int(self.reply[3][0][2])
        return int(self.reply[4] if self.kind == "answered" else self.reply[3])

    @property
    def ranges(self) -> ItemRanges:
        """The items that it ran, if its message has them; empty otherwise."""
        if self.kind != "answered":
            return ()
        _, _, _, _, _, _, results, groups = self.reply
        answered = [(first, count) for first, count, *_ in results]
        failed = [(first, count) for ranges, _, _ in groups for first, count in ranges]
        return merged(answered + failed)

    def signal(self, node: str, attempt: int, keep_rows: KeepRows) -> Signal:
        """Return the signal that ends an attempt, and keep its rows."""
        k, worker, us = self.mini_batch, self.worker, self.duration_us
        if self.kind == "failed":
            failure = failure_of(self.reply[5])
            return signals.AttemptErrored(node, worker, k, attempt, self.items, us, failure)
        part, offset = keep_rows(self.rows) if self.rows else (0, 0)
        if self.kind == "done":
            _, _, items, rows, _, length, crc = self.reply[3][0]
            success = Success(k, attempt, items, rows, us, length, crc)
            return signals.AttemptsSucceeded(node, worker, (success,), part, offset)
        _, _, _, _, items, _, results, groups = self.reply
        failures = tuple(
            ItemFailures(tuple(map(tuple, ranges)), tuple(messages), failure_of(failure))
            for ranges, messages, failure in groups
        )
        answers = tuple(map(RangeResult._make, results))
        return signals.ItemsAnswered(
            node, worker, k, attempt, items, us, answers, failures, part, offset
        )


def read_result(path: str, content: bytes) -> Result | None:
    """Return the result in a file; None if it is not whole, so that it has to be read again."""
    line, end, rows = content.partition(b"\n")
    if not end:
        return None
    try:
        head = json.loads(line)
        if len(rows) != head["length"] or crc32(rows) != head["crc"]:
            return None
        return Result(
            path,
            int(head["mini_batch"]),
            str(head["worker"]),
            int(head["duration_us"]),
            head["reply"],
            rows,
            tuple(head.get("spent", ())),
        )
    except (ValueError, TypeError, KeyError):
        return None


def read_object(content: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a file of a worker; empty if it is not whole."""
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
