"""The rate and the elapsed time on the screen, against a stop-watch held beside the journal."""

from __future__ import annotations

import bisect
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.snapshot import progress
from tests.journals import ITEMS, Course, events_of
from tests.pure.test_progress import RECORDED, recorded


class StopWatch:
    """Counts the completions of a journal by itself, without the fold."""

    def __init__(self, events: list[ev.Event]) -> None:
        self.over = sorted(
            (event.at_ms, event.items)
            for event in events
            if isinstance(event, ev.AttemptSucceeded)
            or (isinstance(event, ev.AttemptFailed) and event.is_last)
        )
        self.times = [at for at, _ in self.over]

    def rate(self, from_ms: float, until_ms: float) -> float:
        first, last = (bisect.bisect_right(self.times, at) for at in (from_ms, until_ms))
        return sum(items for _, items in self.over[first:last]) / max(until_ms - from_ms, 1) * 1000

    def wave(self) -> int:
        """Return the most items that end within a tenth of a second, or at once on all workers."""
        return max(
            sum(items for _, items in self.over[k : bisect.bisect_right(self.times, at + 100)])
            for k, at in enumerate(self.times)
        )


def folded_until(events: list[ev.Event], at_ms: float) -> RunState:
    state = RunState()
    for event in events:
        if event.at_ms > at_ms:
            break
        state.apply(event)
    return state


def steady_rates(events: list[ev.Event], moments: list[int]) -> list[tuple[int, float, float]]:
    """Return (moment, items per second, seconds of the window) as a live view would show them."""
    looks = []
    state = RunState()
    for event in events:
        while moments and event.at_ms > moments[0]:
            pace = progress.pace(state, moments[0], is_live=True)
            looks.append((moments.pop(0), pace["items_per_s"], pace["rate_window_s"]))
        state.apply(event)
    return looks


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem.removesuffix(".jsonl"))
def test_the_rate_of_a_recorded_run_is_what_was_done_in_its_window(path: Path) -> None:
    events = recorded(path)
    watch = StopWatch(events)
    moments = list(range(watch.times[0] + 500, watch.times[-1], 370))
    looks = steady_rates(events, moments)
    for at_ms, rate, window_s in looks:
        seen = watch.rate(at_ms - window_s * 1000, at_ms)
        # The window may end at the last completion: one wave more or less is in a stop-watch's.
        slack = watch.wave() / window_s
        assert abs(rate - seen) <= max(0.5 * seen, slack), (at_ms, rate, seen, window_s)
    assert looks or watch.times[-1] - watch.times[0] < 1000


