from __future__ import annotations

import os
from pathlib import Path

import pytest

from parallelrun_jupyter import machine
from parallelrun_jupyter.errors import ConfigError, RunFolderError, RunNotFoundError
from parallelrun_jupyter.home import home
from parallelrun_jupyter.runs import run_folder


def test_the_home_is_where_it_was_asked_for(tmp_path: Path) -> None:
    assert home({"PARALLELRUN_HOME": str(tmp_path)}) == tmp_path
    assert home({}).name == "parallelrun"


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1)])
def test_a_quota_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    put(tmp_path, "proc/self/cgroup", "0::/user/box\n")
    put(tmp_path, "sys/fs/cgroup/user/box/cpu.max", "max 100000")
    assert machine.usable_cores(tmp_path) == 64
    put(tmp_path, "sys/fs/cgroup/user/cpu.max", quota)
    assert machine.usable_cores(tmp_path) == cores


def test_a_quota_of_the_first_kind_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    put(tmp_path, "proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/box\n")
    put(tmp_path, "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "300000")
    put(tmp_path, "sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000")
    assert machine.usable_cores(tmp_path) == 3


def test_workers_share_the_cores_unless_the_user_said_otherwise() -> None:
    caps = machine.thread_caps(2, 8, {"OMP_NUM_THREADS": "7"})
    assert caps["MKL_NUM_THREADS"] == "4"
    assert "OMP_NUM_THREADS" not in caps
    assert machine.thread_caps(16, 8, {})["TF_NUM_INTRAOP_THREADS"] == "1"


def test_windows_is_told_about_wsl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "os", type("os", (), {"name": "nt"}))
    with pytest.raises(ConfigError, match="this is Windows. Start Jupyter inside WSL"):
        machine.require_posix()


def test_run_ids_sort_by_time() -> None:
    import random

    ids = [run_folder.new_run_id(1_795_416_040 + k / 1000, random.Random(k)) for k in range(2000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 2000


def test_an_unknown_run_names_the_nearest_one(home: Path) -> None:
    folder = run_folder.create("20261123-062040381-k3f9")
    folder.record.write_text("{}")
    with pytest.raises(RunNotFoundError, match="Did you mean '20261123-062040381-k3f9'"):
        run_folder.find("20261123-062040381-k3f8")
    for bad in ("", ".", "..", "../runs", "/etc"):
        with pytest.raises(RunNotFoundError):
            run_folder.find(bad)
    assert (folder.path.stat().st_mode & 0o777) == 0o700


def test_a_folder_in_which_something_fails_is_removed_unless_a_driver_has_it(home: Path) -> None:
    def interrupt(folder: run_folder.RunFolder) -> None:
        with folder.removed_unless_driven():
            (folder.script / "score.py").write_text("x")
            raise KeyboardInterrupt

    def fail(folder: run_folder.RunFolder) -> None:
        with pytest.raises(KeyboardInterrupt):
            interrupt(folder)

    folder = run_folder.create("a-run")
    fail(folder)
    assert not folder.path.exists()
    driven = run_folder.create("another")
    driven.driver.write_text("{}")
    fail(driven)
    assert driven.driver.exists()
    whole = run_folder.create("third")
    with whole.removed_unless_driven():
        pass
    assert whole.path.exists()


def test_a_folder_that_is_there_already_is_refused_and_kept(home: Path) -> None:
    folder = run_folder.create("a-run")
    (folder.script / "score.py").write_text("x")
    with pytest.raises(RunFolderError, match="File exists"):
        run_folder.create("a-run")
    assert (folder.script / "score.py").read_text() == "x"


def test_a_folder_that_cannot_be_made_whole_is_removed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def full(path: Path, *words: object, **named: object) -> None:
        if path.name == "control":
            raise OSError(28, "No space left on device")
        make(path, *words, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(RunFolderError, match="No space left on device"):
        run_folder.create("a-run")
    assert not list((home / "runs").iterdir())
