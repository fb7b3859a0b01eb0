"""Parts of the output: each row is in exactly one part, in input order, whatever fails."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.engine.scheduling import range_allocator
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.limits import IDLE_RELEASE_MS, Limits
from parallelrun_jupyter.engine.scheduling.range_allocator import RangeAllocator, size_at
from parallelrun_jupyter.runs.journal.events import (
    IN_STORE,
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    PartStored,
    StateEntered,
    WarningRaised,
)
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from tests.scheduler_bench import Bench, folded

LIMITS = Limits(error_threshold=-1, output_in_store=True)


def bench_of(limits: Limits = LIMITS, state: RunState | None = None, **resume: Any) -> Bench:
    """Return a bench whose nodes upload parts."""
    return Bench(limits, (), state, RangeAllocator, **resume)


def reread(events: Iterable[Event], cut: int = 0) -> list[Event]:
    """Return the events of a journal whose last ``cut`` bytes are missing."""
    data = "".join(encode(event) + "\n" for event in events).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(data[: len(data) - cut])
        return list(JournalReader(path).read())


def assert_once_and_in_order(events: Iterable[Event], store: dict[str, list[int]]) -> list[int]:
    """Assert that the recorded parts hold each succeeded mini-batch once, in input order."""
    events = list(events)
    done = [e.mini_batch for e in events if isinstance(e, AttemptSucceeded)]
    parts = sorted((e.first, e) for e in events if isinstance(e, PartStored))
    ends = [first + part.count for first, part in parts]
    assert all(end <= first for end, (first, _) in zip(ends, parts[1:], strict=False))
    rows = [k for _, part in parts if part.name for k in store[part.name]]
    assert rows == sorted(rows)
    without_rows = {e.mini_batch for e in events if isinstance(e, AttemptSucceeded) and not e.rows}
    assert sorted([*rows, *without_rows]) == sorted(done)
    assert len(set(done)) == len(done)
    return done


def test_a_short_result_is_recorded_after_its_part() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(4, "a")
    for mini_batch, rows in enumerate((5, 2, 5, 0)):
        bench.succeed("a", mini_batch, rows=rows)
    assert not bench.of_kind(ItemsFailed)
    bench.rows = {key: k for key, k in bench.rows.items() if k[0] != 3}
    bench.upload()
    read = reread(bench.events)
    assert read == bench.events
    recorded = [e for e in read if isinstance(e, PartStored | ItemsFailed)]
    assert [type(e) for e in recorded] == [PartStored, ItemsFailed, ItemsFailed]
    assert [(e.mini_batch, e.items) for e in recorded if isinstance(e, ItemsFailed)] == [
        (1, 3),
        (3, 5),
    ]
    state = bench.scheduler.state
    assert (state.items_succeeded, state.items_failed) == (12, 8)
    assert sum(group.items_missing for group in state.groups.values()) == state.items_failed


def test_ranges_begin_small_and_grow() -> None:
    assert [size_at(first) for first in (0, 1024, 2048, 100_000, 10**7)] == [4, 4, 8, 390, 1024]
    assert [size_at(first, 100) for first in (0, 100_000)] == [100, 390], "if they are short"


def test_a_range_belongs_to_one_node_which_uploads_it() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(12, 60, is_end=True))
    bench.join(2, "a")
    bench.join(2, "b")
    assert bench.assigned == [("a", 0, 1), ("a", 1, 1), ("b", 4, 1), ("b", 5, 1)]
    bench.succeed("a", 1)
    bench.succeed("a", 0)
    assert bench.assigned[2:] == [("a", 2, 1), ("a", 3, 1)]
    bench.fail("a", 3, 1)
    assert bench.assigned[3:] == [("a", 3, 2)], "its owner retries it"
    bench.succeed("a", 2)
    assert bench.scheduler.state.succeeded == 0
    assert not bench.uploads
    bench.succeed("a", 3, 2)
    [upload] = bench.uploads
    assert (upload.node, upload.first) == ("a", 0)
    assert [piece[0] for piece in upload.pieces] == [0, 1, 2, 3]
    bench.upload()
    state = bench.scheduler.state
    assert (state.succeeded, state.items_succeeded, state.parts, state.left) == (4, 20, 1, 8)
    recorded = [e for e in bench.events if isinstance(e, AttemptSucceeded | PartStored)]
    assert [e.mini_batch for e in recorded if isinstance(e, AttemptSucceeded)] == [1, 0, 2, 3]
    assert {(e.part, e.offset) for e in recorded[:4]} == {(IN_STORE, 5 * k) for k in range(4)}  # type: ignore[union-attr]
    assert recorded[4] == PartStored(bench.now, next(iter(bench.store)), 0, 4, 20, 99)


def test_the_range_of_a_lost_node_runs_again_and_its_late_part_is_ignored() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(4, "a")
    for k in range(4):
        bench.succeed("a", k)
    upload = bench.uploads[0]
    bench.lose("a")
    bench.send(sg.PartUploaded("a", upload.first, "part-late", 20, 99))
    assert bench.scheduler.state.succeeded == 0
    bench.join(4, "b")
    assert bench.assigned == [("b", k, 1) for k in range(4)]
    for k in range(4):
        bench.succeed("b", k)
    bench.upload()
    assert bench.stops == [True]
    bench.send(sg.NodeStopped("b"))
    assert not bench.published, "the lost node may still be uploading"
    bench.stop_all()
    assert bench.end.state == "Completed"


@pytest.mark.parametrize("run_max_try", [1, 2])
def test_after_three_lost_nodes_a_mini_batch_fails_an_attempt(run_max_try: int) -> None:
    bench = bench_of(Limits(run_max_try=run_max_try, error_threshold=-1, output_in_store=True))
    bench.send(sg.PlanAdvanced(3, 15, is_end=True))
    for name in "abc":
        bench.join(3, name)
        bench.send(sg.WorkerSpawned(name, f"{name}w0", 1))
        bench.send(sg.WorkersSampled(name, ((f"{name}w0", "running", 1, 5),)))
        bench.lose(name)
    [failed] = bench.of_kind(AttemptFailed)
    assert (failed.mini_batch, failed.attempt, failed.is_last) == (1, 1, run_max_try == 1)
    bench.join(3, "d")
    retried = [] if run_max_try == 1 else [("d", 1, 2)]
    assert sorted(bench.assigned) == sorted([("d", 0, 1), *retried, ("d", 2, 1)])
    while bench.assigned:
        bench.succeed(*bench.assigned[0])
    while bench.uploads:
        bench.upload()
    bench.stop_all()
    assert bench.end.state == "Completed"
    assert_once_and_in_order(bench.events, bench.store)
    assert len(bench.store) == 3 - run_max_try


def test_a_mini_batch_that_fails_for_good_splits_its_range() -> None:
    bench = bench_of(Limits(run_max_try=1, error_threshold=-1, output_in_store=True))
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(4, "a")
    bench.succeed("a", 0)
    bench.succeed("a", 2)
    bench.fail("a", 1, 1)
    assert [upload.first for upload in bench.uploads] == [0]
    bench.succeed("a", 3)
    assert [[piece[0] for piece in upload.pieces] for upload in bench.uploads] == [[0], [2, 3]]
    bench.upload()
    bench.upload()
    bench.stop_all()
    assert (bench.end.state, bench.end.output) == ("Completed", "/out")
    again = bench_of(LIMITS, folded(bench.events), failed_only=True)  # those that had failed alone
    again.send(sg.PlanAdvanced(4, 20, is_end=True))
    again.join(9, "a")
    assert again.assigned == [("a", 1, 2)]
    again.succeed("a", 1, 2)
    again.upload()
    again.store |= bench.store
    assert assert_once_and_in_order([*bench.events, *again.events], again.store)
    again.stop_all()
    assert again.end.state == "Completed"


def test_consecutive_retries_make_one_part() -> None:
    limits = Limits(run_max_try=1, error_threshold=-1, output_in_store=True)
    bench = bench_of(limits)
    bench.send(sg.PlanAdvanced(8, 40, is_end=True))
    bench.join(8, "a")
    for k in range(8):
        if k in {2, 3, 4, 6}:
            bench.fail("a", k, 1)
        else:
            bench.succeed("a", k)
    while bench.uploads:
        bench.upload()
    bench.stop_all()
    assert bench.end.state == "Completed"
    again = bench_of(limits, folded(bench.events), failed_only=True)
    again.send(sg.PlanAdvanced(8, 40, is_end=True))
    again.join(8, "a")
    assert again.assigned == [("a", k, 2) for k in (2, 3, 4, 6)]
    for k in (2, 3, 4, 6):
        again.succeed("a", k, 2)
    assert [len(upload.pieces) for upload in again.uploads] == [3, 1]


def test_an_incomplete_range_uploads_its_rows_when_they_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_allocator, "PART_BYTES", 30)
    bench = bench_of()
    bench.send(sg.PlanAdvanced(5, 25, is_end=True))
    bench.join(4, "a")
    bench.succeed("a", 2)
    bench.succeed("a", 1)
    assert [[piece[0] for piece in upload.pieces] for upload in bench.uploads] == [[1, 2]]
    monkeypatch.setattr(range_allocator, "HELD_BYTES", 40)
    bench.succeed("a", 3)
    assert ("a", 4, 1) in bench.assigned
    bench.send(sg.NodeOffered("a", 1, 9))
    assert bench.assigned == [("a", 0, 1), ("a", 4, 1)]


def test_a_node_that_holds_too_many_rows_gets_nothing_until_some_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_allocator, "HELD_BYTES", 30)
    bench = bench_of()
    bench.send(sg.PlanAdvanced(9, 45, is_end=True))
    bench.join(2, "a")
    bench.succeed("a", 1)
    bench.succeed("a", 0)
    assert bench.assigned == [("a", 2, 1)]
    assert [[piece[0] for piece in upload.pieces] for upload in bench.uploads] == [[0, 1]]
    bench.upload()
    assert bench.assigned == [("a", 2, 1), ("a", 3, 1)]


def test_a_node_without_work_takes_over_half_of_a_range() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(1, "a")
    bench.join(1, "b")
    assert bench.assigned == [("a", 0, 1), ("b", 2, 1)]
    bench.join(1, "c")
    assert bench.assigned[2:] == [("c", 1, 1)] or bench.assigned[2:] == [("c", 3, 1)]
    bench.succeed("b", 2)
    bench.succeed("a", 0)
    bench.send(sg.NodeOffered("a", 1, 2))
    while bench.assigned:
        bench.succeed(*bench.assigned[0])
    while bench.uploads:
        bench.upload()
    assert sorted(assert_once_and_in_order(bench.events, bench.store)) == [0, 1, 2, 3]


def test_a_range_is_uploaded_when_its_rest_was_taken_over() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(1, "a")
    bench.succeed("a", 0)
    bench.succeed("a", 1)
    bench.send(sg.NodeOffered("a", 1, 0))
    bench.succeed("a", 2)
    assert not bench.uploads
    bench.join(1, "b")
    assert bench.assigned == [("b", 3, 1)]
    assert [[piece[0] for piece in upload.pieces] for upload in bench.uploads] == [[0, 1, 2]]


def test_a_paused_node_uploads_its_rows_and_others_run_the_rest() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(4, "a")
    bench.succeed("a", 1)
    bench.join(4, "b")
    bench.pause("a")
    assert not bench.assigned
    bench.wait(IDLE_RELEASE_MS)
    assert [[piece[0] for piece in upload.pieces] for upload in bench.uploads] == [[1]]
    assert bench.assigned == [("b", 0, 1), ("b", 2, 1), ("b", 3, 1)]
    bench.upload()
    for k in (0, 2, 3):
        bench.succeed("b", k)
    bench.upload()
    bench.upload()
    assert sorted(assert_once_and_in_order(bench.events, bench.store)) == [0, 1, 2, 3]


def test_a_draining_cancel_uploads_the_rows() -> None:
    for drain in (True, False):
        bench = bench_of()
        bench.send(sg.PlanAdvanced(9, 45, is_end=True))
        bench.join(2, "a")
        bench.succeed("a", 0)
        bench.send(sg.CancelAsked(drain))
        assert (bench.paused, bench.stops) == (drain, [] if drain else [False])
        if drain:
            bench.succeed("a", 1)
            bench.pause("a")
            assert [piece[0] for piece in bench.uploads[0].pieces] == [0, 1]
            assert bench.stops == []
            bench.upload()
            assert bench.stops == [True]
        bench.stop_all()
        assert bench.end.state == "Canceled"
        assert bench.scheduler.state.succeeded == (2 if drain else 0)


def test_a_failed_upload_ends_the_run() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(4, "a")
    bench.send(sg.PartUploadFailed("b", "late"))
    assert not bench.stops
    bench.send(sg.PartUploadFailed("a", "the store refused"))
    assert bench.stops == [False]
    bench.stop_all()
    assert (bench.end.state, bench.end.reason) == ("Failed", "the store refused")


def test_a_failed_upload_after_a_draining_cancel_is_a_warning() -> None:
    bench = bench_of()
    bench.send(sg.PlanAdvanced(4, 20, is_end=True))
    bench.join(4, "a")
    bench.send(sg.CancelAsked(drain=True))
    bench.send(sg.PartUploadFailed("a", "the store refused", "Traceback ..."))
    assert bench.stops == [False], "the rows cannot be uploaded: nothing to wait for"
    warnings = bench.of_kind(WarningRaised)
    assert [(e.text, e.traceback) for e in warnings] == [("the store refused", "Traceback ...")]
    bench.stop_all()
    assert bench.end.state == "Canceled"


def test_attempts_are_committed_by_the_line_of_their_part() -> None:
    ones = [AttemptSucceeded(k, 1, "n0w0", 5, 9, 5, 5, 5, IN_STORE, 5 * k, 15, 0) for k in range(3)]
    part = PartStored(6, "part-0", 0, 3, 15, 99)
    whole: list[Event] = [StateEntered(1, "Running"), *ones, part, StateEntered(7, "Finalizing")]
    assert reread(whole) == whole
    size = len(encode(whole[-1])) + 1
    for cut in range(size + 1, size + 200, 7):
        assert reread(whole, cut) == whole[:1]
    torn: list[Event] = [*whole[:3], StateEntered(9, "Running"), *ones, part]
    assert reread(torn) == [whole[0], torn[3], *ones, part]
    state = folded(reread(torn))
    assert (state.succeeded, state.rows, state.parts, state.at_ms) == (3, 15, 1, 6)


def test_a_reader_continues_after_an_incomplete_part(tmp_path: Path) -> None:
    ones = [AttemptSucceeded(k, 1, "n0w0", 5, 9, 5, 5, 5, IN_STORE, 5 * k, 15, 0) for k in range(3)]
    events: list[Event] = [StateEntered(1, "Running"), *ones, PartStored(6, "part-0", 0, 3, 15, 99)]
    data = "".join(encode(event) + "\n" for event in events).encode()
    path = tmp_path / "events.jsonl"
    path.write_bytes(data[:-70])
    reader = JournalReader(path)
    assert list(reader.read()) == events[:1]
    path.write_bytes(data)
    assert list(reader.read()) == events[1:]
    assert reader.behind_bytes() == 0


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    mini_batches=st.integers(1, 60),
    failing=st.sampled_from([0, 0.1, 0.5]),
    run_max_try=st.integers(1, 3),
    drivers=st.integers(1, 3),
    largest=st.sampled_from([30, 100, 10**9]),
)
def test_each_row_is_in_one_part_and_in_order(
    seed: int, mini_batches: int, failing: float, run_max_try: int, drivers: int, largest: int
) -> None:
    rng = random.Random(seed)
    limits = Limits(run_max_try, error_threshold=-1, append_rows=False, output_in_store=True)
    events: list[Event] = []
    store: dict[str, list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_allocator, "PART_BYTES", largest)
        patch.setattr(range_allocator, "HELD_BYTES", 2 * largest)
        for driver in range(drivers):
            state = folded(events) if driver else None
            bench = bench_of(limits, state)
            bench.store = store
            is_last = driver == drivers - 1
            course(bench, rng, mini_batches, failing, 10**9 if is_last else rng.randint(1, 150))
            if is_last:
                bench.stop_all()
                assert bench.end.state == "Completed"
            cut = 0 if is_last else rng.choice([0, 0, rng.randint(0, 600)])
            events = reread([*events, *bench.events], cut)
            assert_once_and_in_order(events, store)
        assert folded(events) == bench.scheduler.state
    done = [e.mini_batch for e in events if isinstance(e, AttemptSucceeded)]
    state = folded(events)
    assert state.left == 0
    assert len(done) == state.succeeded == mini_batches - state.failed
    assert {e.mini_batch for e in events if isinstance(e, AttemptFailed)} >= (
        set(range(mini_batches)) - set(done)
    )


def course(  # noqa: C901 - one flat random choice
    bench: Bench, rng: random.Random, total: int, failing: float, most: int
) -> None:
    """Send up to ``most`` random signals, until the nodes are to stop."""
    planned = 0
    while not bench.stops and most > 0:
        most -= 1
        choice, names = rng.random(), bench.names
        if planned < total and choice < 0.2:
            planned = min(total, planned + rng.randint(1, 20))
            bench.send(sg.PlanAdvanced(planned, planned * 5, is_end=planned == total))
        elif not names or (choice < 0.25 and len(names) < 5):
            bench.join(rng.randint(1, 12))
        elif choice < 0.28:
            bench.lose(rng.choice(names), blames=rng.random() < 0.7)
        elif choice < 0.31:
            bench.pause(rng.choice(names))
        elif choice < 0.34:
            bench.wait(IDLE_RELEASE_MS)
        elif choice < 0.5 and bench.uploads:
            bench.upload(rng.randrange(len(bench.uploads)), is_reported=True)
        elif choice < 0.51 and bench.uploads:  # stored, but the node is lost before its report
            number = rng.randrange(len(bench.uploads))
            name = bench.uploads[number].node
            bench.upload(number, is_reported=False)
            bench.lose(name)
        elif choice < 0.6 or not bench.assigned:
            bench.send(sg.NodeOffered(rng.choice(names), 2, rng.randint(1, 12)))
        else:
            node, mini_batch, attempt = rng.choice(bench.assigned)
            if rng.random() < failing:
                bench.fail(node, mini_batch, attempt)
            else:
                bench.succeed(node, mini_batch, attempt, rows=rng.choice([5, 5, 5, 0]))
        state = bench.scheduler.state
        assert state.done + state.left == state.planned
        assert state.items_succeeded + state.items_failed == 5 * state.done


def test_a_range_may_be_longer_than_the_plan_so_far() -> None:
    state = RunState()
    state.planned = 2
    allocator = RangeAllocator(state)
    assert allocator.next("a", 3, 0) == [(0, 2, 1)]
    assert allocator.next("b", 3, 0) == []
    state.planned = 9
    assert allocator.next("b", 2, 0) == [(4, 2, 1)]
    assert allocator.next("a", 1, 0) == [(2, 1, 1)]


def test_small_rests_are_not_taken_over_while_the_plan_grows() -> None:
    state = RunState()
    state.planned = 8
    allocator = RangeAllocator(state)
    assert allocator.next("a", 20, 0) == [(0, 8, 1)]
    state.planned = 15
    assert allocator.next("b", 1, 0) == []
    state.planned = 16
    assert allocator.next("b", 1, 0) == [(12, 1, 1)], "half of eight"
    state.plan_finished = True
    allocator.end_plan()
    assert allocator.next("c", 9, 0) == [(10, 2, 1)]
    assert allocator.next("c", 9, 0) == [(14, 2, 1)]
