from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import FileDataset, TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec, file_line
from parallelrun_jupyter.data.datasets.inputs import count_items, mini_batches, planned_again
from parallelrun_jupyter.data.local.file_versions import FileVersions
from parallelrun_jupyter.engine.planning.fates import Fate
from parallelrun_jupyter.engine.planning.plan_file import PlanFile, write_plan
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.run_record import RunRecord
from parallelrun_jupyter.runs.snapshot.mini_batches import mini_batch_detail
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.pure.test_state import record


@given(st.lists(st.integers(1, 40), max_size=90), st.data())
def test_any_lines_can_be_read_while_the_file_grows(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    lines = [b"x" * size + b"%d\n" % number for number, size in enumerate(sizes)]
    plan = PlanFile(path)
    written = 0
    while written < len(lines):
        step = data.draw(st.integers(1, 40))
        with path.open("ab") as file:
            file.write(b"".join(lines[written : written + step]))
        written = min(len(lines), written + step)
        first = data.draw(st.integers(0, written - 1))
        count = data.draw(st.integers(1, written - first))
        expected = [line[:-1] for line in lines[first : first + count]]
        assert plan.lines(first, count) == expected
    plan.close()


def asked(tmp_path: Path) -> RunRecord:
    return record(inputs={"datasets": [{"kind": "files", "paths": [str(tmp_path / "in")]}]})


def plan_of(tmp_path: Path, **known: Any) -> tuple[bytes, list[tuple[int, int, bool]]]:
    reports: list[tuple[int, int, bool]] = []
    path = tmp_path / "plan.jsonl"
    write_plan(asked(tmp_path), path, lambda *counts: reports.append(counts), **known)
    note_versions(path)
    return path.read_bytes(), reports


def note_versions(plan: Path) -> None:
    with closing(FileVersions(plan)) as versions:
        versions.record()


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(23):
        (folder / f"{number:02d} é\udc80.txt").write_text("x" * number)
    return folder


def test_a_plan_is_written_and_read(tmp_path: Path, inputs: Path) -> None:
    data, reports = plan_of(tmp_path)
    lines = data.splitlines()
    assert len(lines) == 6
    assert lines[-1] == b'["end",5,23]'
    assert [count_items(line) for line in lines[:-1]] == [5, 5, 5, 5, 3]
    assert (reports[0][:2], reports[-1]) == ((1, 5), (5, 23, True))


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n"])
def test_inputs_without_items_are_an_error_that_names_the_files(tmp_path: Path, text: str) -> None:
    names = [str(tmp_path / f"{number}.csv") for number in range(5)]
    for name in names:
        Path(name).write_text(text)
    one = record(inputs={"datasets": [TabularDataset.from_delimited_files(names[:1]).spec()]})
    with pytest.raises(InputError, match=f"nothing to run. No rows are in '{names[0]}'$"):
        write_plan(one, tmp_path / "plan.jsonl", lambda *_: None)
    more = record(inputs={"datasets": [TabularDataset.from_delimited_files(names).spec()]})
    with pytest.raises(InputError, match=f"'{names[2]}' and 2 more files$"):
        write_plan(more, tmp_path / "plan.jsonl", lambda *_: None)
    Path(names[4]).write_text("a,b\n1,2\n")
    reports: list[tuple[int, int, bool]] = []
    write_plan(more, tmp_path / "plan.jsonl", lambda *counts: reports.append(counts))
    assert reports[-1] == (1, 1, True), "empty files beside others are no error"


@given(cut=st.integers(0, 2000))
@settings(max_examples=40)
def test_a_plan_that_was_cut_off_is_completed_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("cut")
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(23):
        (folder / f"{number:02d}.txt").write_text("x")
    whole, _ = plan_of(tmp_path)
    (tmp_path / "plan.jsonl").write_bytes(whole[:cut])
    again, reports = plan_of(tmp_path, fate_of=lambda *_: Fate.FIRST)
    assert again == whole
    assert reports[-1] == (5, 23, True)


@given(cut=st.integers(0, 3000), is_table=st.booleans())
@settings(max_examples=30)
def test_a_plan_by_keys_that_was_cut_off_is_completed_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, cut: int, is_table: bool
) -> None:
    folder = tmp_path_factory.mktemp("keys")
    for number in range(23):
        (folder / f"{number % 5}-{number:02d}.csv").write_text("v\n1\n")
    form = "{digit}-{number}.csv"
    dataset = (
        TabularDataset.from_delimited_files(folder, partition_format=form)
        if is_table
        else FileDataset(folder, partition_format=form)
    )
    asked = record(inputs={"datasets": [dataset.spec()], "partition_keys": ["digit"]})
    path = tmp_path_factory.mktemp("run") / "plan.jsonl"
    write_plan(asked, path, lambda *_: None)
    note_versions(path)
    whole = path.read_bytes()
    assert whole.count(b"\n") == 6
    path.write_bytes(whole[:cut])
    reports: list[tuple[int, int, bool]] = []
    write_plan(asked, path, lambda *counts: reports.append(counts), lambda *_: Fate.FIRST)
    assert path.read_bytes() == whole
    assert reports[-1] == (5, 23, True)
    (folder / "3-08.csv").write_text("v\n1\n2\n")
    with pytest.raises(InputError, match=r"3-08\.csv' has changed since the run was planned"):
        write_plan(asked, path, lambda *_: None, lambda *_: Fate.FIRST)


