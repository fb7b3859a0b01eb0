"""How far ahead nodes and workers are fed: by time."""

from __future__ import annotations

from math import floor

import pytest

from parallelrun_jupyter.engine.node.feeder import MAX_PREFETCH, latency_allowance, prefetch_depth
from parallelrun_jupyter.worker.protocol import FLUSH_AFTER_S


@pytest.mark.parametrize(
    ("depth", "each_s", "done", "expected"),
    [(1, 1.0, 1, 1), (8, 0.04, 8, 1), (8, 0.02, 8, 2), (1, 0.005, 1, 2), (4, 0.001, 4, 8),
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
    unreported = floor(FLUSH_AFTER_S * 1000 / each_ms) + 1  # done when it reports
    assert unreported < depth
    assert depth - unreported <= depth // 2, "the node sends more at once"


def test_a_far_node_holds_what_its_workers_do_while_a_message_travels() -> None:
    assert latency_allowance(8, 0.01, 0.0) == 0, "this machine is not far"
    assert latency_allowance(8, 0.0, 0.05) == 0, "nothing is known yet"
    assert latency_allowance(8, 0.01, 0.05) == 32
    assert latency_allowance(8, 0.3, 0.05) == 1
    assert latency_allowance(8, 1.0, 0.05) == 0, "long mini-batches wait for no worker"
    assert latency_allowance(8, 1e-6, 0.05) == MAX_PREFETCH
