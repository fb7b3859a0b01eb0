"""Parts of the output: whatever happens to nodes and drivers, each row is in one part, in order."""

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
from parallelrun_jupyter.engine.scheduling.limits import LOST_NODE_GRACE_MS, Limits
from parallelrun_jupyter.engine.scheduling.mini_batch_range import size_at
from parallelrun_jupyter.engine.scheduling.part_scheduler import LET_GO_MS, PartsScheduler
from parallelrun_jupyter.engine.scheduling.range_allocator import RangeAllocator
from parallelrun_jupyter.runs.journal.events import (
    IN_STORE,
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemsFailed,
    PartStored,
    RunFinished,
    StateEntered,
    WarningRaised,
    encode,
)
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.state import RunState

BAD = sg.Failure("exception", "ValueError", "bad", "ValueError at s.py:1 in run", "Traceback ...")
LIMITS = Limits(error_threshold=-1, puts_in_store=True)


class Nodes:
    """A scheduler with parts, its nodes with the rows that they keep, and the store."""

    def __init__(self, limits: Limits = LIMITS, state: RunState | None = None, **how: Any) -> None:
        self.scheduler = PartsScheduler(limits, (), state, **how)
        self.now = state.at_ms if state else 0
        self.events: list[Event] = []
        self.out: list[tuple[str, int, int]] = []
        self.charges: list[sg.Charge] = []
        #: (node, offset) -> mini_batch
        self.kept: dict[tuple[str, int], int] = {}
        self.puts: list[sg.UploadPart] = []
        #: name -> the mini-batches whose rows are in it
        self.store: dict[str, list[int]] = {}
        self.stops: list[bool] = []
        self.paused = self.published = self.finished = False
        self._do(self.scheduler.start(self.now, 1, "host"))

    def tell(self, *told: sg.Signal) -> None:
        for signal in told:
            self.now += 1
            self._do(self.scheduler.handle(signal, self.now))

    def _do(self, actions: Iterable[sg.Action]) -> None:
        for action in actions:
            match action:
                case sg.Record(event):
                    self.events.append(event)
                case sg.Assign(node, first, count, attempt):
                    self.out += [(node, k, attempt) for k in range(first, first + count)]
                case sg.UploadPart():
                    self.puts.append(action)
                case sg.Charge():
                    self.charges.append(action)
                case sg.StopNodes(drain):
                    self.stops.append(drain)
                case sg.PauseNodes():
                    self.paused = True
                case sg.Publish():
                    self.published = True
                case sg.Finish():
                    self.finished = True

    @property
    def names(self) -> list[str]:
        return self.scheduler._nodes.names()

    def join(self, capacity: int, name: str = "") -> str:
        name = name or f"n{self.now}"
        self.tell(sg.NodeConnected(name, ""), sg.NodeOffered(name, 1, capacity))
        return name

    def succeed(self, node: str, mini_batch: int, attempt: int = 1, rows: int = 5) -> None:
        self.out.remove((node, mini_batch, attempt))
        offset = len(self.kept)
        self.kept[node, offset] = mini_batch
        success = sg.Success(mini_batch, attempt, 5, rows, 10, 3 * rows, 0)
        self.tell(sg.AttemptsSucceeded(node, f"{node}w0", (success,), 0, offset))

    def fail(self, node: str, mini_batch: int, attempt: int) -> None:
        self.out.remove((node, mini_batch, attempt))
        self.tell(sg.AttemptErrored(node, f"{node}w0", mini_batch, attempt, 5, 10, BAD))

    def put(self, number: int = 0, *, is_heard: bool = True) -> None:
        """Let a node upload a part; if its report is lost, the part is still in the store."""
        asked = self.puts.pop(number)
        found = [self.kept[asked.node, offset] for _, offset, _, _ in asked.pieces]
        assert found == [k for k, _, _, _ in asked.pieces]
        name = f"part-{asked.first:09d}-{asked.node}-{self.now}"
        self.store[name] = found
        if is_heard:
            self.tell(sg.PartUploaded(asked.node, asked.first, name, 5 * len(found), 99))

    def go(self, name: str, *, blames: bool = True) -> None:
        self.out = [row for row in self.out if row[0] != name]
        self.puts = [asked for asked in self.puts if asked.node != name]
        self.tell(sg.NodeGone(name, "killed", blames=blames))
        while self.charges:
            charge = self.charges.pop()
            node, k, attempt = charge.node, charge.mini_batch, charge.attempt
            self.tell(sg.AttemptErrored(node, node, k, attempt, 5, 0, BAD))

    def give_back(self, name: str) -> None:
        """Pause a node."""
        mine = [row for row in self.out if row[0] == name]
        self.out = [row for row in self.out if row not in mine]
        back = tuple((k, attempt) for _, k, attempt in mine)
        self.tell(sg.NodeOffered(name, 2, 0), sg.MiniBatchesReturned(name, back))

    def wait(self, ms: int) -> None:
        self.tell(sg.TimePassed())
        self.now += ms
        self.tell(sg.TimePassed())

    def end(self) -> RunFinished:
        self.tell(*(sg.NodeStopped(name) for name in self.names))
        self.wait(LOST_NODE_GRACE_MS)
        if self.published:
            self.tell(sg.OutputPublished("az://c/out", 1))
        assert self.finished
        last = self.events[-1]
        assert isinstance(last, RunFinished)
        return last


