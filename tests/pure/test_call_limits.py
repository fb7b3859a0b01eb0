"""Calls that wait for a server: rate, tokens, budget, and what a server allows, in simulated time."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.engine.scheduling import actions as act
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.allocation import Pending
from parallelrun_jupyter.engine.scheduling.call_costs import FIRST_CALLS
from parallelrun_jupyter.engine.scheduling.call_limits import HORIZON_MS, CallLimits
from parallelrun_jupyter.engine.scheduling.call_window import (
    FIRST_PAUSE_MS,
    LONGEST_PAUSE_MS,
    CallWindow,
)
from parallelrun_jupyter.engine.scheduling.limits import Limits
from parallelrun_jupyter.engine.scheduling.range_allocator import RangeAllocator
from parallelrun_jupyter.engine.scheduling.tries import FREE_TRIES
from parallelrun_jupyter.runs.journal.call_events import CallsHeld, CallsLimited, CallsSpent
from parallelrun_jupyter.runs.journal.calls import CallsState
from parallelrun_jupyter.runs.journal.events import AttemptFailed, WarningRaised
from parallelrun_jupyter.runs.run_record import RunCalls
from tests.endpoint_bench import EndpointBench, Server, refusal, uniform
from tests.scheduler_bench import BAD, Bench, folded

USD = 1_000_000_000


def most_within(starts: list[float], window_ms: float) -> int:
    """Return the largest number of starts in any window."""
    starts = sorted(starts)
    return max(bisect_right(starts, at + window_ms) - k for k, at in enumerate(starts))


def costs(draw: Callable[[random.Random], float], seed: int = 0) -> Callable[[int], float]:
    """Return the cost of each mini-batch, the same for each attempt."""
    return lambda mini_batch: draw(random.Random(seed * 1_000_003 + mini_batch))


# Rate


@pytest.mark.parametrize(("per_s", "nodes"), [(5, 1), (50, 1), (300, 1), (300, 2), (50, 3)])
def test_a_rate_is_used_and_never_exceeded(per_s: int, nodes: int) -> None:
    server = Server(uniform(150, 250), per_s=per_s)
    bench = EndpointBench(
        RunCalls(concurrency=200, rate_per_s=per_s), server, 20 * per_s, nodes=nodes
    )
    bench.run()
    assert bench.end.state == "Completed"
    seconds = (server.starts[-1] - server.starts[0]) / 1000
    assert 0.95 * per_s <= (len(server.starts) - 1) / seconds <= per_s
    assert server.refused == []
    for window_s in (0.1, 1, 7):
        assert most_within(server.starts, window_s * 1000) <= per_s * window_s + 1


def test_a_pause_of_the_inputs_is_not_caught_up() -> None:
    limits = CallLimits(RunCalls(rate_per_s=100))
    starts: list[float] = []
    for now in (0, 10_000, 10_001):
        for node, count in limits.shares([("n0", 1000)], now, 1, 10**6):
            given = limits.assign(act.Assign(node, len(starts), count, 1), now)
            starts += [now + given.after_ms + k * given.every_ms for k in range(count)]
    assert most_within(starts, 1000) <= 101
    assert max(starts) <= 10_001 + HORIZON_MS


SIGNALS = st.lists(
    st.tuples(
        st.integers(0, 2000),  # milliseconds since the last
        st.sampled_from(["end", "refuse", "spend", "lose", "none"]),
        st.integers(0, 40),
        st.one_of(st.none(), st.floats(0, 3)),
    ),
    max_size=60,
)


def signal_all(
    limits: CallLimits, kind: str, calls: list[int], now: int, retry_s: float | None
) -> None:
    for mini_batch in calls:
        if kind == "end":
            limits.succeed(mini_batch, 100_000)
        elif kind == "refuse":
            limits.end(mini_batch, refusal(retry_s), now, 1000)
            assert limits.window.size is not None
            assert limits.window.size >= 1
        elif kind == "lose":
            limits.give_back([mini_batch])
        elif kind == "spend":
            limits.spend([(mini_batch, 1, 10, USD // 100)])


@settings(deadline=None, max_examples=150)
@given(
    steps=SIGNALS,
    per_s=st.floats(0.1, 1000),
    tokens_per_s=st.sampled_from([0, 100, 10_000]),
    budget=st.sampled_from([None, 0.5, 100]),
)
def test_no_sequence_of_signals_exceeds_the_rate_and_the_books_balance(
    steps: list[tuple[int, str, int, float | None]],
    per_s: float,
    tokens_per_s: float,
    budget: float | None,
) -> None:
    calls = RunCalls(8, rate_per_s=per_s, tokens_per_s=tokens_per_s, budget_usd=budget)
    limits = CallLimits(calls)
    now, number = 0, 0
    starts: list[float] = []
    held: list[int] = []
    tokens = money = 0
    for pause, kind, count, retry_s in steps:
        now += pause
        first, held = held[:count], held[count:]
        signal_all(limits, kind, first, now, retry_s)
        if kind in {"spend", "none"}:
            held = first + held
        if kind == "spend":
            tokens, money = tokens + 10 * len(first), money + USD // 100 * len(first)
        rooms = [("n0", max(0, 30 - len(held))), ("n1", 10)]
        for node, most in limits.shares(rooms, now, 2, 10**6):
            action = limits.assign(act.Assign(node, number, most, 1), now)
            times = [now + action.after_ms + k * action.every_ms for k in range(most)]
            assert min(times) >= limits.window.pause_until_ms or min(times) >= now
            starts += times
            held += range(number, number + most)
            number += most
    assert (limits.tokens.spent, limits.money.spent) == (tokens, money)
    for window_s in (0.01, 1, 5):
        assert not starts or most_within(starts, window_s * 1000) <= per_s * window_s + 1
    # Everything that is assigned ends, and then nothing is in flight or prepaid.
    for mini_batch in held:
        limits.succeed(mini_batch, 1000)
    assert not limits._held
    assert not limits.money._in_flight


def test_a_node_with_no_use_for_its_share_leaves_it_to_others() -> None:
    limits = CallLimits(RunCalls(rate_per_s=10))
    taken: list[int] = []
    for node, count in limits.shares([("idle", 100), ("busy", 2)], 0, 2, 100):
        if node == "busy":
            limits.assign(act.Assign(node, 10 * len(taken), count, 1), 0)
            taken.append(count)
    assert sum(taken) == 2  # it has room for no more


def test_an_hour_between_two_calls_is_no_stall() -> None:
    bench = EndpointBench(RunCalls(rate_per_s=1 / 3600), Server(), 4)
    bench.run()
    assert bench.end.state == "Completed"
    hours = [start / 3_600_000 for start in bench.server.starts]
    assert hours == pytest.approx([0, 1 / 0.98, 2 / 0.98, 3 / 0.98], abs=0.001)


def test_a_call_that_hangs_is_still_a_stall() -> None:
    server = Server(lambda _: 1e9)
    bench = EndpointBench(RunCalls(rate_per_s=10), server, 3)
    bench.run(3600)
    assert "nothing has happened for progress_update_timeout" in bench.end.reason


def test_runs_without_limits_have_no_events_of_calls() -> None:
    bench = EndpointBench(RunCalls(), Server(), 10)
    bench.run()
    assert bench.scheduler._calls is None
    assert not bench.of_kind(CallsLimited) + bench.of_kind(CallsHeld)


# Tokens


@pytest.mark.parametrize("latency_ms", [100, 1000])
@pytest.mark.parametrize(
    "draw",
    [
        lambda _: 500,
        lambda g: g.uniform(0, 1000),
        lambda g: g.expovariate(1 / 500) + 1,
        lambda g: g.lognormvariate(5.7, 1.0),
    ],
    ids=["equal", "uniform", "exponential", "lognormal"],
)
@pytest.mark.parametrize("per_s", [1_500, 20_000])
def test_tokens_are_used_and_never_exceeded_for_long(
    draw: Callable[[random.Random], float], latency_ms: float, per_s: int
) -> None:
    cost = costs(draw)
    server = Server(uniform(latency_ms / 2, 1.5 * latency_ms))
    bench = EndpointBench(
        RunCalls(concurrency=400, tokens_per_s=per_s),
        server,
        per_s // 5,
        cost=lambda k: (int(cost(k)), 0),
    )
    bench.run()
    assert bench.end.state == "Completed"
    assert bench.of_kind(WarningRaised) == []
    tokens = bench.scheduler.state.calls
    assert tokens is not None
    assert tokens.tokens == sum(int(cost(k)) for k in range(per_s // 5))
    seconds = (server.starts[-1] + latency_ms) / 1000
    assert 0.93 <= tokens.tokens / seconds / per_s <= 1.01


def test_a_call_may_tell_its_tokens_at_its_start_and_at_its_end() -> None:
    limits = CallLimits(RunCalls(tokens_per_s=100), None)
    [(node, count)] = list(limits.shares([("n0", 100)], 0, 1, 100))[:1]
    assert count == FIRST_CALLS
    limits.assign(act.Assign(node, 0, count, 1), 0)
    for mini_batch in range(count):
        limits.spend([(mini_batch, 1, 60, 0)])
        limits.spend([(mini_batch, 1, 40, 0)])
        limits.succeed(mini_batch, 1000)
    assert limits.tokens.expected == 100
    assert list(limits.shares([("n0", 100)], 100, 1, 92)) == []
    assert limits.waits_until_ms == pytest.approx(8 * 1000 / 0.98, rel=0.01)


def test_the_first_calls_show_what_calls_cost() -> None:
    bench = EndpointBench(
        RunCalls(concurrency=50, tokens_per_s=1e6), Server(), 200, cost=lambda _: (10, 0)
    )
    bench.run(0.15)
    assert bench.most_in_flight == FIRST_CALLS
    bench.run()
    assert bench.most_in_flight == 50


def test_calls_that_never_tell_their_cost_are_not_held_and_it_is_said_once() -> None:
    calls = RunCalls(concurrency=50, tokens_per_s=1, budget_usd=1)
    bench = EndpointBench(calls, Server(), 500)
    bench.run()
    assert bench.end.state == "Completed"
    assert bench.end.at_ms < 5000
    assert [event.text for event in bench.of_kind(WarningRaised)] == [
        "token_limit holds no call back: 8 calls have succeeded, and no call has told its tokens: "
        "call context.spend(tokens=...)",
        "the budget cannot hold: 8 calls have succeeded, and no call has told what it cost: call "
        "context.spend(usd=...), or context.spend(tokens=...) with token_prices",
    ]


# Budget


@settings(deadline=None, max_examples=40)
@given(
    concurrency=st.sampled_from([1, 10, 50, 200]),
    seed=st.integers(0, 99),
    draw=st.sampled_from(
        [
            lambda _: 0.01,
            lambda g: g.uniform(0.0, 0.02),
            lambda g: g.expovariate(100),
            lambda g: 0.01 * g.lognormvariate(-0.5, 1.0),
            lambda g: 0.001 if g.random() < 0.9 else 0.091,
            lambda g: 0.01 * g.paretovariate(2.5) * 0.6,
        ]
    ),
)
def test_a_budget_holds_within_one_percent_and_one_call(
    concurrency: int, seed: int, draw: Callable[[random.Random], float]
) -> None:
    cost = costs(draw, seed)
    bench = EndpointBench(
        RunCalls(concurrency=concurrency, budget_usd=20),
        Server(uniform(100, 1500, seed)),
        6000,
        cost=lambda k: (0, round(cost(k) * USD)),
    )
    bench.run()
    assert bench.end.state == "Canceled"
    spent = sum(cost(k) for k in bench.made)
    costliest = max(cost(k) for k in bench.made)
    assert abs(spent - 20) <= 0.2 + costliest
    calls = bench.scheduler.state.calls
    assert calls is not None
    assert calls.nano_usd / USD == pytest.approx(spent)
    # Two digits that are enough for all items, if the others cost as much as the first ones.
    suggested = float(bench.end.reason.rpartition("='")[2].partition(" USD")[0])
    whole = spent * 6000 / len(bench.made)
    assert whole < suggested < 1.22 * whole
    shown = f"{suggested:.10g}"
    assert bench.end.reason == (
        f"its budget of 20 USD is spent: {calls.nano_usd / USD:,.2f} USD for {len(bench.made):,} calls; "
        f"{6000 - len(bench.made):,} items are left. Resume it with a larger budget: "
        f"run.resume(budget='{shown} USD')"
    )


def test_the_spending_of_earlier_drivers_counts() -> None:
    calls = RunCalls(concurrency=10, budget_usd=1)
    first = EndpointBench(calls, Server(), 300, cost=lambda _: (0, USD // 100))
    first.run()
    assert len(first.made) == 100
    state = folded(first.events)
    larger = RunCalls(concurrency=10, budget_usd=2.5)
    second = EndpointBench(larger, Server(), 300, cost=lambda _: (0, USD // 100), state=state)
    second.run()
    assert len(second.made) == 150
    assert not first.made.keys() & second.made.keys()
    assert "2.50 USD for 250 calls; 50 items are left" in second.end.reason
    assert [e.budget_nano_usd for e in second.of_kind(CallsLimited)] == [5 * USD // 2]


def test_items_whose_rows_wait_for_their_upload_are_not_left() -> None:
    calls = RunCalls(concurrency=10, budget_usd=3)
    bench = EndpointBench(
        calls,
        Server(),
        2000,
        nodes=2,
        cost=lambda _: (0, USD // 100),
        allocate=RangeAllocator,
        run_limits={"output_in_store": True},
    )
    bench.run()
    assert "3.00 USD for 300 calls; 1,700 items are left" in bench.end.reason
    assert bench.scheduler.state.items_succeeded == 300, "these were uploaded before the end"


def test_a_budget_for_all_items_completes() -> None:
    calls = RunCalls(concurrency=10, budget_usd=1)
    bench = EndpointBench(calls, Server(), 100, cost=lambda _: (0, USD // 100))
    bench.run()
    assert bench.end.state == "Completed"


def test_failed_calls_that_cost_nothing_do_not_make_the_next_look_cheap() -> None:
    limits = CallLimits(RunCalls(budget_usd=1))
    for mini_batch in range(4):
        limits.assign(act.Assign("n0", mini_batch, 1, 1), 0)
    limits.spend([(0, 1, 0, USD // 10)])
    limits.succeed(0, 1000)
    for mini_batch in (1, 2, 3):
        limits.end(mini_batch, BAD, 10, 10)
    assert limits.money.expected == USD // 10


# A server that says 429


@pytest.mark.parametrize("retry_after_s", [None, 0.3, 1.0])
@pytest.mark.parametrize(("per_s", "at_once"), [(100, 0), (400, 0), (0, 10), (0, 40), (0, 100)])
def test_without_a_known_limit_most_of_the_capacity_is_used(
    per_s: int, at_once: int, retry_after_s: float | None
) -> None:
    server = Server(uniform(150, 250), per_s, at_once, retry_after_s)
    capacity = per_s or at_once * 5
    bench = EndpointBench(RunCalls(concurrency=200), server, capacity * 60)
    bench.run()
    assert bench.end.state == "Completed"
    end = server.served[-1]
    late = [at for at in server.served if at > 10_000]
    assert len(late) / ((end - 10_000) / 1000) >= 0.7 * capacity
    assert len([at for at in server.refused if at > 10_000]) <= 0.02 * len(late)
    windows = [event.window for event in bench.of_kind(CallsHeld)]
    assert 0 < min(filter(None, windows)) < capacity / 5


def test_a_rate_above_that_of_the_server_is_slowed_down() -> None:
    server = Server(uniform(150, 250), per_s=50, retry_after_s=0.5)
    bench = EndpointBench(RunCalls(concurrency=200, rate_per_s=200), server, 3000)
    bench.run()
    assert bench.end.state == "Completed"
    assert len(server.served) / server.served[-1] * 1000 >= 35


@pytest.mark.parametrize("allocate", [Pending, RangeAllocator])
def test_all_nodes_pause_for_as_long_as_the_server_asks(allocate: Any) -> None:
    server = Server(lambda _: 100.0, per_s=30, retry_after_s=2.0)
    limits = {"output_in_store": allocate is RangeAllocator}
    bench = EndpointBench(
        RunCalls(concurrency=20), server, 100, nodes=2, allocate=allocate, run_limits=limits
    )
    bench.run()
    assert bench.end.state == "Completed"
    assert sorted(bench.made) == list(range(100))
    first = server.refused[0] + 10
    assert not [at for at in server.starts if first + HORIZON_MS < at < first + 2000]
    after = sorted(at for at in server.starts if at >= first + 2000)[:4]
    gaps = [b - a for a, b in pairwise(after)]
    assert min(gaps) > 1.0, "they do not come back at one instant"
    held = bench.of_kind(CallsHeld)
    assert {event.held_by for event in held} >= {"server", ""}
    until = [event.until_ms for event in held if event.until_ms]
    assert until[0] >= first + 2000


def test_pauses_double_until_a_call_succeeds() -> None:
    window = CallWindow()
    now = 0.0
    for k in range(10):
        window.refuse(now, now, None, 8)
        pause = window.pause_until_ms - now
        asked = min(FIRST_PAUSE_MS * 2**k, LONGEST_PAUSE_MS)
        assert asked <= pause <= 1.1 * asked
        now = window.pause_until_ms + 1
    window.succeed(now, 100, 100)
    window.refuse(now + 1, now + 1, None, 8)
    assert window.pause_until_ms - now - 1 <= 1.1 * FIRST_PAUSE_MS


ROUNDS = st.lists(
    st.tuples(st.sampled_from(["refuse", "old", "succeed"]), st.integers(1, 40)), max_size=40
)


@given(rounds=ROUNDS, most=st.integers(1, 100))
@example(rounds=[("refuse", 1), ("succeed", 40)] * 3, most=2)
def test_the_window_halves_at_most_once_in_a_round_and_recovers(
    rounds: list[tuple[str, int]], most: int
) -> None:
    window = CallWindow()
    now, before = 0.0, 0.0
    for kind, count in rounds:
        size = window.size
        for k in range(count):
            now += 1
            if kind == "succeed":
                window.succeed(now - 0.5, 50, most)
            elif kind == "old":
                window.refuse(now, before, None, most)
            else:
                window.refuse(now, before + 0.5 if k else now, None, window.size or most)
        if kind == "refuse":
            whole = most if size is None else min(size, most)
            assert window.size == max(1, min(size or most, whole) // 2)
            before = now - count + 1
        elif kind == "old" and before:
            assert window.size == size
        elif kind == "succeed" and size is not None:
            assert window.size is None or size <= window.size <= size + count
        before = max(before, window._decreased_ms)
    for _ in range(200_000):
        if window.size is None:
            break
        now += 10
        window.succeed(now, 10_000, most)
    assert window.size is None


def test_a_run_without_limits_has_some_once_a_server_refuses_a_call() -> None:
    bench = Bench(Limits())
    bench.send(sg.PlanAdvanced(40, 200, is_end=True), sg.NodeOffered("n0", 8, 16))
    assert len(bench.assigned) == 16
    bench.fail("n0", 0, 1, refusal(5.0))
    assert bench.scheduler._calls is not None
    assert bench.scheduler._calls.window.size == 4
    assert len(bench.assigned) == 15
    for _, mini_batch, _ in list(bench.assigned):
        bench.succeed("n0", mini_batch)
    assert bench.assigned == []
    assert 5000 - HORIZON_MS <= wait_for_assignment(bench) <= 5500
    bench.wait(100)
    assert len(bench.assigned) == 4
    while not bench.stops:
        for node, mini_batch, attempt in list(bench.assigned):
            bench.succeed(node, mini_batch, attempt)
        wait_for_assignment(bench)
    assert folded(bench.events).succeeded == 40
    assert [event.held_by for event in bench.of_kind(CallsHeld)][-1] == ""


# Tries


def throttled_bench(**limits: Any) -> Bench:
    bench = Bench(Limits(calls=RunCalls(concurrency=2), **limits))
    bench.send(sg.PlanAdvanced(1, 5, is_end=True), sg.NodeOffered("n0", 1, 2))
    return bench


def refuse(bench: Bench, failure: sg.Failure) -> None:
    [(node, mini_batch, attempt)] = bench.assigned
    bench.fail(node, mini_batch, attempt, failure)


def wait_for_assignment(bench: Bench) -> int:
    """Let time pass until the next attempt; return the milliseconds."""
    began = bench.now
    while not bench.assigned and not bench.finished and not bench.stops:
        bench.now += 9
        bench.send(sg.TimePassed())
    return bench.now - began


def test_an_attempt_that_a_server_refuses_uses_up_no_try() -> None:
    bench = throttled_bench(run_max_try=2, retry_delay_s=1000)
    for _ in range(FREE_TRIES):
        refuse(bench, refusal(1.0))
        waited = wait_for_assignment(bench)
        assert 990 - HORIZON_MS <= waited <= 1200, "not the delay of tries"
    refuse(bench, BAD)
    assert wait_for_assignment(bench) >= 700_000
    bench.succeed("n0", 0, FREE_TRIES + 2)
    kinds = [event.kind for event in bench.of_kind(AttemptFailed)]
    assert kinds == ["throttled"] * FREE_TRIES + ["exception"]
    assert not any(event.is_last for event in bench.of_kind(AttemptFailed))
    calls = folded(bench.events).calls
    assert calls is not None
    assert calls.throttled == FREE_TRIES


def test_refusals_without_end_do_end() -> None:
    bench = throttled_bench(run_max_try=3)
    attempts = 0
    while not bench.stops:
        refuse(bench, refusal(None))
        attempts += 1
        wait_for_assignment(bench)
    assert attempts == FREE_TRIES + 3
    last = bench.of_kind(AttemptFailed)[-1]
    assert (last.kind, last.is_last, last.attempt) == ("throttled", True, FREE_TRIES + 3)


def test_an_error_that_is_not_tried_again_is_not_tried_again_when_a_server_refuses_it() -> None:
    bench = throttled_bench(no_retry_on=frozenset({"HTTPStatusError"}))
    refuse(bench, refusal(None))
    assert [event.is_last for event in bench.of_kind(AttemptFailed)] == [True]


def test_a_delay_that_only_the_script_asks_for_is_that_of_its_item_alone() -> None:
    bench = Bench(Limits(calls=RunCalls(concurrency=2)))
    bench.send(sg.PlanAdvanced(3, 15, is_end=True), sg.NodeOffered("n0", 1, 2))
    asks = sg.Failure("exception", "RetryAfter", "wait", "g", "", retry_after_s=60.0)
    bench.fail("n0", 0, 1, asks)
    assert ("n0", 2, 1) in bench.assigned
    assert bench.of_kind(CallsHeld) == []
    for _ in range(2):  # it uses up its tries
        for node, mini_batch, attempt in list(bench.assigned):
            bench.succeed(node, mini_batch, attempt)
        wait_for_assignment(bench)
        bench.fail("n0", 0, bench.assigned[0][2], asks)
    assert bench.of_kind(AttemptFailed)[-1].is_last


def test_a_refused_part_of_a_divided_mini_batch_runs_again_as_it_was() -> None:
    bench = Bench(Limits(run_max_try=1, divides=True, calls=RunCalls(concurrency=2)))
    bench.send(sg.PlanAdvanced(1, 5, is_end=True), sg.NodeOffered("n0", 1, 2))
    hangs = sg.Failure("timeout", "Timeout", "hung", "Timeout at run", "")
    bench.fail("n0", 0, 1, hangs)
    [(_, _, attempt)] = bench.assigned
    items = bench.items_run(0, attempt)
    refuse(bench, refusal(0.1))
    wait_for_assignment(bench)
    [(_, _, again)] = bench.assigned
    assert (again, bench.items_run(0, again)) == (attempt + 1, items)


# Always


@settings(deadline=None, max_examples=60)
@given(
    calls=st.builds(
        RunCalls,
        st.sampled_from([1, 5, 50]),
        rate_per_s=st.sampled_from([0, 2, 100.0]),
        tokens_per_s=st.sampled_from([0, 50, 5000]),
        budget_usd=st.sampled_from([None, 0.05, 100]),
    ),
    server=st.builds(
        Server,
        st.sampled_from([lambda _: 1.0, lambda _: 700.0]),
        per_s=st.sampled_from([0, 3]),
        most_at_once=st.sampled_from([0, 2]),
        retry_after_s=st.sampled_from([None, 0.2, 90]),
    ),
    nodes=st.integers(1, 3),
    in_parts=st.booleans(),
    spends=st.booleans(),
)
def test_a_run_always_ends_and_what_holds_it_is_recorded(
    calls: RunCalls, server: Server, nodes: int, in_parts: bool, spends: bool
) -> None:
    bench = EndpointBench(
        calls,
        Server(server.latency_ms, server.per_s, server.most_at_once, server.retry_after_s),
        40,
        nodes=nodes,
        cost=(lambda _: (20, USD // 200)) if spends else None,
        allocate=RangeAllocator if in_parts else Pending,
        run_limits={"output_in_store": in_parts},
    )
    bench.run(1e5)
    assert bench.is_finished
    spent = bench.end.reason.startswith("its budget of")
    assert bench.end.state == "Completed" or spent or server.retry_after_s != 0.2
    reports = bench.of_kind(CallsHeld)
    gaps = [b.at_ms - a.at_ms for a, b in pairwise(reports[:-1])]
    assert all(gap >= 1000 for gap in gaps)
    assert [e.held_ms for e in reports] == sorted(e.held_ms for e in reports)
    assert not reports or reports[-1].held_by == ""
    # The fold of the journal against a count by hand.
    state = folded(bench.events)
    counted = [spend for event in bench.of_kind(CallsSpent) for spend in event.spends]
    if state.calls is not None:
        assert state.calls.nano_usd == sum(spend[3] for spend in counted)
        assert state.calls.calls_spent == len({spend[:2] for spend in counted})
        assert state.calls.open == {}
        failed = bench.of_kind(AttemptFailed)
        assert state.calls.throttled == sum(event.kind == "throttled" for event in failed)


def test_a_new_driver_keeps_to_the_pause_and_the_window_of_the_last_one() -> None:
    state = CallsState(CallsLimited(0, 50, 0.0, 0.0, 0))
    state.hold(CallsHeld(1_000, "server", 0, 61_000, 4))
    limits = CallLimits(RunCalls(concurrency=50), state)
    assert list(limits.shares([("n0", 100)], 5_000, 1, 1_000)) == []
    shares = list(limits.shares([("n0", 100)], 62_000, 1, 1_000))
    assert shares[0] == ("n0", 4)
    state.hold(CallsHeld(62_000, "", 0, 0, 4))  # it is over
    assert CallLimits(RunCalls(concurrency=50), state).window.size is None
