"""Disks that fill up or refuse: a definite end, a clear reason, and nothing committed is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallelrun_jupyter import Run
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, RunStarted
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of

NAMES = [f"{number:03d}.txt" for number in range(60)]


def mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return an empty disk of one and a half megabytes."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        assert "CI" not in os.environ, "CI has to be able to mount"
        pytest.skip("only root on Linux can mount a disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1500k", "tmpfs", folder)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    start: Callable[..., Run], disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELRUN_HOME", str(disk))
    run = start("large_rows.py")
    assert end_of(run) == "Failed"
    snapshot = run.snapshot()
    assert snapshot["reason"].startswith("No space left on device")
    assert "Committed results are kept; correct the error and resume the run" in snapshot["reason"]
    kept = snapshot["succeeded"]
    assert 5 < kept < 40
    mount("-o", "remount,size=50m", disk)
    run.resume()
    assert end_of(run) == "Completed"
    assert [row.split()[0] for row in rows_of(run)] == NAMES
    assert {len(row) for row in rows_of(run)} == {50_008}
    done = [e.mini_batch for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)]
    assert sorted(done) == list(range(60)), "what was kept did not run again"


def test_an_output_that_refuses_keeps_the_rows_safe(
    start: Callable[..., Run], disk: Path, home: Path
) -> None:
    mount("-o", "remount,ro", disk)
    with pytest.raises(ConfigError, match=r"out' could not be created \(Read-only file system\)"):
        start("echo.py", output=disk / "out")
    assert not list((home / "runs").iterdir()), "a refused start leaves nothing"
    mount("-o", "remount,rw", disk)
    (disk / "out").mkdir()
    mount("-o", "remount,ro", disk)
    run = start("echo.py", output=disk / "out")
    assert end_of(run) == "Failed"
    reason = run.snapshot()["reason"]
    assert "could not be written (Read-only file system). The rows are safe in" in reason
    mount("-o", "remount,rw", disk)
    run.resume()
    assert end_of(run) == "Completed"
    assert (disk / "out" / "parallel_run_step.txt").read_text().splitlines() == NAMES


_LOCKS_ITS_LOGS = """
import importlib, sys
from parallelrun_jupyter import ParallelRunConfig, submit
submission = importlib.import_module("parallelrun_jupyter.client.submit")
launch = submission.launch
def locked(folder, *words):
    folder.user_logs.chmod(0o500)
    launch(folder, *words)
submission.launch = locked
script, numbers = sys.argv[1:]
run = submit(ParallelRunConfig(entry_script=script, process_count_per_node=1), inputs=numbers)
print(run.wait_for_completion(show_output=False, raise_on_error=False), run.snapshot()["reason"])
"""


def test_a_log_folder_that_refuses_is_named(numbers: Path) -> None:
    # Root may write everywhere, unless it gives that up.
    drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    done = subprocess.run(
        [*(drop if os.geteuid() == 0 else []), sys.executable, "-c", _LOCKS_ITS_LOGS,
         str(SCRIPTS / "echo.py"), str(numbers)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("Failed Permission denied: "), done.stderr
    assert "n0w0.log" in done.stdout


def test_a_second_driver_is_locked_out(start: Callable[..., Run]) -> None:
    run = start("slow.py")
    while not run.snapshot()["succeeded"]:
        time.sleep(0.01)
    second = subprocess.run(
        [sys.executable, "-m", "parallelrun_jupyter", "drive", str(run.folder.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"run {run.run_id} already has a driver" in second.stderr
    assert json.loads(run.folder.driver.read_text())["pid"] > 0
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert sum(isinstance(e, RunStarted) for e in run.events(follow=False)) == 1