def reread(events: Iterable[Event], cut: int = 0) -> list[Event]:
    """Return the events of a journal whose last ``cut`` bytes are missing."""
    data = "".join(encode(event) + "\n" for event in events).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.jsonl"
        path.write_bytes(data[: len(data) - cut])
        return list(JournalReader(path).read())


def folded(events: Iterable[Event]) -> RunState:
    state = RunState()
    state.apply_all(events)
    return state


def assert_once_and_in_order(events: Iterable[Event], store: dict[str, list[int]]) -> list[int]:
    """Assert that the parts in the journal hold every success once, in input order."""
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


def test_a_short_result_is_told_behind_its_part() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(4, "a")
    for mini_batch, rows in enumerate((5, 2, 5, 0)):
        nodes.succeed("a", mini_batch, rows=rows)
    assert not [e for e in nodes.events if isinstance(e, ItemsFailed)]
    nodes.kept = {key: k for key, k in nodes.kept.items() if k != 3}
    nodes.put()
    read = reread(nodes.events)
    assert read == nodes.events
    told = [e for e in read if isinstance(e, PartStored | ItemsFailed)]
    assert [type(e) for e in told] == [PartStored, ItemsFailed, ItemsFailed]
    assert [(e.mini_batch, e.items) for e in told if isinstance(e, ItemsFailed)] == [(1, 3), (3, 5)]
    state = nodes.scheduler.state
    assert (state.items_succeeded, state.items_failed) == (12, 8)
    assert sum(group.items_missing for group in state.groups.values()) == state.items_failed


def test_ranges_begin_small_and_grow() -> None:
    assert [size_at(first) for first in (0, 1024, 2048, 100_000, 10**7)] == [4, 4, 8, 390, 1024]
    assert [size_at(first, 100) for first in (0, 100_000)] == [100, 390], "where they are short"


def test_a_range_is_one_nodes_and_is_put_when_it_is_over() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(12, 60, is_end=True))
    nodes.join(2, "a")
    nodes.join(2, "b")
    assert nodes.out == [("a", 0, 1), ("a", 1, 1), ("b", 4, 1), ("b", 5, 1)]
    nodes.succeed("a", 1)
    nodes.succeed("a", 0)
    assert nodes.out[2:] == [("a", 2, 1), ("a", 3, 1)]
    nodes.fail("a", 3, 1)
    assert nodes.out[3:] == [("a", 3, 2)], "its owner tries it again"
    nodes.succeed("a", 2)
    assert nodes.scheduler.state.succeeded == 0
    assert not nodes.puts
    nodes.succeed("a", 3, 2)
    [asked] = nodes.puts
    assert (asked.node, asked.first) == ("a", 0)
    assert [piece[0] for piece in asked.pieces] == [0, 1, 2, 3]
    nodes.put()
    state = nodes.scheduler.state
    assert (state.succeeded, state.items_succeeded, state.parts, state.left) == (4, 20, 1, 8)
    told = [e for e in nodes.events if isinstance(e, AttemptSucceeded | PartStored)]
    assert [e.mini_batch for e in told if isinstance(e, AttemptSucceeded)] == [1, 0, 2, 3]
    assert {(e.part, e.offset) for e in told[:4]} == {(IN_STORE, 5 * k) for k in range(4)}  # type: ignore[union-attr]
    assert told[4] == PartStored(nodes.now, next(iter(nodes.store)), 0, 4, 20, 99)


