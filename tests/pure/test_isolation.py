"""Items that fail are isolated, retried and counted: the scheduler with simulated workers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.allocation import Pending
from parallelrun_jupyter.engine.scheduling.limits import Limits
from parallelrun_jupyter.engine.scheduling.range_allocator import RangeAllocator
from parallelrun_jupyter.engine.scheduling.retries import LONGEST_DELAY_MS, delay_ms, may_retry
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import FAILED, PARTLY, RunState
from parallelrun_jupyter.runs.output.committed_rows import CommittedRows
from parallelrun_jupyter.worker.bisection import ALIKE
from parallelrun_jupyter.worker.isolation import isolate
from tests.scheduler_bench import BAD, Bench, folded

HUGE = sg.Failure("out_of_memory", "MemoryError", "", "MemoryError at s.py:2 in run", "")
DEAD = sg.Failure("worker_lost", "WorkerLost", "died", "WorkerLost at run()", "")
FREE = Limits(run_max_try=1, error_threshold=-1, divides=True)


def failing(bad: set[int], failure: sg.Failure = BAD) -> Callable[[list[int]], sg.Failure | None]:
    """Return a run() that fails if one of its items is bad."""
    return lambda items: failure if bad.intersection(items) else None


def end_attempt(
    bench: Bench,
    node: str,
    mini_batch: int,
    attempt: int,
    run: Callable[[int, list[int]], sg.Failure | None],
    hint: Callable[[list[int]], int] = lambda _: -1,
) -> int:
    """Run an attempt as a worker would; return the number of calls of run()."""
    items = bench.items_run(mini_batch, attempt)
    if (mini_batch, attempt) not in bench.isolating:
        failure = run(mini_batch, items)
        if failure is not None:
            bench.fail(node, mini_batch, attempt, replace(failure, suspect=hint(items)))
        elif bench.ranges[mini_batch, attempt]:
            bench.answer(node, mini_batch, attempt, [])
        else:
            bench.succeed(node, mini_batch, attempt, len(items))
        return 1
    calls = 0
    failed: dict[int, sg.Failure] = {}
    deadly: list[sg.Failure] = []

    def run_part(ranges: Any) -> tuple[str, int]:
        nonlocal calls
        calls += 1
        part = [item for first, count in ranges for item in range(first, first + count)]
        failure = run(mini_batch, part)
        if failure is None:
            return "", -1
        if failure.kind in {"worker_lost", "timeout"}:
            deadly.append(failure)
            raise InterruptedError
        if len(part) == 1:
            failed[part[0]] = failure
        last[:] = [failure]
        return failure.group, hint(part)

    last: list[sg.Failure] = []
    try:
        suspect = bench.isolating[mini_batch, attempt]
        alike = isolate(bench.ranges[mini_batch, attempt], run_part, suspect)
    except InterruptedError:
        bench.fail(node, mini_batch, attempt, deadly[0])
        return calls
    if alike:
        bench.fail(node, mini_batch, attempt, replace(last[0], alike=alike))
    else:
        bench.answer(node, mini_batch, attempt, failed.items())
    return calls


def drive(
    bench: Bench,
    run: Callable[[int, list[int]], sg.Failure | None],
    *,
    rng: Random | None = None,
    limit: int = 100_000,
    hint: Callable[[list[int]], int] = lambda _: -1,
) -> Counter[int]:
    """Run everything that is assigned, in random order; return the calls of each mini-batch."""
    rng = rng or Random(0)
    calls: Counter[int] = Counter()
    for _ in range(limit):
        if not bench.assigned:
            bench.wait(LONGEST_DELAY_MS)
        if not bench.assigned:
            break
        node, mini_batch, attempt = rng.choice(bench.assigned)
        calls[mini_batch] += end_attempt(bench, node, mini_batch, attempt, run, hint)
        while bench.uploads:
            bench.upload()
    else:
        pytest.fail("the run does not end")
    return calls


def planned(items: int, mini_batches: int = 1, limits: Limits = FREE, **kwargs: Any) -> Bench:
    """Return a bench with one node and a complete plan of equal mini-batches."""
    bench = Bench(limits, items_of=lambda _: items, **kwargs)
    bench.send(
        sg.NodeOffered("n0", 2, 4), sg.PlanAdvanced(mini_batches, items * mini_batches, True)
    )
    return bench


def failed_items(state: RunState, items: int) -> set[tuple[int, int]]:
    """Return (mini_batch, position) of the items that have failed for good."""
    failed = set()
    for mini_batch in range(state.planned):
        answers = state.answers.get(mini_batch)
        if answers is not None:
            failed |= {
                (mini_batch, k) for first, n, _ in answers.failed for k in range(first, first + n)
            }
        elif state.status_of(mini_batch) == FAILED:
            failed |= {(mini_batch, k) for k in range(items)}
    return failed


def committed_items(events: list[ev.Event], items: int) -> list[tuple[int, int]]:
    """Return (mini_batch, position) of the items whose rows a reader finds, in the output's order."""
    rows = CommittedRows()
    for event in events:
        rows.note(event)
    counts = {}
    for event in events:
        if isinstance(event, ev.ItemsSucceeded):
            counts[event.mini_batch, event.part, event.offset] = event.first, event.items
        elif isinstance(event, ev.AttemptSucceeded):
            counts[event.mini_batch, event.part, event.offset] = 0, items
    found = []
    for mini_batch, part, offset, _, _ in rows.ranges():
        first, count = counts[mini_batch, part, offset]
        found += [(mini_batch, k) for k in range(first, first + count)]
    return found


