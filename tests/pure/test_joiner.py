"""The rows of a large output are joined behind the run, as they would be at its end."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.engine.output import joiner as module
from parallelrun_jupyter.engine.output.committer import Committer
from parallelrun_jupyter.engine.output.joiner import Joiner
from parallelrun_jupyter.runs.driver_lock import DriverLock
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, RowsDropped
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.output.committed_rows import (
    CommittedRows,
    part_path,
    publish,
    read_committed,
)
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.worker.output.formats import CSV, JSONL, TEXT, as_frame, encode_table
from tests.journals import Course, write_run


@pytest.fixture(autouse=True)
def _of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_BYTES", 1)
    monkeypatch.setattr(module, "_EVERY_S", 0.0)


class Run:
    """A run whose results arrive one by one, with a joiner behind it."""

    def __init__(self, path: Path, form: str = TEXT) -> None:
        self.folder = RunFolder(path)
        for each in (self.folder.output, path / "logs"):
            each.mkdir(parents=True, exist_ok=True)
        self.rows, self.state, self.form = CommittedRows(), RunState(), form
        self.target = path / "deep" / "rows.out"
        self.committer = Committer(self.folder, 0)
        self.joiner = Joiner(self.folder, self.rows, self.target, form)

    def succeed(self, mini_batch: int, data: bytes) -> None:
        part, offset = self.committer.keep_rows(data)
        place = part, offset, len(data), zlib.crc32(data)
        event = AttemptSucceeded(mini_batch, 1, "w", 0, 0, 1, 1, 1, *place)
        self.state.apply(event)
        self.rows.note(event)
        self.committer.record(event)

    def step(self, *, commits: bool = True) -> None:
        if commits:
            self.committer.commit_all()
        for _ in range(2):  # one asks, the next one sees that the rows are on the disk
            self.joiner.step(self.state, self.committer)

    def close(self) -> None:
        self.joiner.close()
        self.committer.close()

    def files(self) -> list[bytes]:
        paths = [self.target, self.folder.row_notes, self.folder.row_places, self.folder.published]
        return [path.read_bytes() if path.exists() else b"" for path in paths]


def encoded(form: str, number: int) -> bytes:
    if form == TEXT:
        return b"row %d\n" % number * (number % 3)
    frame = as_frame([{"n": number, "t": "a\nb"}] * (1 + number % 2))
    return encode_table(frame, form, {})


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("form", [TEXT, CSV, JSONL])
@given(
    count=st.integers(1, 12), seed=st.integers(0, 99), commits=st.lists(st.booleans(), min_size=12)
)
def test_the_file_and_all_that_belongs_to_it_are_those_of_the_end(
    tmp_path_factory: pytest.TempPathFactory, form: str, count: int, seed: int, commits: list[bool]
) -> None:
    run = Run(tmp_path_factory.mktemp("run"), form)
    for number, is_committed in zip(
        random.Random(seed).sample(range(count), count), commits, strict=False
    ):
        run.succeed(number, encoded(form, number))
        run.step(commits=is_committed)
    run.step()
    run.committer.commit_all()
    size = run.joiner.publish()
    if size is None:  # there were no rows
        assert not any(encoded(form, k) for k in range(count))
    else:
        joined = run.files()
        assert size == publish(run.folder, run.rows, run.target, form)
        assert run.files() == joined
    run.close()
    assert not list(run.folder.path.rglob("*.tmp"))


def test_only_the_last_rows_are_left_for_the_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[Any, ...]] = []

    def noted(_: Any, rows: Any, *span: Any) -> Any:
        reads.append(span)
        return read_committed(run.folder, rows, *span)

    monkeypatch.setattr(module, "read_committed", noted)
    for number in (0, 1, 2, 4):
        run.succeed(number, b"%d\n" % number)
        run.step()
    until = time.monotonic() + 20
    while reads[-1:] != [(2, 3)]:
        assert time.monotonic() < until, reads
        time.sleep(0.01)
    run.succeed(3, b"3\n")
    run.committer.commit_all()
    assert run.joiner.publish() == 10
    assert reads[-1] == (3,)
    assert run.target.read_text().split() == list("01234")


def test_rows_that_are_not_on_the_disk_are_not_joined(run: Run) -> None:
    run.succeed(0, b"0\n")
    run.step(commits=False)
    run.step(commits=False)
    assert run.joiner._ends.empty()
    run.step()
    assert run.joiner.publish() == 2


def test_small_outputs_are_written_at_the_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_BYTES", 3)
    run.succeed(0, b"0\n")
    run.step()
    assert run.joiner.publish() is None


def test_dropped_rows_and_damaged_ones_are_left_to_the_end(tmp_path: Path) -> None:
    dropped, damaged = Run(tmp_path / "dropped"), Run(tmp_path / "damaged")
    for run in (dropped, damaged):
        run.succeed(0, b"0\n")
        run.committer.commit_all()
    part = part_path(damaged.folder, 0)
    part.write_bytes(b"x\n")
    dropped.step()
    dropped.rows.note(RowsDropped(0, 0, 0, 1, 1, 1, 1, ""))
    damaged.step()
    for run in (dropped, damaged):
        assert run.joiner.publish() is None
        run.close()
        assert not run.target.exists()
        assert not list(run.folder.path.rglob("*.tmp"))


def test_a_run_that_ends_without_an_output_leaves_no_file(run: Run) -> None:
    run.succeed(0, b"0\n")
    run.succeed(1, b"1\n")
    run.step()
    run.joiner.close()
    assert not list(run.folder.path.rglob("*.tmp"))
    assert not run.target.exists()


def test_in_a_folder_that_hands_on_its_group_the_file_is_made_there(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.target.parent.mkdir()
    run.target.parent.chmod(0o2755)
    run.joiner = Joiner(run.folder, run.rows, run.target, TEXT)
    run.succeed(0, b"0\n")
    run.step()
    assert run.joiner.publish() is None
    run.close()


def test_what_a_killed_driver_has_joined_is_removed_by_the_next_one(run: Run) -> None:
    run.folder.joined.write_bytes(b"half of the rows")
    Joiner(run.folder, run.rows, run.target, TEXT)
    assert not run.folder.joined.exists()


def test_a_large_output_makes_space_by_removing_what_killed_drivers_have_joined(
    run: Run, home: Path
) -> None:
    killed, active = (
        write_run(home, Course(mini_batches=3), run_id=f"20261118-10000000{k}-test", until_s=until)
        for k, until in enumerate([1e9, 1.0])
    )
    for folder in (killed, active):
        folder.joined.write_bytes(b"half of the rows")
    driver = DriverLock(active)
    run.succeed(0, b"0\n")
    run.step()
    run.committer.commit_all()
    assert run.joiner.publish() == 2
    driver.release()
    assert not killed.joined.exists()
    assert active.joined.exists(), "its driver still writes it"
    active.joined.unlink()
