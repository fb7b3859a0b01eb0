"""Runs on real Dask clusters: workers join, leave and are killed, and nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from IPython.core.interactiveshell import InteractiveShell

from parallelrun_jupyter import DaskCompute, ParallelRunConfig, Run, name_compute, submit
from parallelrun_jupyter.errors import ConfigError, RunFailedError
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    NodeJoined,
    NodeLost,
    RunFinished,
    RunResumed,
    WarningRaised,
)
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import DaskProcesses, wait_until

NAMES = [f"{number:03d}.txt" for number in range(60)]
LONG_S = 120


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskProcesses]:
    """Return a cluster that a test may do anything to, with a scheduler only."""
    found = DaskProcesses(tmp_path / "dask")
    try:
        found.start_scheduler()
        yield found
    finally:
        found.close()


def start(numbers: Path | list[Path], compute: Any, script: str = "slow.py", arguments: Any = (), **settings: Any) -> Run:  # fmt: skip
    settings = {"mini_batch_size": 1, "process_count_per_node": 2, **settings}
    config = ParallelRunConfig(entry_script=str(SCRIPTS / script), **settings)
    return submit(config, inputs=numbers, compute=compute, arguments=arguments)


def of_kind(run: Run, kind: Any) -> list[Any]:
    return [e for e in run.events(follow=False) if isinstance(e, kind)]


def wait_for(run: Run, count: int) -> None:
    wait_until(lambda: run.snapshot()["succeeded"] >= count, f"{count} successes", run.folder.driver_log)  # fmt: skip


def assert_all_once(run: Run, times: int = 1) -> None:
    assert rows_of(run) == NAMES * times
    done = Counter(e.mini_batch for e in of_kind(run, AttemptSucceeded))
    assert done == Counter(range(60 * times))


def in_cluster(address: str, code: str) -> str:
    """Run code with a ``client`` of a cluster, in a process of its own."""
    head = f"from distributed import Client\nclient = Client({address!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_killed_dask_worker_takes_its_workers_along_and_nothing_is_lost(
    cluster: DaskProcesses, numbers: Path
) -> None:
    cluster.add_worker("a")
    cluster.add_worker("b")
    cluster.wait_for_workers()
    run = start([numbers] * 4, cluster.address, run_max_try=1)
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 2, "two nodes")
    wait_for(run, 6)
    victims = [p for p in cluster.run_workers() if p.ppid() == cluster.workers["a"].pid]
    assert len(victims) == 2
    cluster.kill("a")
    _, alive = psutil.wait_procs(victims, timeout=20)
    assert not alive, "worker processes do not outlive their Dask worker"
    assert end_of(run, LONG_S) == "Completed"
    assert_all_once(run, 4)
    [lost] = of_kind(run, NodeLost)
    assert "is lost" in lost.reason
    assert not of_kind(run, AttemptFailed), "the loss of a node is not charged"


WAITS = """
import os, time

def run(mini_batch):
    time.sleep(0.2)  # were it faster, a node would be given all of them ahead
    name = os.path.basename(mini_batch[0])
    if name > "001.txt":
        open({folder!r} + "/waits-%d" % os.getpid(), "w").close()
        while not os.path.exists({folder!r} + "/go"):
            time.sleep(0.02)
    return [name]