def assert_books(events: list[Any], items: int) -> None:
    """Check at every prefix of the journal: items in = succeeded + failed + left."""
    state = RunState()
    for event in events:
        state.apply(event)
        left = state.planned * items - state.items_succeeded - state.items_failed
        assert 0 <= left <= max(state.planned * items, 0)
        failed = failed_items(state, items)
        assert len(failed) == state.items_failed
        whole = sum(1 for k in range(state.planned) if state.status_of(k) == 1) * items
        partial = sum(
            n for k, a in state.answers.items() if state.status_of(k) != 1 for _, n in a.succeeded
        )
        assert whole + partial == state.items_succeeded
        counted = Counter(state.statuses)
        assert state.failed == counted[FAILED]
        groups = state.groups.values()
        assert sum(group.mini_batches_lost for group in groups) == state.failed
        assert sum(group.items_lost for group in groups) == state.items_failed
        assert state.succeeded == counted[1] + counted[PARTLY]
        assert state.retrying == counted[3]


@given(st.integers(1, 200), st.data())
@settings(max_examples=300, deadline=None)
def test_all_and_only_the_bad_items_fail_within_the_bound(items: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, items - 1), max_size=7))
    bench = planned(items)
    fails = failing(bad)
    hints = {
        "none": lambda _: -1,
        "right": lambda part: min(bad.intersection(part)),
        "wrong": lambda part: Random(len(part)).choice([*part, -1]),
    }
    hint = hints[data.draw(st.sampled_from(list(hints)))]
    calls = drive(bench, lambda _, chosen: fails(chosen), hint=hint)[0]
    bench.stop_all()
    state = folded(bench.events)
    assert failed_items(state, items) == {(0, k) for k in bad}
    expected = "Failed" if len(bad) == items else "Completed"
    assert bench.end.state == expected
    assert state.items_succeeded == items - len(bad)
    k, n = len(bad), items
    assert calls - 1 <= 2 * k * math.log2(n) + k if n > 1 else calls == 1
    assert_books(bench.events, items)
    assert committed_items(bench.events, items) == [(0, k) for k in range(items) if k not in bad]


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.booleans(), st.booleans(),
    st.floats(0, 0.4), st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_many_mini_batches_in_any_order(
    items: int, mini_batches: int, tries: int, in_parts: bool, waits: bool, share: float, seed: int
) -> None:
    rng = Random(seed)
    bad = {k for k in range(items * mini_batches) if rng.random() < share}
    limits = replace(FREE, run_max_try=tries, retry_delay_s=0.5 if waits else 0)
    allocate = RangeAllocator if in_parts else Pending
    bench = planned(items, mini_batches, limits, allocate=allocate)

    def run(mini_batch: int, chosen: list[int]) -> sg.Failure | None:
        return BAD if any(mini_batch * items + k in bad for k in chosen) else None

    drive(bench, run, rng=rng)
    bench.stop_all()
    state = folded(bench.events)
    warned = [e for e in bench.of_kind(ev.WarningRaised) if "not divided" in e.text]
    expected = {divmod(k, items) for k in bad}
    failed = failed_items(state, items)
    assert failed == expected or (warned and failed > expected)
    assert state.items_failed + state.items_succeeded == items * mini_batches
    assert_books(through_journal(bench.events), items)


