"""Column types that turn out to be others: what ran with the first ones runs again, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.limits import Limits
from parallelrun_jupyter.runs.journal.events import AttemptFailed, RowsDropped, TypesChanged
from parallelrun_jupyter.runs.output.earlier_rows import results_of
from tests.scheduler_bench import BAD, ITEMS, Bench, folded

COUNT = 6
DIFFERS = replace(BAD, kind="types_differ")
CHANGE = "'x' is str, not int64"


class Course:
    """A run whose types are assumed; it knows with which plan each result was made."""

    def __init__(self, limits: Limits) -> None:
        self.bench = Bench(limits)
        self.plan_of: dict[tuple[str, int, int], int] = {}
        #: by the offset of the rows
        self.plan_of_rows: dict[int, int] = {}
        self.bench.send(sg.TypesAssumed(), sg.PlanAdvanced(COUNT, COUNT * ITEMS, is_end=True))
        self.bench.send(sg.NodeOffered("n0", 2, 3))
        self.bench.join(2, "n1")
        self.note()

    def note(self) -> None:
        held = set(self.bench.assigned)
        self.plan_of = {key: plan for key, plan in self.plan_of.items() if key in held}
        for key in held:
            self.plan_of.setdefault(key, self.bench.plans)

    def end(self, key: tuple[str, int, int], how: str, misfits: set[int]) -> None:
        bench, mini_batch, plan = self.bench, key[1], self.plan_of.pop(key)
        offset = len(bench.rows)
        if not plan and mini_batch in misfits:
            bench.fail(*key, failure=DIFFERS)
        elif how == "fail":
            bench.fail(*key)
        elif how == "answer":
            ran = bench.items_run(mini_batch, key[2])
            bench.answer(*key, failed=[(ran[0], BAD)])
        elif bench.ranges[mini_batch, key[2]]:
            bench.answer(*key, failed=[])
        else:
            bench.succeed(*key, rows=ITEMS - (how == "short"))
        self.plan_of_rows.update(dict.fromkeys(range(offset, len(bench.rows)), plan))
        self.note()

    def decide(self, *, has_changed: bool) -> None:
        events = self.bench.events
        dropped = [
            RowsDropped(0, r.mini_batch, r.first, r.items, r.of, min(r.items, r.rows), r.rows, "")
            for r in results_of(events)
        ]
        text = CHANGE if has_changed else ""
        self.bench.send(sg.TypesDecided(0, COUNT, text, tuple(dropped) if has_changed else ()))
        self.note()


@given(
    data=st.data(),
    misfits=st.sets(st.integers(0, COUNT - 1), max_size=2),
    has_changed=st.booleans(),
    threshold=st.sampled_from([-1, 0, 4]),
)
def test_all_results_have_the_types_of_the_last_plan(
    data: st.DataObject, misfits: set[int], has_changed: bool, threshold: int
) -> None:
    course = Course(Limits(run_max_try=2, error_threshold=threshold, divides=True))
    bench = course.bench
    hows = st.sampled_from(["succeed"] * 5 + ["short", "answer", "fail"])
    for _ in range(200):
        if bench.stops:
            break
        if bench.doubts > bench.plans and (not bench.assigned or data.draw(st.booleans())):
            course.decide(has_changed=has_changed)
            continue
        assert bench.assigned, "the run never waits for nothing"
        key = data.draw(st.sampled_from(sorted(bench.assigned)))
        if key[0] == "n1" and data.draw(st.integers(0, 9)) == 0:
            bench.lose("n1")
            course.note()
            bench.join(2, "n1")
            course.note()
            continue
        course.end(key, data.draw(hows), misfits)
    bench.stop_all()
    assert bench.doubts == bench.plans <= 1
    state = folded(bench.events)
    assert len(bench.of_kind(TypesChanged)) == (bench.plans and has_changed)
    if bench.end.state == "Completed":
        assert state.succeeded + state.failed == COUNT
        assert state.items_succeeded + state.items_failed == COUNT * ITEMS
    results = results_of(bench.events)
    offsets = [results.place(result)[1] for result in results]
    made = {course.plan_of_rows[offset] for offset in offsets}
    assert not (bench.plans and has_changed) or made <= {1}
    assert all(event.kind != DIFFERS.kind for event in bench.of_kind(AttemptFailed))


def test_a_run_fails_only_with_the_types_of_all_rows() -> None:
    course = Course(Limits(run_max_try=1, error_threshold=0))
    bench = course.bench
    bench.fail(*bench.assigned[0])
    assert (bench.doubts, bench.stops) == (1, [])
    held = len(bench.assigned)
    bench.succeed(*bench.assigned[0])
    assert len(bench.assigned) == held - 1, "nothing is assigned until the types are known"
    course.decide(has_changed=False)
    assert bench.stops == [False]


@pytest.mark.parametrize("signal", [sg.TypesConfirmed(), sg.TypesDecided(0, COUNT, "")])
def test_confirmed_types_change_nothing(signal: sg.TypesConfirmed | sg.TypesDecided) -> None:
    course = Course(Limits(run_max_try=1, error_threshold=0))
    bench = course.bench
    bench.succeed(*bench.assigned[0])
    before = len(bench.events)
    bench.send(signal)
    assert len(bench.events) == before
    bench.fail(*bench.assigned[0])
    assert (bench.doubts, bench.stops) == (0, [False])


def test_a_worker_that_never_confirms_confirmed_types_fails_its_mini_batch() -> None:
    course = Course(Limits(run_max_try=2, error_threshold=-1))
    bench = course.bench
    bench.send(sg.TypesConfirmed())
    key = bench.assigned[0]
    bench.fail(*key, failure=DIFFERS)
    again = next(each for each in bench.assigned if each[1] == key[1])
    bench.fail(*again, failure=DIFFERS)
    failures = bench.of_kind(AttemptFailed)
    assert [(e.mini_batch, e.kind) for e in failures] == [(key[1], "bad_input")] * 2
    assert key[1] not in {each[1] for each in bench.assigned}, "it does not run for ever"