def test_a_lost_node_s_range_runs_again_and_its_late_part_is_nobody_s() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(4, "a")
    for k in range(4):
        nodes.succeed("a", k)
    asked = nodes.puts[0]
    nodes.go("a")
    nodes.tell(sg.PartUploaded("a", asked.first, "part-late", 20, 99))
    assert nodes.scheduler.state.succeeded == 0
    nodes.join(4, "b")
    assert nodes.out == [("b", k, 1) for k in range(4)]
    for k in range(4):
        nodes.succeed("b", k)
    nodes.put()
    assert nodes.stops == [True]
    nodes.tell(sg.NodeStopped("b"))
    assert not nodes.published, "the lost node may still be putting something"
    assert nodes.end().state == "Completed"


def test_a_mini_batch_that_is_given_up_ends_the_part_before_it() -> None:
    nodes = Nodes(Limits(run_max_try=1, error_threshold=-1, puts_in_store=True))
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(4, "a")
    nodes.succeed("a", 0)
    nodes.succeed("a", 2)
    nodes.fail("a", 1, 1)
    assert [asked.first for asked in nodes.puts] == [0]
    nodes.succeed("a", 3)
    assert [[piece[0] for piece in asked.pieces] for asked in nodes.puts] == [[0], [2, 3]]
    nodes.put()
    nodes.put()
    end = nodes.end()
    assert (end.state, end.output) == ("Completed", "az://c/out")
    again = Nodes(LIMITS, folded(nodes.events), failed_only=True)  # those that had failed alone
    again.tell(sg.PlanAdvanced(4, 20, is_end=True))
    again.join(9, "a")
    assert again.out == [("a", 1, 2)]
    again.succeed("a", 1, 2)
    again.put()
    again.store |= nodes.store
    assert assert_once_and_in_order([*nodes.events, *again.events], again.store)
    assert again.end().state == "Completed"


def test_what_had_failed_side_by_side_is_one_part_again() -> None:
    limits = Limits(run_max_try=1, error_threshold=-1, puts_in_store=True)
    nodes = Nodes(limits)
    nodes.tell(sg.PlanAdvanced(8, 40, is_end=True))
    nodes.join(8, "a")
    for k in range(8):
        if k in {2, 3, 4, 6}:
            nodes.fail("a", k, 1)
        else:
            nodes.succeed("a", k)
    while nodes.puts:
        nodes.put()
    assert nodes.end().state == "Completed"
    again = Nodes(limits, folded(nodes.events), failed_only=True)
    again.tell(sg.PlanAdvanced(8, 40, is_end=True))
    again.join(8, "a")
    assert again.out == [("a", k, 2) for k in (2, 3, 4, 6)]
    for k in (2, 3, 4, 6):
        again.succeed("a", k, 2)
    assert [len(asked.pieces) for asked in again.puts] == [3, 1]


def test_rows_that_are_too_many_are_put_before_the_range_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_allocator, "PART_BYTES", 30)
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(5, 25, is_end=True))
    nodes.join(4, "a")
    nodes.succeed("a", 2)
    nodes.succeed("a", 1)
    assert [[piece[0] for piece in asked.pieces] for asked in nodes.puts] == [[1, 2]]
    monkeypatch.setattr(range_allocator, "KEPT_BYTES", 40)
    nodes.succeed("a", 3)
    assert ("a", 4, 1) in nodes.out
    nodes.tell(sg.NodeOffered("a", 1, 9))
    assert nodes.out == [("a", 0, 1), ("a", 4, 1)]


def test_a_node_that_keeps_too_much_gets_nothing_until_some_of_it_is_in_the_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(range_allocator, "KEPT_BYTES", 30)
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(9, 45, is_end=True))
    nodes.join(2, "a")
    nodes.succeed("a", 1)
    nodes.succeed("a", 0)
    assert nodes.out == [("a", 2, 1)]
    assert [[piece[0] for piece in asked.pieces] for asked in nodes.puts] == [[0, 1]]
    nodes.put()
    assert nodes.out == [("a", 2, 1), ("a", 3, 1)]


