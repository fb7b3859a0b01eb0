"""Rate, remaining time and bottleneck: over recorded runs, and by the rules."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.lines import decode_lines
from parallelrun_jupyter.runs.journal.state import FAILED, LEFT, RETRYING, SUCCEEDED, RunState
from parallelrun_jupyter.runs.snapshot import progress
from parallelrun_jupyter.runs.snapshot.mini_batches import LEVELS, grid
from parallelrun_jupyter.runs.snapshot.progress import timeline, uses
from tests.journals import Course, events_of, record

RECORDED = sorted((Path(__file__).parents[1] / "recorded").glob("*.jsonl.gz"))
LOOKS = 20


def recorded(path: Path) -> list[ev.Event]:
    with gzip.open(path, "rb") as file:
        return decode_lines(file.read().splitlines())


def looks_at(events: list[ev.Event]) -> list[tuple[bool, float]]:
    """Return for several moments whether the true end lies in the interval, and its width."""
    end_ms = max(e.at_ms for e in events if isinstance(e, ev.AttemptSucceeded | ev.AttemptFailed))
    first_ms = min(e.at_ms for e in events if isinstance(e, ev.AttemptSucceeded))
    state = RunState()
    found = []
    moments = [first_ms + (end_ms - first_ms) * n // (LOOKS + 1) for n in range(1, LOOKS + 1)]
    for event in events:
        while moments and event.at_ms > moments[0]:
            at_ms = moments.pop(0)
            told = progress.eta(state, at_ms)
            if told is not None:
                likely, low, high = told
                true_s = (end_ms - at_ms) / 1000
                found.append((low <= true_s <= high, (high - low) / max(likely, 0.001)))
        state.apply(event)
    return found


def test_there_are_twenty_recorded_runs() -> None:
    assert len(RECORDED) == 20


def test_the_true_end_lies_in_the_interval_in_four_of_five_looks() -> None:
    looks = {path.name: looks_at(recorded(path)) for path in RECORDED}
    every = [look for found in looks.values() for look in found]
    inside = sum(is_inside for is_inside, _ in every) / len(every)
    widths = sorted(width for _, width in every)
    shares = {k: f"{sum(i for i, _ in v)}/{len(v)}" for k, v in looks.items()}
    print(
        f"inside {inside:.0%} of {len(every)}, median width {widths[len(widths) // 2]:.2f}", shares
    )
    assert len(every) >= 250
    assert inside >= 0.8, shares
    assert widths[len(widths) // 2] < 1.0, "an interval that says nothing is always right"


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_holds_for_simulated_runs_too(seed: int) -> None:
    course = Course(mini_batches=600, workers=8, seed=seed)
    found = looks_at(list(events_of(course)))
    assert sum(is_inside for is_inside, _ in found) >= 0.8 * len(found)


def test_an_end_is_told_after_thirty_mini_batches_or_five_percent() -> None:
    for mini_batches, first in ((2000, 30), (200, 10), (20, 1)):
        state = RunState()
        told_at = None
        for event in events_of(Course(mini_batches=mini_batches)):
            state.apply(event)
            if told_at is None and progress.eta(state, state.at_ms + 500):
                told_at = state.done
        assert told_at == first


def running(state: RunState, name: str, mini_batch: int, since_ms: int) -> None:
    state.apply(ev.WorkerStarted(state.at_ms, name, "n0", 1))
    row = (name, "running", mini_batch, since_ms)
    state.apply(ev.NodeSampled(state.at_ms, "n0", (row,)))


def test_a_straggler_runs_three_times_as_long_as_nearly_all_others() -> None:
    state = RunState()
    for event in events_of(Course(mini_batches=100)):
        if isinstance(event, ev.StateEntered) and event.state == "Finalizing":
            break
        state.apply(event)
    usual = progress.usual_s(state)
    assert usual is not None
    assert 0.6 < usual <= 0.7
    now = state.at_ms
    for worker in state.workers.values():
        worker.phase = "waiting"
    running(state, "slow", 7, now - 2200)
    running(state, "well", 8, now - 1700)
    named = progress.stragglers(state, list(state.workers.values()), now)
    assert [(row["worker"], row["mini_batch"]) for row in named] == [("slow", 7)]
    assert progress.stragglers(RunState(), [], 0) == []


def test_a_call_that_has_ended_since_its_worker_was_looked_at_is_no_straggler() -> None:
    state = RunState()
    state.apply(ev.RunStarted(0, 1, 1, "here"))
    state.apply(ev.WorkerStarted(0, "n0w0", "n0", 7))
    for k in range(100):
        state.apply(ev.AttemptSucceeded(k, 1, "n0w0", 10 * k, 300_000, 1, 1, 1, 1, 0, 10, 0))
    looked = ("n0w0", "running", 100, 900)
    state.apply(ev.NodeSampled(1000, "n0", (looked,), calls=(("n0w0", 5, 0),)))
    late = 900 + 1500
    workers = list(state.workers.values())
    (row,) = progress.stragglers(state, workers, late)
    assert (row["mini_batch"], row["for_s"]) == (100, 1.5)
    state.apply(ev.AttemptSucceeded(100, 1, "n0w0", 1200, 300_000, 1, 1, 1, 1, 0, 10, 0))
    assert progress.stragglers(state, workers, late) == []


def test_a_budget_counts_what_it_limits() -> None:
    state = RunState(planned=200, plan_finished=True, failed=3, items_failed=15)
    made = record(
        limits={"error_threshold": 20, "allowed_failed_count": 5, "allowed_failed_percent": 2.0}
    )
    told = [(b["limit"], b["used"], b["allowed"]) for b in progress.budgets(state, made)]
    assert told == [
        ("error_threshold", 15, 20), ("allowed_failed_count", 3, 5),
        ("allowed_failed_percent", 3, 4),
    ]  # fmt: skip
    none = record(limits={"error_threshold": -1, "allowed_failed_percent": 100.0})
    assert progress.budgets(state, none) == []


def test_a_resumed_run_counts_from_where_it_was_taken_up() -> None:
    state = RunState()
    for event in events_of(Course(mini_batches=100, fails=lambda k, _: k == 50)):
        state.apply(event)
    assert state.is_final
    at = state.at_ms + 60_000
    state.apply(ev.RunStarted(at, 1, 2, "here"))
    state.apply(ev.RunResumed(at, True, 1, ""))
    assert (state.done, state.retrying) == (99, 1)
    assert progress.rate(state, at + 1000, is_live=True) == (0.0, 0.0, 0.0)
    state.apply(ev.AttemptSucceeded(50, 4, "n0w0", at + 2000, 2_000_000, 5, 5, 5, 1, 0, 1, 0))
    per_second, items_per_second, _ = progress.rate(state, at + 2000, is_live=True)
    assert [per_second, items_per_second] == pytest.approx([0.5, 2.5])


def test_a_replaced_worker_counts_its_restarts() -> None:
    state = RunState()
    state.apply(ev.WorkerStarted(1, "n0w0", "n0", 1))
    state.apply(ev.WorkerLost(2, "n0w0", "timeout"))
    state.apply(ev.WorkerStarted(3, "n0w1", "n0", 2))
    state.apply(ev.WorkerStarted(3, "n1w0", "n1", 3))
    state.apply(ev.WorkerLost(4, "n0w1", "timeout"))
    state.apply(ev.WorkerStarted(5, "n0w2", "n0", 4))
    assert {w.worker: w.restarts for w in state.workers.values()} == {"n1w0": 0, "n0w2": 2}


def code_of(character: str) -> int:
    code = ord(character) - 35
    return code - (ord(character) > 92)


@given(st.lists(st.sampled_from([LEFT, SUCCEEDED, FAILED, RETRYING]), min_size=1, max_size=3000))
def test_a_grid_says_of_every_mini_batch_what_it_is(statuses: list[int]) -> None:
    state = RunState(planned=len(statuses) + 5, statuses=bytearray(statuses))
    cells = grid(state, [0])
    assert len(cells["cells"]) <= 1024
    assert len(cells["cells"]) * cells["per_cell"] >= state.planned
    size = cells["per_cell"]
    for index, character in enumerate(cells["cells"]):
        part = [*statuses, *[LEFT] * 5][index * size : (index + 1) * size]
        level, kinds = code_of(character) % LEVELS, code_of(character) // LEVELS
        over = part.count(SUCCEEDED) + part.count(FAILED)
        assert (level == LEVELS - 1) == (over == len(part))
        assert (kinds & 1 > 0) == (FAILED in part)
        assert (kinds & 2 > 0) == (RETRYING in part)
        assert (kinds & 4 > 0) == (index == 0)


def test_a_grid_costs_the_same_for_a_million() -> None:
    state = RunState(planned=1_000_000, statuses=bytearray([SUCCEEDED]) * 600_000)
    cells = grid(state, [600_001])
    assert (cells["per_cell"], len(cells["cells"])) == (1024, 977)
    part = grid(state, [600_001], 585 * 1024, 1024)
    assert (part["per_cell"], len(part["cells"])) == (1, 1024)
    assert code_of(part["cells"][600_001 - 585 * 1024]) == 4 * LEVELS
    assert grid(state, [], 2_000_000, 5)["cells"] == ""


def test_the_lanes_hold_what_ran_lately_and_join_what_is_short() -> None:
    state = RunState()
    for event in events_of(Course(mini_batches=3000, duration_s=lambda k, _r: 0.001 + (k == 2900))):
        state.apply(event)
    _, shown = timeline(state, list(state.workers.values()), state.at_ms)
    bars = [bar for lane in shown for bar in lane["bars"]]
    assert sum(bar[3] for bar in bars) >= 100
    assert max(bar[3] for bar in bars) > 10
    (long,) = [bar for bar in bars if bar[1] > 900]
    assert long[2:] == [2900, 1, SUCCEEDED]


def test_a_timeline_begins_where_its_bars_do() -> None:
    state = RunState()
    for event in events_of(Course(mini_batches=390, duration_s=lambda _k, _r: 0.3)):
        state.apply(event)
    since_ms, shown = timeline(state, list(state.workers.values()), state.at_ms)
    first = [lane["bars"][0] for lane in shown]
    assert since_ms > 0
    assert all(start <= since_ms + 600 for start, *_ in first), "no lane is empty for want of room"
    assert all(start + length >= since_ms for start, length, *_ in first)


def test_what_a_worker_uses_keeps_its_place_in_time() -> None:
    state = RunState()
    state.apply(ev.WorkerStarted(0, "w", "n0", 1))
    for second, cpu in ((2, 50), (4, 100), (30, 0)):
        row = ("w", "running", 1, 0, cpu, 100 + second, -1, -1)
        state.apply(ev.NodeSampled(second * 1000, "n0", (row,)))
    told = uses(state.workers["w"], 41_000)
    assert (told["cpu_percent"], told["memory_mb"], told["gpu_percent"]) == (0, 130, None)
    assert len(told["cpu"]) == 20
    assert told["cpu"][0] == "W"
    assert set(told["cpu"][1:14]) == {"_"}
    assert set(told["cpu"][15:]) == {"0"}
    assert told["gpu"] == ""
