"""Fixtures of every test: a new home, and a check for leftover processes and files."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from parallelrun_jupyter.client.launcher import warm_drivers
from tests.real.dask_processes import DaskProcesses

_OTHERS = ("Thread-", "IPython", "pydevd", "fsspecIO", "asyncio_", "Dummy-")
"""Threads of libraries, which live as long as the process.

A "Dummy-" stands for a thread that Python did not start, such as one of pyarrow's pool that once
called a file object of ours: no thread of this project can have that name.
"""

# The duration of an example proves nothing. In CI, the examples are always the same; everywhere
# else they are new each time.
settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")

# From Python 3.14 on, argparse colors its help also where FORCE_COLOR is set, as in CI.
os.environ["PYTHON_COLORS"] = "0"

SCRIPTS = Path(__file__).parent / "entry_scripts"


_OF_PROCESSES = tuple(Path(__file__).parent / ring for ring in ("real", "contract"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In CI, rerun a failed test of real processes once; the summary shows the reruns."""
    if "CI" not in os.environ or not config.pluginmanager.hasplugin("rerunfailures"):
        return
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in _OF_PROCESSES):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PARALLELRUN_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def nothing_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a process, a thread or a temporary file behind."""
    threads = set(threading.enumerate())
    yield
    warm_drivers.dismiss()
    deadline = time.monotonic() + 15
    while (left := _processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.02)
    lines = [f"{process.pid}: {_words_of(process)}" for process in left]
    for process in left:
        process.kill()
    assert not lines, f"processes left: {lines}"
    started = [t for t in threading.enumerate() if t not in threads and t.is_alive()]
    ours = [t for t in started if not t.name.startswith(_OTHERS)]
    assert not ours, f"threads left: {ours}"
    assert not list(home.rglob("*.tmp")), "temporary files left in the home"


def _processes_of(home: Path) -> list[psutil.Process]:
    """Return the living processes that were started with this test's home."""
    found = []
    for pid in psutil.pids():
        try:
            if pid != os.getpid() and _has_home(pid, str(home)):
                found.append(psutil.Process(pid))
        except (psutil.Error, OSError):
            continue  # it has ended, or belongs to another user
    return [process for process in found if _is_alive(process)]


def _has_home(pid: int, home: str) -> bool:
    if sys.platform != "linux":
        return psutil.Process(pid).environ().get("PARALLELRUN_HOME") == home
    # After each of thousands of tests, for each process of the machine: psutil takes five times as long.
    with open(f"/proc/{pid}/environ", "rb") as file:
        return os.fsencode(f"PARALLELRUN_HOME={home}") in file.read().split(b"\0")


def _words_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""  # it has ended


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False  # it has ended between the two calls


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Return a folder of 60 files, 000.txt to 059.txt, each holding its number."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:03d}.txt").write_text(str(number))
    return folder


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskProcesses]:
    """Return a Dask cluster of three workers, which quiet tests share."""
    cluster = DaskProcesses(tmp_path_factory.mktemp("dask"))
    try:
        cluster.start_scheduler()
        for name in ("a", "b", "c"):
            cluster.add_worker(name)
        cluster.wait_for_workers()
        yield cluster
    finally:
        cluster.close()
