"""Runs that begin before the column types are known: whatever rows follow, all see the same types."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    ResultsReused,
    RowsDropped,
    TypesChanged,
)
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.conftest import SCRIPTS
from tests.real.conftest import assert_books, end_of, rows_of

ROWS = 4000
WARNING = "later rows have other types than the first ones: 'value' is str, not int64"


def table(path: Path, *, last: str = "x") -> TabularDataset:
    """Return a table of whole numbers, except for the value in its last row."""
    lines = [f"{row},{row * 3}\n" for row in range(ROWS - 1)]
    path.write_text("id,value\n" + "".join(lines) + f"{ROWS - 1},{last}\n", encoding="utf-8")
    return TabularDataset.from_delimited_files(path)


def submitted(
    start: Callable[..., Run], inputs: TabularDataset, *argv: str, **settings: Any
) -> Run:
    sizes = {"mini_batch_rows": 100, "mini_batch_size": None}
    return start("column_types.py", inputs=inputs, arguments=list(argv), **sizes, **settings)


def expected(types: str) -> list[str]:
    return [f"{row} {types}" for row in range(ROWS)]


def lines_of(run: Run) -> list[PlanLine]:
    return [PlanLine.decode(line) for line in run.folder.plan.read_bytes().splitlines()[:-1]]


def test_rows_that_confirm_the_types_run_once(start: Callable[..., Run], tmp_path: Path) -> None:
    run = submitted(start, table(tmp_path / "a.csv", last="7"))
    assert end_of(run) == "Completed"
    assert rows_of(run) == expected("int64 int64")
    assert all("assumed" in line.table for line in lines_of(run)), "no pass before the first row"
    ends = [e.mini_batch for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)]
    assert sorted(ends) == list(range(ROWS // 100))


def test_a_last_row_of_another_type_lets_all_rows_run_again(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = submitted(start, table(tmp_path / "a.csv"), "--sleep", "0.01")
    assert end_of(run) == "Completed"
    assert rows_of(run) == expected("int64 str")
    snapshot = run.snapshot()
    assert (snapshot["succeeded"], snapshot["items_succeeded"], snapshot["rows"]) == (
        40,
        ROWS,
        ROWS,
    )
    assert (snapshot["attempts_failed"], snapshot["failed"], snapshot["retrying"]) == (0, 0, 0)
    [warning] = snapshot["warnings"]
    assert warning.startswith(WARNING)
    assert not any("assumed" in line.table for line in lines_of(run))
    events = list(run.events(follow=False))
    [change] = [k for k, event in enumerate(events) if isinstance(event, TypesChanged)]
    dropped = [e.mini_batch for e in events[change:] if isinstance(e, RowsDropped)]
    before = [e.mini_batch for e in events[:change] if isinstance(e, AttemptSucceeded)]
    after = [e.mini_batch for e in events[change:] if isinstance(e, AttemptSucceeded)]
    assert sorted(before) == sorted(dropped)
    assert sorted(after) == list(range(40))


def test_types_are_decided_before_a_run_fails(start: Callable[..., Run], tmp_path: Path) -> None:
    inputs = table(tmp_path / "a.csv")
    settings = {"error_threshold": 0, "run_max_try": 1, "process_count_per_node": 1}
    run = submitted(start, inputs, "--refuse", "int64 int64", **settings)
    assert end_of(run) == "Completed", "with the types of all rows nothing is refused"
    assert rows_of(run) == expected("int64 str")
    assert run.snapshot()["items_failed"] == 0
    run = submitted(start, inputs, "--refuse", "str", **settings)
    assert end_of(run) == "Failed"
    assert "error_threshold allows 0" in run.snapshot()["reason"]


def test_idle_time_is_used_to_look_ahead(start: Callable[..., Run], tmp_path: Path) -> None:
    run = submitted(start, table(tmp_path / "a.csv"), "--sleep", "0.5", process_count_per_node=1)
    until = time.monotonic() + 60
    while not any(isinstance(e, TypesChanged) for e in run.events(follow=False)):
        assert time.monotonic() < until
        time.sleep(0.1)
    ended = [e.mini_batch for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)]
    assert max(ended) < 30, "it did not wait until a worker met the last row"
    run.cancel()
    assert end_of(run) == "Canceled"


@pytest.mark.parametrize(
    "at", [RowsDropped, AttemptSucceeded, TypesChanged], ids=lambda k: k.__name__
)
def test_a_driver_killed_around_the_change_loses_nothing(
    start: Callable[..., Run], tmp_path: Path, at: type[Any]
) -> None:
    run = submitted(start, table(tmp_path / "a.csv"), "--sleep", "0.01")
    for event in run.events():
        if isinstance(event, at):
            break
    pid = json.loads(run.folder.driver.read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    if end_of(run) != "Completed":
        assert end_of(run.resume()) == "Completed"
    assert rows_of(run) == expected("int64 str")
    snapshot = run.snapshot()
    assert (snapshot["succeeded"], snapshot["items_succeeded"], snapshot["rows"]) == (
        40,
        ROWS,
        ROWS,
    )


def test_rows_that_cannot_be_read_fail_alone_with_the_types_of_the_others(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = submitted(start, table(tmp_path / "a.csv", last="1,2,3"), error_threshold=-1)
    assert end_of(run) == "Completed"
    assert rows_of(run) == expected("int64 int64")[: ROWS - 1]
    failures = [e for e in run.events(follow=False) if isinstance(e, AttemptFailed)]
    assert {e.mini_batch for e in failures} == {39}
    assert all("has more fields than the 2 columns" in e.message for e in failures)
    assert not any(isinstance(e, TypesChanged) for e in run.events(follow=False))


def running(run: Run) -> None:
    """Wait until some mini-batches have run."""
    for event in run.events():
        if isinstance(event, AttemptSucceeded) and event.mini_batch >= 2:
            return


def test_a_column_of_later_json_lines_is_not_lost(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"id": row, "pad": "x" * 80}) for row in range(ROWS)]
    path.write_text("\n".join([*lines[:-1], lines[-1].replace("pad", "late")]))
    run = submitted(start, TabularDataset.from_json_lines_files(path))
    assert end_of(run) == "Completed"
    assert "'late' is another column" in run.snapshot()["warnings"][0]
    frame = TabularDataset.from_json_lines_files(path).to_pandas_dataframe()
    assert rows_of(run) == expected(" ".join(map(str, frame.dtypes)))
    assert {tuple(line.table["columns"]) for line in lines_of(run)} == {("id", "pad", "late")}


@pytest.mark.parametrize("change", ["added", "deleted"])
def test_files_that_come_and_go_during_a_run_do_not_decide(
    start: Callable[..., Run], tmp_path: Path, change: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    last = "x" if change == "added" else "7"
    table(folder / "a.csv", last=last)
    (folder / "b.csv").write_text("id,value\n1,2\n")
    inputs = TabularDataset.from_delimited_files([folder / "a.csv", folder / "b.csv"])
    if change == "added":
        inputs = TabularDataset.from_delimited_files(folder)
    run = submitted(start, inputs, "--sleep", "0.02", error_threshold=-1)
    running(run)
    if change == "added":
        (folder / "c.csv").write_text("other,columns\n1,2\n")
    else:
        (folder / "b.csv").unlink()
    assert end_of(run) == "Completed"
    if change == "added":
        assert rows_of(run) == [*expected("int64 str"), "1 int64 str"]
    else:
        assert rows_of(run) == expected("int64 int64")
        assert run.snapshot()["items_failed"] == 1


def test_an_update_takes_rows_with_assumed_types(tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    table(folder / "a.csv", last="7")
    inputs = TabularDataset.from_delimited_files(folder)
    time.sleep(0.02)  # a file that is written during the submit counts as changed
    sizes = {"mini_batch_rows": 100, "mini_batch_size": None}
    config = ParallelRunConfig(entry_script=str(SCRIPTS / "column_types.py"), **sizes)
    first = submit(config, inputs=inputs, output=output)
    assert end_of(first) == "Completed"
    assert all("assumed" in line.table for line in lines_of(first))
    (folder / "b.csv").write_text("id,value\n1,2\n")
    run = submit(config, inputs=inputs, output=output, update=True)
    assert end_of(run) == "Completed"
    [reused] = [e for e in run.events(follow=False) if isinstance(e, ResultsReused)]
    assert (reused.items, reused.new) == (ROWS, 1)


def test_types_change_while_mini_batches_are_answered_in_parts(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    values = ["007" if row == 3050 else str(row) for row in range(ROWS)]
    path.write_text("id,value\n" + "".join(f"{row},{v}\n" for row, v in enumerate(values)))
    inputs = TabularDataset.from_delimited_files(path)
    run = submitted(start, inputs, "--most", "60", process_count_per_node=2)
    assert end_of(run) == "Completed"
    assert rows_of(run) == expected("int64 str")
    assert_books(run)


def test_a_trial_has_the_types_of_all_rows_although_the_run_did_not_decide_them(
    start: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = submitted(start, table(tmp_path / "a.csv"), "--sleep", "0.5", process_count_per_node=1)
    running(run)
    run.cancel()
    assert end_of(run) == "Canceled"
    assert any("assumed" in line.table for line in lines_of(run)), "the types are still assumed"
    assert run.try_one(39) == expected("int64 str")[-100:]
    assert "inferred from all rows of the input" in capsys.readouterr().out
    assert run.try_one(0) == expected("int64 int64")[:100], "as the run called it"


def test_a_planner_that_is_killed_before_the_types_are_known_loses_nothing(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = submitted(start, table(tmp_path / "a.csv"), "--sleep", "0.2", process_count_per_node=1)
    running(run)
    driver = psutil.Process(json.loads(run.folder.driver.read_text())["pid"])
    [planner] = [k for k in driver.children() if k.cmdline() == driver.cmdline()]
    planner.kill()
    assert end_of(run) == "Failed"
    reason = run.snapshot()["reason"]
    assert "the column types could not be decided: its process died with signal 9" in reason
    assert "resume the run" in reason
    assert end_of(run.resume()) == "Completed"
    assert rows_of(run) == expected("int64 str")
    assert_books(run)
