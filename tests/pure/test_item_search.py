"""Searches of the plan, and looks at single lines of it, with a plain reading of the file as the oracle."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.formatting import text_filter
from parallelrun_jupyter.runs.snapshot import item_search, lookup
from parallelrun_jupyter.runs.snapshot.item_search import Hits, by_number, find_items
from parallelrun_jupyter.runs.snapshot.lookup import line_number, plan_lines
from parallelrun_jupyter.worker.plan_line import PlanLine

names = st.text('aAbB*\\" /\u00e9\u00c9\udce9\n', min_size=1, max_size=6)
plans = st.lists(st.lists(names, min_size=1, max_size=4), max_size=12)


@pytest.fixture(autouse=True, params=[7, 64, 1 << 20])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files in small blocks, so that lines span several."""
    monkeypatch.setattr(item_search, "_BLOCK_BYTES", request.param)
    monkeypatch.setattr(lookup, "_BLOCK_BYTES", request.param)
    monkeypatch.setattr(lookup, "_PIECE_BYTES", max(3, request.param // 2))
    lookup._counts.clear()


def write(path: Path, paths: list[list[str]], *, is_table: bool = False) -> list[PlanLine]:
    first = 0
    lines = []
    for some in paths:
        table = {"table": {"by": "rows"}, "rows": 3} if is_table else {}
        line = PlanLine(0, some, [], [], extra={"first": first}, **table)  # type: ignore[arg-type]
        first = line.next_first
        lines.append(line)
    end = b'["end",%d,%d]\n' % (len(lines), first)
    path.write_bytes(b"".join(line.encode() + b"\n" for line in lines) + end)
    return lines


def all_pages(plan: Path, text: str, limit: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    after = (-1, -1)
    while True:
        hits = find_items(plan, text, after, limit)
        found += hits.places
        if len(hits.places) < limit and hits.next_mini_batch < 0:
            return found
        after = hits.places[-1] if len(hits.places) == limit else (hits.next_mini_batch, -1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(paths=plans, text=names, limit=st.integers(1, 5))
def test_every_item_with_the_text_is_found_in_order(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], text: str, limit: int
) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    write(plan, paths)
    accepts = text_filter(text)
    wanted = [
        (k, n) for k, some in enumerate(paths) for n, path in enumerate(some) if accepts(path)
    ]
    assert all_pages(plan, text, limit) == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 4), max_size=15), number=st.integers(0, 60))
def test_an_item_is_found_by_its_number(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], number: int
) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    write(plan, [["x" * (40 * (size == 4) + 1)] * size for size in sizes])
    places = [(k, n) for k, size in enumerate(sizes) for n in range(size)]
    found = by_number(plan, number)
    assert (found and found[:2]) == (places[number] if number < len(places) else None)
    assert all_pages(plan, str(number), 3) == places[number : number + 1]


def test_rows_of_tables_are_items_of_their_file(tmp_path: Path) -> None:
    plan = tmp_path / "plan.jsonl"
    write(plan, [["a.csv"], ["b.csv"], ["b.csv"]], is_table=True)
    assert all_pages(plan, "B.", 2) == [(k, n) for k in (1, 2) for n in range(3)]
    assert all_pages(plan, "7", 5) == [(2, 1)]


def test_a_search_that_takes_long_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.jsonl"
    write(plan, [[f"{k}.png"] for k in range(50)])
    monkeypatch.setattr(item_search, "SEARCH_S", -1.0)  # over at once: one block or line at a time
    hits = find_items(plan, "49.png", (-1, -1), 20)
    assert isinstance(hits, Hits)
    assert 0 < hits.next_mini_batch <= 51
    assert all_pages(plan, "9.png", 20) == [(k, 0) for k in range(9, 50, 10)]


def test_a_plan_that_is_missing_or_has_no_numbers_finds_nothing(tmp_path: Path) -> None:
    plan = tmp_path / "plan.jsonl"
    assert all_pages(plan, "1", 5) == []
    plan.touch()
    assert all_pages(plan, "1", 5) == []
    plan.write_bytes(b"".join(PlanLine(0, ["x"], [], []).encode() + b"\n" for _ in range(5)))
    assert all_pages(plan, "3", 5) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 40), max_size=30),
    looks=st.lists(st.lists(st.integers(-1, 35), max_size=6), max_size=3),
    grown=st.integers(0, 10),
)
def test_lines_are_found_by_number_while_the_plan_grows(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    looks: list[list[int]],
    grown: int,
) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    encoded = [
        PlanLine(0, [f"{k}", "y" * size], [], []).encode() + b"\n" for k, size in enumerate(sizes)
    ]
    data = b"".join(encoded)
    for part, numbers in enumerate([*looks, list(range(-1, 35))]):
        size = (
            len(data) if part == len(looks) else len(data) * (part + 1) // (len(looks) + grown + 1)
        )
        plan.write_bytes(data[:size])  # the same file, longer each time
        whole = data[:size].count(b"\n")
        lines = plan_lines(plan, numbers)
        assert sorted(lines) == sorted({k for k in numbers if 0 <= k < whole})
        assert all(line.paths[0] == str(k) for k, line in lines.items())
    start = 0
    for k, line in enumerate(encoded):
        assert line_number(plan, start) == k
        start += len(line)


def test_an_item_of_a_variable_is_found_by_its_name(tmp_path: Path) -> None:
    plan = tmp_path / "plan.jsonl"
    lines = [
        PlanLine(
            0,
            ["texts"],
            [],
            [],
            ranges=[[first, first + 3]],
            rows=3,
            extra={"first": first},
            table={"format": "memory", "by": "rows", "file": "0.data", "container": "list"},
        )
        for first in (0, 3, 6)
    ]
    plan.write_bytes(b"".join(line.encode() + b"\n" for line in lines) + b'["end",3,9]\n')
    assert find_items(plan, "texts[7]", (-1, -1), 20).places == [(2, 1)]
    assert find_items(plan, "words[7]", (-1, -1), 20).places == []
    assert find_items(plan, "texts[9]", (-1, -1), 20).places == []
