"""The failed items of a group, a page at a time, and the attempts of a mini-batch that failed in part."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.failed_item_pages import (
    BEFORE_FIRST,
    PAGE_ITEMS,
    FailedItemRow,
    page_of,
    read_page,
)
from parallelrun_jupyter.runs.snapshot.lookup import plan_lines
from parallelrun_jupyter.runs.snapshot.mini_batches import mini_batch_detail
from parallelrun_jupyter.worker.item_ranges import merged
from parallelrun_jupyter.worker.plan_line import PlanLine

A, B = "ValueError at a.py:1 in run", "KeyError at a.py:2 in run"


def failed(
    k: int,
    attempt: int,
    ranges: ev.ItemRanges,
    of: int,
    *,
    is_last: bool,
    group: str = A,
    text: str = "",
) -> ev.AttemptFailed:
    count = sum(n for _, n in ranges) if ranges else of
    return ev.AttemptFailed(k, attempt, "n0w0", 10 + attempt, 2_000_000, count, is_last, "exception",
                            "E", text or "bad", group, "", ranges, of if ranges else 0)  # fmt: skip


def succeeded(k: int, attempt: int, first: int, items: int, of: int) -> ev.ItemsSucceeded:
    return ev.ItemsSucceeded(
        k, attempt, "n0w0", 10 + attempt, 0, first, items, of, items, 0, 0, 1, 0
    )


def write(folder: RunFolder, sizes: Sequence[int], events: Iterable[ev.Event]) -> RunState:
    folder.path.mkdir(parents=True, exist_ok=True)
    with open(folder.plan, "wb") as plan:
        for k, size in enumerate(sizes):
            paths = [f"/data/{k}-{n}.png" for n in range(size)]
            plan.write(PlanLine(0, paths, [], []).encode() + b"\n")
    state = RunState()
    with open(folder.journal, "w") as journal:
        journal.write(encode(ev.RunStarted(0, 1, 1, "h")) + "\n")
        for event in events:
            journal.write(encode(event) + "\n")
            state.apply(event)
    return state


def all_pages(folder: RunFolder, state: RunState, group: str) -> list[FailedItemRow]:
    items: list[FailedItemRow] = []
    after = BEFORE_FIRST
    while True:
        page = read_page(folder, page_of(state, group, after))
        assert len(page["items"]) == PAGE_ITEMS or not page["has_more"]
        items += page["items"]
        if not page["has_more"]:
            return items
        after = items[-1]["mini_batch"], items[-1]["position"]


Fates = list[list[str]]
"""The group of each item of each mini-batch, '' if it succeeds."""

FATES = st.lists(
    st.one_of(
        st.lists(st.sampled_from(["", A, B]), min_size=1, max_size=40),
        st.integers(1, 60).map(lambda n: [""] * n),
        st.integers(1, 60).map(lambda n: [A] * n),
    ),
    max_size=30,
)


def events_of(k: int, fates: list[str]) -> list[ev.Event]:
    of = len(fates)
    if set(fates) == {A} and k % 2:
        return [failed(k, t, (), of, is_last=t == 3) for t in (1, 2, 3)]
    made: list[ev.Event] = [failed(k, 1, (), of, is_last=False, group=B)]
    good = merged((n, 1) for n, fate in enumerate(fates) if not fate)
    made += [succeeded(k, 2, first, count, of) for first, count in good]
    for group in (A, B):
        bad = [n for n, fate in enumerate(fates) if fate == group]
        if bad:
            texts = tuple(f"no {k}-{n}" for n in bad)
            ranges = tuple((n, 1) for n in bad)
            made.append(ev.ItemsFailed(k, 2, "n0w0", 12, len(bad), "exception", "E", "bad", group, "",
                                       ranges, texts, of))  # fmt: skip
    return made


@given(fates=FATES)
def test_the_pages_have_each_failed_item_once_in_order(
    fates: Fates, tmp_path_factory: object
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))  # type: ignore[attr-defined]
    events = [event for k, row in enumerate(fates) for event in events_of(k, row)]
    state = write(folder, [len(row) for row in fates], events)
    for group in (A, B):
        items = all_pages(folder, state, group)
        assert [(item["mini_batch"], item["position"]) for item in items] == [
            (k, n) for k, row in enumerate(fates) for n, fate in enumerate(row) if fate == group
        ]
        for item in items:
            k, n = item["mini_batch"], item["position"]
            assert item["name"] == f"/data/{k}-{n}.png"
            is_whole = set(fates[k]) == {A} and k % 2 == 1
            assert item["message"] == ("bad" if is_whole else f"no {k}-{n}")
            assert item["tries"] == (3 if is_whole else 2)


def test_only_items_that_failed_for_good_are_listed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    events: list[ev.Event] = [
        failed(0, 1, (), 3, is_last=False),
        failed(1, 1, (), 3, is_last=True),
        failed(2, 1, (), 3, is_last=True, group=B),
        succeeded(3, 1, 0, 1, 3),
        failed(3, 2, ((1, 1),), 3, is_last=True, text="its own"),
    ]
    state = write(folder, [3] * 5, events)
    items = all_pages(folder, state, A)
    assert [(item["mini_batch"], item["position"]) for item in items] == [
        (1, 0), (1, 1), (1, 2), (3, 1),
    ]  # fmt: skip
    assert [item["message"] for item in items[2:]] == ["bad", "its own"]
    state.apply(ev.RunResumed(50, True, 2, "", A))
    assert all_pages(folder, state, A) == []
    assert len(all_pages(folder, state, B)) == 3
    assert all_pages(folder, state, "no such group") == []


def test_a_page_does_not_cost_more_when_more_items_failed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    line = PlanLine(
        0, ["/data/a.csv"], [9], [9], ranges=[[0, 9]], table={"format": "x"}, rows=10**9
    )
    state = write(folder, [], [failed(0, 1, ((5, 10**9 - 5),), 10**9, is_last=True)])
    folder.plan.write_bytes(line.encode() + b"\n")
    started = time.process_time()
    page = read_page(folder, page_of(state, A, (0, 10**9 - 30)))
    assert time.process_time() - started < 1
    first = page["items"][0]
    assert (first["position"], first["is_row"], first["name"]) == (10**9 - 29, True, "/data/a.csv")
    assert page["has_more"]


@given(
    sizes=st.lists(st.integers(0, 9000), max_size=400),
    asked=st.lists(st.integers(-2, 450), max_size=12),
)
def test_plan_lines_are_those_of_their_numbers(
    sizes: list[int], asked: list[int], tmp_path_factory: object
) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.jsonl"  # type: ignore[attr-defined]
    lines = [PlanLine(k, ["x" * size], [], []) for k, size in enumerate(sizes)]
    path.write_bytes(b"".join(line.encode() + b"\n" for line in lines) + b'["f",1,["unfin')
    got = plan_lines(path, asked)
    assert {k: line.encode() for k, line in got.items()} == {
        k: lines[k].encode() for k in asked if 0 <= k < len(lines)
    }


def test_attempts_of_some_items_name_them_and_results_of_one_attempt_are_one_row(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path)
    whole = [(0, 1), (2, 4), (7, 1)]
    events: list[ev.Event] = [
        failed(6, 1, (), 10, is_last=False),
        ev.ItemsSucceeded(6, 2, "n0w1", 20, 3_000_000, 0, 1, 10, 1, 0, 0, 1, 0),
        *(succeeded(6, 2, first, count, 10) for first, count in whole[1:]),
        ev.ItemsFailed(
            6, 2, "n0w1", 12, 1, "exception", "E", "no 1", A, "", ((1, 1),), ("no 1",), 10
        ),
        failed(6, 3, ((6, 1), (8, 2)), 10, is_last=False),
        failed(6, 4, ((6, 1),), 10, is_last=True, text="no 6"),
        succeeded(6, 5, 8, 2, 10),
    ]
    state = write(folder, [10] * 7, events)
    detail = mini_batch_detail(folder, state, 6)
    assert (detail["state"], detail["items_failed"]) == ("partly failed", 2)
    assert detail["failed_ranges"] == [[1, 1], [6, 1]]
    rows = {row["attempt"]: row for row in detail["attempts"]}
    assert sorted(rows) == [1, 2, 3, 4, 5]
    assert [rows[k]["succeeded"] for k in range(1, 6)] == [False, True, False, False, True]
    assert [rows[k]["rows"] for k in range(1, 6)] == [0, 6, 0, 0, 2]
    assert [rows[k]["ranges"] for k in range(1, 6)] == [
        [], [[0, 6], [7, 1]], [[6, 1], [8, 2]], [[6, 1]], [[8, 2]],
    ]  # fmt: skip
    assert (rows[2]["items_failed"], rows[2]["message"], rows[2]["duration_s"]) == (1, "no 1", 3.0)
    assert rows[4]["message"] == "no 6"
