"""Progress within a call of run(): the page, the context, the clock of an item, the fold, the views."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from parallelrun_jupyter.engine.node.metrics import Sampler
from parallelrun_jupyter.engine.node.worker_process import Timeout, WorkerProcess
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.limits import Limits, NodeLimits
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.lines import decode, encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.journal.worker_state import WorkerState
from parallelrun_jupyter.runs.snapshot.progress import call_progress
from parallelrun_jupyter.views.html import html_view
from parallelrun_jupyter.views.text import text_view
from parallelrun_jupyter.worker.context import MiniBatchContext
from parallelrun_jupyter.worker.context_argument import with_context
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.status_page import INIT, RUNNING, SIZE, WAITING, StatusPage
from tests.pure.test_html import snapshot, worker
from tests.pure.test_isolation import drive, failed_items, planned
from tests.scheduler_bench import BAD, folded

Pages = tuple[StatusPage, StatusPage, Any]
LINE = PlanLine(0, [f"/in/{k}" for k in range(10)], [], [])


@pytest.fixture
def pages() -> Iterator[Pages]:
    """Yield the page of a worker, the same page as its node sees it, and its file."""
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        mine, theirs = StatusPage(file.fileno()), StatusPage(file.fileno())
        yield mine, theirs, file
        mine.close()
        theirs.close()


def seen(page: StatusPage) -> Any:
    """Return the progress as a node reads it."""
    page.read()
    return page.read_progress()


# The page


def test_progress_ends_with_its_call(pages: Pages) -> None:
    mine, theirs, _ = pages
    assert seen(theirs) is None
    mine.write(RUNNING, 4, 1.5)
    assert seen(theirs) is None
    mine.write_progress(mine.sequence, (3, 10, 0, -1, 0.0))
    assert (theirs.read(), theirs.read_progress()) == ((RUNNING, 4, 1.5), (3, 10, 0, -1, 0.0))
    mine.write(WAITING, -1, 2.0)
    assert theirs.read_progress() == (3, 10, 0, -1, 0.0), "it is of the activity that was read"
    assert seen(theirs) is None
    mine.write(RUNNING, 5, 2.5)
    assert seen(theirs) is None


@pytest.mark.parametrize("at", [64, 64 + 7 * 8])
def test_a_torn_write_leaves_the_last_whole_value(pages: Pages, at: int) -> None:
    mine, theirs, file = pages
    mine.write(RUNNING, 4, 1.5)
    mine.write_progress(mine.sequence, (3, 10, 0, -1, 0.0))
    assert seen(theirs) == (3, 10, 0, -1, 0.0)
    os.pwrite(file.fileno(), struct.pack("=Q", 77), at)  # the writer was killed in its second write
    os.pwrite(file.fileno(), struct.pack("=q", 9), 64 + 16)
    assert seen(theirs) == (3, 10, 0, -1, 0.0)
    new = StatusPage(file.fileno())
    assert seen(new) is None, "there is no value that it knows to be whole"
    new.close()


def test_a_reader_never_sees_a_mixture_of_two_writes(pages: Pages) -> None:
    mine, theirs, _ = pages
    mine.write(RUNNING, 4, 1.5)
    child = os.fork()
    if not child:
        try:
            for number in range(1, 1 << 40):
                mine.write_progress(mine.sequence, (number, -number, number, -number, number))
                sum(range(30))  # the step of a tight loop, under a microsecond
        finally:
            os._exit(1)
    try:
        counts = []
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            progress = seen(theirs)
            if progress is not None:
                done, of, counts_items, item, clock = progress
                assert done == -of == counts_items == -item == clock
                counts.append(done)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert counts == sorted(counts)
    assert len(set(counts)) > 3, "the reader sees how it goes on"


# The context


def context_of(page: StatusPage | None, line: PlanLine = LINE) -> MiniBatchContext:
    if page is not None:
        page.write(RUNNING, 4, 1.5)
    taken: list[MiniBatchContext] = []
    with_context(lambda _, context: taken.append(context), page=page)(line, 4)
    return taken[0]


def test_a_script_tells_how_far_it_is(pages: Pages) -> None:
    mine, theirs, _ = pages
    context = context_of(mine)
    for given, told in [((0, 10), (0, 10)), ((3, 10), (3, 10)), ((7,), (7, -1)),
                        ((7, None), (7, -1)), ((np.int32(2), np.int64(4)), (2, 4)),
                        ((0, 0), (0, 0)), ((2**63 - 1,), (2**63 - 1, -1))]:  # fmt: skip
        context.progress(*given)
        assert seen(theirs) == (*told, 0, -1, 0.0), given


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ((11, 10), ValueError, r"context.progress\(11, 10\): expected how much is done, from 0, and"),
        ((-1, 10), ValueError, r"context.progress\(-1, 10\): .* leave the second out"),
        ((1, -1), ValueError, "not less"),
        ((2**63,), ValueError, r"context.progress\(9223372036854775808, None\)"),
        ((0.5,), TypeError, r"progress\(0.5, None\): expected whole numbers, such as progress\(3, 10\)"
                            r", not a float; for a share, use progress\(int\(100 \* share\), 100\)"),
        ((1, 2.0), TypeError, r"context.progress\(1, 2.0\): expected whole numbers"),
        ((True,), TypeError, "not a bool"),
        (("3", 10), TypeError, r"context.progress\('3', 10\): .* not a str"),
        ((None, 10), TypeError, "not a NoneType"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_worker", [False, True])
def test_wrong_arguments_are_named_in_a_worker_and_outside(
    pages: Pages, given: Any, kind: type[Exception], text: str, in_worker: bool
) -> None:
    context = context_of(pages[0] if in_worker else None)
    with pytest.raises(kind, match=text):
        context.progress(*given)
    assert seen(pages[1]) is None


def test_outside_of_a_worker_progress_does_nothing() -> None:
    context = context_of(None)
    context.progress(3, 10)
    context._begin_item(3)
    assert pickle.loads(pickle.dumps(context)).minibatch_index == 4


def test_a_context_of_a_worker_can_be_sent_to_another_process(pages: Pages) -> None:
    context = context_of(pages[0])
    context.progress(3, 10)
    copy = pickle.loads(pickle.dumps(context))
    copy.progress(4, 10)
    assert seen(pages[1])[:2] == (3, 10)


def test_a_context_that_outlives_its_call_does_not_touch_the_next_one(pages: Pages) -> None:
    mine, theirs, _ = pages
    old = context_of(mine)
    new = context_of(mine)
    new._begin_item(2)
    shown = seen(theirs)
    old.progress(9, 10)
    old._begin_item(9)
    assert seen(theirs) == shown
    mine.write(WAITING, -1, 3.0)
    new.progress(1, 2)
    assert seen(theirs) is None


def test_an_item_has_its_place_in_the_mini_batch_and_its_own_clock(pages: Pages) -> None:
    mine, theirs, _ = pages
    part = LINE.only(((2, 3), (7, 2)))
    context = context_of(mine, part)
    before = time.monotonic()
    items = []
    for position in range(5):
        context._begin_item(position)
        done, of, counts_items, item, clock = seen(theirs)
        assert (done, of, counts_items) == (position, 5, 1)
        assert before <= clock <= time.monotonic()
        before = clock
        items.append(item)
    assert items == [2, 3, 4, 7, 8]


def test_the_progress_of_the_script_is_shown_instead_of_the_items(pages: Pages) -> None:
    mine, theirs, _ = pages
    context = context_of(mine)
    context._begin_item(1)
    context.progress(30, 100)
    assert seen(theirs)[:4] == (30, 100, 0, 1)
    clock = seen(theirs)[4]
    time.sleep(0.002)
    context._begin_item(2)
    assert seen(theirs)[:4] == (30, 100, 0, 2)
    assert seen(theirs)[4] > clock


# The node


def timeout_of(page: StatusPage) -> Timeout:
    worker = SimpleNamespace(
        _terminated_at=None, page=page, is_ready=True, assigned={4: None}, ends_calls=False
    )
    return WorkerProcess.timeout(worker, NodeLimits(run_s=60))  # type: ignore[arg-type]


def test_the_time_limit_counts_from_the_last_item(pages: Pages) -> None:
    mine, theirs, _ = pages
    context = context_of(mine)
    assert timeout_of(theirs) == (
        61.5,
        "run() took longer than run_invocation_timeout = 60 s",
        "timeout",
    )
    context.progress(3, 10)
    assert timeout_of(theirs).at == 61.5, "only an item restarts the clock"
    before = time.monotonic()
    context._begin_item(3)
    at, text, _ = timeout_of(theirs)
    assert 0 <= at - before - 60 < 5
    assert text == "run() took longer than run_invocation_timeout = 60 s for one item"
    context_of(mine)
    assert timeout_of(theirs).at == 61.5, "the next call has the clock of its start"


def test_samples_tell_progress_when_it_changes(pages: Pages) -> None:
    mine, theirs, _ = pages
    sampler = Sampler((), origin=0.0)
    rows: Any = [SimpleNamespace(name="n0w0", page=theirs, started_at=0.0, pid=0, slot=0)]
    mine.write(INIT, -1, 1.0)
    assert sampler.changes(rows) == ((("n0w0", "init", -1, 1000),), ())
    context = context_of(mine)
    running = ("n0w0", "running", 4, 1500)
    assert sampler.changes(rows) == ((running,), ())
    context.progress(3, 10)
    assert sampler.changes(rows) == ((), (("n0w0", 3, 10, 0),))
    assert sampler.changes(rows) == ((), ())
    context._begin_item(1)
    assert sampler.changes(rows) == ((), ()), "an item that begins does not move the script's count"
    mine.write(RUNNING, 5, 2.5)
    mine.write_progress(mine.sequence, (3, 10, 0, -1, 0.0))
    assert sampler.changes(rows) == ((("n0w0", "running", 5, 2500),), (("n0w0", 3, 10, 0),))


# The scheduler


@pytest.mark.parametrize("kind", ["timeout", "worker_lost"])
@pytest.mark.parametrize("tries", [1, 3])
def test_the_item_in_which_a_worker_ended_runs_alone_next(kind: str, tries: int) -> None:
    limits = Limits(run_max_try=tries, error_threshold=-1, divides=True)
    bench = planned(100, 2, limits)
    bad = 37

    def run(mini_batch: int, items: list[int]) -> sg.Failure | None:
        nonlocal bad
        bad = 37 + mini_batch
        return replace(BAD, kind=kind, error="E") if bad in items else None

    calls = drive(bench, run, hint=lambda _: bad)
    bench.stop_all()
    assert failed_items(folded(bench.events), 100) == {(0, 37), (1, 38)}
    # Of the first mini-batch of a group, one more item shows that the fault is not one of all.
    assert max(calls.values()) <= tries + 3
    assert min(calls.values()) <= tries + 2
    assert sum(calls.values()) <= 2 * tries + 5


def test_moving_items_are_progress_and_one_that_hangs_is_not() -> None:
    limits = Limits(1, error_threshold=-1, divides=True, progress_update_timeout_s=100)
    bench = planned(8, 1, limits)
    bench.send(sg.WorkerSpawned("n0", "n0w0", 7), sg.WorkerInitialized("n0", "n0w0", 5))
    bench.send(sg.WorkersSampled("n0", (("n0w0", "running", 0, 5),)))
    for done in range(5):
        bench.now += 60_000
        bench.send(sg.WorkersSampled("n0", (), (("n0w0", done, 8, 1),)), sg.TimePassed())
    assert not bench.stops
    bench.now += 101_000
    bench.send(sg.TimePassed())
    assert bench.stops == [False]


# The journal and the views


OLD = '{"event":"NodeSampled","at_ms":7,"node":"n0","workers":[["n0w0","running",3,5]]}'


def test_samples_without_progress_are_as_short_as_before() -> None:
    event = decode(OLD)
    assert event == ev.NodeSampled(7, "n0", (("n0w0", "running", 3, 5),))
    assert encode(event) == OLD
    told = replace(event, progress=(("n0w0", 3, 10, 0),))
    assert decode(encode(told)) == told
    assert encode(told) == OLD[:-1] + ',"progress":[["n0w0",3,10,0]]}'


def test_the_progress_of_a_call_is_forgotten_at_its_end() -> None:
    state = RunState()
    state.apply(ev.WorkerStarted(1, "n0w0", "n0", 7))

    def sampled(*rows: Any, told: Any = ()) -> Any:
        state.apply(ev.NodeSampled(9, "n0", rows, told))
        return call_progress(state.workers["n0w0"])

    running = ("n0w0", "running", 4, 1500)
    assert sampled(running) == []
    assert sampled(told=[("n0w0", 3, 10, 0)]) == [3, 10, 0]
    assert sampled((*running, 95, 200, -1, -1)) == [3, 10, 0]
    assert sampled(("n0w0", "running", 4, 1600)) == [], "another call of the same mini-batch"
    assert sampled(running, told=[("n0w0", 5, -1, 0), ("gone", 1, 2, 0)]) == [5, -1, 0]
    assert sampled(("n0w0", "waiting", -1, 1700)) == []


def test_a_cached_state_of_an_older_version_has_no_progress() -> None:
    row = {"worker": "n0w0", "node": "n0", "pid": 7, "phase": "running"}
    assert call_progress(WorkerState(**row)) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("view", [text_view, lambda shown: html_view(shown, 0.0)])
@pytest.mark.parametrize(
    ("progress", "text"),
    [
        ([3, 10, 0], "in run(), mini-batch 4, 3 of 10, for 1.5 s"),
        ([37, 100, 1], "mini-batch 4, 37 of 100 items, for 1.5 s"),
        ([0, 1, 1], "mini-batch 4, 0 of 1 item, for 1.5 s"),
        ([1200, -1, 0], "mini-batch 4, 1,200 done, for 1.5 s"),
    ],
)
def test_every_text_shows_how_far_a_call_is(
    view: Callable[[Any], str], progress: list[int], text: str
) -> None:
    assert text in view(snapshot(workers=[worker(4, progress=progress)]))
    assert "for 1.5 s" not in view(snapshot(workers=[worker(4)]))
    old = {key: value for key, value in worker(4).items() if key != "progress"}
    assert "for 1.5 s" not in view(snapshot(workers=[old]))


def test_the_page_of_many_workers_has_a_few_lines() -> None:
    told = [3, 10, 0]
    shown = snapshot(workers=[worker(k, progress=told) for k in range(50)])
    assert html_view(shown, 0.0).count("3 of 10") == 8