"""


def test_a_worker_that_joins_late_gets_work(
    cluster: DaskProcesses, numbers: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "signals"
    folder.mkdir()
    script = tmp_path / "waits.py"
    script.write_text(WAITS.format(folder=str(folder)))
    cluster.add_worker("a")
    cluster.wait_for_workers()
    settings = {"process_count_per_node": 1, "run_invocation_timeout": 600}
    run = start(numbers, cluster.address, str(script), **settings)
    wait_for(run, 2)
    cluster.add_worker("b")
    wait_until(lambda: len(list(folder.iterdir())) == 2, "both to have work")
    (folder / "go").touch()
    assert end_of(run, LONG_S) == "Completed"
    assert_all_once(run)
    assert {e.worker for e in of_kind(run, AttemptSucceeded)} == {"n0w0", "n1w0"}


def test_a_retired_worker_finishes_what_runs_and_leaves(
    cluster: DaskProcesses, numbers: Path
) -> None:
    cluster.add_worker("a")
    cluster.add_worker("b")
    cluster.wait_for_workers()
    run = start([numbers] * 40, cluster.address, run_max_try=1)
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 2, "two nodes")
    wait_for(run, 4)
    retire = "print(client.retire_workers(names=['a'], close_workers=True))"
    in_cluster(cluster.address, retire)
    wait_until(lambda: bool(of_kind(run, NodeLost)), "the node to leave")
    [lost] = of_kind(run, NodeLost)
    assert lost.reason.endswith("is being retired")
    # Dask itself moves no actor; now that the node has left, the worker can be retired.
    wait_until(lambda: "'name': 'a'" in in_cluster(cluster.address, retire), "the retirement")
    run.cancel(drain=True)
    assert end_of(run, LONG_S) == "Canceled"
    assert not of_kind(run, AttemptFailed)
    done = of_kind(run, AttemptSucceeded)
    assert max(Counter(e.mini_batch for e in done).values()) == 1
    ran = {e.mini_batch for e in done}
    assert max(ran) - len(ran) < 100, "what it gave back was run by the other"
    assert all(e.worker.split("w")[0] != lost.node for e in done if e.at_ms > lost.at_ms)


def test_a_paused_worker_gives_back_what_has_not_begun_and_comes_back(
    cluster: DaskProcesses, numbers: Path
) -> None:
    for name in ("a", "b"):  # its own memory monitor would let it go on at once
        cluster.add_worker(name, environ={"DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False"})
    cluster.wait_for_workers()
    run = start([numbers] * 40, cluster.address, run_max_try=1)
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 2, "two nodes")
    wait_for(run, 4)
    turn = (
        "from distributed.core import Status\n"
        "def turn(status, dask_worker):\n    dask_worker.status = getattr(Status, status)\n"
        "    return dask_worker.address\n"
        "rows = client.scheduler_info(n_workers=-1)['workers']\n"
        "[address] = [key for key, row in rows.items() if row['name'] == 'a']\n"
        "print(*client.run(turn, {status!r}, workers=[address]).values())\n"
    )
    address = in_cluster(cluster.address, turn.format(status="paused")).strip()
    [node] = {e.node for e in of_kind(run, NodeJoined) if e.place.startswith(address)}
    wait_until(lambda: any("is paused" in e.text for e in of_kind(run, WarningRaised)), "a word")
    time.sleep(0.5)  # running mini-batches end

    def done_by_node() -> Counter[str]:
        return Counter(e.worker.split("w")[0] for e in of_kind(run, AttemptSucceeded))

    before = done_by_node()
    wait_for(run, before.total() + 10)
    assert done_by_node()[node] == before[node], "it gets no more"
    in_cluster(cluster.address, turn.format(status="running"))
    wait_until(lambda: done_by_node()[node] > before[node], "the node to work again")
    run.cancel(drain=True)
    assert end_of(run, LONG_S) == "Canceled"
    assert not of_kind(run, AttemptFailed)
    done = of_kind(run, AttemptSucceeded)
    assert max(Counter(e.mini_batch for e in done).values()) == 1


def test_what_remote_workers_use_is_measured_there(
    dask_cluster: DaskProcesses, numbers: Path
) -> None:
    run = start([numbers] * 10, dask_cluster.address, process_count_per_node=1)
    wait_until(
        lambda: sum(row["memory"] != "" for row in run.snapshot()["workers"]) == 3,
        "what all three use", run.folder.driver_log,
    )  # fmt: skip
    run.cancel()
    assert end_of(run) == "Canceled"


def test_a_mini_batch_that_takes_three_nodes_down_is_charged(
    cluster: DaskProcesses, numbers: Path
) -> None:
    for name in "abcd":
        cluster.add_worker(name)
    cluster.wait_for_workers()
    run = start(numbers, cluster.address, "kills_node.py", ["017.txt"], process_count_per_node=1,
                run_max_try=1, error_threshold=1)  # fmt: skip
    assert end_of(run, LONG_S) == "Completed"
    [failed] = of_kind(run, AttemptFailed)
    assert (failed.mini_batch, failed.items, failed.kind) == (17, 1, "node_lost")
    assert "its node was lost while it ran, like 2 or more nodes before" in failed.message
    assert rows_of(run) == [name for name in NAMES if name != "017.txt"]
    assert len(of_kind(run, NodeLost)) == 3


def test_a_scheduler_that_comes_back_is_waited_for(cluster: DaskProcesses, numbers: Path) -> None:
    cluster.add_worker("a")
    cluster.wait_for_workers()
    port = cluster.port
    run = start([numbers] * 4, cluster.address, run_max_try=1)
    wait_for(run, 6)
    cluster.kill_scheduler()
    cluster.workers.pop("a").wait(60)
    cluster.start_scheduler(port)
    cluster.add_worker("b")
    assert end_of(run, LONG_S) == "Completed"
    assert_all_once(run, 4)
    said = [e.text for e in of_kind(run, WarningRaised)]
    assert any("was lost; waiting for it, up to 300 s" in text for text in said)
    assert any(text.endswith("is back") for text in said)
    assert not of_kind(run, AttemptFailed)


def test_a_scheduler_that_is_gone_interrupts_the_run_which_goes_on_elsewhere(
    cluster: DaskProcesses, dask_cluster: DaskProcesses, numbers: Path
) -> None:
    cluster.add_worker("a")
    cluster.wait_for_workers()
    run = start([numbers] * 4, DaskCompute(cluster.address, scheduler_timeout_s=1))
    wait_for(run, 6)
    cluster.kill_scheduler()
    assert end_of(run, LONG_S) == "Interrupted"
    assert "was lost and did not come back within 1 s; resume the run" in run.snapshot()["reason"]
    kept = run.snapshot()["succeeded"]
    with pytest.raises(ConfigError, match="nothing answers at tcp://"):
        run.resume(compute=cluster.address)
    run.resume(compute=dask_cluster.address)
    assert end_of(run, LONG_S) == "Completed"
    assert_all_once(run, 4)
    [resumed] = of_kind(run, RunResumed)
    assert resumed.mini_batches == 240 - kept


def test_a_killed_driver_leaves_no_worker_and_the_run_goes_on(
    dask_cluster: DaskProcesses, numbers: Path
) -> None:
    run = start([numbers] * 4, dask_cluster.address)
    wait_for(run, 6)
    os.kill(json.loads(run.folder.driver.read_text())["pid"], 9)
    wait_until(lambda: not dask_cluster.run_workers(), "worker processes to end", limit_s=20)
    assert run.status == "Interrupted"
    run.resume()
    assert end_of(run, LONG_S) == "Completed"
    assert_all_once(run, 4)


def test_another_version_is_a_clear_error_at_the_start(
    cluster: DaskProcesses, numbers: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "parallelrun_jupyter-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: parallelrun-jupyter\nVersion: 9.9.9\n"
    )
    cluster.add_worker("a", environ={"PYTHONPATH": str(other.parent)})
    cluster.wait_for_workers()
    run = start(numbers, cluster.address)
    assert end_of(run) == "Failed"
    reason = run.snapshot()["reason"]
    assert "has parallelrun-jupyter 9.9.9, and this run was submitted with" in reason
    assert "pip install 'parallelrun-jupyter[dask]==" in reason


def test_logs_of_other_machines_come_when_they_are_asked_for(
    dask_cluster: DaskProcesses, numbers: Path, tmp_path: Path
) -> None:
    script = tmp_path / "prints.py"
    script.write_text(
        "import time\n"
        "def run(mini_batch):\n"
        "    for number in range(1000):\n"
        "        print(number, 'x' * 200)\n"
        "    time.sleep(0.2)\n"
        "    return mini_batch\n"
    )
    config = ParallelRunConfig(entry_script=script, mini_batch_size=2, node_count=1,
                               process_count_per_node=1)  # fmt: skip
    run = submit(config, inputs=numbers, compute=dask_cluster.address)
    wait_for(run, 3)
    assert not list(run.folder.user_logs.glob("*.log")), "nothing is sent that nobody asked for"
    lines = run.logs(20).splitlines()
    assert len(lines) == 20
    assert lines[-1].startswith("n0w0 20")
    wait_for(run, 8)
    time.sleep(1.1)
    assert run.logs(20).splitlines()[-1] > lines[-1]
    run.cancel()
    end_of(run)
    text = (run.folder.user_logs / "n0w0.log").read_text()
    assert "bytes of this log were not fetched ..." in text


def test_a_scheduler_file_and_a_named_compute(
    dask_cluster: DaskProcesses, numbers: Path, home: Path
) -> None:
    name_compute("farm", DaskCompute(scheduler_file=dask_cluster.scheduler_file))
    run = start(numbers, "farm", node_count=1, mini_batch_size=10)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert run.folder.read_record().placement.compute == {
        "scheduler_file": str(dask_cluster.scheduler_file)
    }


def test_a_cluster_that_the_run_makes_ends_with_it(numbers: Path) -> None:
    compute = DaskCompute(
        cluster="distributed.LocalCluster",
        arguments={"n_workers": 0, "threads_per_worker": 2, "dashboard_address": None},
        adapt=(0, 2),
    )
    run = start(numbers, compute, process_count_per_node=None, node_count=1, mini_batch_size=10)
    assert end_of(run, LONG_S) == "Completed"
    assert rows_of(run) == NAMES
    workers = {e.worker for e in of_kind(run, AttemptSucceeded)}
    assert workers <= {"n0w0", "n0w1"}, "a worker for each of the Dask worker's threads"
    # That its processes are gone is seen by the fixture that watches every test.


QUEUE = """
import signal
from distributed import LocalCluster
{imports}
class SLURMCluster(LocalCluster):
    def __init__(self, **settings):
        {makes}
        super().__init__(**settings)