def test_the_last_of_a_range_is_taken_over_by_who_has_nothing() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(1, "a")
    nodes.join(1, "b")
    assert nodes.out == [("a", 0, 1), ("b", 2, 1)]
    nodes.join(1, "c")
    assert nodes.out[2:] == [("c", 1, 1)] or nodes.out[2:] == [("c", 3, 1)]
    nodes.succeed("b", 2)
    nodes.succeed("a", 0)
    nodes.tell(sg.NodeOffered("a", 1, 2))
    while nodes.out:
        nodes.succeed(*nodes.out[0])
    while nodes.puts:
        nodes.put()
    assert sorted(assert_once_and_in_order(nodes.events, nodes.store)) == [0, 1, 2, 3]


def test_a_range_is_put_when_the_last_of_it_is_somebody_else_s() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(1, "a")
    nodes.succeed("a", 0)
    nodes.succeed("a", 1)
    nodes.tell(sg.NodeOffered("a", 1, 0))
    nodes.succeed("a", 2)
    assert not nodes.puts
    nodes.join(1, "b")
    assert nodes.out == [("b", 3, 1)]
    assert [[piece[0] for piece in asked.pieces] for asked in nodes.puts] == [[0, 1, 2]]


def test_a_node_that_is_paused_or_leaves_puts_what_it_keeps_and_others_do_the_rest() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(4, "a")
    nodes.succeed("a", 1)
    nodes.join(4, "b")
    nodes.give_back("a")
    assert not nodes.out
    nodes.wait(LET_GO_MS)
    assert [[piece[0] for piece in asked.pieces] for asked in nodes.puts] == [[1]]
    assert nodes.out == [("b", 0, 1), ("b", 2, 1), ("b", 3, 1)]
    nodes.put()
    for k in (0, 2, 3):
        nodes.succeed("b", k)
    nodes.put()
    nodes.put()
    assert sorted(assert_once_and_in_order(nodes.events, nodes.store)) == [0, 1, 2, 3]


def test_cancel_after_what_runs_puts_it_and_cancel_now_does_not() -> None:
    for drain in (True, False):
        nodes = Nodes()
        nodes.tell(sg.PlanAdvanced(9, 45, is_end=True))
        nodes.join(2, "a")
        nodes.succeed("a", 0)
        nodes.tell(sg.CancelAsked(drain))
        assert (nodes.paused, nodes.stops) == (drain, [] if drain else [False])
        if drain:
            nodes.succeed("a", 1)
            nodes.give_back("a")
            assert [piece[0] for piece in nodes.puts[0].pieces] == [0, 1]
            assert nodes.stops == []
            nodes.put()
            assert nodes.stops == [True]
        assert nodes.end().state == "Canceled"
        assert nodes.scheduler.state.succeeded == (2 if drain else 0)


def test_a_part_that_cannot_be_put_ends_the_run() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(4, "a")
    nodes.tell(sg.PartUploadFailed("b", "late"))
    assert not nodes.stops
    nodes.tell(sg.PartUploadFailed("a", "the store refused"))
    assert nodes.stops == [False]
    assert (nodes.end().state, nodes.end().reason) == ("Failed", "the store refused")


def test_a_part_that_cannot_be_put_after_a_draining_cancel_is_told_all_the_same() -> None:
    nodes = Nodes()
    nodes.tell(sg.PlanAdvanced(4, 20, is_end=True))
    nodes.join(4, "a")
    nodes.tell(sg.CancelAsked(drain=True))
    nodes.tell(sg.PartUploadFailed("a", "the store refused", "Traceback ..."))
    assert nodes.stops == [False], "what is kept cannot be put: there is nothing to wait for"
    warnings = [e for e in nodes.events if isinstance(e, WarningRaised)]
    assert [(e.text, e.traceback) for e in warnings] == [("the store refused", "Traceback ...")]
    assert nodes.end().state == "Canceled"


def test_attempts_hold_when_the_line_of_their_part_is_there() -> None:
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


