"""Replies of a worker: finished mini-batches do not wait for a long one, and nothing wakes an idle worker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator

import pytest

from parallelrun_jupyter.worker import protocol, replies
from parallelrun_jupyter.worker.attempt import Attempt
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.replies import Replies


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def wait_for(is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_a_finished_mini_batch_is_reported_behind_a_long_one_and_then_nothing_wakes_up(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LONG_S", 0.01)
    monkeypatch.setattr(replies, "_WATCHED_S", 0.03)
    read_end, write_end = pipe
    sender = Replies(write_end)
    for number in range(2):  # the thread is started again
        sender.begin_bundle()
        assert sender._is_watched
        sender.done(Attempt(number, 1, PlanLine(0, ["a"], [], [])), 1, b"row", 10)
        wait_for(lambda: not sender.are_pending)
        message = os.read(read_end, 1 << 16).partition(b"\n")[0]
        assert json.loads(message)[3][0][0] == number
        wait_for(lambda: not sender._is_watched)