@pytest.mark.parametrize(
    ("change", "whole", "message"),
    [
        ("edit", True, "has changed"), ("edit", False, "has changed"), ("remove", True, "no longer exists"),
        ("remove", False, "is at another position"), ("add", False, "is at another position"),
    ],
)  # fmt: skip
def test_inputs_that_changed_are_named(
    tmp_path: Path, inputs: Path, change: str, whole: bool, message: str
) -> None:
    data, _ = plan_of(tmp_path)
    if not whole:
        (tmp_path / "plan.jsonl").write_bytes(data[: data.index(b'["end"')])
    path = sorted(inputs.iterdir())[7]
    if change == "edit":
        path.write_text("something else")
    elif change == "remove":
        path.unlink()
    else:
        (inputs / "00a.txt").write_text("new")
    with pytest.raises(InputError, match=f"{message} since the run was planned.*Start a new run"):
        plan_of(tmp_path, fate_of=lambda *_: Fate.FIRST)


def later_than(plan: Path, path: Path) -> None:
    times = path.stat().st_atime_ns, plan.stat().st_mtime_ns + 1
    os.utime(path, ns=times)


@pytest.mark.parametrize("whole", [True, False])
def test_without_recorded_versions_files_are_compared_with_the_plans_time(
    tmp_path: Path, inputs: Path, whole: bool
) -> None:
    plan = tmp_path / "plan.jsonl"
    data, _ = plan_of(tmp_path)
    if not whole:
        plan.write_bytes(data[: data.index(b'["end"')])
    (tmp_path / "versions").unlink()
    path = sorted(inputs.iterdir())[7]
    later_than(plan, path)
    with pytest.raises(InputError, match=r"07 .*has changed since the run was planned"):
        write_plan(asked(tmp_path), plan, lambda *_: None, lambda *_: Fate.FIRST)
    write_plan(
        asked(tmp_path),
        plan,
        lambda *_: None,
        lambda k, _: Fate.LEFT_ALONE if k == 1 else Fate.FIRST,
    )


