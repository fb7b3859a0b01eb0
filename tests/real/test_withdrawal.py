"""A node withdraws what waits behind a long mini-batch, unless it ends its workers."""

from __future__ import annotations

import time
from pathlib import Path

from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.status_page import RUNNING

from ..node_runner import NodeRunner

SCRIPT = """
import os, time
def run(mini_batch):
    if mini_batch == ["long"]:
        while not os.path.exists("is_over"):
            time.sleep(0.01)
    return mini_batch
"""


def line_of(path: str) -> bytes:
    return PlanLine(0, [path], [1], [1]).encode()


def test_a_node_that_drains_sleeps_during_a_long_mini_batch(tmp_path: Path) -> None:
    with NodeRunner(tmp_path, SCRIPT) as runner:
        runner.run([line_of("short")] * 50)
        (worker,) = runner.node._workers
        assert worker.prefetch > 1, "it may hold several, which could be withdrawn"
        runner.node.assign(50, 1, [line_of("long"), line_of("short")])
        while worker.page.read()[0] != RUNNING:
            runner._selector.select(0.01)
        runner.node.stop(drain=True)
        time.sleep(worker.late_after_s)
        runner._turn()
        sleeps = runner.node.next_step_at() > time.monotonic()
        (tmp_path / "is_over").touch()
    assert sleeps
