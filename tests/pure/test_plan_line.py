"""Plan lines survive a round trip, and their bytes are the same in all versions."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.data.batching import file_line, numbered, store_line, table_line
from parallelrun_jupyter.worker.plan_line import PlanLine

PATHS = st.lists(st.text(max_size=9), min_size=1, max_size=4)
EXTRA = st.sampled_from([{}, {"keys": {"a": "\udc80"}}, {"unread": "why"}])


def as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def fields(line: PlanLine) -> dict[str, Any]:
    return {name: getattr(line, name) for name in line.__slots__}


@given(paths=PATHS, number=st.integers(0, 9), extra=EXTRA, first=st.integers(0, 10**9))
def test_lines_of_files_are_read_as_they_were_written(
    paths: list[str], number: int, extra: dict[str, Any], first: int
) -> None:
    text = json.dumps(extra) if extra else ""
    files = [(path, size, f"tag {size}") for size, path in enumerate(paths)]
    local = numbered(file_line(number, paths, text), first)
    remote = numbered(store_line(number, files, text), first)
    for data, sizes in ((local, []), (remote, [*range(len(paths))])):
        line = PlanLine.decode(data)
        assert (line.paths, line.sizes, line.input_number) == (paths, sizes, number)
        assert (line.is_table, line.item_count) == (False, len(paths))
        assert (line.first, line.next_first) == (first, first + len(paths))
        assert line.extra == {**extra, "first": first}
    assert PlanLine.decode(remote).files == files
    assert PlanLine.decode(local).files == []


@given(path=st.text(max_size=9), rows=st.integers(0, 9), table=st.sampled_from([{}, {"a": [1]}]))
def test_lines_of_tables_are_read_as_they_were_written(
    path: str, rows: int, table: dict[str, Any]
) -> None:
    data = table_line(3, (path, 5, 7), (1, 4, rows), json.dumps(table))
    line = PlanLine.decode(data)
    assert (line.is_table, line.item_count, line.rows) == (True, rows, rows)
    assert (line.files, line.ranges, line.table) == ([(path, 5, 7)], [[1, 4]], table)
    assert (line.first, line.extra) == (0, {})


@pytest.mark.parametrize(
    "row",
    [
        ["f", 0, ["a", "b"], [], [], {"first": 3}],
        ["f", 1, ["az://c/a"], [1], ["0x8"], {"keys": {"k": "v"}, "first": 0}],
        ["f", 0, ["a"], [1], [2]],
        ["t", 0, ["a", "b"], [1, 2], [3, 4], [[0, 1], [0, 2]], {"format": "parquet"}, 9, {"first": 1}],
        ["t", 2, ["a"], [1], [2], [[0, 1]], {}, 0],
    ],
)  # fmt: skip
def test_lines_of_older_versions_stay_the_same_bytes(row: list[Any]) -> None:
    line = PlanLine.of_row(row)
    assert line.encode() == as_json(row)
    assert fields(PlanLine.decode(line.encode())) == fields(line)


@given(data=st.data(), ranges=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1))
def test_a_part_of_a_part_has_the_paths_of_its_items(
    data: st.DataObject, ranges: list[tuple[int, int]]
) -> None:
    own, end = [], 0
    for gap, count in ranges:
        own.append((end + gap, count))
        end += gap + count
    whole = PlanLine(0, [f"/{k}" for k in range(end)], list(range(end)), [])
    items = [k for first, count in own for k in range(first, first + count)]
    chosen = data.draw(st.lists(st.sampled_from(items), min_size=1, unique=True).map(sorted))
    part = whole.only(own).only([(k, 1) for k in chosen])
    assert part.paths == [f"/{k}" for k in chosen]
    assert (part.sizes, part.versions) == (chosen, [])