@given(noted=st.integers(0, 23 * 16), changed=st.integers(0, 22))
@settings(max_examples=30)
def test_recording_versions_continues_after_an_interruption(
    tmp_path_factory: pytest.TempPathFactory, noted: int, changed: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("noted")
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(23):
        (folder / f"{number:02d}.txt").write_text("x" * number)
    plan_of(tmp_path)
    versions = tmp_path / "versions"
    whole = versions.read_bytes()
    assert len(whole) == 23 * 16
    versions.write_bytes(whole[:noted])
    note_versions(tmp_path / "plan.jsonl")
    assert versions.read_bytes() == whole
    path = folder / f"{changed:02d}.txt"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns - 1
    os.utime(path, ns=times)  # put in its place with an older time, as an archive does
    with pytest.raises(InputError, match=f"{path.name}' has changed since"):
        plan_of(tmp_path, fate_of=lambda *_: Fate.FIRST)


def test_changes_of_mini_batches_left_alone_are_detected_later(
    tmp_path: Path, inputs: Path
) -> None:
    plan_of(tmp_path)
    (tmp_path / "versions").unlink()  # as after a kill, before any file's turn
    changed = max(inputs.iterdir())
    changed.write_text("another")
    later = (tmp_path / "plan.jsonl").stat().st_mtime_ns + 1_000_000
    os.utime(changed, ns=(later, later))
    with closing(FileVersions(tmp_path / "plan.jsonl")) as versions:
        versions.record(lambda mini_batch, _: mini_batch == 4)
    with pytest.raises(InputError, match="has changed since the run was planned"):
        plan_of(tmp_path, fate_of=lambda *_: Fate.FIRST)


def test_versions_of_replanned_files_are_forgotten(tmp_path: Path, inputs: Path) -> None:
    data, _ = plan_of(tmp_path)
    plan = tmp_path / "plan.jsonl"
    plan.write_bytes(b"".join(data.splitlines(keepends=True)[:2]))
    sorted(inputs.iterdir())[12].write_text("other")
    plan_of(tmp_path, fate_of=lambda *_: Fate.FIRST)
    plan_of(tmp_path, fate_of=lambda *_: Fate.FIRST)


@pytest.mark.parametrize("noted", [True, False])
def test_a_retried_file_may_have_changed_and_one_whose_rows_are_kept_may_not(
    tmp_path: Path, inputs: Path, noted: bool
) -> None:
    plan_of(tmp_path)
    plan = tmp_path / "plan.jsonl"
    if not noted:
        (tmp_path / "versions").unlink()
    path = sorted(inputs.iterdir())[7]
    path.write_text("repaired, and longer than before")
    later_than(plan, path)
    warnings: list[str] = []
    fates = [Fate.KEPT, Fate.RETRIED, Fate.LEFT_ALONE, Fate.LEFT_ALONE, Fate.KEPT]
    write_plan(asked(tmp_path), plan, lambda *_: None, lambda k, _: fates[k], warnings.append)
    assert len(warnings) == 1
    assert warnings[0].startswith("1 input of failed items has changed since")
    assert repr(str(path)) in warnings[0]
    fates[1] = Fate.KEPT  # it has succeeded now, with the file as it is
    write_plan(asked(tmp_path), plan, lambda *_: None, lambda k, _: fates[k], warnings.append)
    assert len(warnings) == 1
    gone = sorted(inputs.iterdir())[12]
    gone.unlink()
    fates[2] = Fate.RETRIED  # it fails again, with an error of its own
    write_plan(asked(tmp_path), plan, lambda *_: None, lambda k, _: fates[k], warnings.append)
    assert len(warnings) == 1
    path.write_text("changed once more")
    with pytest.raises(InputError, match="rows that mini-batch 1 made from it are kept"):
        write_plan(asked(tmp_path), plan, lambda *_: None, lambda k, _: fates[k], warnings.append)


def test_a_replanned_table_keeps_the_values_of_its_keys(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    for name in ("a/1", "b/1"):
        pd.DataFrame({"n": [1]}).to_parquet(tmp_path / f"{name}.parquet")
    for name in ("a/2", "c/1"):
        (tmp_path / f"{name}.parquet").write_text("torn")
    tables = TabularDataset.from_parquet_files(tmp_path, partition_format="{key}/*")
    specs = [tables.spec()]
    lines = [line for line, _ in mini_batches(specs, BatchSpec(1, ("key",))) if line]
    before = [PlanLine.decode(line) for line in lines]
    assert [(line.extra["keys"], line.rows) for line in before] == [
        ({"key": "a"}, 2), ({"key": "b"}, 1), ({"key": "c"}, 1),
    ]  # fmt: skip
    pd.DataFrame({"n": [4, 5]}).to_parquet(tmp_path / "c" / "1.parquet")
    [(mini_batch, line)] = planned_again(lines, {2: [-1]}, specs).items()
    after = PlanLine.decode(line)
    assert (mini_batch, after.rows, after.extra) == (2, 2, before[2].extra)
    assert after.table["format"] == "parquet"


def test_inputs_of_finished_mini_batches_may_be_deleted(tmp_path: Path, inputs: Path) -> None:
    plan_of(tmp_path)
    sorted(inputs.iterdir())[7].unlink()
    _, reports = plan_of(tmp_path, fate_of=lambda k, _: Fate.KEPT if k == 1 else Fate.FIRST)
    assert reports == [(5, 23, True)]


def test_odd_names_survive() -> None:
    line = file_line(3, ['/a/\udc80 é\n".png'])
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        ({"format": "delimited"}, "2 rows: bytes 3 to 1,000 of a"),
        ({"format": "parquet", "by": "rows"}, "2 rows: rows 3 to 1,000 of a"),
    ],
)
def test_items_of_tables_are_shown_as_ranges(
    tmp_path: Path, table: dict[str, Any], shown: str
) -> None:
    folder = RunFolder(tmp_path)
    line = PlanLine(0, ["a"], [-1], [0], ranges=[[3, 1000]], table=table, rows=2)
    folder.plan.write_bytes(line.encode() + b"\n")
    assert mini_batch_detail(folder, RunState(), 0)["items"] == [shown]
