"""Calls that a worker holds start at their times, and none in a pause that a server asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parallelrun_jupyter.worker.calls.waiting import FOREVER, Waiting

ROW = json.loads('["f", 0, ["/a"], [1], [1]]')


def refused(retry_after_s: float | None, *, by_item: bool) -> list[Any]:
    failure: dict[str, Any] = {"is_throttled": True}
    if retry_after_s is not None:
        failure["retry_after_s"] = retry_after_s
    if by_item:
        return ["answered", 0, 0, 1, 1, 9, [], [[[[0, 1]], ["429"], failure]]]
    return ["failed", 0, 1, 1, 9, failure]


@pytest.mark.parametrize("by_item", [True, False])
def test_no_call_starts_in_a_pause(by_item: bool) -> None:
    waiting = Waiting()
    assert waiting.next_at() == FOREVER
    waiting.add([[0, 1, ROW], [1, 1, ROW, 100.5, 0.25]])
    assert waiting.next_at() < 100
    waiting.hold(refused(2.0, by_item=by_item), 100.0)
    assert waiting.next_at() == 102.0
    waiting.hold(refused(None, by_item=by_item), 100.0)  # a shorter one ends no longer one
    assert waiting.next_at() == 102.0
    waiting.take(102.0)
    assert waiting.next_at() == 102.25
    waiting.hold(refused(None, by_item=by_item), 102.0)
    assert waiting.next_at() == 102.5


def test_other_failures_hold_no_call_back() -> None:
    waiting = Waiting()
    waiting.add([[0, 1, ROW]])
    waiting.hold(["failed", 0, 1, 1, 9, {"retry_after_s": 5.0}], 100.0)
    assert waiting.next_at() < 100
