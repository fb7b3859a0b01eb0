"""Items with the content of earlier ones: they are withheld, get copied rows, or are released."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from itertools import count, groupby
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.client.updates import check_duplicates
from parallelrun_jupyter.commands.options import run_options
from parallelrun_jupyter.engine.planning.duplicates import Duplicates, Pair, pairs_of
from parallelrun_jupyter.engine.planning.spans import spans_of_rows
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.allocation import Pending
from parallelrun_jupyter.engine.scheduling.limits import Limits
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.state import LEFT, RunState
from parallelrun_jupyter.runs.output.earlier_rows import UPDATE_PART
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.worker.item_ranges import items_in, merged, without
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests import journals
from tests.pure.test_isolation import (
    assert_books,
    committed_items,
    failed_items,
    step,
    through_journal,
)
from tests.scheduler_bench import BAD, Bench, folded

OFFSETS = count()
FILES = {"kind": "files", "paths": ["in"]}

Item = tuple[int, int]
Withheld = tuple[int, int, tuple[tuple[int, int], ...]]


def firsts_of(contents: list[Any], items: int) -> dict[Item, Item]:
    """Return the first item with the content of each later one."""
    firsts: dict[Any, Item] = {}
    found = {}
    for number, content in enumerate(contents):
        place = divmod(number, items)
        first = firsts.setdefault(content, place)
        if first != place:
            found[place] = first
    return found


def withheld(duplicates: Iterable[Item], items: int) -> tuple[Withheld, ...]:
    return tuple(
        (k, items, merged((position, 1) for _, position in group))
        for k, group in groupby(sorted(duplicates), key=lambda item: item[0])
    )


def plan(bench: Bench, duplicates: Iterable[Item], mini_batches: int, items: int) -> None:
    """Tell the scheduler of a plan and of what it should withhold."""
    found = withheld(duplicates, items)
    if found:
        bench.send(sg.ItemsWithheld(found))
    bench.send(sg.PlanAdvanced(mini_batches, items * mini_batches, True))


def copied(
    state: RunState, wanted: dict[int, tuple[int, Any]], firsts: dict[Item, Item], items: int
) -> list[Any]:
    """Return the results that the driver would copy: those of items whose first one has a row."""
    failed = failed_items(state, items)
    results: list[Any] = []
    for mini_batch, (of, ranges) in wanted.items():
        have = [k for k in items_in(ranges) if has_row(state, firsts[mini_batch, k], failed)]
        for first, number in merged((k, 1) for k in have):
            place = UPDATE_PART, next(OFFSETS), 1, 0
            if number == of and mini_batch not in state.answers:
                results.append(ev.AttemptSucceeded(mini_batch, 0, "", 0, 0, of, of, of, *place))
            else:
                items_ = first, number, of, number
                results.append(ev.ItemsSucceeded(mini_batch, 0, "", 0, 0, *items_, *place))
    return results


def has_row(state: RunState, item: Item, failed: set[Item]) -> bool:
    mini_batch, position = item
    answers = state.answers.get(mini_batch)
    if answers is None:
        return state.status_of(mini_batch) == 1
    return item not in failed and not any(f <= position < f + n for f, n in answers.left)


def test_duplicates_wait_for_the_others_and_get_their_rows() -> None:
    bench = Bench(items_of=lambda _: 3)
    bench.send(sg.NodeOffered("n0", 2, 4))
    firsts = firsts_of(list("abcabcabd"), 3)
    plan(bench, firsts, 3, 3)
    assert bench.assigned == [("n0", 0, 1), ("n0", 2, 1)], "the second one is withheld as a whole"
    assert bench.items_run(2, 1) == [2]
    bench.answer("n0", 2, 1, [])
    assert not bench.copies
    bench.succeed("n0", 0, 1, 3)
    [wanted] = bench.copies
    assert wanted == {1: (3, ((0, 3),)), 2: (3, ((0, 2),))}
    results = copied(bench.scheduler.state, wanted, firsts, 3)
    bench.send(sg.RowsCopied(tuple(results)), sg.RowsCopied((), is_end=True))
    bench.stop_all()
    assert bench.end.state == "Completed"
    assert [event.items for event in bench.of_kind(ev.DuplicatesCopied)] == [5]
    assert folded(bench.events).duplicates_copied == 5
    assert committed_items(bench.events, 3) == [divmod(k, 3) for k in range(9)]
    assert_books(bench.events, 3)


def test_duplicates_of_an_item_that_failed_run_by_themselves() -> None:
    bench = Bench(Limits(run_max_try=1, error_threshold=-1, divides=True), items_of=lambda _: 2)
    bench.send(sg.NodeOffered("n0", 2, 4))
    plan(bench, firsts_of(list("abaa"), 2), 2, 2)
    bench.answer("n0", 0, 1, [(0, BAD)])
    assert len(bench.copies) == 1
    assert not bench.assigned
    bench.send(sg.RowsCopied((), is_end=True))
    assert bench.assigned == [("n0", 1, 1)]
    bench.answer("n0", 1, 1, [(0, BAD)])
    bench.stop_all()
    assert bench.end.state == "Completed"
    assert failed_items(folded(bench.events), 2) == {(0, 0), (1, 0)}
    assert len(bench.copies) == 1, "it is asked once"
    assert_books(bench.events, 2)


def test_rows_that_an_update_took_are_not_withheld() -> None:
    bench = Bench(items_of=lambda _: 2)
    bench.send(sg.NodeOffered("n0", 2, 4))
    taken = ev.ItemsSucceeded(1, 0, "", 0, 0, 0, 1, 2, 1, UPDATE_PART, 0, 1, 0)
    whole = ev.AttemptSucceeded(2, 0, "", 0, 0, 2, 2, 2, UPDATE_PART, 1, 1, 0)
    bench.send(
        sg.ItemsWithheld(withheld(firsts_of(list("abcaab"), 2), 2)),
        sg.RowsTaken((taken, whole)),
        sg.PlanAdvanced(3, 6, True),
    )
    assert bench.assigned == [("n0", 0, 1)]
    bench.succeed("n0", 0, 1, 2)
    assert bench.copies == [{1: (2, ((1, 1),))}]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_storms_of_kills_and_resumes_lose_no_duplicate(data: st.DataObject) -> None:
    rng = Random(data.draw(st.integers(0, 1 << 30)))
    items, mini_batches = rng.randint(1, 8), rng.randint(1, 9)
    contents = [rng.randrange(rng.choice([3, 50])) for _ in range(items * mini_batches)]
    of_content = [rng.choice(["good"] * 6 + ["bad", "answers", "dies", "huge"]) for _ in range(50)]
    kinds = [of_content[content] for content in contents]
    firsts = firsts_of(contents, items)
    limits = Limits(
        run_max_try=rng.randint(1, 3),
        error_threshold=-1,
        divides=True,
        retry_delay_s=rng.choice([0, 1]),
    )
    history: list[Any] = []
    ran: set[Item] = set()
    for kill in (*(rng.random() < 0.7 for _ in range(4)), False):
        state = folded(history) if history else None
        bench = Bench(limits, state=state, items_of=lambda _: items)
        bench.send(sg.NodeOffered("n0", 2, rng.randint(1, 4)))
        plan(bench, firsts, mini_batches, items)
        drive(bench, rng, kinds, items, firsts, ran, rng.randint(1, 60) if kill else 100_000)
        if bench.scheduler._ending is not None:
            history += through_journal(bench.events)
            break
        history += through_journal(bench.events[: rng.randint(1, len(bench.events))])
        assert_books(history, items)
    assert_books(history, items)
    state = folded(history)
    assert state.left == 0
    failed = failed_items(state, items)
    expected = {divmod(k, items) for k, kind in enumerate(kinds) if kind != "good"}
    warned = any(isinstance(e, ev.WarningRaised) and "not divided" in e.text for e in history)
    assert failed == expected or (warned and failed > expected)
    if not warned:
        good = {item for item in firsts if kinds[item[0] * items + item[1]] == "good"}
        assert not ran & good, "a duplicate of an item with a row never runs"
        assert state.duplicates_copied <= len(good)
        assert ran >= expected
    everything = [(m, k) for m in range(mini_batches) for k in range(items)]
    assert committed_items(history, items) == [item for item in everything if item not in failed]


def drive(
    bench: Bench,
    rng: Random,
    kinds: list[str],
    items: int,
    firsts: dict[Item, Item],
    ran: set[Item],
    steps: int,
) -> None:
    """Let some things happen, and note the items that were assigned."""
    asked = 0
    results: list[Any] = []
    for _ in range(steps):
        if bench.scheduler._ending is not None:
            return
        for _, mini_batch, attempt in bench.assigned:
            ran.update((mini_batch, k) for k in bench.items_run(mini_batch, attempt))
        if len(bench.copies) > asked:
            asked = len(bench.copies)
            results = copied(bench.scheduler.state, bench.copies[-1], firsts, items)
            results.append(None)
        elif results:
            result = results.pop(0)
            bench.send(sg.RowsCopied((result,) if result else (), is_end=result is None))
            continue
        step(bench, rng, kinds, items)
    assert steps < 100_000, "the run does not end"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_resume_of_failed_items_runs_only_these(data: st.DataObject) -> None:
    rng = Random(data.draw(st.integers(0, 1 << 30)))
    items, mini_batches = rng.randint(1, 6), rng.randint(1, 8)
    contents = [rng.randrange(rng.choice([3, 20])) for _ in range(items * mini_batches)]
    of_content = [rng.choice(["good", "good", "bad", "answers"]) for _ in range(20)]
    kinds = [of_content[content] for content in contents]
    firsts = firsts_of(contents, items)
    limits = Limits(run_max_try=1, error_threshold=-1, divides=True)
    bench = Bench(limits, items_of=lambda _: items)
    bench.send(sg.NodeOffered("n0", 2, rng.randint(1, 4)))
    plan(bench, firsts, mini_batches, items)
    drive(bench, rng, kinds, items, firsts, set(), rng.randint(5, 80))
    history = through_journal(bench.events)
    before = folded(history)
    again = set(before.failed_mini_batches())
    if not again or before.is_final:
        return
    bench = Bench(limits, state=folded(history), items_of=lambda _: items, failed_only=True)
    bench.send(sg.NodeOffered("n0", 2, 2))
    plan(bench, firsts, mini_batches, items)
    ran: set[Item] = set()
    drive(bench, rng, ["good"] * len(kinds), items, firsts, ran, 99_999)
    history += through_journal(bench.events)
    assert_books(history, items)
    state = folded(history)
    assert {mini_batch for mini_batch, _ in ran} <= again
    assert not [k for k in again if state.status_of(k) != 1]
    untouched = [k for k in range(mini_batches) if k not in again]
    assert [state.status_of(k) for k in untouched] == [before.status_of(k) for k in untouched]
    assert state.failed == 0


def test_pending_skips_what_is_withheld() -> None:
    state = RunState()
    state.apply(ev.PlanFinished(1, 10, 10))
    pending = Pending(state)
    for mini_batch in (0, 3, 4, 9):
        pending.withhold(mini_batch)
    spans = [[tuple(span) for span in pending.next("n0", room, 0)] for room in (3, 2, 9, 9)]
    assert spans == [[(1, 2, 1), (5, 1, 1)], [(6, 2, 1)], [(8, 1, 1)], []]
    pending.stop_withholding()
    pending.requeue([0, 3, 4, 9])
    assert [span.first for span in pending.next("n0", 9, 0)] == [0, 3, 4, 9]
    assert pending.next("n0", 9, 0) == []
    assert state.status_of(3) == LEFT


# The planner


class Search:
    """A plan of files, and what the search reports about it."""

    def __init__(self, folder: Path, *, is_resume: bool = False, limit_s: float = 60) -> None:
        self.folder = RunFolder(folder)
        self.lines: list[bytes] = []
        self.messages: list[Any] = []
        self.reports: list[tuple[int, int, bool]] = []
        search = Duplicates(self.folder, is_resume=is_resume, resume_limit_s=limit_s)
        self.report = search.reporting(
            self.messages.append, lambda *counts: self.reports.append(counts)
        )
        self.items = 0

    def add(self, *paths: Path) -> None:
        line = PlanLine(0, list(map(str, paths)), [], [], extra={"first": self.items})
        self.lines.append(line.encode() + b"\n")
        self.items += len(paths)
        self.folder.plan.write_bytes(b"".join(self.lines))

    def found(self) -> list[Pair]:
        return list(pairs_of(self.folder))


def write(folder: Path, *texts: str) -> list[Path]:
    paths = []
    for text in texts:
        paths.append(folder / f"{len(list(folder.iterdir())):03d}.txt")
        paths[-1].write_text(text)
    return paths


@given(contents=st.lists(st.sampled_from(["", "a", "b", "ab", "ba"]), min_size=1, max_size=20))
def test_pairs_are_those_of_a_comparison_of_all_files(
    tmp_path_factory: pytest.TempPathFactory, contents: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("search")
    (folder / "in").mkdir()
    paths = write(folder / "in", *contents)
    search = Search(folder)
    for first in range(0, len(paths), 3):
        search.add(*paths[first : first + 3])
        search.report(len(search.lines), search.items, first + 3 >= len(paths))
    expected = firsts_of([hashlib.sha256(p.read_bytes()).digest() for p in paths], 3)
    assert {pair[:2]: pair[2:] for pair in search.found()} == expected
    sizes = [len(paths[first : first + 3]) for first in range(0, len(paths), 3)]
    sent = [entry for kind, entries in search.messages for entry in entries if kind == "withheld"]
    assert [(k, of, tuple(ranges)) for k, of, ranges in sent] == [
        (k, sizes[k], ranges) for k, _, ranges in withheld(expected, 3)
    ]
    assert search.reports[-1] == (len(search.lines), len(paths), True)


def test_only_files_that_share_their_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    unique, *others = write(tmp_path / "in", "unique", "two", "owt")
    fifo = tmp_path / "in" / "pipe"
    os.mkfifo(fifo)  # reading it would wait for ever
    search = Search(tmp_path)
    accessed = {path: os.stat(path).st_atime_ns for path in (unique, *others)}
    for path in accessed:
        os.utime(path, ns=(0, 0))
    search.add(unique, *others, fifo, tmp_path / "missing", tmp_path / "missing")
    search.report(1, 6, True)
    assert search.found() == []
    assert search.messages == []
    assert os.stat(unique).st_atime_ns == 0


def test_a_resume_does_not_wait_for_ever(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = write(tmp_path / "in", *["same"] * 40)
    search = Search(tmp_path, is_resume=True, limit_s=0)
    for path in paths:
        search.add(path)
    search.report(40, 40, True)
    assert search.messages[-1] == [
        "warned",
        "run_duplicates_once: 1 of 40 mini-batches were compared within 0 s of the resume; "
        "duplicates in the others run",
    ]
    assert search.reports == [(40, 40, True)], "the plan of an earlier driver does not shrink"


def test_spans_may_go_back(tmp_path: Path) -> None:
    del tmp_path
    assert spans_of_rows([1, 2, 0, 4]) == [(0, 1, 2), (2, 0, 1), (3, 4, 1)]
    assert spans_of_rows([-1, 5, 6, -1]) == [(1, 5, 2)]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"inputs": {"datasets": [{"kind": "tabular", "paths": ["t.csv"]}]}},
            "the input ['t.csv'] is a table: only files are compared, not rows. Pass the files "
            "themselves, as FileDataset(...), or omit run_duplicates_once.",
        ),
        (
            {
                "inputs": {
                    "datasets": [FILES, {**FILES, "paths": ["az://c/*"], "storage": {"a": 1}}]
                }
            },
            "the input 'az://c/*' is in a store: only local files are compared. Copy the files to "
            "a folder first, or omit run_duplicates_once.",
        ),
        (
            {"inputs": {"datasets": [FILES], "partition_keys": ["day"]}},
            "partition_keys is ['day']: run() receives the whole group, from which no file can be "
            "left out. Omit partition_keys, or omit run_duplicates_once.",
        ),
        (
            {"output": {"append_rows": False}},
            "output_action is 'summary_only': the script writes its own output, and there are no "
            "rows to copy. Use output_action='append_row', or omit run_duplicates_once.",
        ),
        (
            {"output": {"in_parts": True}},
            "the nodes write Parquet parts into a store, from which rows cannot be copied. Give "
            "output= a local folder, or omit run_duplicates_once.",
        ),
    ],
)
def test_what_cannot_have_copies_is_refused(changed: dict[str, Any], why: str) -> None:
    check_duplicates(journals.record(inputs={"datasets": [FILES]}))
    with pytest.raises(ConfigError) as refused:
        check_duplicates(journals.record(**changed))
    assert str(refused.value) == f"run_duplicates_once is True, but {why}"


def test_the_option_is_a_flag() -> None:
    parser = run_options("run")
    assert not parser.parse_args([]).run_duplicates_once
    assert parser.parse_args(["--run-duplicates-once"]).run_duplicates_once


ranges = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)), max_size=6)


@given(of=st.integers(1, 12), taken=ranges)
def test_items_in_no_range_are_left_also_if_ranges_overlap(
    of: int, taken: list[tuple[int, int]]
) -> None:
    left = without(of, [(first, min(size, of - first)) for first, size in taken if first < of])
    assert set(items_in(left)) == set(range(of)) - set(items_in(taken))
