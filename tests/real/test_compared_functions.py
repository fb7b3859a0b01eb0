"""Runs of functions are compared by their values; values that cannot be read back are named."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import MemoryDataset, Run
from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs import run_folder
from tests.real.conftest import TIMEOUT_S
from tests.real.test_cli import parallelrun as terminal


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    """Let the functions of this module travel as those of a notebook."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def ended(call: Any, function: Any, items: Any, **settings: Any) -> Run:
    settings = {"process_count_per_node": 2, "error_threshold": -1, **settings}
    run: Run = call(function, items, **settings)
    run.wait_for_completion(show_output=False, raise_on_error=False, timeout_s=TIMEOUT_S)
    return run


def mapped(function: Any, items: Any, **settings: Any) -> Run:
    return ended(parallelrun.map, function, items, **settings)


def counts(comparison: Any) -> dict[str, int]:
    assert comparison.notes == []
    return {name: count for name, count in comparison.item_counts.items() if count}


def test_values_are_compared_whatever_the_mini_batches_and_names() -> None:
    def one(number: int) -> Any:
        if number == 8:
            raise ValueError(number)
        return {"n": number, "tags": {"x", "y", str(number)}, "a": np.full(2, number)}

    def two(number: int) -> Any:
        changed = 100 if number == 3 else number
        return {"a": np.full(2, changed), "tags": {str(number), "y", "x"}, "n": number}

    numbers = list(range(20))
    others = tuple(numbers)
    first = mapped(one, MemoryDataset(numbers, "numbers"), run_max_try=1)
    second = mapped(two, MemoryDataset(others, "others"), mini_batch_size=7)
    comparison = second.compare(first)
    assert counts(comparison) == {"same": 18, "rows differ": 1, "no row in the other run": 1}
    row = comparison.items.set_index("item").loc["others[3]"]
    assert row["difference"] == "rows differ"
    assert "array([100, 100])" in row["this"]
    assert "array([3, 3])" in row["other"]
    settings = set(comparison.settings["setting"])
    assert {"function", "mini_batch_size", "inputs[0].name"} <= settings
    assert not any("path" in name or "mtime" in name for name in settings)
    shown = terminal("compare", second.run_id, first.run_id)
    assert shown.returncode == 0, shown.stderr
    assert "items: 18 same, 1 rows differ, 1 no row in the other run" in shown.stdout
    assert re.search(r"others\[3\] +rows differ", shown.stdout)


def test_other_numbers_of_items_are_matched_by_the_name_of_the_variable() -> None:
    first = mapped(str.upper, MemoryDataset(["a", "b", "c"], "texts"))
    second = mapped(str.upper, MemoryDataset(["a", "x"], "texts"))
    assert counts(first.compare(second)) == {"same": 1, "rows differ": 1, "only in this run": 1}
    third = mapped(str.upper, MemoryDataset(["a", "x"], "names"))
    assert counts(third.compare(second)) == {"same": 2}
    comparison = third.compare(first)
    assert comparison.item_counts["only in this run"] == 2
    assert comparison.item_counts["only in the other run"] == 3
    [note] = comparison.notes
    assert note.startswith(
        "items were not matched: names (2 items) and texts (3 items) have other names"
    )


FRAME = pd.DataFrame({"a": range(20), "b": np.linspace(0, 1, 20)}, [f"r{k}" for k in range(20)])


@pytest.mark.parametrize(
    ("function", "data"),
    [
        (lambda part: part * 2, FRAME),
        (lambda part: part["a"] + 1, FRAME),
        (lambda part: part.reset_index(drop=True), FRAME),
        (lambda part: part.where(part["a"] != 5), FRAME),
        (lambda part: np.asarray(part) * 0.5, np.arange(40).reshape(20, 2)),
        (lambda part: np.array([str(value) for value in part]), np.arange(20) ** 4),
        (list, list("abcdefghijklmnopqrst")),
        (lambda part: part, pa.table({"a": range(20)})),
    ],
    ids=range(8),
)  # fmt: skip
def test_batches_of_other_sizes_have_the_same_values(function: Any, data: Any) -> None:
    runs = [
        ended(parallelrun.map_batches, function, data, mini_batch_rows=rows) for rows in (3, 8, 20)
    ]
    for run in runs[1:]:
        assert counts(runs[0].compare(run)) == {"same": 20}


