"""How far ahead nodes and workers are fed: by time."""

from __future__ import annotations

from math import floor
from typing import Any

import pytest

from parallelrun_jupyter.engine.node.feeder import (
    MAX_PREFETCH,
    Feeder,
    latency_allowance,
    prefetch_depth,
)
from parallelrun_jupyter.engine.node.worker_process import Assignment
from parallelrun_jupyter.worker.protocol import LATEST_REPORT_S


@pytest.mark.parametrize(
    ("depth", "each_s", "done", "expected"),
    [(1, 1.0, 1, 1), (8, 0.04, 8, 1), (8, 0.02, 8, 5), (8, 0.016, 8, 7), (8, 0.005, 8, 8),
     (1, 0.005, 1, 2), (4, 0.001, 4, 8),
     (64, 0.001, 64, 30), (2048, 1e-7, 2048, MAX_PREFETCH)],
)  # fmt: skip
def test_a_worker_holds_some_milliseconds_and_no_second_long_mini_batch(
    depth: int, each_s: float, done: int, expected: int
) -> None:
    assert prefetch_depth(depth, each_s, done) == expected


@pytest.mark.parametrize("each_ms", [0.1, 1, 3, 4, 7, 8, 10, 14, 16, 20, 29])
def test_a_worker_reports_before_it_has_finished_all_that_it_holds(each_ms: float) -> None:
    depth = 1
    for _ in range(12):
        depth = prefetch_depth(depth, each_ms / 1000, depth)
    late = floor(LATEST_REPORT_S * 1000 / each_ms) + 1
    unreported = min(depth - depth // 2, late)  # done when it reports
    assert unreported < depth
    assert depth - unreported <= depth // 2, "the node sends more at once"
    assert (depth - unreported) * each_ms > 5, "meanwhile it has work"


@pytest.mark.parametrize(
    ("each_s", "load_s", "expected"),
    [(1.0, 0.02, 1), (1.0, 0.05, 2), (0.05, 0.01, 2), (60.0, 6.0, 2), (0.02, 0.0, 5)],
)
def test_one_long_mini_batch_is_fed_ahead_if_reading_its_rows_takes_a_while(
    each_s: float, load_s: float, expected: int
) -> None:
    assert prefetch_depth(8, each_s, 8, load_s) == expected


class Slots:
    """A worker that holds some mini-batches, as far as a feeder sees it."""

    def __init__(self, held: int) -> None:
        self.concurrency, self.prefetch = 1, 8
        self.assigned = dict.fromkeys(range(-held, 0), Assignment(1, b""))
        self.kill_reason, self.is_ready, self.is_late = "", True, False
        self.withdrawn_at = float("inf")

    def withdraw(self, now: float) -> list[tuple[int, Assignment]]:
        if now < self.withdrawn_at:
            return []
        running, *rest = self.assigned.items()
        self.assigned = dict([running])
        self.is_late, self.withdrawn_at = True, float("inf")
        return rest

    def assign(self, bundle: list[tuple[int, Assignment]]) -> None:
        self.assigned.update(bundle)


@pytest.mark.parametrize(
    ("held", "backlog", "expected"),
    [([0, 0], 100, [8, 8]), ([0, 0], 6, [3, 3]), ([4, 0], 6, [5, 5]), ([4, 0], 2, [4, 2]),
     ([4, 2], 1, [4, 3]), ([8, 8], 3, [8, 8]), ([0, 0, 4], 2, [1, 1, 4]), ([0], 3, [3])],
)  # fmt: skip
def test_near_the_end_all_workers_hold_the_same(
    held: list[int], backlog: int, expected: list[int]
) -> None:
    workers: list[Any] = list(map(Slots, held))
    feeder = Feeder(workers)
    feeder.add((k, Assignment(1, b"")) for k in range(backlog))
    assert [len(worker.assigned) for worker in workers] == expected
    fed = [k for worker in workers for k in worker.assigned if k >= 0]
    assert sorted(fed) == list(range(len(fed)))


def test_calls_that_wait_at_the_same_time_wait_for_no_other_worker() -> None:
    worker = Slots(5)
    worker.concurrency = 4
    feeder = Feeder(list[Any]([worker]))
    feeder.mean_run_s = 0.3
    feeder.add((k, Assignment(1, b"")) for k in range(2))
    assert len(worker.assigned) == 7, "the last calls start at once"


@pytest.mark.parametrize("backlog", [0, 3, 40])
def test_others_get_what_waits_for_a_long_mini_batch(backlog: int) -> None:
    late, *others = workers = [Slots(8), Slots(0), Slots(0)]
    feeder = Feeder(list[Any](workers))
    late.withdrawn_at = 5.0
    feeder.withdraw_late(4.9)
    assert len(late.assigned) == 8
    feeder.withdraw_late(5.0)
    assert list(late.assigned) == [-8], "only the one that runs"
    assert [len(worker.assigned) for worker in others] == [4, 3]
    assert {k for worker in others for k in worker.assigned} == set(range(-7, 0))
    feeder.add((k, Assignment(1, b"")) for k in range(backlog))
    assert list(late.assigned) == [-8], "it gets nothing more"
    offered = feeder.new_capacity(0)
    late.is_late = False
    assert feeder.new_capacity(0) == 3 * (offered or 0) / 2
    feeder.feed_all()
    assert (len(late.assigned) > 1) == (backlog > 9)


def test_a_far_node_holds_what_its_workers_do_while_a_message_travels() -> None:
    assert latency_allowance(8, 0.01, 0.0) == 0, "this machine is not far"
    assert latency_allowance(8, 0.0, 0.05) == 0, "nothing is known yet"
    assert latency_allowance(8, 0.01, 0.05) == 32
    assert latency_allowance(8, 0.3, 0.05) == 1
    assert latency_allowance(8, 1.0, 0.05) == 0, "long mini-batches wait for no worker"
    assert latency_allowance(8, 1e-6, 0.05) == MAX_PREFETCH


@pytest.mark.parametrize(
    ("held", "backlog", "expected"),
    [([1, 1], 9, [2, 2]), ([1, 1], 3, [2, 1]), ([1, 1], 2, [1, 1]), ([1, 0], 1, [1, 1])],
)
def test_near_the_end_long_mini_batches_are_left_to_the_worker_that_is_free_first(
    held: list[int], backlog: int, expected: list[int]
) -> None:
    workers: list[Any] = list(map(Slots, held))
    feeder = Feeder(workers)
    feeder.mean_run_s = 1.0
    for worker in workers:
        worker.prefetch = prefetch_depth(1, 1.0, 1, 0.5)
    feeder.add((k, Assignment(1, b"")) for k in range(backlog))
    assert [len(worker.assigned) for worker in workers] == expected


@pytest.mark.parametrize(("latency_s", "expected"), [(0.0, 2), (0.02, 1)])
def test_long_mini_batches_are_not_fed_ahead_to_a_far_node(latency_s: float, expected: int) -> None:
    worker: Any = Slots(0)
    feeder = Feeder([worker])
    feeder.latency_s = latency_s
    feeder.on_done(worker, 5.0, 5.0, 1, 1.0)
    assert worker.prefetch == expected
