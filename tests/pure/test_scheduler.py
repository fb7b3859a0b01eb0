"""The rules of the scheduler: each fault is a list of signals, and no test waits."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.engine.scheduling import actions as act
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.allocation import Pending
from parallelrun_jupyter.engine.scheduling.limits import TRACEBACKS_PER_GROUP, Limits
from parallelrun_jupyter.engine.scheduling.scheduler import Scheduler
from parallelrun_jupyter.runs.journal.answers import Answers
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    ItemsFailed,
    PlanFinished,
    RunResumed,
    WarningRaised,
)
from parallelrun_jupyter.runs.journal.lines import decode, encode
from parallelrun_jupyter.runs.journal.state import FAILED, RETRYING, RunState
from tests.scheduler_bench import BAD, ITEMS, Bench, folded

WORSE = replace(BAD, group="KeyError at s.py:2 in run")


def ready(limits: Limits | None = None, mini_batches: int = 4, capacity: int = 2) -> Bench:
    bench = Bench(limits)
    bench.send(sg.PlanAdvanced(mini_batches, mini_batches * 5, is_end=True))
    bench.send(sg.NodeOffered("n0", 2, capacity))
    return bench


def test_a_run_from_start_to_end() -> None:
    bench = ready()
    assert bench.assigned == [("n0", 0, 1), ("n0", 1, 1)]
    for mini_batch in (1, 0, 2, 3):
        bench.succeed("n0", mini_batch, 1)
    assert bench.stops == [True]
    assert not bench.finished
    bench.stop_all()
    assert (bench.end.state, bench.end.output) == ("Completed", "/out")
    states = [e.state for e in bench.events if hasattr(e, "state")]
    assert states == ["Running", "Finalizing", "Completed"]


@pytest.mark.parametrize("append_rows", [True, False])
def test_an_output_in_a_store_is_published_after_shutdown(append_rows: bool) -> None:
    bench = ready(Limits(append_rows=append_rows, output_in_store=True), mini_batches=2)
    for mini_batch in (0, 1):
        bench.succeed("n0", mini_batch, 1)
    assert bench.stops == [True]
    before = bench.published
    bench.send(sg.NodeStopped("n0"))
    assert (before, bench.published) == (False, True)
    assert not bench.finished
    bench.send(sg.OutputPublished("az://c/out", 1))
    assert (bench.end.state, bench.end.output) == ("Completed", "az://c/out")


def test_the_first_mini_batch_runs_during_the_listing() -> None:
    bench = Bench()
    bench.send(sg.NodeOffered("n0", 1, 2), sg.PlanAdvanced(1, 5, is_end=False))
    assert bench.assigned == [("n0", 0, 1)]
    bench.succeed("n0", 0, 1)
    assert bench.scheduler.state.state == "Running"
    bench.send(sg.PlanAdvanced(3, 15, is_end=False))
    assert bench.assigned == [("n0", 1, 1), ("n0", 2, 1)]


def test_a_failed_attempt_is_retried_before_new_work() -> None:
    bench = ready(mini_batches=5)
    bench.fail("n0", 0, 1)
    assert bench.assigned == [("n0", 1, 1), ("n0", 0, 2)]
    bench.succeed("n0", 0, 2)
    assert bench.scheduler.state.items_failed == 0


def test_attempts_end_at_run_max_try_and_fail_all_items() -> None:
    bench = ready(Limits(run_max_try=2, error_threshold=5), mini_batches=2)
    bench.fail("n0", 0, 1)
    bench.fail("n0", 0, 2)
    bench.succeed("n0", 1, 1)
    bench.stop_all()
    assert bench.end.state == "Completed"
    assert [e.is_last for e in bench.of_kind(AttemptFailed)] == [False, True]
    assert bench.scheduler.state.items_failed == 5


def test_the_error_threshold_trips_only_above_its_value() -> None:
    bench = ready(Limits(run_max_try=1, error_threshold=5), mini_batches=3)
    bench.fail("n0", 0, 1)
    assert bench.stops == []
    bench.succeed("n0", 1, 1, rows=4)
    assert bench.stops == [False]
    bench.stop_all()
    assert bench.end.state == "Failed"
    assert bench.end.reason == "6 items failed; error_threshold allows 5"


def test_items_of_a_short_result_fail_and_those_of_a_long_one_do_not() -> None:
    bench = ready(Limits(error_threshold=-1), mini_batches=2)
    bench.succeed("n0", 0, 1, rows=2)
    bench.succeed("n0", 1, 1, rows=9)
    state = bench.scheduler.state
    assert (state.items_succeeded, state.items_failed, state.rows) == (7, 3, 11)
    assert "run() returned 9 rows for the 5 items of mini-batch 1" in state.warnings[0]


def test_failed_mini_batches_have_thresholds_of_their_own() -> None:
    limits = Limits(run_max_try=1, error_threshold=-1, allowed_failed_count=1)
    bench = ready(limits)
    bench.fail("n0", 0, 1)
    assert bench.stops == []
    bench.fail("n0", 1, 1)
    bench.stop_all()
    assert bench.end.reason == "2 mini-batches failed; allowed_failed_count allows 1"


def test_the_percentage_waits_for_the_end_of_the_listing() -> None:
    limits = Limits(run_max_try=1, error_threshold=-1, allowed_failed_percent=10)
    bench = Bench(limits)
    bench.send(sg.NodeOffered("n0", 1, 1), sg.PlanAdvanced(2, 10, is_end=False))
    bench.fail("n0", 0, 1)
    assert bench.stops == []
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.stop_all()
    assert bench.end.reason == "25 % of the mini-batches failed; allowed_failed_percent allows 10 %"


@pytest.mark.parametrize(("append_rows", "state"), [(True, "Failed"), (False, "Completed")])
def test_a_run_without_any_success_has_no_rows_to_write(append_rows: bool, state: str) -> None:
    bench = ready(Limits(run_max_try=1, error_threshold=-1, append_rows=append_rows), 1)
    bench.fail("n0", 0, 1)
    bench.stop_all()
    assert bench.end.state == state


def test_a_short_result_names_a_line_and_is_not_retried() -> None:
    bench = ready(Limits(error_threshold=4), capacity=4)
    bench.send(sg.WorkerInitialized("n0", "n0w0", 5, "score.py:12 in run"))
    bench.succeed("n0", 0, 1)
    assert not bench.of_kind(ItemsFailed)
    bench.succeed("n0", 1, 1, rows=1)
    [recorded] = bench.of_kind(ItemsFailed)
    assert (recorded.mini_batch, recorded.attempt, recorded.items, recorded.kind) == (
        1,
        1,
        4,
        "short_result",
    )
    assert recorded.message == "run() returned 1 result for 5 items at score.py:12"
    assert recorded.group == "ShortResult at score.py:12 in run"
    state = bench.scheduler.state
    assert (state.succeeded, state.failed, state.items_succeeded, state.items_failed) == (
        2,
        0,
        6,
        4,
    )
    assert (state.rows, state.retrying, bench.stops) == (6, 0, [])
    bench.succeed("n0", 2, 1, rows=0)
    bench.stop_all()
    assert bench.end.reason == (
        "9 items failed; error_threshold allows 4: run() returned 1 result for 5 items at "
        "score.py:12, first in mini-batch 1"
    )
    assert [(g.attempts, g.items_missing) for g in state.groups.values()] == [(2, 9)]
    folded = RunState()
    folded.apply_all(decode(encode(event)) for event in bench.events)
    assert folded == state


def test_late_results_of_a_failed_attempt_are_ignored() -> None:
    bench = ready(mini_batches=3)
    bench.fail("n0", 0, 1)
    before = len(bench.events)
    success = sg.Success(0, 1, 5, 5, 10, 3, 0)
    bench.send(sg.AttemptsSucceeded("n0", "n0w0", (success, success), 0, 0))
    assert len(bench.events) == before
    bench.succeed("n0", 0, 2)
    bench.send(sg.AttemptsSucceeded("n0", "n0w0", (success._replace(attempt=2),), 0, 0))
    assert sum(isinstance(e, AttemptSucceeded) for e in bench.events) == 1


def test_offsets_add_up_within_one_message() -> None:
    bench = ready(capacity=3)
    successes = tuple(sg.Success(k, 1, 5, 5, 10, 10 + k, 0) for k in range(3))
    bench.send(sg.AttemptsSucceeded("n0", "n0w0", successes, 2, 100))
    ranges = [(e.part, e.offset, e.length) for e in bench.of_kind(AttemptSucceeded)]
    assert ranges == [(2, 100, 10), (2, 110, 11), (2, 121, 12)]


def test_cancel_with_and_without_drain() -> None:
    bench = ready()
    bench.send(sg.CancelAsked(drain=True))
    assert bench.stops == [True]
    bench.succeed("n0", 0, 1)
    assert [k for _, k, _ in bench.assigned] == [1], "nothing new is assigned"
    bench.send(sg.CancelAsked(drain=False))
    assert bench.stops == [True, False]
    bench.stop_all()
    assert bench.end.state == "Canceled"
    assert bench.scheduler.state.items_succeeded == 5


@pytest.mark.parametrize("drain", [True, False])
def test_a_listing_that_fails_after_a_cancel_changes_nothing(drain: bool) -> None:
    bench = Bench()
    bench.send(sg.PlanAdvanced(4, 20, is_end=False), sg.NodeOffered("n0", 2, 2))
    bench.send(sg.CancelAsked(drain=drain))
    bench.send(sg.PlanFailed("the process that lists the inputs died", "Traceback ..."))
    assert bench.stops == [drain]
    bench.succeed("n0", 0, 1)
    bench.stop_all()
    assert (bench.end.state, bench.end.traceback) == ("Canceled", "")
    assert bench.end.reason == "canceled on request"


def test_the_traceback_of_a_helper_is_in_the_last_event_until_a_resume() -> None:
    bench = Bench()
    bench.send(sg.PlanFailed("the inputs could not be listed: RuntimeError: boom", "Traceback 1"))
    bench.stop_all()
    assert bench.end.traceback == bench.scheduler.state.traceback == "Traceback 1"
    again = Bench(state=bench.scheduler.state)
    assert again.scheduler.state.traceback == "Traceback 1", "as it ended, until the plan holds"
    again.send(sg.PlanAdvanced(1, 5, is_end=True))
    assert not again.scheduler.state.traceback
    again.send(sg.Warned("workers are no longer forked", "Traceback 2"))
    assert again.events[-1] == WarningRaised(
        again.now, "workers are no longer forked", "Traceback 2"
    )
    again.send(sg.NodeOffered("n0", 1, 1))
    again.succeed("n0", 0, 1)
    again.send(sg.OutputNotPublished("the output could not be put", "Traceback 3"))
    again.stop_all()
    assert (again.end.state, again.end.traceback) == ("Failed", "Traceback 3")


def test_a_resume_refused_because_of_a_helper_has_its_traceback() -> None:
    bench = Bench()
    bench.send(sg.PlanAdvanced(1, 5, is_end=True), sg.CancelAsked(drain=True))
    bench.stop_all()
    again = Scheduler(Limits(), ("n0",), Pending, lambda _: ITEMS, bench.scheduler.state)
    again.start(9, 2, "host")
    [refusal] = again.handle(sg.PlanFailed("RuntimeError: boom", "Traceback 1\n"), 10)
    assert refusal == act.Refuse("Traceback 1\nRuntimeError: boom")
    assert again.state.state == "Canceled"


def test_a_resume_of_a_completed_run_is_refused_immediately() -> None:
    bench = ready(mini_batches=1)
    bench.succeed("n0", 0, 1)
    bench.stop_all()
    again = Bench(state=bench.scheduler.state)
    assert len(again.refusals) == 1
    assert again.events == []
    assert again.scheduler.is_untouched


def test_an_init_that_cannot_succeed_ends_the_run() -> None:
    bench = ready()
    for number in range(6):
        assert bench.stops == []
        bench.send(sg.WorkerSpawned("n0", f"n0w{number}", number))
        bench.send(sg.WorkerNotReady("n0", f"n0w{number}", BAD))
    bench.stop_all()
    assert bench.end.reason == "no worker could start: ValueError at s.py:1 in run: bad"


def test_a_worker_that_was_ready_once_keeps_the_run_alive() -> None:
    bench = ready()
    bench.send(sg.WorkerInitialized("n0", "n0w0", 5))
    for number in range(20):
        bench.send(sg.WorkerNotReady("n0", f"n0w{number}", BAD))
    assert bench.stops == []


def test_inputs_that_cannot_be_listed_fail_the_run() -> None:
    bench = Bench()
    bench.send(sg.PlanFailed("the input '/x' could not be listed"))
    bench.stop_all()
    assert (bench.end.state, bench.end.reason) == ("Failed", "the input '/x' could not be listed")


def test_inputs_without_items_fail_the_run() -> None:
    bench = Bench()
    bench.send(sg.PlanAdvanced(0, 0, is_end=True))
    bench.stop_all()
    assert bench.end.reason == "the inputs contain no items: nothing to run"


def test_an_output_that_cannot_be_written_fails_the_run() -> None:
    bench = ready(mini_batches=1)
    bench.succeed("n0", 0, 1)
    bench.published = False
    bench.send(sg.OutputNotPublished("disk full"))
    bench.stop_all()
    assert (bench.end.state, bench.end.reason) == ("Failed", "disk full")


def test_a_group_keeps_only_its_first_tracebacks() -> None:
    bench = ready(Limits(run_max_try=1, error_threshold=-1), mini_batches=30, capacity=30)
    for mini_batch in range(30):
        bench.fail("n0", mini_batch, 1)
    shown = [bool(e.traceback) for e in bench.of_kind(AttemptFailed)]
    assert shown == [True] * TRACEBACKS_PER_GROUP + [False] * (30 - TRACEBACKS_PER_GROUP)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    mini_batches=st.integers(1, 40),
    nodes=st.integers(1, 3),
    failing=st.floats(0, 0.9),
    run_max_try=st.integers(1, 4),
    threshold=st.sampled_from([-1, 0, 3, 20]),
    append_rows=st.booleans(),
)
def test_every_item_is_accounted_for(
    seed: int,
    mini_batches: int,
    nodes: int,
    failing: float,
    run_max_try: int,
    threshold: int,
    append_rows: bool,
) -> None:
    rng = random.Random(seed)
    names = tuple(f"n{k}" for k in range(nodes))
    limits = Limits(run_max_try, threshold, append_rows=append_rows)
    bench = Bench(limits, names)
    planned = 0
    while not bench.stops:
        choice = rng.random()
        if planned < mini_batches and choice < 0.3:
            planned = min(mini_batches, planned + rng.randint(1, 9))
            bench.send(sg.PlanAdvanced(planned, planned * 5, is_end=planned == mini_batches))
        elif choice < 0.5 or not bench.assigned:
            bench.send(sg.NodeOffered(rng.choice(names), 2, rng.randint(1, 12)))
        else:
            node, mini_batch, attempt = rng.choice(bench.assigned)
            if rng.random() < failing:
                bench.fail(node, mini_batch, attempt)
            else:
                bench.succeed(node, mini_batch, attempt, rows=rng.choice([5, 5, 4, 6]))
    bench.stop_all()
    state = bench.scheduler.state
    # Nothing is done twice.
    succeeded = [e.mini_batch for e in bench.of_kind(AttemptSucceeded)]
    lost = [e.mini_batch for e in bench.of_kind(AttemptFailed) if e.is_last]
    assert len(set(succeeded + lost)) == len(succeeded + lost)
    assert state.items_succeeded + state.items_failed == 5 * state.done
    # A threshold ends the run exactly when it is exceeded.
    if bench.end.state == "Completed":
        assert state.left == 0
        assert threshold == -1 or state.items_failed <= threshold
    elif threshold != -1 and "error_threshold" in bench.end.reason:
        assert state.items_failed > threshold
    else:
        assert succeeded == []
    # The journal alone gives the same state.
    again = RunState()
    again.apply_all(decode(encode(event)) for event in bench.events)
    assert again == state


def test_a_run_without_a_first_mini_batch_times_out() -> None:
    bench = Bench(Limits(first_task_creation_timeout_s=5))
    bench.now = 4_990
    bench.send(sg.TimePassed())
    assert bench.stops == []
    bench.now = 5_010
    bench.send(sg.TimePassed())
    bench.stop_all()
    assert bench.end.reason.startswith("no mini-batch was listed within first_task_creation_timeo")


def test_a_run_without_progress_times_out() -> None:
    bench = Bench(Limits(progress_update_timeout_s=60))
    bench.send(sg.PlanAdvanced(3, 15, is_end=False), sg.NodeOffered("n0", 1, 1))
    bench.now = 50_000
    bench.succeed("n0", 0, 1)
    for seconds in range(51, 110):
        bench.now = seconds * 1000
        bench.send(sg.TimePassed(), sg.WorkersSampled("n0", ()))
        assert bench.stops == []
    bench.now = 110_100
    bench.send(sg.TimePassed())
    bench.stop_all()
    assert bench.end.reason == "nothing has happened for progress_update_timeout = 60 s"


def test_a_new_node_gets_the_mini_batches_of_a_lost_one() -> None:
    bench = Bench(Limits(run_max_try=1), nodes=())
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.send(sg.NodeConnected("n0", "tcp://a"), sg.NodeOffered("n0", 2, 3))
    assert bench.assigned == [("n0", 0, 1), ("n0", 1, 1), ("n0", 2, 1)]
    bench.succeed("n0", 1, 1)
    bench.assigned.clear()
    bench.send(sg.NodeGone("n0", "killed", blames=True))
    bench.send(sg.NodeConnected("n1", "tcp://b"), sg.NodeOffered("n1", 2, 9))
    assert sorted(bench.assigned) == [("n1", 0, 1), ("n1", 2, 1), ("n1", 3, 1)]
    assert bench.of_kind(AttemptFailed) == []
    before = len(bench.events)
    late = sg.Success(0, 1, 5, 5, 10, 3, 0)
    bench.send(sg.AttemptsSucceeded("n0", "n0w0", (late,), 0, 0))
    assert len(bench.events) == before, "late signals of a lost node are ignored"
    for mini_batch in (0, 2, 3):
        bench.succeed("n1", mini_batch, 1)
    bench.stop_all()
    assert bench.end.state == "Completed"
    assert bench.scheduler.state.crew.nodes_lost == 1
    assert bench.scheduler.state.crew.nodes == {"n1": "tcp://b"}


def lose_with(bench: Bench, count: int, *, blames: bool = True) -> None:
    """Connect ``count`` nodes that get the mini-batch and are lost."""
    for number in range(count):
        name = f"x{bench.now}-{number}"
        bench.send(sg.NodeConnected(name, ""), sg.NodeOffered(name, 1, 1))
        assert bench.assigned[-1][0] == name
        bench.assigned.pop()
        bench.send(sg.NodeGone(name, "killed", blames=blames))


def test_a_mini_batch_fails_an_attempt_after_three_lost_nodes() -> None:
    bench = Bench(Limits(run_max_try=2, error_threshold=-1), nodes=())
    bench.send(sg.PlanAdvanced(1, 5, is_end=True))
    lose_with(bench, 2)
    assert bench.of_kind(AttemptFailed) == []
    lose_with(bench, 1)
    [failed] = bench.of_kind(AttemptFailed)
    assert (failed.mini_batch, failed.attempt, failed.items, failed.is_last) == (0, 1, 5, False)
    assert (failed.kind, failed.group) == ("node_lost", "NodeLost at run()")
    assert failed.message == "its node was lost while it ran, like 2 or more nodes before: killed"
    bench.send(sg.NodeConnected("n9", ""), sg.NodeOffered("n9", 1, 1))
    assert bench.assigned == [("n9", 0, 2)]
    bench.succeed("n9", 0, 2)
    bench.stop_all()
    assert bench.scheduler.state.items_failed == 0


def test_a_prefetched_mini_batch_is_not_blamed_for_a_lost_node() -> None:
    bench = Bench(Limits(run_max_try=1, error_threshold=-1), nodes=())
    bench.send(sg.PlanAdvanced(3, 15, is_end=True))
    for number in range(3):
        name = f"n{number}"
        bench.send(sg.NodeConnected(name, ""), sg.NodeOffered(name, 1, 3))
        bench.send(sg.WorkerSpawned(name, f"{name}w0", 1))
        bench.send(sg.WorkersSampled(name, ((f"{name}w0", "running", 0, 5),)))
        bench.assigned.clear()
        bench.send(sg.NodeGone(name, "killed", blames=True))
    assert [failed.mini_batch for failed in bench.of_kind(AttemptFailed)] == [0]


def test_a_retired_node_blames_no_mini_batch() -> None:
    bench = Bench(Limits(run_max_try=1), nodes=())
    bench.send(sg.PlanAdvanced(1, 5, is_end=True))
    lose_with(bench, 7, blames=False)
    assert bench.of_kind(AttemptFailed) == []


def test_a_paused_node_returns_mini_batches_that_have_not_started() -> None:
    bench = Bench(nodes=("n0", "n1"))
    bench.send(sg.PlanAdvanced(4, 20, is_end=True), sg.NodeOffered("n0", 2, 4))
    assert [k for _, k, _ in bench.assigned] == [0, 1, 2, 3]
    bench.send(sg.NodeOffered("n0", 2, 0), sg.MiniBatchesReturned("n0", ((2, 1), (3, 1))))
    bench.assigned = [row for row in bench.assigned if row[1] < 2]
    bench.send(sg.NodeOffered("n1", 2, 4))
    assert bench.assigned[2:] == [("n1", 2, 1), ("n1", 3, 1)]
    bench.send(sg.MiniBatchesReturned("n0", ((2, 1),)))
    assert len(bench.assigned) == 4, "another node has it"


def test_a_lost_pool_interrupts_the_run_or_fails_it() -> None:
    bench = Bench(nodes=())
    bench.send(
        sg.PlanAdvanced(2, 10, is_end=True), sg.NodeConnected("n0", ""), sg.NodeOffered("n0", 1, 1)
    )
    bench.send(sg.PoolLost("the scheduler is gone", is_resumable=True))
    assert (bench.end.state, bench.end.reason) == ("Interrupted", "the scheduler is gone")
    assert bench.scheduler.state.is_final
    assert bench.scheduler.state.left == 2
    bench = Bench(nodes=())
    bench.send(sg.PoolLost("no scheduler answers", is_resumable=False))
    assert bench.end.state == "Failed"


def test_a_run_without_nodes_can_be_canceled_and_a_lost_pool_does_not_change_its_end() -> None:
    bench = Bench(nodes=())
    bench.send(sg.CancelAsked(drain=True))
    assert bench.end.state == "Canceled"
    bench = Bench(nodes=("n0",))
    bench.send(sg.CancelAsked(drain=True))
    bench.send(sg.PoolLost("gone", is_resumable=True))
    assert bench.end.state == "Canceled"


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    mini_batches=st.integers(1, 30),
    failing=st.floats(0, 0.5),
    run_max_try=st.integers(1, 3),
)
def test_nothing_is_lost_or_done_twice_when_nodes_come_and_go(
    seed: int, mini_batches: int, failing: float, run_max_try: int
) -> None:
    rng = random.Random(seed)
    bench = Bench(Limits(run_max_try, error_threshold=-1, append_rows=False), nodes=())
    bench.send(sg.PlanAdvanced(mini_batches, mini_batches * 5, is_end=True))
    sent: list[sg.Signal] = []
    while not bench.stops:
        choice = rng.random()
        names = bench.names
        if not names or (choice < 0.1 and len(names) < 5):
            bench.send(sg.NodeConnected(f"n{bench.now}", "somewhere"))
        elif choice < 0.15:
            bench.lose(rng.choice(names), blames=rng.random() < 0.7)
        elif choice < 0.2:
            bench.pause(rng.choice(names), lambda: rng.random() < 0.5)
        elif choice < 0.25 and sent:
            bench.send(rng.choice(sent))  # repeated, or after its node was lost
        elif choice < 0.5 or not bench.assigned:
            bench.send(sg.NodeOffered(rng.choice(names), 2, rng.randint(1, 8)))
        else:
            node, mini_batch, attempt = rng.choice(bench.assigned)
            success = sg.Success(mini_batch, attempt, 5, 5, 10, 15, 0)
            sent.append(sg.AttemptsSucceeded(node, f"{node}w0", (success,), 0, 0))
            if rng.random() < failing:
                bench.fail(node, mini_batch, attempt)
            else:
                bench.succeed(node, mini_batch, attempt)
        held = {
            (k, attempt, node) for k, (attempt, node) in bench.scheduler._assignments._held.items()
        }
        assert held == {(k, attempt, node) for node, k, attempt in bench.assigned}
    bench.stop_all()
    done = [e.mini_batch for e in bench.of_kind(AttemptSucceeded)]
    lost = [e.mini_batch for e in bench.of_kind(AttemptFailed) if e.is_last]
    assert sorted(done + lost) == list(range(mini_batches))
    again = RunState()
    again.apply_all(decode(encode(event)) for event in bench.events)
    assert again == bench.scheduler.state


def two_groups(limits: Limits) -> Bench:
    """Return a run of which mini-batch 0 failed in one group, 1 and 2 in another."""
    bench = ready(limits, mini_batches=4, capacity=4)
    bench.fail("n0", 0, 1)
    bench.fail("n0", 1, 1, failure=WORSE)
    bench.fail("n0", 2, 1, failure=WORSE)
    bench.succeed("n0", 3, 1)
    bench.stop_all()
    return bench


def test_one_group_is_retried_and_the_other_stays_failed() -> None:
    limits = Limits(run_max_try=1, error_threshold=-1)
    first = two_groups(limits)
    again = Bench(limits, state=folded(first.events), group=WORSE.group)
    assert again.events == [], "nothing is recorded before the inputs are checked"
    again.send(sg.PlanAdvanced(4, 20, is_end=True))
    assert again.events[1] == RunResumed(again.now, True, 2, "", WORSE.group)
    state = again.scheduler.state
    assert (state.failed, state.retrying, state.items_failed) == (1, 2, 5)
    again.send(sg.NodeOffered("n0", 2, 9))
    assert again.assigned == [("n0", 1, 2), ("n0", 2, 2)]
    again.succeed("n0", 1, 2)
    again.fail("n0", 2, 2)
    again.stop_all()
    assert again.end.state == "Completed"
    assert (state.succeeded, state.failed, state.left) == (2, 2, 0)
    assert [g.mini_batches_lost for g in state.groups.values()] == [2, 0]
    assert state.failed_mini_batches(BAD.group) == [0, 2]


@pytest.mark.parametrize(
    "refusal",
    [
        sg.PlanFailed("the input 'a' has changed since the run was planned"),
        sg.PoolLost("no Dask scheduler answers", is_resumable=True),
    ],
)
def test_a_refused_resume_leaves_an_ended_run_as_it_was(refusal: sg.Signal) -> None:
    limits = Limits(run_max_try=1, error_threshold=-1)
    before = folded(two_groups(limits).events)
    again = Bench(limits, state=folded(two_groups(limits).events))
    again.send(
        sg.WorkerSpawned("n0", "n0w0", 7), sg.NodeOffered("n0", 2, 9), sg.TimePassed(), refusal
    )
    assert again.refusals == [refusal.reason]  # type: ignore[union-attr] # both have one
    assert (again.events, again.assigned) == ([], [])
    assert again.scheduler.state == before


def test_a_resume_is_refused_if_checking_the_inputs_stalls() -> None:
    limits = Limits(run_max_try=1, error_threshold=-1, first_task_creation_timeout_s=600)
    again = Bench(limits, state=folded(two_groups(limits).events))
    again.now += 600_000
    again.send(sg.TimePassed())
    assert "within first_task_creation_timeout = 600 s" in again.refusals[0]
    assert again.events == []


def test_signals_before_the_plan_is_checked_are_handled_after_it() -> None:
    limits = Limits(run_max_try=1, error_threshold=-1)
    again = Bench(limits, state=folded(two_groups(limits).events))
    again.send(sg.WorkerSpawned("n0", "n0w0", 7), sg.NodeOffered("n0", 2, 9), sg.Warned("new"))
    assert again.events == []
    again.send(sg.PlanAdvanced(4, 20, is_end=True))
    kinds = [type(event).__name__ for event in again.events]
    assert kinds[:5] == [
        "RunStarted", "RunResumed", "WorkerStarted", "WarningRaised", "PlanFinished"
    ]  # fmt: skip
    assert again.assigned == [("n0", k, 2) for k in range(3)]


def test_failures_of_other_groups_count_after_the_group_was_retried() -> None:
    first = two_groups(Limits(run_max_try=1, error_threshold=-1))
    for ends_well in (True, False):
        limits = Limits(run_max_try=1, error_threshold=4)
        again = Bench(limits, state=folded(first.events), group=WORSE.group)
        again.send(sg.PlanAdvanced(4, 20, is_end=True), sg.NodeOffered("n0", 2, 9))
        assert again.stops == []
        if ends_well:
            again.succeed("n0", 1, 2)
            again.succeed("n0", 2, 2)
        else:
            again.fail("n0", 1, 2)
        again.stop_all()
        failed = 5 if ends_well else 10
        assert again.end.reason == f"{failed} items failed; error_threshold allows 4"
        assert again.scheduler.state.succeeded == (3 if ends_well else 1)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    mini_batches=st.integers(1, 30),
    run_max_try=st.integers(1, 3),
    drivers=st.integers(1, 4),
)
def test_every_item_is_accounted_for_after_any_resumes_of_groups(
    seed: int, mini_batches: int, run_max_try: int, drivers: int
) -> None:
    rng = random.Random(seed)
    limits = Limits(run_max_try, error_threshold=-1, append_rows=False)
    bench = Bench(limits)
    events: list[Any] = []
    kept: set[int] = set()
    for driver in range(drivers):
        bench.send(sg.PlanAdvanced(mini_batches, mini_batches * 5, is_end=True))
        bench.send(sg.NodeOffered("n0", 2, mini_batches))
        breaks_off = driver < drivers - 1 and rng.random() < 0.3
        while not bench.stops and not (breaks_off and rng.random() < 0.1):
            bench.send(sg.NodeOffered("n0", 2, mini_batches))
            if bench.assigned:
                node, mini_batch, attempt = rng.choice(bench.assigned)
                assert mini_batch not in kept
                failure = rng.choice((None, BAD, WORSE))
                if failure is None:
                    bench.succeed(node, mini_batch, attempt, rows=rng.choice([5, 4]))
                else:
                    bench.fail(node, mini_batch, attempt, failure=failure)
            state = bench.scheduler.state
            assert state.items_succeeded + state.items_failed == 5 * state.done
            assert state.done + state.left == mini_batches
            lost = [k for k in range(mini_batches) if state.status_of(k) == FAILED]
            assert len(lost) == state.failed
            assert sum(g.mini_batches_lost for g in state.groups.values()) == state.failed
            assert all(state.status_of(k) == FAILED for k in kept)
        if bench.stops:
            bench.stop_all()
        events += bench.events
        state = folded(events)
        assert state == bench.scheduler.state
        group = rng.choice(["", BAD.group, WORSE.group])
        lost = [k for k in range(mini_batches) if state.status_of(k) == FAILED]
        kept = {k for k in lost if group and k not in state.failed_mini_batches(group)}
        bench = Bench(limits, state=state, group=group)


def test_a_resume_begins_with_what_is_least_known() -> None:
    """A mini-batch with only failed items left waits for those without any result."""
    state = RunState()
    state.apply(PlanFinished(1, 4, 20))
    state.statuses = bytearray([RETRYING] * 4)
    state.tries = {0: 2, 1: 2, 2: 1, 3: 1}
    state.answers = {0: Answers(5, [(0, 4)]), 2: Answers(5, [(1, 4)])}
    pending = Pending(state)
    pending.resume([0, 1, 2, 3], only_these=False)
    assert [span.first for span in pending.next("n0", 9, 0)] == [3, 1, 2, 0]