def test_tables_with_other_numbers_of_rows_are_compared_as_a_whole() -> None:
    def sums(part: Any) -> Any:
        return part.groupby(part["a"] % 2).sum()

    def other(part: Any) -> Any:
        return sums(part) + (part["a"].iloc[0] == 10)

    data = MemoryDataset(FRAME, "FRAME")
    first, second = (
        ended(parallelrun.map_batches, f, data, mini_batch_rows=5) for f in (sums, other)
    )
    comparison = first.compare(second)
    assert counts(comparison) == {"same": 15, "rows differ": 5}
    assert comparison.items["item"][0] == "FRAME.loc['r10'] (row 10)"
    assert comparison.items["this"][0] == "a: 36, b: 1.894736842105263\na: 24, b: 1.263157894736842"
    third = ended(parallelrun.map_batches, sums, FRAME, mini_batch_rows=10)
    assert counts(first.compare(third)) == {"unclear": 20}


class Picky:
    """Objects of which those with 4 cannot be read back."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["number"] == 4:
            msg = "not four"
            raise ValueError(msg)
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"Picky {self.number}"


@pytest.mark.parametrize("size", [1, 6])
def test_a_value_that_cannot_be_read_back_is_named_and_the_others_are_there(size: int) -> None:
    numbers = MemoryDataset(range(6), "numbers")
    run = mapped(lambda n: Picky(n + 0), numbers, mini_batch_size=size, process_count_per_node=1)
    expected = (
        rf"the result of numbers\[4\] of run {run.run_id}, Picky 4, was stored, but cannot be read back "
        r"here: ValueError: not four\. Import or install .* run.results\(missing=None\) returns the other"
    )
    with pytest.raises(OutputError, match=expected):
        run.results()
    assert [each and each.number for each in run.results(missing=None)] == [0, 1, 2, 3, None, 5]
    seen: list[tuple[int, int]] = []
    with pytest.raises(OutputError, match=expected):
        seen.extend((item, result.number) for item, result in run.stream())
    assert seen == [(0, 0), (1, 1), (2, 2), (3, 3)]
    with pytest.warns(UserWarning, match=r"left out: the result of numbers\[4\]"):
        assert len(run.to_pandas()) == 5
    assert counts(run.compare(run)) == {"same": 5, "unclear": 1}


def test_a_result_that_the_worker_cannot_read_back_fails_its_item() -> None:
    run = mapped(lambda number: sys.flags if number == 1 else number, range(3), run_max_try=1)
    assert run.results(missing=None) == [0, None, 2]
    [message] = run.failed_items()["message"]
    assert "the result, a flags, can be stored, but not read back (TypeError: " in message


def test_results_of_another_user_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    run = mapped(abs, range(3))
    monkeypatch.setattr(os, "getuid", lambda: os.stat(run.folder.path).st_uid + 1)
    [note] = run.compare(run).notes
    assert "belongs to another user" in note
    assert "run any code of theirs" in note


def test_a_grid_in_a_dataset_is_passed_as_keywords() -> None:
    values = MemoryDataset(parallelrun.grid(alpha=[1, 2], depth=[3]), "sweep")
    run = mapped(lambda alpha, depth: alpha * depth, values)
    assert run.results() == [3, 6]
    assert list(run.to_pandas().columns) == ["alpha", "depth", "result"]


@pytest.mark.parametrize(
    "values",
    [np.zeros((4000, 100)), range(1000), pa.table({"a": range(1000)}), FRAME],
    ids=["array", "range", "table", "frame"],
)
def test_a_stream_leaves_no_file_open(values: Any) -> None:
    run = ended(parallelrun.map_batches, lambda part: list(range(len(part))), values)
    streamed = run.stream()
    next(streamed)
    del streamed  # not read to its end
    for _ in run.stream():
        pass
    del _
    folder = str(run_folder.find(run.run_id).path)
    assert folder not in Path("/proc/self/maps").read_text()
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    assert not [link for link in links if os.path.realpath(link).startswith(folder)]