def through_journal(events: list[ev.Event]) -> list[ev.Event]:
    """Return the events as a reader of the journal receives them: results after their part."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_text("".join(encode(event) + "\n" for event in events))
        return list(JournalReader(path).read())


@pytest.mark.parametrize("items", [1, 2, 7, 50, 1000])
def test_a_fault_of_all_items_is_not_bisected(items: int) -> None:
    bench = planned(items, 200, replace(FREE, run_max_try=3))
    calls = drive(bench, lambda *_: BAD)
    bench.stop_all()
    state = folded(bench.events)
    assert state.items_failed == items * 200
    assert state.failed == 200
    assert sum(calls.values()) <= 200 * 3 + 4 * ALIKE + math.log2(items) + 4
    assert_books(bench.events, items)
    warnings = [e.text for e in bench.of_kind(ev.WarningRaised)]
    assert len(warnings) == (items > 1), warnings


def test_a_fault_with_a_different_error_for_each_item_is_isolated() -> None:
    bench = planned(16)
    errors = [replace(BAD, group=f"E{k} at s.py:{k}") for k in range(16)]
    calls = drive(bench, lambda _, chosen: errors[chosen[0]])
    assert sum(calls.values()) > 16
    assert folded(bench.events).items_failed == 16


@given(st.integers(2, 300), st.integers(1, 300), st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_what_does_not_fit_into_memory_runs_in_halves(items: int, fits: int, seed: int) -> None:
    bench = planned(items, 20, Limits(run_max_try=2, divides=True))
    sizes = []

    def run(_: int, chosen: list[int]) -> sg.Failure | None:
        sizes.append(len(chosen))
        return HUGE if len(chosen) > fits else None

    calls = drive(bench, run, rng=Random(seed))
    bench.stop_all()
    state = folded(bench.events)
    assert (bench.end.state, state.items_succeeded) == ("Completed", 20 * items)
    if fits >= items:
        assert state.items_per_call == 0
        assert sum(calls.values()) == 20
    else:
        assert fits / 2 <= state.items_per_call <= fits
        assert set(sizes[-5:]) <= set(range(1, fits + 1)), "the size is remembered"
    assert_books(bench.events, items)


def test_one_huge_item_does_not_make_all_calls_small() -> None:
    bench = planned(64, 30, Limits(run_max_try=1, error_threshold=-1, divides=True))
    drive(bench, lambda k, chosen: HUGE if k == 3 and 17 in chosen else None)
    bench.stop_all()
    state = folded(bench.events)
    assert failed_items(state, 64) == {(3, 17)}
    assert state.items_per_call == 0


def test_nothing_is_divided_where_azure_decides() -> None:
    bench = planned(8, 3, replace(FREE, divides=False, run_max_try=2))
    calls = drive(bench, lambda k, chosen: (BAD, HUGE, None)[k])
    assert calls == {0: 2, 1: 2, 2: 1}
    assert bench.scheduler.state.failed == 2


def test_answered_items_are_retried_without_the_others() -> None:
    bench = planned(6, 1, Limits(run_max_try=3, error_threshold=-1, divides=True))
    bench.answer("n0", 0, 1, [(1, BAD), (4, BAD)])
    assert bench.items_run(0, 2) == [1, 4]
    bench.answer("n0", 0, 2, [(4, BAD)])
    assert bench.items_run(0, 3) == [4]
    bench.fail("n0", 0, 3, BAD)
    bench.stop_all()
    state = folded(bench.events)
    assert (state.items_succeeded, failed_items(state, 6)) == (5, {(0, 4)})
    assert committed_items(bench.events, 6) == [(0, k) for k in (0, 1, 2, 3, 5)]
    assert_books(bench.events, 6)


def test_in_a_run_that_divides_nothing_answers_are_final() -> None:
    bench = planned(6, 1, Limits(run_max_try=3, error_threshold=-1))
    bench.answer("n0", 0, 1, [(1, BAD), (4, BAD)])
    bench.stop_all()
    assert bench.end.state == "Completed"
    assert failed_items(folded(bench.events), 6) == {(0, 1), (0, 4)}


@pytest.mark.parametrize("in_parts", [False, True])
@given(st.integers(1, 8), st.integers(1, 9), st.integers(0, 100_000))
@settings(max_examples=150, deadline=None)
def test_storms_of_kills_and_resumes_lose_no_item(
    in_parts: bool, items: int, mini_batches: int, seed: int
) -> None:
    rng = Random(seed)
    kinds = [
        rng.choice(["good"] * 6 + ["bad", "answers", "dies", "huge"])
        for _ in range(items * mini_batches)
    ]
    limits = Limits(
        run_max_try=rng.randint(1, 3),
        error_threshold=-1,
        divides=True,
        retry_delay_s=rng.choice([0, 1]),
    )
    allocate = RangeAllocator if in_parts else Pending
    bench = Bench(limits, allocate=allocate, items_of=lambda _: items)
    bench.send(
        sg.NodeOffered("n0", 2, rng.randint(1, 4)),
        sg.PlanAdvanced(mini_batches, items * mini_batches, True),
    )
    history: list[Any] = []
    for kill in (*(rng.random() < 0.7 for _ in range(4)), False):
        steps = rng.randint(1, 60) if kill else 100_000
        while steps and bench.scheduler._ending is None:
            steps -= 1
            step(bench, rng, kinds, items)
        if bench.scheduler._ending is not None:
            history += through_journal(bench.events)
            break
        history += through_journal(bench.events[: rng.randint(1, len(bench.events))])
        assert_books(history, items)
        bench = Bench(limits, state=folded(history), allocate=allocate, items_of=lambda _: items)
        bench.send(
            sg.NodeOffered("n0", 2, rng.randint(1, 4)),
            sg.PlanAdvanced(mini_batches, items * mini_batches, True),
        )
    assert_books(history, items)
    state = folded(history)
    assert state.left == 0
    assert state.items_succeeded + state.items_failed == items * mini_batches
    expected = {divmod(k, items) for k, kind in enumerate(kinds) if kind != "good"}
    failed = failed_items(state, items)
    warned = any(isinstance(e, ev.WarningRaised) and "not divided" in e.text for e in history)
    assert failed == expected or (warned and failed > expected)
    if not in_parts:
        everything = [(m, k) for m in range(mini_batches) for k in range(items)]
        assert committed_items(history, items) == [
            item for item in everything if item not in failed
        ]


def step(bench: Bench, rng: Random, kinds: list[str], items: int) -> None:
    """Let one thing happen: an attempt ends, a node is lost, or time passes."""
    if bench.uploads and rng.random() < 0.5:
        bench.upload(rng.randrange(len(bench.uploads)))
        return
    if rng.random() < 0.03:
        bench.lose(rng.choice(bench.names), blames=False)
        bench.join(rng.randint(1, 4))
        return
    if not bench.assigned:
        bench.wait(60_000)
        return
    node, mini_batch, attempt = rng.choice(bench.assigned)
    chosen = bench.items_run(mini_batch, attempt)
    kind_of = {k: kinds[mini_batch * items + k] for k in chosen}
    failures = {"dies": DEAD, "huge": HUGE, "bad": BAD}

    def run(_: int, part: list[int]) -> sg.Failure | None:
        present = {kind_of[k] for k in part}
        return next((failures[kind] for kind in failures if kind in present), None)

    if (mini_batch, attempt) in bench.isolating:
        # its "answers" fail as exceptions here
        failures["answers"] = BAD
        end_attempt(bench, node, mini_batch, attempt, run)
        return
    failure = run(mini_batch, chosen)
    if failure is not None:
        bench.fail(node, mini_batch, attempt, failure)
    elif "answers" in kind_of.values() or bench.ranges[mini_batch, attempt]:
        bench.answer(
            node,
            mini_batch,
            attempt,
            [(k, BAD) for k, kind in kind_of.items() if kind == "answers"],
        )
    else:
        bench.succeed(node, mini_batch, attempt, len(chosen))


def test_delays_double_with_jitter_up_to_a_minute() -> None:
    limits = Limits(retry_delay_s=2)
    delays = [delay_ms(limits, tries, 5, None) for tries in range(1, 12)]
    for number, delay in enumerate(delays):
        doubled = 2000 * 2**number
        assert min(0.75 * doubled, 60_000) <= delay <= min(1.25 * doubled, 60_000)
    assert len({delay_ms(limits, 1, k, None) for k in range(50)}) > 40, "they do not return at once"
    assert delay_ms(Limits(), 3, 0, None) == 0
    assert delay_ms(Limits(), 1, 0, 7.5) == 7500
    assert delay_ms(Limits(retry_delay_s=300), 1, 0, None) > 200_000


def test_retry_on_and_no_retry_on_match_base_types() -> None:
    reset = replace(
        BAD,
        error="ConnectionResetError",
        bases=("ConnectionResetError", "ConnectionError", "OSError"),
    )
    assert may_retry(reset, Limits(retry_on=frozenset({"ConnectionError"})))
    assert not may_retry(BAD, Limits(retry_on=frozenset({"ConnectionError"})))
    assert not may_retry(reset, Limits(no_retry_on=frozenset({"OSError"})))
    assert may_retry(reset, Limits(no_retry_on=frozenset({"ValueError"})))
    assert may_retry(replace(BAD, retry_after_s=3.0), Limits(retry_on=frozenset({"KeyError"})))


def test_a_retry_waits_for_its_time_and_the_wait_is_no_stall() -> None:
    limits = Limits(run_max_try=2, retry_delay_s=1, progress_update_timeout_s=5, divides=True)
    bench = planned(5, 1, limits)
    bench.fail("n0", 0, 1, replace(BAD, retry_after_s=20.0))
    bench.wait(10_000)
    assert (bench.assigned, bench.stops) == ([], [])
    bench.wait(10_001)
    assert bench.assigned == [("n0", 0, 2)]


def test_an_error_that_retry_on_leaves_out_is_named_once() -> None:
    limits = Limits(run_max_try=3, error_threshold=-1, retry_on=frozenset({"ConectionError"}))
    bench = planned(2, 3, limits)
    for mini_batch in range(3):
        bench.fail("n0", mini_batch, 1)
    [warning] = bench.of_kind(ev.WarningRaised)
    assert warning.text == (
        "ValueError is not tried again: neither it nor a base of it is in retry_on (ConectionError)"
    )