"""
HANDLER = "signal.signal(signal.SIGUSR2, signal.SIG_IGN)"


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DaskCompute]:
    """Return a function that writes a package of clusters, with code that runs on import or on use."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(site))

    def write(imports: str = "", makes: str = "pass") -> DaskCompute:
        (site / "slow_queue.py").write_text(QUEUE.format(imports=imports, makes=makes))
        return DaskCompute(
            cluster="slow_queue.SLURMCluster",
            arguments={"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None},
        )

    return write


@pytest.mark.parametrize("where", ["imports", "makes"])
def test_a_cluster_class_may_set_signal_handlers(
    queue: Callable[..., DaskCompute], numbers: Path, where: str
) -> None:
    run = start(numbers, queue(**{where: HANDLER}), mini_batch_size=10)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == NAMES


@pytest.mark.parametrize(
    ("where", "what"),
    [("imports", "could not be imported"), ("makes", "could not be created")],
)
def test_what_a_cluster_class_raises_is_named_with_its_traceback(
    queue: Callable[..., DaskCompute], numbers: Path, where: str, what: str
) -> None:
    run = start(numbers, queue(**{where: "raise RuntimeError('boom')"}))
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False, timeout_s=LONG_S)
    [finished] = of_kind(run, RunFinished)
    assert f"{what}: RuntimeError: boom" in finished.reason
    assert "slow_queue.SLURMCluster" in finished.reason
    assert "scheduler" not in finished.reason, "none was ever started"
    for text in (str(caught.value), finished.traceback, run.folder.driver_log.read_text()):
        assert 'slow_queue.py", line' in text
        assert "RuntimeError: boom" in text


