"""Warm starts: a driver that stays for the next run, and workers that are forked by a fork server."""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.client.launcher import WarmDriver, warm_drivers
from parallelrun_jupyter.engine.child_process import kill_group
from parallelrun_jupyter.engine.node.fork_server import ForkServerClient
from parallelrun_jupyter.runs.journal.events import AttemptFailed, WarningRaised, WorkerStarted
from tests.real.conftest import end_of, rows_of

NAMES = [f"{number:03d}.txt" for number in range(60)]
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes in orphans")


def driver_pid(run: Run) -> int:
    until = time.monotonic() + 30
    while not run.folder.driver.exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(json.loads(run.folder.driver.read_text())["pid"])


def wait_until_idle(run: Run) -> None:
    """Wait until the driver has let the run go: it holds the lock until then."""
    import fcntl

    until = time.monotonic() + 30
    with open(run.folder.path / "driver.lock", "w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.01)
    time.sleep(0.1)


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes a script and its module ``heavy``, which records each import."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    (tmp_path / "site").mkdir()

    def write(module: str = "", init: str = "pass") -> Path:
        (tmp_path / "site" / "heavy.py").write_text(
            f"import os, sys\nimported = os.getpid()\nwith open({str(tmp_path / 'imports')!r}, 'a') "
            f"as file:\n    print(imported, file=file)\n{module}\n"
        )
        script = tmp_path / "uses_heavy.py"
        script.write_text(
            "import os, sys, time\nimport heavy\n"
            f"def init():\n    {init}\n"
            "def run(mini_batch):\n    time.sleep(0.01)\n"
            "    return [os.path.basename(path) for path in mini_batch]\n"
        )
        return script

    return write


def imports(tmp_path: Path) -> int:
    return len((tmp_path / "imports").read_text().split())


def warnings_of(run: Run) -> list[str]:
    return [e.text for e in run.events(follow=False) if isinstance(e, WarningRaised)]


def start_it(script: Path, numbers: Path, **settings: object) -> Run:
    config = ParallelRunConfig(
        **{"entry_script": script, "mini_batch_size": 1, "process_count_per_node": 2, **settings}
    )
    return submit(config, inputs=numbers)


def test_the_second_run_has_the_driver_of_the_first(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    script = tmp_path / "variables.py"
    script.write_text(
        "import os\ndef run(mini_batch):\n"
        "    return [f\"{os.environ.get('A')}{os.environ.get('B')}\" for _ in mini_batch]\n"
    )
    first = start(script, environment_variables={"A": "1"})
    assert end_of(first) == "Completed"
    wait_until_idle(first)
    second = start(script, environment_variables={"B": "2"})
    assert end_of(second) == "Completed"
    assert driver_pid(second) == driver_pid(first)
    assert (set(rows_of(first)), set(rows_of(second))) == ({"1None"}, {"None2"})
    assert not (second.folder.driver_log.read_text() + first.folder.driver_log.read_text())


@only_linux
def test_a_run_right_after_another_one_has_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    warm_drivers.dismiss()
    begun: list[object] = []
    start_ahead = WarmDriver.start_ahead

    def count_starts(*given: Any) -> None:
        begun.append(given)
        start_ahead(*given)

    monkeypatch.setattr(WarmDriver, "start_ahead", count_starts)
    count = 5_000  # the driver writes its reports for longer than it takes to notice the end
    runs = []
    for _ in range(3):
        runs.append(parallelrun.map(abs, range(count), mini_batch_size=1, process_count_per_node=2))
        assert runs[-1].wait_for_completion(show_output=False) == "Completed"
    assert len({driver_pid(run) for run in runs}) == 1
    assert len(begun) == 1


def test_a_driver_that_is_busy_is_not_waited_for(start: Callable[..., Run]) -> None:
    first, second = start("slow.py"), start("slow.py")
    assert driver_pid(first) != driver_pid(second)
    assert [end_of(first), end_of(second)] == ["Completed", "Completed"]
    assert rows_of(first) == rows_of(second) == NAMES


def test_of_two_idle_drivers_one_goes_on_and_one_is_let_go(start: Callable[..., Run]) -> None:
    idle = [start("slow.py"), start("slow.py")]
    for run in idle:
        assert end_of(run) == "Completed"
        wait_until_idle(run)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        third = start("slow.py")
        gc.collect()
    assert [str(one.message) for one in caught if "socket" in str(one.message)] == []
    assert end_of(third) == "Completed"
    assert driver_pid(third) in {driver_pid(run) for run in idle}


def test_a_driver_that_was_killed_meanwhile_is_not_missed(start: Callable[..., Run]) -> None:
    first = start("slow.py")
    assert end_of(first) == "Completed"
    wait_until_idle(first)
    os.kill(driver_pid(first), signal.SIGKILL)
    second = start("slow.py")
    assert end_of(second) == "Completed"
    assert rows_of(second) == NAMES


def test_a_driver_that_stays_ends_with_who_started_it(numbers: Path, tmp_path: Path) -> None:
    script = tmp_path / "names.py"
    script.write_text("def run(mini_batch):\n    return mini_batch\n")
    code = (
        "import sys\nfrom parallelrun_jupyter import ParallelRunConfig, submit\n"
        "run = submit(ParallelRunConfig(entry_script=sys.argv[1]), inputs=sys.argv[2])\n"
        "run.wait_for_completion(show_output=False)\nprint(run.run_id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script, numbers], capture_output=True, text=True, check=True
    )
    pid = driver_pid(Run.attach(done.stdout.strip()))
    until = time.monotonic() + 30
    while psutil.pid_exists(pid):
        assert time.monotonic() < until
        time.sleep(0.02)


@only_linux
def test_imports_are_done_once_for_all_workers_and_runs(
    heavy: Callable[..., Path], numbers: Path, tmp_path: Path
) -> None:
    script = heavy()
    for _ in range(2):
        run = start_it(script, numbers, preload="auto")
        assert end_of(run) == "Completed"
        assert rows_of(run) == NAMES
        assert not warnings_of(run)
        pids = {e.pid for e in run.events(follow=False) if isinstance(e, WorkerStarted)}
        assert len(pids - {0}) == 2
    assert imports(tmp_path) == 1
    plain = start_it(script, numbers)
    assert end_of(plain) == "Completed"
    assert imports(tmp_path) == 3


@only_linux
def test_a_forked_worker_is_killed_replaced_and_ends_with_its_driver(
    heavy: Callable[..., Path], numbers: Path
) -> None:
    run = start_it(heavy(), numbers, preload=["heavy"])
    until = time.monotonic() + 30
    while run.snapshot()["succeeded"] < 10:
        assert time.monotonic() < until
    driver = psutil.Process(driver_pid(run))
    workers = {e.pid for e in run.events(follow=False) if isinstance(e, WorkerStarted)} - {0}
    assert {psutil.Process(pid).ppid() for pid in workers} == {driver.pid}
    os.kill(min(workers), signal.SIGKILL)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    [failed] = [e for e in run.events(follow=False) if isinstance(e, AttemptFailed)]
    assert "signal 9" in failed.message

    again = start_it(heavy(), numbers, preload=["heavy"])
    while again.snapshot()["succeeded"] < 10:
        assert time.monotonic() < until
    family = psutil.Process(driver_pid(again)).children(recursive=True)
    os.kill(driver_pid(again), signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "neither workers nor their fork server outlive the driver"


@only_linux
@pytest.mark.parametrize(
    ("module", "init"),
    [
        ("", "time.sleep(1000) if heavy.imported != os.getpid() else None"),
        ("", "os._exit(3) if heavy.imported != os.getpid() else None"),
        ("if 'fork_server' in sys.argv:\n    import time\n    time.sleep(1000)", "pass"),
    ],
    ids=["init hangs", "init dies", "fork server hangs"],
)
def test_what_cannot_be_forked_is_started_plainly(
    heavy: Callable[..., Path], numbers: Path, module: str, init: str
) -> None:
    script = heavy(module, init)
    run = start_it(script, numbers, preload="auto", first_task_creation_timeout=1)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    [text] = warnings_of(run)
    assert "no longer forked by the fork server" in text
    assert "started directly" in text


@only_linux
@pytest.mark.parametrize(
    ("module", "ending", "said"),
    [
        ("os._exit(3)", "exit code 3", ""),
        ("os.kill(os.getpid(), 9)", "signal 9 (SIGKILL): killed from outside", ""),
        (
            "os.write(2, b'terminate called'); os.abort()",
            "signal 6 (SIGABRT)",
            "terminate called",
        ),
        ("os.setgid, os.fork = None, None", "exit code 1", "'NoneType' object is not callable"),
    ],
    ids=["exits", "is killed", "aborts", "raises"],
)
def test_a_fork_server_that_dies_is_told_with_how(
    heavy: Callable[..., Path], numbers: Path, module: str, ending: str, said: str
) -> None:
    run = start_it(heavy(f"if 'fork_server' in sys.argv:\n    {module}"), numbers, preload="auto")
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    [warning] = [e for e in run.events(follow=False) if isinstance(e, WarningRaised)]
    assert f"no longer forked by the fork server (its process died with {ending}" in warning.text
    assert "started directly" in warning.text
    assert said in warning.traceback
    assert said in run.folder.driver_log.read_text()


@only_linux
def test_a_fork_server_that_was_given_up_is_not_read_any_more() -> None:
    server = ForkServerClient(sys.executable, ["json"], dict(os.environ))
    with selectors.DefaultSelector() as selector:
        server.attach(selector)
        ready = selector.select(20)  # it is ready to fork
        server.give_up("a worker ended without any result")  # an earlier event of the same batch
        assert [server.handle(key.fd) for key, _ in ready] == [[]]


@only_linux
def test_a_process_that_leads_no_group_yet_is_killed_all_the_same() -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
        os._exit(0)
    kill_group(pid)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    kill_group(pid)  # it has ended


@only_linux
def test_quick_cancels_end_workers_that_are_just_being_forked(
    heavy: Callable[..., Path], numbers: Path
) -> None:
    script = heavy(init="time.sleep(1000) if heavy.imported != os.getpid() else None")
    for number in range(20):
        run = start_it(script, numbers, preload="auto", process_count_per_node=4)
        until = time.monotonic() + 30
        while not any(isinstance(e, WorkerStarted) for e in run.events(follow=False)):
            assert time.monotonic() < until
        time.sleep(number / 1000)
        began = time.monotonic()
        run.cancel()
        assert end_of(run) == "Canceled", run.snapshot()["reason"]
        assert time.monotonic() - began < 5, "no worker is waited for until it is ready"


@only_linux
def test_a_cancel_does_not_wait_for_imports(heavy: Callable[..., Path], numbers: Path) -> None:
    run = start_it(heavy("import time\ntime.sleep(1000)"), numbers, preload="auto")
    time.sleep(0.3)
    run.cancel()
    assert end_of(run) == "Canceled"


@only_linux
def test_forked_workers_draw_other_random_numbers(tmp_path: Path, numbers: Path) -> None:
    script = tmp_path / "draws.py"
    script.write_text(
        "import random, time\nimport numpy as np\ndraws = []\n"
        "def init():\n    draws.extend([random.random(), np.random.rand()])\n"
        "def run(mini_batch):\n    time.sleep(0.02)\n    return [repr(draws) for _ in mini_batch]\n"
    )
    run = start_it(script, numbers, preload="auto")
    assert end_of(run) == "Completed"
    pairs = {tuple(json.loads(row)) for row in rows_of(run)}
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 2
