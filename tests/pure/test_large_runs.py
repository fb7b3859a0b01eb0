"""What a very large run costs is counted here: bytes, lines and files, never seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter import Run
from parallelrun_jupyter.engine.planning.earlier_plan import EarlierPlan
from parallelrun_jupyter.engine.planning.plan_file import PlanFile, write_plan
from parallelrun_jupyter.runs import plan_places
from parallelrun_jupyter.runs.failed_items import failed_items
from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.files import JournalReader, write_state
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.output.committed_rows import CommittedRows, part_path, publish
from parallelrun_jupyter.runs.plan_places import PlanPlaceWriter, places_path
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.runs.snapshot.lookup import line_number, plan_lines
from parallelrun_jupyter.runs.snapshot.mini_batches import mini_batch_detail, mini_batch_details
from parallelrun_jupyter.views.recording import take_recording
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests import journals

MANY = 20_000
ROW = b"r\n"
CRC = zlib.crc32(ROW)

opened: list[str] | None = None


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and opened is not None:
        opened.append(str(arguments[0]))


sys.addaudithook(_note_opened)  # it stays for the life of the process, and does nothing meanwhile


@contextmanager
def files_opened() -> Iterator[list[str]]:
    """Collect the paths of the files that are opened."""
    global opened  # noqa: PLW0603 - a hook cannot be removed
    paths: list[str] = []
    opened = paths
    try:
        yield paths
    finally:
        opened = None


def traced_bytes(work: Callable[[], object]) -> tuple[int, int]:
    """Return the bytes that are still held after some work, and the most that were."""
    tracemalloc.start()
    try:
        kept = work()
        sizes = tracemalloc.get_traced_memory()
        del kept
        return sizes
    finally:
        tracemalloc.stop()


def success(mini_batch: int) -> ev.AttemptSucceeded:
    place = 0, len(ROW) * mini_batch, len(ROW), CRC
    return ev.AttemptSucceeded(mini_batch, 1, "n0w0", 1000 + mini_batch // 50, 9, 1, 1, 1, *place)


def line_of(mini_batch: int) -> bytes:
    return PlanLine(0, [f"{mini_batch}.txt"], [], []).encode() + b"\n"


def large_run(path: Path, count: int = MANY, failed: tuple[int, ...] = ()) -> RunFolder:
    """Write a run of ``count`` mini-batches with the cached fold of its whole journal."""
    folder = journals.write_run(path, journals.Course(mini_batches=1, workers=1))
    folder.plan.write_bytes(
        b"".join(map(line_of, range(count))) + b'["end",%d,%d]\n' % (count, count)
    )
    lines = [encode(ev.RunStarted(0, 1, 1, "h")), encode(ev.WorkerStarted(1, "n0w0", "n0", 7))]
    lines.append(encode(ev.PlanFinished(5, count, count)))
    for k in range(count):
        error = ("exception", "E", "bad", "E at s.py:1", "Trace")
        event = (
            ev.AttemptFailed(k, 1, "n0w0", 1000, 9, 1, True, *error) if k in failed else success(k)
        )
        lines.append(encode(event))
    lines.append(encode(ev.RunFinished(9_000_000, "Completed", "", "out", 0)))
    folder.journal.write_text("\n".join([*lines, ""]))
    state = RunState()
    state.apply_all(JournalReader(folder.journal).read())
    write_state(folder, state, folder.journal.stat().st_size)
    return folder


def test_a_driver_keeps_about_twenty_bytes_for_each_mini_batch() -> None:
    def driven() -> tuple[RunState, CommittedRows]:
        state, rows = RunState(), CommittedRows()
        for k in range(2 * MANY):
            event = success(k)
            state.apply(event)
            rows.note(event)
        return state, rows

    kept, _ = traced_bytes(driven)
    assert kept < 26 * 2 * MANY, "19 bytes, the room that arrays reserve, and the latest attempts"


def test_the_cached_fold_needs_next_to_nothing_for_a_mini_batch_that_succeeded(
    tmp_path: Path,
) -> None:
    sizes = [
        large_run(tmp_path / str(count), count).state.stat().st_size for count in (MANY, 2 * MANY)
    ]
    assert sizes[1] - sizes[0] < MANY / 100


def test_rows_of_a_few_bytes_are_joined_in_little_memory(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.output.mkdir()
    part_path(folder, 0).write_bytes(ROW * 2 * MANY)
    rows = CommittedRows()
    for k in range(2 * MANY):
        rows.add(success(k))
    target = tmp_path / "rows.txt"
    _, peak = traced_bytes(lambda: publish(folder, rows, target))
    assert target.read_bytes() == ROW * 2 * MANY
    assert peak < 5 << 20, "one group of 8,192, and the buffer of the file"


def test_attaching_reads_none_of_the_lines_that_the_cached_fold_covers(tmp_path: Path) -> None:
    folder = large_run(tmp_path)
    with open(folder.journal, "r+b") as file:
        file.write(b"x" * (folder.journal.stat().st_size - 4096))  # no event could be read from it
    snapshot = Follower(folder).refresh()
    assert (snapshot["state"], snapshot["succeeded"]) == ("Completed", MANY)
    assert list(failed_items(folder)) == []


def test_a_look_at_a_plan_reads_the_lines_from_the_place_before(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for k in range(3000):
        (tmp_path / "in" / f"{k:04d}.txt").touch()
    inputs = {
        "datasets": [{"kind": "files", "paths": [str(tmp_path / "in")]}],
        "mini_batch_size": 1,
    }
    plan = tmp_path / "plan.jsonl"
    write_plan(journals.record(inputs=inputs), plan, lambda *_: None)
    lines = plan.read_bytes().splitlines(keepends=True)
    assert places_path(plan).stat().st_size == 8 * 2
    begin = sum(map(len, lines[:2048]))
    with plan.open("r+b") as file:
        file.write(b"x" * (begin - 1) + b"\n")  # the lines before cannot be counted
    found = plan_lines(plan, [2048, 2999, 3000])
    assert {k: line.paths[0][-8:] for k, line in found.items()} == {
        2048: "2048.txt",
        2999: "2999.txt",
    }
    assert line_number(plan, begin + len(lines[2048])) == 2049


@given(
    sizes=st.lists(st.integers(0, 50), max_size=60),
    placed=st.integers(0, 60),
    every=st.integers(1, 9),
    asked=st.lists(st.integers(-2, 70), max_size=8),
)
def test_lines_found_by_their_places_are_those_of_their_numbers(
    sizes: list[int], placed: int, every: int, asked: list[int], tmp_path_factory: Any
) -> None:
    plan = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    lines = [PlanLine(k, ["x" * size], [], []).encode() + b"\n" for k, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_places, "EVERY", every)
        places = PlanPlaceWriter(plan)
        for line in lines[:placed]:  # the planner may be behind, as after a kill
            places.add(line)
        places.write()
        places.close()
        plan.write_bytes(b"".join(lines))
        found = plan_lines(plan, asked)
        assert {k: line.encode() + b"\n" for k, line in found.items()} == {
            k: lines[k] for k in asked if 0 <= k < len(lines)
        }
        for k in range(len(lines)):
            assert line_number(plan, sum(map(len, lines[:k]))) == k


@given(
    sizes=st.lists(st.integers(0, 40), max_size=150),
    rest=st.sampled_from([b"", b'["end",7,9]\n', b'["f",1,["unfin']),
    data=st.data(),
)
def test_an_earlier_plan_is_the_list_of_its_whole_lines(
    sizes: list[int], rest: bytes, data: st.DataObject, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.jsonl"
    lines = [PlanLine(k, ["x" * size], [], []).encode() + b"\n" for k, size in enumerate(sizes)]
    path.write_bytes(b"".join(lines) + rest)
    plan = EarlierPlan(path)
    assert list(plan) == lines
    assert (len(plan), plan.totals) == (len(lines), (7, 9) if b"end" in rest else None)
    assert path.read_bytes() == b"".join(lines) + (rest if rest.endswith(b"\n") else b"")
    with path.open("ab") as file:
        file.write(b"another\n")
    assert list(plan) == lines, "lines that are appended later are not part of it"
    if lines:
        k = data.draw(st.integers(-len(lines), len(lines) - 1))
        assert (plan[k], plan[k:]) == (lines[k], lines[k:])


def test_an_earlier_plan_and_that_of_a_driver_need_less_than_a_byte_for_each_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "plan.jsonl"
    path.write_bytes(b"".join(map(line_of, range(2 * MANY))))

    def lines_of_driver() -> PlanFile:
        plan = PlanFile(path)
        plan.lines(2 * MANY - 1, 1)
        return plan

    for read in (lambda: EarlierPlan(path), lines_of_driver):
        kept, peak = traced_bytes(read)
        assert kept < 2 * MANY
        assert peak < 2 << 20


def test_a_report_reads_journal_and_plan_equally_often_for_any_number_of_failures(
    tmp_path: Path,
) -> None:
    counts = []
    for number, failed in enumerate([(1,), tuple(range(0, 90, 3))]):
        folder = large_run(tmp_path / str(number), 100, failed)
        follower = Follower(folder)
        snapshot = follower.refresh()
        with files_opened() as paths:
            recording = take_recording(folder, follower.state, snapshot, with_past=False)
        counts.append(
            [sum(path == str(each) for path in paths) for each in (folder.journal, folder.plan)]
        )
        together = [detail["mini_batch"] for detail in recording["details"]]
        assert set(failed) <= set(together)
        alone = [mini_batch_detail(folder, follower.state, k) for k in together]
        assert mini_batch_details(folder, follower.state, together) == alone
    assert counts[0] == counts[1]


def test_a_list_of_some_runs_opens_files_of_these_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = large_run(tmp_path, 50)
    for number in range(60):
        copy = folder.path.with_name(f"20261110-1000000{number:02d}-copy")
        shutil.copytree(folder.path, copy)
        text = (copy / "run.json").read_text().replace(folder.run_id, copy.name)
        (copy / "run.json").write_text(text)
    monkeypatch.setenv("PARALLELRUN_HOME", str(folder.path.parents[1]))
    with files_opened() as paths:
        runs = Run.list(5)
        assert [run.status for run in runs] == ["Completed"] * 5
    read = {path for path in paths if path.startswith(str(folder.path.parent))}
    assert {os.path.dirname(path) for path in read} == {str(run.folder.path) for run in runs}
    assert len([path for path in paths if path in read]) <= 6 * 5, "and each of them few times"
    code = (
        "import sys; from parallelrun_jupyter.commands.cli import main;"
        "assert main(['list', '--limit', '3']) == 0;"
        "heavy = {'parallelrun_jupyter.client.run', 'traitlets', 'pandas', 'parallelrun_jupyter.config'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Completed") == 3
