"""`map` and `map_batches` in real runs: what a loop gives, whatever the types, failures and kills."""

from __future__ import annotations

import functools
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import FileDataset, Run, TabularDataset
from parallelrun_jupyter.engine.node.fork_server import WORKER_FOLDER
from parallelrun_jupyter.errors import (
    ConfigError,
    InputError,
    OutputError,
    RunFailedError,
    RunNotFoundError,
    WaitTimeoutError,
)
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, ItemsSucceeded
from tests.real.conftest import TIMEOUT_S, assert_books, end_of
from tests.real.dask_processes import DaskProcesses
from tests.real.test_resume import driver_pid
from tests.real.test_warm import wait_until_idle

HAD_PANDAS = False
"""Set in a worker: whether pandas was imported before its first item."""


@pytest.fixture(autouse=True)
def by_value() -> Iterator[None]:
    """Let the functions of this module travel as those of a notebook: workers cannot import it."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def started(function: Any, items: Any, **options: Any) -> Run:
    options = {"process_count_per_node": 2, **options}
    return parallelrun.map(function, items, **options)


def mapped(function: Any, items: Any, **settings: Any) -> Any:
    return started(function, items, **settings).results(timeout_s=TIMEOUT_S)


def batched(function: Any, data: Any, **settings: Any) -> Any:
    run = parallelrun.map_batches(function, data, process_count_per_node=2, **settings)
    return run.results(timeout_s=TIMEOUT_S)


VALUES: list[Any] = [
    None, 1, 2**200, 0.5, math.inf, "text", b"\x00bytes", {1, 2}, frozenset({3}), (1, (2,)), {"a": [1]},
    np.float32(0.5), np.int64(7), np.arange(4), np.zeros((2, 2)), Decimal("0.1"), pd.Timestamp("2020"),
    pd.DataFrame({"a": [1]}), pd.Series([1], name="s"), True, range(3), "caf\udce9", [], "",
]  # fmt: skip


def _note_imports() -> None:
    global HAD_PANDAS  # noqa: PLW0603 - as a notebook does
    HAD_PANDAS = "pandas" in sys.modules


def _had_pandas(items: Any) -> list[bool]:
    return [HAD_PANDAS] * len(items)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked")
def test_workers_of_a_frame_have_pandas_from_the_start_and_those_of_the_next_list_too() -> None:
    of_frame = parallelrun.map_batches(
        _had_pandas, FRAME, init=_note_imports, process_count_per_node=2
    )
    assert set(of_frame.results(timeout_s=TIMEOUT_S)) == {True}
    wait_until_idle(of_frame)
    of_list = parallelrun.map_batches(
        _had_pandas, [1, 2, 3], init=_note_imports, process_count_per_node=2
    )
    results = of_list.results(timeout_s=TIMEOUT_S)
    assert driver_pid(of_list) == driver_pid(of_frame)
    assert results == [True] * 3, "the fork server of the first run has all that the second needs"


def test_results_of_any_type_come_back_as_they_were() -> None:
    results = mapped(lambda position: VALUES[position], range(len(VALUES)), mini_batch_size=3)
    assert list(map(type, results)) == list(map(type, VALUES))
    assert list(map(repr, results)) == list(map(repr, VALUES))


@pytest.mark.parametrize(
    "function",
    [
        str, math.sqrt, lambda x: x + 1, functools.partial(pow, 2), Decimal(2).__add__, os.path.basename,
    ],
    ids=["type", "builtin", "lambda", "partial", "method", "module"],
)  # fmt: skip
def test_any_callable_is_a_function(function: Callable[[Any], Any]) -> None:
    items: Any = ["a/b", "c"] if function is os.path.basename else [1, 4, 9]
    assert mapped(function, items) == [function(item) for item in items]


model: Any = None


def test_functions_share_the_variables_that_init_sets(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def load() -> None:
        global model  # noqa: PLW0603 - what users write
        model = 10

    def end() -> None:
        with open(log, "a") as file:
            file.write(f"{model}\n")

    def times(x: int) -> int:
        return x * int(model)

    assert mapped(times, [1, 2, 3], init=load, shutdown=end) == [10, 20, 30]
    deadline = time.monotonic() + 30
    while not os.path.exists(log) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(Path(log).read_text().split()) == {"10"}


class Counter:
    def __init__(self, start: int = 100) -> None:
        self.calls = start

    def __call__(self, x: int, *, context: Any) -> tuple[int, int, int]:
        self.calls += 1
        return x, self.calls, context.minibatch_index


def test_a_class_is_made_once_in_a_worker_and_its_object_called() -> None:
    expected = [(x, 101 + x, x // 2) for x in range(4)]
    assert mapped(Counter, range(4), process_count_per_node=1, mini_batch_size=2) == expected
    of_partial = mapped(functools.partial(Counter, 0), [5], process_count_per_node=1)
    assert of_partial == [(5, 1, 0)]
    assert mapped(Counter(7), [5], process_count_per_node=1) == [(5, 8, 0)]


def test_generators_give_lists_and_single_results() -> None:
    def pairs(x: int) -> Iterator[int]:
        yield x
        yield -x

    assert mapped(pairs, [1, 2]) == [[1, -1], [2, -2]]

    def doubled(part: list[int]) -> Iterator[int]:
        for x in part:
            yield 2 * x

    assert batched(doubled, range(7), mini_batch_rows=3) == [0, 2, 4, 6, 8, 10, 12]


@dataclass
class Point:
    x: int
    y: float


def test_the_parameter_named_context_gets_the_context_but_never_the_item() -> None:
    assert mapped(lambda context: context + "!", ["a"]) == ["a!"]
    assert mapped(lambda x, ctx=None: ctx.minibatch_index, ["a", "b"]) == [0, 1]
    assert mapped(lambda x, context: context, ["a"], name="n") is not None


def test_a_grid_is_passed_as_keywords_and_its_table_has_the_parameters() -> None:
    run = started(lambda alpha, depth: alpha * depth, parallelrun.grid(alpha=[1, 2], depth=[3, 5]))
    assert run.results(timeout_s=TIMEOUT_S) == [3, 5, 6, 10]
    expected = pd.DataFrame({"alpha": [1, 1, 2, 2], "depth": [3, 5, 3, 5], "result": [3, 5, 6, 10]})
    pd.testing.assert_frame_equal(run.to_pandas(), expected)


FRAME = pd.DataFrame({"a": range(10), "b": list("abcdefghij")}, index=[f"r{k}" for k in range(10)])


def test_batches_of_a_frame_are_joined_with_its_index() -> None:
    doubled = batched(
        lambda part: part[["a"]].mul(2).rename(columns={"a": "c"}), FRAME, mini_batch_rows=3
    )
    pd.testing.assert_frame_equal(FRAME.join(doubled), FRAME.assign(c=FRAME.a * 2))
    evens = batched(lambda part: part[part.a % 2 == 0], FRAME, mini_batch_rows=3)
    pd.testing.assert_frame_equal(evens, FRAME[FRAME.a % 2 == 0])
    column = batched(lambda part: part.a + 1, FRAME, mini_batch_rows=4)
    pd.testing.assert_series_equal(column, (FRAME.a + 1).rename("result"))
    of_array = batched(lambda part: part.a.to_numpy() / 2, FRAME, mini_batch_rows=4)
    pd.testing.assert_series_equal(of_array, (FRAME.a / 2).rename("result"))
    own = batched(
        lambda part: pd.DataFrame({"n": [len(part)]}, index=[part.index[0]]),
        FRAME,
        mini_batch_rows=4,
    )
    pd.testing.assert_frame_equal(own, pd.DataFrame({"n": [4, 4, 2]}, index=["r0", "r4", "r8"]))


def test_sums_of_each_batch_are_numbered_anew() -> None:
    sums = batched(
        lambda part: part[["a"]].sum().to_frame("s").reset_index(drop=True),
        FRAME,
        mini_batch_rows=4,
    )
    pd.testing.assert_frame_equal(sums, pd.DataFrame({"s": [6, 22, 17]}))


def test_map_over_a_frame_gives_dicts_and_a_series_with_its_index() -> None:
    frame = FRAME.set_index([FRAME.a % 2, FRAME.index])
    results = mapped(lambda row: f"{row['a']}{row['b']}", frame, mini_batch_size=4)
    expected = pd.Series(
        [f"{k}{c}" for k, c in enumerate("abcdefghij")], index=frame.index, name="result"
    )
    pd.testing.assert_series_equal(results, expected)
    mixed = mapped(lambda row: None if row["a"] % 2 else row["a"], FRAME)
    assert mixed.tolist() == [None if k % 2 else k for k in range(10)]


def test_grids_may_have_one_shot_iterables_and_any_names() -> None:
    grid = parallelrun.grid(function=(k for k in [1, 2]), item=map(str, [3]))
    assert repr(grid) == "grid of 2 combinations (function: 2, item: 1)"
    assert mapped(lambda function, item: (function, item), grid) == [(1, "3"), (2, "3")]
    assert repr(parallelrun.grid(a=[1])) == "grid of 1 combination (a: 1)"


def test_a_run_whose_folder_was_removed_says_so() -> None:
    run = started(waits_from_2, range(4), process_count_per_node=1)
    assert next(run.stream()) == (0, 0)
    waiting = run.stream()
    assert next(waiting) == (0, 0)
    shutil.rmtree(run.folder.path)
    calls: list[Callable[[], Any]] = [
        run.results,
        run.stream,
        run.cancel,
        run.failed_items,
        lambda: list(waiting),
    ]
    for call in calls:
        with pytest.raises(RunNotFoundError, match=f"run {run.run_id} is gone: its folder"):
            call()


def test_batches_with_other_columns_are_concatenated_as_pandas_does() -> None:
    def columns(part: pd.DataFrame) -> Any:
        return part.rename(columns={"b": f"b{part.a.iloc[0] // 5}"})

    results = batched(columns, FRAME, mini_batch_rows=5)
    expected = pd.concat([columns(FRAME.iloc[:5]), columns(FRAME.iloc[5:])])
    pd.testing.assert_frame_equal(results, expected)


def test_batches_of_arrays_and_lists() -> None:
    rows = np.arange(20).reshape(10, 2)
    result = batched(lambda part: part * 0.5, rows, mini_batch_rows=3)
    np.testing.assert_array_equal(result, rows * 0.5)
    assert result.flags.writeable
    # A list here, an array there; integers here, decimal numbers there.
    assert batched(lambda part: part if part[0] else np.array(part), list(range(6)), mini_batch_rows=2) == list(range(6))  # fmt: skip
    mixed = batched(lambda part: part / 2 if part[0] else part, np.arange(6), mini_batch_rows=2)
    np.testing.assert_array_equal(mixed, [0, 1, 1, 1.5, 2, 2.5])
    ragged = batched(
        lambda part: np.ones((len(part), part[0] + 1)), np.arange(4), mini_batch_rows=2
    )
    assert [row.shape for row in ragged] == [(1,), (1,), (3,), (3,)]


def test_joined_arrays_keep_their_mask_and_byte_order() -> None:
    masked = np.ma.masked_array(np.arange(6), np.isin(np.arange(6), [1, 4, 5]))
    result = batched(lambda part: part * 2, masked, mini_batch_rows=4)
    assert isinstance(result, np.ma.MaskedArray)
    assert result.tolist() == [0, None, 4, 6, None, None]
    some = parallelrun.map_batches(
        lambda part: part if part[0] == 0 else 1 / 0,
        masked, mini_batch_rows=3, run_max_try=1, error_threshold=-1,
    ).results(missing=-1)  # fmt: skip
    assert some.tolist() == [0, None, 2, -1, -1, -1]
    swapped = np.arange(6).astype(">i4")
    assert batched(lambda part: part, swapped, mini_batch_rows=4).dtype == np.dtype(">i4")


def test_a_frame_here_and_a_list_there_is_an_error_that_names_both() -> None:
    with pytest.raises(
        OutputError, match=r"the function returned DataFrames and lists: they cannot be joined"
    ):
        batched(lambda part: part if part.a.iloc[0] else list(part.a), FRAME, mini_batch_rows=5)


def test_a_result_with_another_length_fails_and_names_the_function() -> None:
    def few(part: list[int]) -> list[int]:
        return part[1:]

    with pytest.raises(
        RunFailedError,
        match=r"few\(\) returned 2 results for 3 items; expected one for each(?s:.*)raised at test_functions\.py:\d+ in few,",
    ):
        batched(few, range(3), mini_batch_rows=3, run_max_try=1)

    def nothing(part: list[int]) -> None:
        part.clear()

    with pytest.raises(RunFailedError, match=r"nothing\(\) returned None; return a list"):
        batched(nothing, range(3), mini_batch_rows=3, run_max_try=1)


def picky(x: int) -> int:
    if x in {3, 8}:
        msg = f"not {x}"
        raise ValueError(msg)
    return x


@pytest.mark.parametrize("rows", [1, 4, 10])
def test_items_fail_alone_and_the_first_thing_shown_is_their_own_exception(rows: int) -> None:
    run = started(picky, range(10), mini_batch_size=rows, run_max_try=1, error_threshold=2)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    expected = [None if x in {3, 8} else x for x in range(10)]
    assert run.results(missing=None) == expected
    nans = run.results(missing=math.nan)
    assert [x for x in nans if not math.isnan(x)] == [x for x in expected if x is not None]
    with pytest.raises(
        OutputError,
        match=r"2 items of 10 .*have no result. The first reason: ValueError at .*picky: not",
    ):
        run.results()
    assert list(run.failed_items()["number"]) == [3, 8]
    assert all(
        "picky" in group and "function_script" not in group for group in run.failed_items()["group"]
    )
    traceback = run.failed_items()["traceback"][0]
    assert "function_script" not in traceback
    assert traceback.splitlines()[1].endswith("in picky")
    assert list(run.to_pandas()["result"]) == [x for x in expected if x is not None]
    assert [pair for pair in run.stream() if pair[0] != pair[1]] == []
    assert sorted(x for x, _ in run.stream(ordered=False)) == [x for x in expected if x is not None]


def test_items_that_a_function_of_batches_fails_have_no_result() -> None:
    def scored(part: Any, context: Any) -> Any:
        for position, label in enumerate(part.index):
            if label in {"r2", "r7"}:
                context.fail(label, f"no score for {position}")
        return part[["a"]] * 2

    def as_arrow(part: Any, context: Any) -> Any:
        import pyarrow as pa

        return pa.Table.from_pandas(scored(part, context), preserve_index=False)

    options: dict[str, Any] = {"mini_batch_rows": 5, "run_max_try": 1, "error_threshold": 2}
    run = parallelrun.map_batches(scored, FRAME, **options)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    others = [k for k in range(10) if k not in {2, 7}]
    pd.testing.assert_frame_equal(run.results(missing=None), (FRAME[["a"]] * 2).iloc[others])
    pd.testing.assert_frame_equal(run.to_pandas(), (FRAME[["a"]] * 2).iloc[others])
    of_arrow = parallelrun.map_batches(as_arrow, FRAME, **options)
    assert end_of(of_arrow) == "Completed", of_arrow.snapshot()["reason"]
    assert of_arrow.results(missing=None)["a"].to_pylist() == [2 * k for k in others]


def test_a_failed_run_raises_the_exception_and_keeps_the_other_results() -> None:
    run = started(picky, range(10), run_max_try=1)
    with pytest.raises(
        RunFailedError,
        match=r"(?s)^Traceback.*in picky\n.*ValueError: not [38]\n.*failed: items\[[38]\]\n",
    ):
        run.results(timeout_s=TIMEOUT_S)
    kept = [x for x in run.results(missing=None) if x is not None]
    left = run.snapshot()["items_left"]
    with pytest.raises(RunFailedError) as caught:
        run.results()
    assert left == 0 or (
        f"{left} item{'s' * (left > 1)} did not finish. run.resume(error_threshold=-1) runs all"
        in str(caught.value)
    )
    assert "run.results(missing=None) returns the results that exist" in str(caught.value)
    streamed: list[Any] = []
    with pytest.raises(RunFailedError, match="ValueError"):
        streamed.extend(result for _, result in run.stream())
    assert streamed == kept


def test_a_run_that_ends_before_all_items_says_how_to_list_all_that_fail() -> None:
    def bad(x: int) -> int:
        if x > 5:
            msg = f"not {x}"
            raise ValueError(msg)
        return x

    run = started(bad, range(2000), run_max_try=1, process_count_per_node=1)
    with pytest.raises(RunFailedError) as caught:
        run.results(timeout_s=TIMEOUT_S)
    left = run.snapshot()["items_left"]
    assert left > 1
    assert (
        f"{left:,} items did not finish. run.resume(error_threshold=-1) runs all of them and lists "
        "each item that fails, run." in str(caught.value)
    )
    assert run.results(missing=None)[:6] == [0, 1, 2, 3, 4, 5]


def test_exceptions_without_isolation_fail_the_mini_batch() -> None:
    run = started(
        picky,
        range(10),
        mini_batch_size=5,
        isolate_failures=False,
        run_max_try=1,
        error_threshold=5,
    )
    end_of(run)
    assert run.results(missing=-1) == [-1] * 5 + [-1] * 5


def test_results_that_cannot_be_stored_fail_their_items_and_say_why() -> None:
    def opened(x: int) -> Any:
        return open(os.devnull) if x == 2 else x

    run = started(opened, range(5), mini_batch_size=5, run_max_try=1, error_threshold=1)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert run.results(missing=None) == [0, 1, None, 3, 4]
    [message] = run.failed_items()["message"]
    assert message.startswith("the result, a TextIOWrapper, cannot be stored")


def test_a_call_that_hangs_is_the_only_one_that_fails() -> None:
    def hangs(x: int) -> int:
        time.sleep(60 if x == 3 else 0.3)
        return x

    run = started(
        hangs,
        range(6),
        mini_batch_size=6,
        run_invocation_timeout=1,
        run_max_try=1,
        error_threshold=1,
    )
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert run.results(missing=None) == [0, 1, 2, None, 4, 5]
    hints = run.failure_groups()["hint"]
    assert list(hints) == [
        "If a call needs more time, start a new run with a larger run_invocation_timeout, in seconds: "
        "this one has 1."
    ]


def test_the_other_functions_of_a_resume(tmp_path: Path) -> None:
    log = str(tmp_path / "log")

    def fixed(x: int) -> int:
        with open(log, "a") as file:
            file.write(f"{x}\n")
        return -x

    run = started(picky, range(10), mini_batch_size=5, run_max_try=1, error_threshold=-1)
    end_of(run)
    with pytest.raises(
        ConfigError, match=r"give the corrected function: run\.resume\(function=\.\.\.\)"
    ):
        run.resume(entry_script=tmp_path / "fixed.py")
    with pytest.raises(ConfigError, match=r"resume\(\) calls _fixed2\(\) -> 'None' with one item"):
        run.resume(failed_only=True, function=_fixed2)
    with pytest.raises(ConfigError, match="init or shutdown without function"):
        run.resume(failed_only=True, init=_fixed2)
    run.resume(failed_only=True, function=fixed)
    assert run.results(timeout_s=TIMEOUT_S) == [
        -3 if x == 3 else -8 if x == 8 else x for x in range(10)
    ]
    assert sorted(Path(log).read_text().split()) == ["3", "8"]
    assert list(run.to_pandas()["result"]) == run.results()


def _fixed2() -> None:
    """Has no parameter for the item."""


def test_a_stream_has_every_pair_once_while_the_run_goes_on_and_ends() -> None:
    def slow(x: int) -> int:
        time.sleep(0.4 if x == 0 else 0.01)
        return x * x

    run = started(slow, range(40))
    as_committed = [x for x, _ in run.stream(ordered=False, timeout_s=TIMEOUT_S)]
    assert sorted(as_committed) == list(range(40))
    again = started(slow, range(40))
    pairs = list(again.stream(timeout_s=TIMEOUT_S))
    assert pairs == [(x, x * x) for x in range(40)]
    assert list(again.stream()) == pairs, "the run has ended, and its parts are published"
    early = again.stream()
    assert next(early) == (0, 0)
    early.close()  # type: ignore[attr-defined] # a generator
    assert not [file for file in psutil.Process().open_files() if "/output/" in file.path]


def waits_from_2(x: int) -> int:
    time.sleep(0 if x < 2 else 30)
    return x


def test_arrays_of_a_stream_may_be_changed() -> None:
    run = parallelrun.map_batches(lambda part: part * 2, np.arange(6.0), mini_batch_rows=3)
    for items, values in run.stream():
        values[0] = -1
        assert list(values) == [-1, *(2 * items[1:])]
    assert list(run.results()) == [0, 2, 4, 6, 8, 10]


def test_a_stream_ends_at_a_timeout_or_with_a_canceled_run() -> None:
    run = started(waits_from_2, range(4), process_count_per_node=1)
    seen: list[Any] = []
    with pytest.raises(
        WaitTimeoutError, match="has committed no further result for 3 s; it continues"
    ):
        seen.extend(run.stream(timeout_s=3))
    assert seen == [(0, 0), (1, 1)]
    run.cancel()
    assert list(run.stream(timeout_s=TIMEOUT_S)) == [(0, 0), (1, 1)]
    assert run.results(missing="none") == [0, 1, "none", "none"]
    with pytest.raises(
        OutputError, match=r"2 items of 4 .*have no result\.\n.*run\.resume\(\) runs them\.$"
    ):
        run.results()


def test_files_and_tables_are_items(numbers: Path) -> None:
    files = FileDataset(str(numbers / "00*.txt"))
    assert mapped(lambda path: int(Path(path).read_text()), files) == list(range(10))
    run = started(os.path.basename, files, mini_batch_size=4)
    assert [(os.path.basename(path), path.endswith(name)) for path, name in run.stream()] == [
        (f"{k:03d}.txt", True) for k in range(10)
    ]
    csv = numbers / "table.csv"
    csv.write_text("a,b\n1,x\n2,y\n3,z\n")
    table = TabularDataset.from_delimited_files(str(csv))
    assert mapped(lambda row: f"{row['a']}{row['b']}", table, mini_batch_rows=2) == [
        "1x",
        "2y",
        "3z",
    ]
    run = parallelrun.map_batches(lambda part: part.a * 2, table, mini_batch_rows=2)
    assert list(run.results(timeout_s=TIMEOUT_S)) == [2, 4, 6]
    [(part, result), _] = run.stream()
    assert (list(part.a), list(result)) == ([1, 2], [2, 4])


def test_with_an_output_format_the_results_are_rows_of_a_file(tmp_path: Path) -> None:
    run = started(
        lambda x: {"x": x, "y": x / 2}, range(6), output=tmp_path / "out", output_format="csv"
    )
    assert end_of(run) == "Completed"
    assert list(run.to_pandas().y) == [x / 2 for x in range(6)]
    [path] = (tmp_path / "out").iterdir()
    assert pd.read_csv(path).x.tolist() == list(range(6))
    with pytest.raises(OutputError, match=r"output_format 'csv': its results are rows of a table"):
        run.results()
    more = parallelrun.map_batches(
        lambda part: pd.DataFrame({"n": part * 2}),
        range(7),
        mini_batch_rows=3,
        output_format="parquet",
    )
    assert end_of(more) == "Completed", more.snapshot()["reason"]
    assert more.to_pandas().n.tolist() == [0, 1, 2] * 2 + [3, 4, 5] * 2 + [6, 6]


def test_a_trial_raises_the_exception_of_the_function() -> None:
    run = started(picky, range(10), mini_batch_size=5, run_max_try=1, error_threshold=-1)
    end_of(run)
    with pytest.raises(ValueError, match="not 3") as caught:
        run.try_one(0)
    assert caught.traceback[-1].name == "picky"
    fine = started(lambda x: Point(x, 0.5), range(3), mini_batch_size=3)
    end_of(fine)
    assert [point.x for point in fine.try_one(0)] == [0, 1, 2]


def test_attached_runs_have_the_results() -> None:
    run = started(picky, range(3))
    assert run.results(timeout_s=TIMEOUT_S) == [0, 1, 2]
    other = Run.attach(run.run_id)
    assert other.results() == [0, 1, 2]
    assert list(other.stream()) == [(0, 0), (1, 1), (2, 2)]
    assert end_of(run) == "Completed"  # the results are there before the output file
    run.folder.final_file(run.folder.read_record()).write_bytes(b"damaged")
    with pytest.raises(OutputError, match="does not have the results that the run wrote"):
        other.results()
    run.folder.final_file(run.folder.read_record()).unlink()
    with pytest.raises(OutputError, match="the results of run .* have been removed"):
        other.results()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_pickles_of_other_users_are_not_read() -> None:
    run = started(picky, range(3))
    assert end_of(run) == "Completed"
    os.chown(run.folder.path, 12345, -1)
    for read in (run.results, run.stream, run.to_pandas):
        with pytest.raises(
            OutputError, match=r"belongs to another user \(12345\).*copy the folder"
        ):
            read()
    os.chown(run.folder.path, 0, -1)


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: started(picky, range(3), process_count=2), ConfigError, r"map\(\) has no setting 'process_count'. Did you mean"),
    (lambda: started(picky, range(3), chunksize=2), ConfigError, "It is called 'mini_batch_size' here"),
    (lambda: started(picky, range(3), initializer=print), ConfigError, "It is called 'init' here"),
    (lambda: started(range(3), picky), InputError, r"got picky as its items.*write the function first: map\(picky, items\)"),
    (lambda: started(picky, range(3), update=True), ConfigError, r"map\(\) has no setting 'update': results of any type"),
    (lambda: started(picky, range(3), entry_script="x.py"), ConfigError, "the function is the script"),
    (lambda: started(picky, range(3), run_max_try=0), ConfigError, "run_max_try is 0; expected a whole number"),
    (lambda: started(picky, range(3), output="out"), ConfigError, r"map\(\) got output='out' without output_format"),
    (lambda: started(picky, range(3), append_row_file_name="a.txt"), ConfigError, "append_row_file_name='a.txt' without"),
    (lambda: started("picky", range(3)), ConfigError, r"map\(\) got 'picky' as its function"),
    (lambda: started(picky, []), InputError, "is empty; give at least one item"),
    (lambda: started(picky, 7), InputError, r"map\(\) got 7, of the type int; expected a list"),
    (lambda: started(picky, "digits/*.png"), InputError, r"write FileDataset\('digits/\*\.png'\)"),
    (lambda: started(lambda: 1, range(3)), ConfigError, r"map\(\) calls <lambda>\(\) with one item"),
    (lambda: started(nothing, range(3)), ConfigError, r"calls nothing\(\).* with one item. Write async def nothing\(item\): "),
    (lambda: started(lambda a, b: 1, range(3)), ConfigError, r"calls <lambda>\(a, b\) with one item. Write lambda item: .* tuples, unpack them in the function: a, b = item"),
    (lambda: started(lambda a: 1, parallelrun.grid(b=[1])), ConfigError, r"with the keyword arguments b"),
    (lambda: started(picky, pd.DataFrame([[1, 2]], columns=["a", "a"])), InputError, "two columns of the items are called 'a'.*use map_batches"),
    (lambda: started(picky, range(3), init=picky), ConfigError, r"init is picky\(x.*called without arguments"),
    (lambda: started(picky, range(3), name=3), ConfigError, "name is 3; expected a text"),
    (lambda: started(picky, range(3), n_jobs=2), ConfigError, r"no setting 'n_jobs'. It is called 'process_count_per_node' here"),
    (lambda: started(fetch, range(3), mini_batch_size=5), ConfigError, r"mini_batch_size is 5, but map\(\) calls its function with one item at a time when several calls are in flight.*use map_batches"),
    (lambda: started(Needs, range(3)), ConfigError, r"Needs\(model.*\).* is made once in each worker.*functools\.partial\(Needs"),
]  # fmt: skip


async def fetch(x: int = 0) -> int:
    return x


async def nothing() -> None: ...


class Needs:
    def __init__(self, model: str) -> None:
        self.model = model

    def __call__(self, x: int) -> int:
        return x


@pytest.mark.parametrize("wrong", WRONG, ids=[text[:30] for _, _, text in WRONG])
def test_wrong_arguments_are_errors_before_the_start(
    wrong: tuple[Callable[[], Any], type[Exception], str],
) -> None:
    call, kind, text = wrong
    with pytest.raises(kind, match=text):
        call()
    assert not Run.list()


LAW = st.lists(st.integers(0, 50) | st.text(max_size=3) | st.none(), min_size=1, max_size=40)


@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(LAW, st.integers(1, 12), st.sets(st.integers(0, 39), max_size=4))
def test_results_are_those_of_a_loop(items: list[Any], size: int, bad: set[int]) -> None:
    def function(pair: tuple[int, Any]) -> Any:
        position, item = pair
        if position in bad:
            raise KeyError(position)
        return {"item": item, "twice": [item] * 2}

    def looped(pair: tuple[int, Any]) -> Any:
        try:
            return function(pair)
        except KeyError:
            return "failed"

    pairs = list(enumerate(items))
    run = started(function, pairs, mini_batch_size=size, run_max_try=1, error_threshold=-1)
    end_of(run)
    expected = [looped(pair) for pair in pairs]
    assert run.results(missing="failed") == expected
    kept = [
        (pair, result) for pair, result in zip(pairs, expected, strict=True) if result != "failed"
    ]
    if kept:
        assert list(run.stream()) == kept
    else:
        with pytest.raises(RunFailedError, match="no mini-batch succeeded"):
            next(run.stream())
    assert run.snapshot()["items_failed"] == len(pairs) - len(kept)


NOTEBOOK = """
from dataclasses import dataclass
import parallelrun_jupyter as parallelrun