def test_an_error_of_the_node_itself_is_told_with_its_traceback(
    cluster: DaskProcesses, numbers: Path, tmp_path: Path
) -> None:
    """A worker that does not speak the protocol stands for every unexpected error."""
    cluster.add_worker("a")
    cluster.wait_for_workers()
    script = tmp_path / "babbles.py"
    script.write_text(
        "import os\n"
        "def run(mini_batch):\n"
        "    if mini_batch[0].endswith('000.txt'):\n"
        "        words = open('/proc/self/cmdline').read().split('\\0')\n"
        "        os.write(int(words[3]), b'[\"nonsense\"]\\n')\n"
        "    return [os.path.basename(path) for path in mini_batch]\n"
    )
    run = start(numbers, cluster.address, str(script), process_count_per_node=1, run_max_try=1)
    assert end_of(run, LONG_S) == "Failed"
    lost = of_kind(run, NodeLost)
    assert len(lost) == 3, "it may have been the mini-batch's fault, and was"
    for event in lost:
        assert "the node failed: ValueError: worker" in event.reason
    warnings = of_kind(run, WarningRaised)
    assert "sent an unknown message: ['nonsense']" in warnings[0].text
    for text in (warnings[0].traceback, run.folder.driver_log.read_text()):
        assert "ValueError: worker" in text
        assert "in _handle_reply" in text
    [failed] = of_kind(run, AttemptFailed)
    assert failed.kind == "node_lost"
    assert "ValueError" in failed.message


def test_a_cluster_object_of_this_process(dask_cluster: DaskProcesses, numbers: Path) -> None:
    class Cluster:
        scheduler_address = dask_cluster.address
        security = None

        def scale(self, count: int) -> None: ...

    with pytest.warns(UserWarning, match="was created by this process and usually ends"):
        run = start(numbers, Cluster(), mini_batch_size=10)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES


def test_a_cell_runs_there_too(dask_cluster: DaskProcesses, numbers: Path) -> None:
    shell = InteractiveShell()  # not the instance, which other tests have
    shell.run_line_magic("load_ext", "parallelrun_jupyter")
    cell = "import os\ndef run(mini_batch):\n    return [os.path.basename(p) for p in mini_batch]\n"
    line = f"--input {numbers} --compute {dask_cluster.address} --node-count 2 --as run"
    shell.run_cell_magic("parallelrun", line, cell)
    run = shell.user_ns["run"]
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
