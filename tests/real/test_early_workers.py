"""The workers of a new run start before its driver has imported its modules, and none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.backends.early_workers import start_early
from parallelrun_jupyter.backends.worker_spec import worker_spec
from parallelrun_jupyter.client import launcher
from parallelrun_jupyter.runs.driver_lock import DriverLock
from parallelrun_jupyter.runs.journal.events import WorkerStarted
from parallelrun_jupyter.runs.run_folder import RunFolder

SCRIPT = """
import os, time

def init():
    open(os.path.join({pids!r}, str(os.getpid())), "w").close()
    time.sleep({seconds})

def run(mini_batch):
    return mini_batch
"""


def submitted(folder: Path, *, seconds: float = 0.0, **settings: Any) -> Any:
    (folder / "pids").mkdir()
    (folder / "item.txt").touch()
    script = folder / "score.py"
    script.write_text(SCRIPT.format(pids=str(folder / "pids"), seconds=seconds))
    config = ParallelRunConfig(entry_script=script, process_count_per_node=2, **settings)
    return submit(config, inputs=folder / "item.txt")


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return the folder of a run that has no driver yet."""
    monkeypatch.setattr(launcher, "stand_in", lambda _: None)
    folder: RunFolder = submitted(tmp_path, seconds=60.0).folder
    return folder


def pids_in(folder: Path) -> set[int]:
    return {int(path.name) for path in (folder / "pids").iterdir()}


def wait_for_init(folder: Path) -> set[int]:
    until = time.monotonic() + 30
    while len(pids_in(folder)) < 2:
        assert time.monotonic() < until, "the workers have not begun their init()"
        time.sleep(0.01)
    return pids_in(folder)


def are_gone(pids: set[int]) -> bool:
    until = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(psutil.pid_exists(pid) for pid in pids)


def test_they_run_the_script_without_a_driver_and_end_with_it(
    written: RunFolder, tmp_path: Path
) -> None:
    early = start_early(str(written.path))
    assert early is not None
    assert early.spec == worker_spec(written, written.read_record(), os.environ)
    pids = wait_for_init(tmp_path)
    early.close()
    early.close()  # does nothing
    assert are_gone(pids)


@pytest.mark.parametrize("state", ["journal", "canceled", "damaged"])
def test_a_run_in_another_state_is_left_to_its_pool(
    written: RunFolder, tmp_path: Path, state: str
) -> None:
    if state == "journal":
        written.journal.touch()
    elif state == "canceled":
        (written.control / "cancel").touch()
    else:
        written.record.write_text("{")
    assert start_early(str(written.path)) is None
    assert not pids_in(tmp_path)


def test_forked_workers_are_left_to_their_fork_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "stand_in", lambda _: None)
    run = submitted(tmp_path, preload=["json"])
    assert start_early(str(run.folder.path)) is None


def test_the_driver_starts_no_others(tmp_path: Path) -> None:
    run = submitted(tmp_path)
    run.wait_for_completion(show_output=False)
    started = {event.pid for event in run.events(follow=False) if isinstance(event, WorkerStarted)}
    assert len(started) == 2
    assert pids_in(tmp_path) == started


def test_they_end_with_a_driver_that_cannot_drive(written: RunFolder, tmp_path: Path) -> None:
    lock = DriverLock(written)
    words = [sys.executable, "-m", "parallelrun_jupyter", "drive", str(written.path)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
    lock.release()
    assert done.returncode == 0, "the driver has started, and then found the lock"
    assert are_gone(pids_in(tmp_path))
    assert not written.journal.exists()