@dataclass
class Point:
    x: int

    def norm(self):
        return abs(self.x)

def point(x):
    return Point(x)

if __name__ == "__main__":
    run = parallelrun.map(point, range(-2, 3))
    results = run.results()
    assert all(type(result) is Point for result in results)
    norm = Point.norm
    assert run.results() == results
    assert Point.norm is norm, "reading results changes no class of the notebook"
    print(run.run_id)
"""

OTHER_KERNEL = """
import sys
import parallelrun_jupyter as parallelrun
run = parallelrun.Run.attach(sys.argv[1])
print([result.norm() for result in run.results()], [result.x for _, result in run.stream()])
class Point:
    def norm(self):
        return 7
print([result.norm() for result in run.results()])
"""


def test_objects_of_classes_of_a_notebook_come_back_in_another_kernel(tmp_path: Path) -> None:
    def output(text: str, *arguments: str) -> str:
        script = tmp_path / "notebook.py"
        script.write_text(text)
        command = [sys.executable, str(script), *arguments]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            command, env=environ, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    run_id = output(NOTEBOOK).strip()
    assert output(OTHER_KERNEL, run_id).splitlines() == [
        "[2, 1, 0, 1, 2] [-2, -1, 0, 1, 2]", "[7, 7, 7, 7, 7]"
    ]  # fmt: skip


def test_functions_of_modules_beside_the_notebook_travel_by_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_notebook.py").write_text("def half(x):\n    return x / 2\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    from beside_notebook import half  # type: ignore[import-not-found]

    assert mapped(half, [1, 2]) == [0.5, 1.0]
    assert mapped(lambda x: half(x) + 1, [1, 2]) == [1.5, 2.0]


def test_map_on_a_cluster(tmp_path: Path) -> None:
    cluster = DaskProcesses(tmp_path / "dask")
    try:
        cluster.start_scheduler()
        for name in ("a", "b"):
            cluster.add_worker(name)
        cluster.wait_for_workers()
        run = started(
            lambda x: Point(x, x / 2), range(40), compute=cluster.address, process_count_per_node=1
        )
        results = run.results(timeout_s=2 * TIMEOUT_S)
        assert [(point.x, point.y) for point in results] == [(x, x / 2) for x in range(40)]
        frame = parallelrun.map_batches(
            lambda part: part[["a"]] * 2, FRAME, mini_batch_rows=3, compute=cluster.address,
        ).results(timeout_s=2 * TIMEOUT_S)  # fmt: skip
        pd.testing.assert_frame_equal(frame, FRAME[["a"]] * 2)
    finally:
        cluster.close()


def test_a_storm_of_kills_loses_and_doubles_no_result() -> None:
    rng = random.Random(5)

    def slow(x: int) -> Any:
        time.sleep(0.01)
        return Point(x, x / 2) if x % 3 else np.full(3, x)

    run = started(slow, range(300), mini_batch_size=3, run_max_try=100)
    pairs = run.stream(ordered=False, timeout_s=TIMEOUT_S)
    seen = [next(pairs)[0]]
    kills = 0
    while (status := run.status) != "Completed":
        assert status not in {"Failed", "Canceled"}, run.snapshot()["reason"]
        time.sleep(rng.uniform(0.05, 0.3))
        if status == "Interrupted":
            run.resume()
        elif kills < 8:
            kills += _kill_one(run, rng)
    assert kills >= 4, "the run was over too soon"
    results = run.results()
    assert [point.x if x % 3 else point[0] for x, point in enumerate(results)] == list(range(300))
    counts = [0] * 300
    for event in run.events(follow=False):
        if isinstance(event, AttemptSucceeded | ItemsSucceeded):
            first = 3 * event.mini_batch + (event.first if isinstance(event, ItemsSucceeded) else 0)
            for item in range(first, first + event.items):
                counts[item] += 1
    assert counts == [1] * 300
    assert_books(run)
    seen += [x for x, _ in pairs]
    assert sorted(seen) == list(range(300))


def _kill_one(run: Run, rng: random.Random) -> int:
    """Kill the driver or one of its workers; return how many were killed."""
    try:
        driver = psutil.Process(driver_pid(run))
        workers = [p for p in driver.children() if str(WORKER_FOLDER) in p.cmdline()]
        rng.choice([driver, *workers, *workers]).kill()
    except (psutil.NoSuchProcess, FileNotFoundError):
        return 0
    return 1


def test_results_of_the_only_mini_batch_that_succeeded_can_be_changed() -> None:
    def halved(values: pd.Series[float]) -> pd.Series[float]:
        if values.iloc[0] >= 10:
            raise ValueError("too large")
        return values / 2

    values = pd.Series(np.arange(20.0))
    run = parallelrun.map_batches(
        halved, values, mini_batch_rows=10, error_threshold=-1, process_count_per_node=1
    )
    found = run.results(missing=None)
    found.iloc[0] = 100.0
    found.to_numpy()[:2].sum()
    assert found.tolist() == [100.0, *(values[1:10] / 2)]