@given(
    workers=st.integers(1, 16),
    mean_s=st.floats(0.02, 40),
    spread=st.floats(0, 0.5),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_a_steady_run_shows_its_rate_at_any_time(
    workers: int, mean_s: float, spread: float, seed: int
) -> None:
    def takes(_: int, rng: random.Random) -> float:
        return mean_s * rng.uniform(1 - spread, 1 + spread)

    events = list(events_of(Course(min(3000, 40 * workers), workers, seed, takes, sampled_s=1e9)))
    end_ms = StopWatch(events).times[-workers - 1]
    true = workers * ITEMS / mean_s
    first = 400 + int(max(1.6 * mean_s * 1000, 1500))
    for at_ms, rate, _ in steady_rates(events, list(range(first, end_ms, max(1, end_ms // 60)))):
        assert true / 2 <= rate <= true * 1.5, (at_ms, rate, true)


def test_fast_first_seconds_are_forgotten() -> None:
    fast = Course(3000, 4, 0, lambda k, _rng: 0.004 if k < 2000 else 0.5, sampled_s=1e9)
    events = list(events_of(fast))
    turn_ms = next(
        event.at_ms for event in events
        if isinstance(event, ev.AttemptSucceeded) and event.mini_batch == 2010
    )  # fmt: skip
    for seconds in (12, 20, 40, 60):
        at_ms = turn_ms + seconds * 1000
        pace = progress.pace(folded_until(events, at_ms), at_ms, is_live=True)
        assert pace["items_per_s"] == pytest.approx(4 * ITEMS / 0.5, rel=0.1)
        assert pace["eta_s"] is not None
        left_s = (max(e.at_ms for e in events) - at_ms) / 1000
        assert pace["eta_s"] == pytest.approx(left_s, rel=0.1)


def test_a_run_that_stalls_loses_its_rate() -> None:
    events = list(events_of(Course(500, 4, sampled_s=1e9)))
    state = folded_until(events, 30_000)
    assert progress.pace(state, 30_000, is_live=True)["items_per_s"] == pytest.approx(40, rel=0.2)
    assert progress.pace(state, 50_000, is_live=True)["items_per_s"] == 0


@pytest.mark.parametrize("mini_batches", [1, 5, 60])
@pytest.mark.parametrize("takes_s", [0.00001, 0.003])
def test_a_run_under_a_second_has_the_rate_of_its_own_seconds(
    mini_batches: int, takes_s: float
) -> None:
    events = list(events_of(Course(mini_batches, 2, duration_s=lambda _k, _rng: takes_s)))
    state = RunState()
    state.apply_all(events)
    pace = progress.pace(state, state.at_ms, is_live=False)
    assert pace["elapsed_s"] == events[-1].at_ms / 1000
    assert pace["items_per_s"] == pytest.approx(mini_batches * ITEMS / pace["elapsed_s"])
    still = folded_until(events, events[-2].at_ms)
    live = progress.pace(still, still.at_ms + 10, is_live=True)
    assert live["items_per_s"] <= mini_batches * ITEMS / (still.at_ms / 1000)


def test_a_failed_run_has_the_rate_of_its_own_seconds() -> None:
    events = list(events_of(Course(40, 2, fails=lambda k, _: k == 3, duration_s=lambda k, _: 0.01)))
    state = RunState()
    state.apply_all(events[:-2])
    state.apply(ev.RunFinished(2000, "Failed", "5 items failed", "", 0))
    pace = progress.pace(state, 2000, is_live=False)
    assert pace["items_per_s"] == pytest.approx(state.items_done / 2.0)
    assert pace["rate_window_s"] == 2.0


def test_the_pause_before_a_resume_is_not_elapsed_time() -> None:
    events = list(events_of(Course(100, 4, fails=lambda k, _: k == 50)))
    state = RunState()
    state.apply_all(events)
    first_s = events[-1].at_ms / 1000
    a_day_later = events[-1].at_ms + 86_400_000
    state.apply(ev.RunStarted(a_day_later, 1, 2, "here"))
    state.apply(ev.RunResumed(a_day_later, True, 1, ""))
    pace = progress.pace(state, a_day_later + 2000, is_live=True)
    assert pace["elapsed_s"] == pytest.approx(first_s + 2)
    assert pace["at_s"] == (a_day_later + 2000) / 1000
    assert pace["items_per_s"] == 0
    state.apply(
        ev.AttemptSucceeded(50, 4, "n0w0", a_day_later + 4000, 2_000_000, 5, 5, 5, 2, 0, 1, 0)
    )
    live = progress.pace(state, a_day_later + 4000, is_live=True)
    assert live["items_per_s"] == pytest.approx(2.5)
    state.apply(ev.RunFinished(a_day_later + 5000, "Completed", "", "/o", 1))
    over = progress.pace(state, state.at_ms, is_live=False)
    assert over["elapsed_s"] == pytest.approx(first_s + 5)
    assert over["items_per_s"] == pytest.approx(500 / over["elapsed_s"])


def test_a_killed_driver_counts_until_its_last_word() -> None:
    state = RunState()
    state.apply(ev.RunStarted(0, 1, 1, "here"))
    state.apply(ev.NodeSampled(7000, "n0", ()))
    state.apply(ev.RunStarted(100_000, 1, 2, "here"))
    assert progress.pace(state, 103_000, is_live=True)["elapsed_s"] == 10


def test_the_rate_counts_what_runs_again_after_a_change_of_types_and_nothing_before() -> None:
    state = RunState()
    state.apply(ev.RunStarted(0, 1, 1, "host"))
    state.apply(ev.StateEntered(0, "Running"))
    state.apply(ev.PlanFinished(0, 2000, 2000))
    state.apply(ev.WorkerStarted(0, "n0w0", "n0", 7))
    state.apply(ev.WorkerReady(0, "n0w0", 1))

    def success(number: int, at_ms: int) -> ev.AttemptSucceeded:
        return ev.AttemptSucceeded(number, 1, "n0w0", at_ms, 10_000, 1, 1, 1, 0, 0, 1, 0)

    for number in range(1000):  # ten a second
        state.apply(success(number, 100 * (number + 1)))
    state.apply(ev.TypesChanged(100_000, "'x' is str, not int64"))
    for number in range(1000):
        state.apply(ev.RowsDropped(100_000, number, 0, 1, 1, 1, 1, ""))
    assert (state.succeeded, state.items_done, state.rows) == (0, 0, 0)
    for number in range(100):  # twenty a second
        at_ms = 100_000 + 50 * (number + 1)
        state.apply(success(number, at_ms))
        if number >= 20:
            pace = progress.pace(state, at_ms, is_live=True)
            assert pace["items_per_s"] == pytest.approx(20, rel=0.1)
        if number >= 60:
            assert pace["eta_s"] == pytest.approx((2000 - number) / 20, rel=0.15)
    assert state.throughput.elapsed_ms(105_000) == 105_000
