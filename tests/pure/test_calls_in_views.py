"""The figures about calls agree with the ledger of the server: numpy, pandas, and simulated costs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parallelrun_jupyter.client.run import Run
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.call_events import CallsHeld, CallsLimited, CallsSpent
from parallelrun_jupyter.runs.journal.failure_groups import FailureGroup
from parallelrun_jupyter.runs.journal.files import read_state, write_state
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.calls import Calls
from parallelrun_jupyter.runs.snapshot.hints import hint_of
from parallelrun_jupyter.runs.snapshot.mini_batches import _CHARS, LEVELS
from parallelrun_jupyter.runs.snapshot.snapshot import LIMIT_CHARS, Snapshot, take_snapshot
from parallelrun_jupyter.views import call_texts, run_list, text
from parallelrun_jupyter.views.html import html_view
from tests import call_journals
from tests.call_journals import Call, CallCourse, events_of
from tests.journals import CREATED, record


def state_at(course: CallCourse, at_s: float) -> RunState:
    state = RunState()
    state.apply_all(event for event in events_of(course) if event.at_ms <= at_s * 1000)
    return state


def snapshot_of(state: RunState, at_s: float, folder: Path) -> Snapshot:
    return take_snapshot(RunFolder(folder), record(), state, CREATED + at_s)


@pytest.fixture
def shown_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Snapshot]:
    """Return a function that takes the snapshot of a course at a moment, as of a live run."""
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)
    return lambda course, at_s: snapshot_of(state_at(course, at_s), at_s, tmp_path)


def calls_in(snapshot: Snapshot) -> Calls:
    assert snapshot["calls"] is not None
    return snapshot["calls"]


def retried(k: int, attempt: int) -> str:
    """Every tenth call is refused once, every 25th fails once, and one fails for good."""
    if k % 10 == 3 and attempt == 1:
        return "throttled"
    if k == 7:
        return "timeout"
    return "failed" if k % 25 == 0 and attempt == 1 else "succeeded"


def test_a_run_without_limits_has_calls_once_they_spend(tmp_path: Path) -> None:
    state = RunState()
    state.apply_all([ev.RunStarted(0, 1, 1, "here"), ev.PlanFinished(1, 10, 10)])
    snapshot = snapshot_of(state, 1.0, tmp_path)
    assert snapshot["calls"] is None
    assert "calls" not in text.text_view(snapshot)
    state.apply(CallsSpent(2, ((0, 1, 5, 10**9),)))
    shown = text.text_view(snapshot_of(state, 1.0, tmp_path))
    assert "5 tokens" in shown
    assert "1 USD" in shown


@pytest.mark.parametrize("seed", range(4))
def test_latencies_are_those_of_numpy_within_a_percent_and_a_half(
    seed: int, shown_at: Callable[..., Snapshot]
) -> None:
    spread = (lambda rng: rng.lognormvariate(-1.5, 0.8), lambda rng: rng.uniform(0.001, 30))
    course = CallCourse(items=1500, seed=seed, latency_s=spread[seed % 2], outcome=retried)
    calls = calls_in(shown_at(course, 1e6))
    took = [c.end_s - c.start_s for c in course.ledger if c.outcome == "succeeded"]
    for name, share in (("latency_s", 50), ("latency_95_s", 95)):
        truth = np.percentile(took, share, method="inverted_cdf")
        assert calls[name] == pytest.approx(truth, rel=0.015)  # type: ignore[literal-required]


def test_sums_are_those_of_the_ledger_at_any_moment(shown_at: Callable[..., Snapshot]) -> None:
    course = CallCourse(rate_per_s=40, items=400, outcome=retried)
    for at_s in (2.0, 5.5, 9.0, 1e6):
        calls = calls_in(shown_at(course, at_s))
        ledger = pd.DataFrame(course.ledger)
        ended = ledger[(ledger.end_s * 1000).round() <= at_s * 1000]
        assert calls["tokens"] == ended.tokens.sum()
        assert calls["usd"] == pytest.approx(ended.usd.sum(), rel=1e-12)
        assert calls["throttled"] == (ended.outcome == "throttled").sum()


@pytest.mark.parametrize("rate_per_s", [4.0, 40.0, 300.0])
def test_the_rate_is_that_of_a_stop_watch(
    rate_per_s: float, shown_at: Callable[..., Snapshot]
) -> None:
    # Calls that are refused count: the server answers them as well. At 300/s, the kept attempts are
    # those of less than two seconds.
    course = CallCourse(items=int(rate_per_s * 40), concurrency=400, rate_per_s=rate_per_s,
                        outcome=retried)  # fmt: skip
    for at_s in (20.0, 30.0):
        calls = calls_in(shown_at(course, at_s))
        ends = [c.end_s for c in course.ledger if at_s - 10 < c.end_s <= at_s]
        assert calls["rate_per_s"] == pytest.approx(len(ends) / 10, rel=0.1)
        assert calls["rate_limit_per_s"] == rate_per_s
        spent = sum(c.tokens for c in course.ledger if at_s - 9 <= c.end_s <= at_s)
        assert calls["tokens_per_s"] == pytest.approx(spent / 9, rel=0.02)


def test_at_the_start_rates_are_of_the_time_since_the_first_call(
    shown_at: Callable[..., Snapshot],
) -> None:
    course = CallCourse(items=400, rate_per_s=40, latency_s=lambda _rng: 0.1)
    calls = calls_in(shown_at(course, 3.5))
    began = min(c.start_s for c in course.ledger)
    ended = [c for c in course.ledger if c.end_s <= 3.5]
    assert calls["rate_per_s"] == pytest.approx(len(ended) / (3.5 - began), rel=0.02)
    assert calls["tokens_per_s"] == pytest.approx(
        sum(c.tokens for c in ended) / (3.5 - began), rel=0.02
    )


def test_a_run_that_has_ended_has_the_rates_of_all_of_it(tmp_path: Path) -> None:
    course = CallCourse(items=300, rate_per_s=40, outcome=retried)
    calls = calls_in(snapshot_of(state_at(course, 1e6), 1e6, tmp_path))
    took = course.ledger[-1].end_s + 0.05
    assert calls["rate_per_s"] == pytest.approx(len(course.ledger) / took, rel=0.001)
    assert calls["in_flight"] == calls["waiting"] == calls["held_until_s"] == 0
    assert calls["held_by"] == ""
    assert calls["forecast_low_usd"] is None


def test_calls_at_the_same_time_are_one_bar_of_the_timeline(
    shown_at: Callable[..., Snapshot],
) -> None:
    course = CallCourse(items=300, workers=2, concurrency=10,
                        latency_s=lambda rng: rng.lognormvariate(0.7, 0.4))  # fmt: skip
    snapshot = shown_at(course, 15.0)
    for lane in snapshot["lanes"]:
        ended = [c for c in course.ledger if c.worker == lane["worker"] and c.end_s <= 15.0]
        assert sum(bar[3] for bar in lane["bars"]) == len(ended) > 40
        assert len(lane["bars"]) == 1
        start_ms, length_ms, *_ = lane["bars"][0]
        assert start_ms == pytest.approx(min(c.start_s for c in ended) * 1000, abs=2)
        assert start_ms + length_ms == pytest.approx(max(c.end_s for c in ended) * 1000, abs=2)


def _is_running(cell: str) -> bool:
    return _CHARS.index(cell) >= 4 * LEVELS


def test_calls_in_flight_are_those_of_the_server_when_it_was_looked_at(
    shown_at: Callable[..., Snapshot],
) -> None:
    course = CallCourse(
        items=600, workers=2, concurrency=8, latency_s=lambda rng: rng.uniform(1, 2)
    )
    snapshot = shown_at(course, 12.0)
    calls = calls_in(snapshot)
    looked = 11.5
    flying = sum(c.start_s <= looked < c.end_s for c in course.ledger)
    assert calls["in_flight"] == snapshot["running"] == flying == 16
    assert calls["concurrency"] == 16
    assert [row["calls"] for row in snapshot["workers"]] == [[8, 8], [8, 8]]
    # Only the oldest call of each worker is known: the grid shows no others.
    running = [k for k, cell in enumerate(snapshot["grid"]["cells"]) if _is_running(cell)]
    oldest: dict[str, int] = {}
    for call in sorted(course.ledger, key=lambda call: call.start_s):
        if call.start_s <= looked < call.end_s:
            oldest.setdefault(call.worker, call.mini_batch)
    assert running == sorted(oldest.values())
    assert snapshot["succeeded"] + snapshot["left"] == snapshot["mini_batches"]
    shown = text.text_view(snapshot)
    assert "calls: 16 in flight of 16 · 16 waiting · " in shown
    assert "n0w0 " in shown
    assert "in run(), 8 calls in flight, 8 waiting" in shown


def test_waiting_for_a_limit_is_a_share_of_the_time_of_the_driver(
    shown_at: Callable[..., Snapshot],
) -> None:
    course = CallCourse(items=400, rate_per_s=40)
    snapshot = shown_at(course, 8.2)
    calls = calls_in(snapshot)
    assert calls["held_by"] == "rate"
    waited = (8.2 - call_journals.START_S) / 8.2
    assert calls["held_shares"] == {"rate": pytest.approx(waited, rel=0.01)}
    assert call_texts.call_notes(snapshot) == ["Calls wait for rate_limit = 40/s 93 % of the time."]


def held(*events: ev.Event, at_ms: int = 20_000) -> RunState:
    state = RunState()
    state.apply_all([
        ev.RunStarted(0, 1, 1, "here"),
        CallsLimited(0, 50, 5.0, 1500.0, 20_000_000_000),
        ev.WorkerStarted(10, "n0w0", "n0", 7),
        ev.PlanFinished(500, 100, 100),
        ev.StateEntered(500, "Running"),
        *events,
        ev.NodeSampled(at_ms, "n0", (("n0w0", "running", -1, 500),), calls=(("n0w0", 12, 3),)),
    ])  # fmt: skip
    return state


def test_the_share_of_a_second_driver_is_of_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)
    state = held(
        CallsHeld(9000, "rate", 8000, 0, 0),
        ev.RunStarted(10_000, 1, 2, "here"),
        CallsLimited(10_000, 50, 5.0, 0.0, 0),
        CallsHeld(12_000, "rate", 0, 0, 0),
        CallsHeld(15_000, "", 2500, 0, 0),
    )
    assert calls_in(snapshot_of(state, 20.0, tmp_path))["held_shares"] == {"rate": 0.25}


def test_the_time_that_calls_wait_is_told_apart_by_its_causes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)
    state = held(
        CallsHeld(1000, "server", 0, 6000, 0),
        CallsHeld(6000, "rate", 5000, 0, 0),
        CallsHeld(9000, "", 8000, 0, 0),
        CallsHeld(16_000, "tokens", 8000, 0, 0),
    )
    snapshot = snapshot_of(state, 20.0, tmp_path)
    assert calls_in(snapshot)["held_shares"] == {"server": 0.25, "rate": 0.15, "tokens": 0.2}
    assert call_texts.call_notes(snapshot) == [
        "Calls wait for the server's own limit 25 % of the time.",
        "Calls wait for token_limit = 1,500/s 20 % of the time.",
        "Calls wait for rate_limit = 5/s 15 % of the time.",
    ]


def test_waits_between_two_reports_have_the_cause_of_those_before_or_the_only_limit() -> None:
    state = held(CallsHeld(2000, "", 300, 0, 0), CallsHeld(5000, "server", 300, 0, 0),
                 CallsHeld(6000, "", 1300, 0, 0), CallsHeld(9000, "", 1500, 0, 0))  # fmt: skip
    assert state.calls is not None
    assert state.calls.held_ms == {"rate": 300, "server": 1200}


def test_a_pause_of_the_server_is_counted_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)
    snapshot = snapshot_of(held(CallsHeld(19_000, "server", 400, 32_000, 12)), 20.0, tmp_path)
    assert calls_in(snapshot)["held_until_s"] == 12.0
    assert call_texts.call_notes(snapshot)[:2] == [
        "The server asked for a pause (429 or 503): calls go on in 12 s.",
        "The server was overloaded: at most 12 calls in flight for now.",
    ]
    line = call_texts.calls_line(snapshot)
    assert line.startswith("calls: 12 in flight of 12 · 3 waiting · 0 of 5 calls/s · ")
    assert "wait for: server's pause" in line


def test_a_spent_budget_is_told_with_its_remedy(tmp_path: Path) -> None:
    spent = tuple((k, 1, 100, 200_000_000) for k in range(100))
    ended = [
        ev.AttemptSucceeded(k, 1, "n0w0", 6000, 200_000, 1, 1, 1, 1, 0, 10, 0) for k in range(60)
    ]
    state = held(
        CallsSpent(5000, spent), *ended, CallsHeld(6000, "budget", 400, 0, 0),
        ev.RunFinished(20_000, "Canceled", "its budget of 20 USD is spent: 20.00 USD for 100 calls", "", 0), at_ms=19_000,
    )  # fmt: skip
    snapshot = snapshot_of(state, 30.0, tmp_path)
    assert calls_in(snapshot)["held_by"] == "budget"
    assert not snapshot["can_resume"]  # with the same budget it would end at once
    shown = text.text_view(snapshot)
    assert "20 USD of 20, forecast " in shown
    run_id = snapshot["run_id"]
    assert (
        f"to resume with a larger budget: run.resume(budget=...), parallelrun resume {run_id} "
        "--budget USD"
    ) in shown
    page = html_view(snapshot, CREATED)
    assert "its budget of 20 USD is spent" in page
    assert "20 USD of 20, forecast " in page


def test_calls_of_workers_that_make_one_at_a_time_are_the_workers_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)
    state = RunState()
    state.apply_all([
        ev.RunStarted(0, 1, 1, "here"),
        CallsLimited(0, 1, 5.0, 0.0, 0),
        *(ev.WorkerStarted(10, f"n0w{k}", "n0", 7) for k in range(3)),
        ev.PlanFinished(500, 100, 100),
        ev.NodeSampled(600, "n0", (("n0w0", "running", 1, 500), ("n0w1", "running", 2, 510))),
    ])  # fmt: skip
    snapshot = snapshot_of(state, 1.0, tmp_path)
    calls = calls_in(snapshot)
    assert (calls["in_flight"], calls["waiting"], calls["concurrency"]) == (2, 0, 3)
    assert [row["calls"] for row in snapshot["workers"]] == [[], [], []]


def test_a_budget_is_told_until_the_calls_in_flight_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)
    events = [CallsHeld(1000, "budget", 0, 0, 0)]
    snapshot = snapshot_of(held(*events), 19.1, tmp_path)
    few = "The budget of 20 USD allows few calls at once until their cost is known."
    assert few in text.text_view(snapshot)
    spent = CallsSpent(5000, ((0, 1, 100, 19_500_000_000),))
    snapshot = snapshot_of(held(*events, spent), 19.1, tmp_path)
    nearly = (
        "The budget of 20 USD is nearly spent: calls in flight may need the rest, and others wait."
    )
    assert nearly in text.text_view(snapshot)


KINDS_OF_COST: dict[str, Callable[[random.Random, float], float]] = {
    "alike": lambda rng, _s: rng.gauss(1.0, 0.1),
    "skewed": lambda rng, _s: rng.lognormvariate(0.0, 0.5),
    "as long as the call": lambda _rng, took_s: took_s,
}


@pytest.mark.parametrize("kind", KINDS_OF_COST)
@pytest.mark.parametrize("share", [0.1, 0.2, 0.6])
def test_the_final_cost_lies_in_the_forecast_in_nine_of_ten_runs(
    kind: str, share: float, shown_at: Callable[..., Snapshot]
) -> None:
    inside, told, seeds = 0, 0, 50
    for seed in range(seeds):
        course = CallCourse(items=400, concurrency=20, seed=seed, usd=KINDS_OF_COST[kind],
                            outcome=retried)  # fmt: skip
        ledger = call_journals.calls_of(course)
        at_s = ledger[int(len(ledger) * share)].end_s
        calls = calls_in(shown_at(course, at_s))
        low, high = calls["forecast_low_usd"], calls["forecast_high_usd"]
        if low is not None and high is not None:
            told += 1
            inside += low <= sum(call.usd for call in ledger) <= high
    assert told > seeds * 0.9
    assert inside / told >= 0.9


def test_a_forecast_needs_five_calls_a_plan_and_twice_as_many_calls_as_are_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = "parallelrun_jupyter.runs.snapshot.snapshot.driver_is_alive"
    monkeypatch.setattr(alive, lambda *_: True)

    def told(ended: int, in_flight: int, *, is_planned: bool = True) -> bool:
        state = RunState()
        plan = ev.PlanFinished if is_planned else ev.MiniBatchesPlanned
        state.apply_all([
            ev.RunStarted(0, 1, 1, "here"),
            CallsLimited(0, 50, 0.0, 0.0, 0),
            ev.WorkerStarted(10, "n0w0", "n0", 7),
            plan(500, 100, 100),
            ev.NodeSampled(600, "n0", (("n0w0", "running", -1, 500),),
                           calls=(("n0w0", in_flight, 0),)),
            *(CallsSpent(700, ((k, 1, 0, 10**9),)) for k in range(ended)),
            *(ev.AttemptSucceeded(k, 1, "n0w0", 700, 9, 1, 1, 1, 1, 0, 1, 0) for k in range(ended)),
        ])  # fmt: skip
        calls = calls_in(snapshot_of(state, 1.0, tmp_path))
        assert (calls["forecast_low_usd"] is None) == (calls["forecast_high_usd"] is None)
        return calls["forecast_low_usd"] is not None

    assert [told(4, 2), told(5, 2), told(6, 3), told(6, 4)] == [False, True, True, False]
    assert not told(50, 3, is_planned=False)


def test_a_snapshot_with_calls_stays_within_its_limit(shown_at: Callable[..., Snapshot]) -> None:
    course = CallCourse(items=3000, workers=60, outcome=retried, rate_per_s=900, tokens_per_s=1e6,
                        budget_usd=1e6)  # fmt: skip
    snapshot = shown_at(course, 3.0)
    assert len(json.dumps(snapshot)) <= LIMIT_CHARS
    assert len(json.dumps(snapshot["calls"])) < 700


def test_the_cached_fold_has_the_same_calls(tmp_path: Path) -> None:
    folder = call_journals.write_run(tmp_path, CallCourse(items=100, rate_per_s=40), 2.0)
    state, _ = read_state(folder)
    state.apply_all(event for event in events_of(CallCourse(items=100, rate_per_s=40)) if event.at_ms <= 2000)  # fmt: skip
    write_state(folder, state, 7)
    again, offset = read_state(folder)
    assert offset == 7
    assert again.calls == state.calls
    assert again.calls is not None
    assert again.calls.recent_tokens


# run.calls()


def test_calls_are_those_of_the_ledger(tmp_path: Path) -> None:
    course = CallCourse(items=300, workers=2, concurrency=10, outcome=retried)
    run = Run(call_journals.write_run(tmp_path, course))
    frame = run.calls()
    truth = pd.DataFrame(course.ledger, columns=list(Call._fields))
    assert len(frame) == len(truth)
    merged = frame.merge(truth, on=["mini_batch", "attempt"], suffixes=("", "_true"))
    assert len(merged) == len(truth)
    for name in ("item", "worker", "outcome", "tokens"):
        assert (merged[name] == merged[f"{name}_true"]).all(), name
    assert np.allclose(merged.usd, merged.usd_true, rtol=0, atol=1e-12)
    assert np.allclose(merged.seconds, merged.end_s - merged.start_s, rtol=0, atol=1e-6)
    ended_s = merged.ended_at.astype("int64") / 1e6 - CREATED  # pandas keeps microseconds
    assert np.allclose(ended_s, merged.end_s, rtol=0, atol=0.0006)
    lasted_s = (merged.ended_at - merged.started_at).dt.total_seconds()
    assert np.allclose(lasted_s, merged.seconds, rtol=0, atol=1e-6)
    assert frame.ended_at.is_monotonic_increasing
    assert str(frame.ended_at.dt.tz) == "UTC"
    assert frame.usd.sum() == pytest.approx(calls_in(run.snapshot())["usd"])
    assert frame.groupby("outcome").size().to_dict() == truth.groupby("outcome").size().to_dict()


def test_a_run_of_plain_mini_batches_has_calls_without_cost(tmp_path: Path) -> None:
    from tests import journals

    folder = journals.write_run(tmp_path, journals.Course(mini_batches=20, fails=lambda k, a: k == 4 and a == 1))  # fmt: skip
    frame = Run(folder).calls()
    assert len(frame) == 21
    assert list(frame[frame.mini_batch == 4].outcome) == ["failed", "succeeded"]
    assert list(frame[frame.mini_batch == 4].item) == ["/data/digits/000020.png"] * 2
    assert frame.usd.sum() == frame.tokens.sum() == 0


def test_a_run_without_calls_has_an_empty_table_with_the_same_types(tmp_path: Path) -> None:
    course = CallCourse(items=5)
    folder = call_journals.write_run(tmp_path, course)
    full = Run(folder).calls()
    folder.journal.write_text("")
    empty = Run(folder).calls()
    assert empty.empty
    assert dict(empty.dtypes) == dict(full.dtypes)


def attempts(*events: ev.Event, tmp_path: Path) -> pd.DataFrame:
    from parallelrun_jupyter.runs.journal.lines import encode

    folder = call_journals.write_run(tmp_path, CallCourse(items=5))
    folder.journal.write_text("".join(encode(event) + "\n" for event in events))
    return Run(folder).calls()


def test_what_a_call_spends_in_several_reports_or_after_its_end_is_its_cost(tmp_path: Path) -> None:
    frame = attempts(
        CallsSpent(1, ((0, 1, 5, 10), (1, 1, 1, 1))),
        CallsSpent(2, ((0, 1, 7, 20),)),
        ev.AttemptSucceeded(0, 1, "n0w0", 3, 1000, 1, 1, 1, 1, 0, 1, 0),
        CallsSpent(4, ((0, 1, 100, 300),)),
        tmp_path=tmp_path,
    )  # fmt: skip
    assert frame.to_dict("records")[0] | {"tokens": 112, "usd": 330e-9} == frame.to_dict("records")[0]  # fmt: skip
    assert len(frame) == 1  # the call of mini-batch 1 has not ended


def test_an_attempt_whose_items_have_answers_of_their_own_is_one_call(tmp_path: Path) -> None:
    failed = ("exception", "ValueError", "bad", "ValueError at a.py:1 in run", "")
    frame = attempts(
        ev.ItemsSucceeded(0, 1, "n0w0", 10, 4000, 2, 1, 4, 1, 1, 0, 1, 0),
        ev.ItemsSucceeded(0, 1, "n0w0", 11, 0, 3, 1, 4, 1, 1, 1, 1, 0),
        ev.ItemsFailed(0, 1, "n0w0", 12, 2, *failed, ((0, 2),), ("a",), 4),
        ev.ItemsFailed(1, 1, "n0w0", 20, 1, *failed, ((0, 1),), ("a",), 1),
        ev.AttemptFailed(2, 1, "n0w0", 30, 9, 1, True, "load_timeout", *failed[1:]),
        ev.AttemptSucceeded(3, 1, "", 40, 0, 1, 1, 1, 1, 0, 1, 0),  # taken from another run
        tmp_path=tmp_path,
    )
    assert frame[["mini_batch", "outcome"]].to_numpy().tolist() == [
        [0, "succeeded"], [1, "failed"], [2, "timeout"],
    ]  # fmt: skip
    assert frame.seconds.isna().tolist() == frame.started_at.isna().tolist() == [False, True, False]


# lists, hints and words


def row(run_id: str, usd: float) -> dict[str, object]:
    return {
        "run_id": run_id, "name": "ask", "created_at": CREATED, "state": "Completed", "reason": "",
        "elapsed_s": 5, "items": 4, "items_left": 0, "items_failed": 0, "plan_finished": True,
        "size_bytes": 10, "usd": usd,
    }  # fmt: skip


def test_a_list_has_a_column_of_costs_if_any_run_has_spent() -> None:
    assert "COST" not in run_list.table([row("r1", 0.0), row("r2", 0.0)])
    head, first, second, _ = run_list.table([row("r1", 1.239), row("r2", 0.0)]).splitlines()
    at = head.index("COST")
    assert first[at:].startswith("1.24 USD")
    assert second[at : at + 8].strip() == ""
    assert head.index("DONE") < at < head.index("SIZE")


@pytest.mark.parametrize(
    ("rate_per_s", "words"),
    [(0.0, 'Give its limit, as in rate_limit="300/min"'), (5.0, "A lower rate_limit avoids")],
)
def test_calls_that_a_server_refused_have_a_hint(rate_per_s: float, words: str) -> None:
    group = FailureGroup("E at a.py:1 in run", "throttled", "E", "429 Too Many Requests", "", 0)
    hint = hint_of(record(calls={"rate_per_s": rate_per_s}), group)
    assert hint.startswith("The server said 429 or 503")
    assert "tried again without using up tries" in hint
    assert words in hint
    assert not hint_of(record(), FailureGroup(group.group, "exception", "E", group.message, "", 0))


@pytest.mark.parametrize(
    ("per_s", "words"),
    [(5.0, "5/s"), (100 / 60, "100/min"), (10_000 / 3600, "10,000/h"), (1500.0, "1,500/s"),
     (1.23456, "1.2/s"), (0.5, "30/min"), (1 / 7200, "0.5/h")],
)  # fmt: skip
def test_limits_are_written_in_the_unit_in_which_they_are_whole(per_s: float, words: str) -> None:
    assert call_texts.format_rate(per_s) == words


@pytest.mark.parametrize(
    ("usd", "words"),
    [(0, "0"), (20.0, "20"), (1234.5, "1,234.50"), (1.239, "1.24"), (0.5, "0.50"), (0.0042, "0.0042"),
     (0.000012345, "0.000012")],
)  # fmt: skip
def test_amounts_have_cents_and_small_ones_two_digits(usd: float, words: str) -> None:
    assert call_texts.format_usd(usd) == words


def test_durations_of_calls_are_short() -> None:
    shown = [call_texts.format_latency(s) for s in (0.0042, 0.21, 0.9994, 0.9996, 1.34, 65)]
    assert shown == ["4.2 ms", "210 ms", "999 ms", "1.0 s", "1.3 s", "1:05"]
