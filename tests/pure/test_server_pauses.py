"""The time left of a run in a pause that the server asked for; the oracle is the end of the simulated run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.call_events import CallsHeld, CallsLimited
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.snapshot.progress import pace

ITEMS = 600
EVERY_MS = 200
PAUSE_MS = (20_000, 80_000)
TOOK_MS = 450


def at_ms(k: int) -> int:
    """When the answer of an item arrives: five a second, save for one pause of a minute."""
    usual = 1000 + k * EVERY_MS
    before = (PAUSE_MS[0] + TOOK_MS - 1000) // EVERY_MS
    return usual if k <= before else usual + PAUSE_MS[1] - PAUSE_MS[0]


def course() -> Iterator[ev.Event]:
    yield ev.RunStarted(0, 1, 1, "here")
    yield CallsLimited(1, 50, 5.0, 0.0, 0)
    yield ev.WorkerStarted(10, "n0w0", "n0", 7)
    yield ev.WorkerReady(500, "n0w0", 500)
    yield ev.PlanFinished(500, ITEMS, ITEMS)
    yield ev.StateEntered(500, "Running")
    refusal = ev.AttemptFailed(
        ITEMS - 1, 1, "n0w0", PAUSE_MS[0], 1000, 1, False, "throttled", "HTTPStatusError", "429",
        "HTTPStatusError at score.py:7 in run", "",
    )  # fmt: skip
    told = CallsHeld(PAUSE_MS[0], "server", 0, PAUSE_MS[1], 8)
    ends = [
        ev.AttemptSucceeded(k, 1, "n0w0", at_ms(k), TOOK_MS * 1000, 1, 1, 1, 1, 0, 10, 0)
        for k in range(ITEMS)
    ]
    events: list[ev.Event] = [*ends, refusal, told]
    yield from sorted(events, key=lambda event: event.at_ms)


@pytest.mark.parametrize("at_s", [15, 21, 30, 55, 79, 81, 83, 90, 110])
def test_a_pause_of_the_server_slows_the_rest_of_the_run_no_more(at_s: int) -> None:
    state = RunState()
    for event in course():
        if event.at_ms <= at_s * 1000:
            state.apply(event)
    told = pace(state, at_s * 1000, is_live=True)
    if at_s == 15:
        truth_s = (1000 + (ITEMS - 1) * EVERY_MS) / 1000 - at_s  # nobody knows of the pause
    else:
        truth_s = at_ms(ITEMS - 1) / 1000 - at_s
    assert told["eta_s"] is not None
    assert told["eta_low_s"] is not None
    assert told["eta_high_s"] is not None
    assert told["eta_low_s"] <= truth_s <= told["eta_high_s"]
    assert told["eta_s"] == pytest.approx(truth_s, rel=0.05)
    assert told["eta_high_s"] - told["eta_low_s"] < 0.4 * truth_s
    assert told["quiet_s"] < told["quiet_after_s"]


def test_calls_that_a_server_refused_are_no_failures_of_a_worker() -> None:
    state = RunState()
    for event in course():
        state.apply(event)
    assert state.calls is not None
    assert state.calls.throttled == 1
    assert state.workers["n0w0"].failed == 0
    assert state.workers["n0w0"].succeeded == ITEMS