def test_a_reader_goes_on_where_a_part_was_not_whole_yet(tmp_path: Path) -> None:
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
def test_whatever_happens_each_row_is_in_one_part_and_in_order(
    seed: int, mini_batches: int, failing: float, run_max_try: int, drivers: int, largest: int
) -> None:
    rng = random.Random(seed)
    limits = Limits(run_max_try, error_threshold=-1, append_rows=False, puts_in_store=True)
    events: list[Event] = []
    store: dict[str, list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_allocator, "PART_BYTES", largest)
        patch.setattr(range_allocator, "KEPT_BYTES", 2 * largest)
        for driver in range(drivers):
            state = folded(events) if driver else None
            nodes = Nodes(limits, state)
            nodes.store = store
            is_last = driver == drivers - 1
            course(nodes, rng, mini_batches, failing, 10**9 if is_last else rng.randint(1, 150))
            if is_last:
                assert nodes.end().state == "Completed"
            cut = 0 if is_last else rng.choice([0, 0, rng.randint(0, 600)])
            events = reread([*events, *nodes.events], cut)
            assert_once_and_in_order(events, store)
        assert folded(events) == nodes.scheduler.state
    done = [e.mini_batch for e in events if isinstance(e, AttemptSucceeded)]
    state = folded(events)
    assert state.left == 0
    assert len(done) == state.succeeded == mini_batches - state.failed
    assert {e.mini_batch for e in events if isinstance(e, AttemptFailed)} >= (
        set(range(mini_batches)) - set(done)
    )


def course(  # noqa: C901 - one flat choice of the next event
    nodes: Nodes, rng: random.Random, total: int, failing: float, most: int
) -> None:
    """Let things happen, at most so many, until the run wants its nodes to stop."""
    planned = 0
    while not nodes.stops and most > 0:
        most -= 1
        choice, names = rng.random(), nodes.names
        if planned < total and choice < 0.2:
            planned = min(total, planned + rng.randint(1, 20))
            nodes.tell(sg.PlanAdvanced(planned, planned * 5, is_end=planned == total))
        elif not names or (choice < 0.25 and len(names) < 5):
            nodes.join(rng.randint(1, 12))
        elif choice < 0.28:
            nodes.go(rng.choice(names), blames=rng.random() < 0.7)
        elif choice < 0.31:
            nodes.give_back(rng.choice(names))
        elif choice < 0.34:
            nodes.wait(LET_GO_MS)
        elif choice < 0.5 and nodes.puts:
            nodes.put(rng.randrange(len(nodes.puts)), is_heard=True)
        elif choice < 0.51 and nodes.puts:  # it is put, and the node is lost before that is heard
            number = rng.randrange(len(nodes.puts))
            name = nodes.puts[number].node
            nodes.put(number, is_heard=False)
            nodes.go(name)
        elif choice < 0.6 or not nodes.out:
            nodes.tell(sg.NodeOffered(rng.choice(names), 2, rng.randint(1, 12)))
        else:
            node, mini_batch, attempt = rng.choice(nodes.out)
            if rng.random() < failing:
                nodes.fail(node, mini_batch, attempt)
            else:
                nodes.succeed(node, mini_batch, attempt, rows=rng.choice([5, 5, 5, 0]))
        state = nodes.scheduler.state
        assert state.done + state.left == state.planned
        assert state.items_succeeded + state.items_failed == 5 * state.done


def test_a_range_reaches_over_what_is_listed_by_now() -> None:
    state = RunState()
    state.planned = 2
    both = RangeAllocator(state)
    assert both.take("a", 3) == [(0, 2, 1)]
    assert both.take("b", 3) == []
    state.planned = 9
    assert both.take("b", 2) == [(4, 2, 1)]
    assert both.take("a", 1) == [(2, 1, 1)]


def test_while_there_is_more_to_come_nobody_takes_over_a_few() -> None:
    state = RunState()
    state.planned = 8
    both = RangeAllocator(state)
    assert both.take("a", 20) == [(0, 8, 1)]
    state.planned = 15
    assert both.take("b", 1) == []
    state.planned = 16
    assert both.take("b", 1) == [(12, 1, 1)], "half of eight"
    state.plan_finished = True
    both.settle()
    assert both.take("c", 9) == [(10, 2, 1)]
    assert both.take("c", 9) == [(14, 2, 1)]
