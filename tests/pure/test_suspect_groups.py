"""Calls of which one may have ended their worker run again in groups, until the cause is alone."""

from __future__ import annotations

from typing import Any

import pytest

from parallelrun_jupyter.engine.node.feeder import Feeder
from parallelrun_jupyter.engine.node.worker_process import Assignment


class Slots:
    """A worker with room for calls, as far as a feeder sees it."""

    def __init__(self, concurrency: int) -> None:
        self.concurrency, self.prefetch = concurrency, 2 * concurrency
        self.assigned: dict[int, Assignment] = {}
        self.kill_reason, self.is_ready, self.is_late = "", True, False

    def assign(self, bundle: list[tuple[int, Assignment]]) -> None:
        self.assigned.update(bundle)


@pytest.mark.parametrize(
    ("calls", "culprits"), [(2000, {1234}), (60, {0, 59}), (8, {3}), (60, set())]
)
def test_the_cause_is_found_after_few_deaths_and_the_others_wait_for_few_rounds(
    calls: int, culprits: set[int]
) -> None:
    worker: Any = Slots(calls)
    feeder = Feeder([worker])
    feeder.suspect((k, Assignment(1, b"")) for k in range(calls))
    feeder.add([(calls + k, Assignment(1, b"")) for k in range(5)])
    found, asked, rounds = set(), dict.fromkeys(range(calls + 5), 0), 0
    while not feeder.is_empty or worker.assigned:
        feeder.feed_all()
        group, rounds = dict(worker.assigned), rounds + 1
        worker.assigned.clear()
        for k in group:
            asked[k] += 1
        dying = culprits & set(group)
        if len(group) == 1:
            found |= dying
        elif dying:
            feeder.suspect(group.items())
    assert found == culprits
    levels = 1 if calls <= 8 else 2 if calls <= 64 else 4
    assert rounds <= 8 + 8 * levels * len(culprits) + 1
    assert max(asked.values()) <= levels
    assert min(asked.values()) == 1
