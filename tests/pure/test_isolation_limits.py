"""Isolation where many items fail, where nodes are lost, and where a resume continues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.limits import MAX_NODE_LOSSES, Limits
from parallelrun_jupyter.engine.scheduling.range_allocator import RangeAllocator
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.short_results import ShortResults
from parallelrun_jupyter.worker.bisection import ALIKE
from tests.pure.test_isolation import (
    assert_books,
    drive,
    failed_items,
    planned,
    through_journal,
)
from tests.scheduler_bench import BAD, Bench, folded

FINAL = replace(BAD, error="KeyError", group="KeyError at s.py:9 in run")


def failing(bad: set[tuple[int, int]]) -> Callable[[int, list[int]], sg.Failure | None]:
    """Return a run() that fails if one of its items is bad."""
    return lambda mini_batch, items: BAD if any((mini_batch, k) in bad for k in items) else None


def resumed(
    bench: Bench, items: int, short_results: Sequence[ev.RowsDropped] = (), **kwargs: Any
) -> Bench:
    """Return the bench of a resume of the failed items of a run."""
    again = Bench(
        bench.scheduler._limits,
        state=folded(bench.events),
        items_of=lambda _: items,
        failed_only=True,
        short_results=short_results,
        **kwargs,
    )
    planned_before = again.scheduler.state.planned
    again.send(sg.PlanAdvanced(planned_before, items * planned_before, True))
    again.send(sg.NodeOffered("n0", 2, 4))
    return again


def test_many_bad_items_in_each_mini_batch_leave_the_others_alone() -> None:
    bench = planned(50, 3)
    bad = {(mini_batch, k) for mini_batch in range(3) for k in range(20, 20 + 2 * ALIKE)}
    drive(bench, failing(bad))
    bench.stop_all()
    assert failed_items(folded(bench.events), 50) == bad
    assert not bench.of_kind(ev.WarningRaised)


def test_a_mini_batch_of_mostly_bad_items_is_isolated_in_a_group_of_single_items() -> None:
    bench = planned(50, 4)
    bad = {(0, 3), (2, 5), (3, 7), *((1, k) for k in range(48))}
    drive(bench, failing(bad))
    bench.stop_all()
    assert failed_items(folded(bench.events), 50) == bad


def test_a_resume_knows_that_the_fault_is_one_of_single_items() -> None:
    bench = planned(50, 3)
    bad = {(mini_batch, k) for mini_batch in range(3) for k in range(20, 32)}
    drive(bench, failing(bad))
    bench.stop_all()
    still_bad = bad - {(2, 23), (2, 31)}
    again = resumed(bench, 50)
    drive(again, failing(still_bad))
    again.stop_all()
    history = [*bench.events, *again.events]
    assert failed_items(folded(history), 50) == still_bad
    assert_books(history, 50)


def test_after_an_outage_single_items_are_isolated_again() -> None:
    bench = planned(10, 60)
    calls = drive(bench, lambda k, chosen: BAD if k < 20 or (k > 40 and 7 in chosen) else None)
    bench.stop_all()
    failed = failed_items(folded(bench.events), 10)
    assert {k for mini_batch, k in failed if mini_batch > 40} == {7}
    assert sum(calls.values()) < 500
    assert len(bench.of_kind(ev.WarningRaised)) <= 1


def test_a_node_lost_too_often_fails_only_the_items_without_an_answer() -> None:
    bench = planned(5, 1, allocate=RangeAllocator)
    bench.answer("n0", 0, 1, [(1, BAD)])
    bench.upload()
    bench.stop_all()
    again = resumed(bench, 5, allocate=RangeAllocator)
    for _ in range(MAX_NODE_LOSSES):
        again.lose(again.names[0])
        again.join(3)
    history = through_journal([*bench.events, *again.events])
    assert_books(history, 5)
    state = folded(history)
    assert (state.items_succeeded, failed_items(state, 5)) == (4, {(0, 1)})
    assert again.of_kind(ev.ItemsFailed)[-1].kind == "node_lost"


def test_the_number_of_attempts_grows_although_failures_wait_for_their_part() -> None:
    limits = Limits(2, error_threshold=-1, divides=True, no_retry_on=frozenset({"KeyError"}))
    bench = planned(5, 1, limits, allocate=RangeAllocator)
    bench.answer("n0", 0, 1, [(1, FINAL), (2, BAD)])
    bench.answer("n0", 0, 2, [])
    bench.upload()
    assert folded(bench.events).tries == {0: 2}


def test_a_dropped_result_runs_again_with_a_new_attempt_number() -> None:
    bench = planned(5, 1, Limits(3, error_threshold=-1, divides=True))
    bench.fail("n0", 0, 1)
    bench.fail("n0", 0, 2)
    bench.succeed("n0", 0, 3, rows=2)
    bench.stop_all()
    short_results = ShortResults()
    for event in bench.events:
        short_results.note(event)
    again = resumed(bench, 5, short_results.in_group())
    assert again.assigned == [("n0", 0, 4)]


def test_the_calls_of_an_attempt_that_isolates_items_are_progress() -> None:
    limits = Limits(1, error_threshold=-1, divides=True, progress_update_timeout_s=100)
    bench = planned(8, 1, limits)
    bench.send(sg.WorkerSpawned("n0", "n0w0", 7), sg.WorkerInitialized("n0", "n0w0", 5))
    bench.fail("n0", 0, 1)
    assert list(bench.isolating) == [(0, 2)]
    for _ in range(5):
        bench.now += 60_000
        bench.send(sg.WorkersSampled("n0", (("n0w0", "running", 0, bench.now - 500),)))
        bench.send(sg.TimePassed())
    assert not bench.stops
    since_ms = bench.now - 700
    for _ in range(3):
        bench.now += 60_000
        bench.send(sg.WorkersSampled("n0", (("n0w0", "running", 0, since_ms),)), sg.TimePassed())
    assert bench.stops == [False], "a call that hangs is no progress"


def test_the_rate_counts_a_mini_batch_that_its_failed_items_complete() -> None:
    bench = planned(5, 2)
    bench.answer("n0", 0, 1, [(4, FINAL)])
    state = folded(bench.events)
    assert state.throughput.points[-1][1:] == (state.done, state.items_done) == (1, 5)
    bench.answer("n0", 1, 1, [(k, FINAL) for k in range(5)])
    state = folded(bench.events)
    assert state.throughput.points[-1][1:] == (state.done, state.items_done) == (2, 10)
