"""Runs on a real Slurm, by dask-jobqueue: jobs are killed, scaled away and refused; nothing is lost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import DaskCompute
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    NodeJoined,
    NodeLost,
    WarningRaised,
)
from tests.real.cluster_services import GATED, Slurm, nodes_of, started
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import wait_until
from tests.real.test_dask import LONG_S, NAMES, assert_all_once, of_kind, start, wait_for


@pytest.fixture(scope="module")
def slurm_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with started(Slurm(tmp_path_factory.mktemp("slurm"))) as found:
        yield found


@pytest.fixture
def slurm(slurm_of_module: Slurm, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    monkeypatch.setenv("SLURM_CONF", str(slurm_of_module.conf))
    assert not slurm_of_module.jobs(), "left by the test before"
    return slurm_of_module


def queue_of(slurm: Slurm, adapt: tuple[int, int] | None = None, **arguments: Any) -> DaskCompute:
    return DaskCompute(
        cluster="dask_jobqueue.SLURMCluster",
        arguments={
            "cores": 1, "processes": 1, "memory": "500MB", "walltime": "00:10:00", "interface": "lo",
            "log_directory": str(slurm.folder / "logs"),
            "local_directory": str(slurm.folder / "local"),
            "scheduler_options": {"dashboard": False, "dashboard_address": None},
            **arguments,
        },
        adapt=adapt,
    )  # fmt: skip


def test_a_job_that_is_canceled_in_the_middle_is_named_and_started_again(
    slurm: Slurm, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "500ms")
    script, go = tmp_path / "gated.py", tmp_path / "go"
    script.write_text(GATED.format(go=str(go)))
    run = start(
        numbers, queue_of(slurm), str(script), process_count_per_node=1, node_count=2, run_max_try=1
    )
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 2, "two jobs", run.folder.driver_log)
    wait_for(run, 10)
    wait_until(lambda: nodes_of(run) == {"n0", "n1"}, "both in the window")
    jobs = slurm.jobs()
    assert len(jobs) == 2
    slurm.ask("scancel", jobs[0])
    wait_until(lambda: bool(of_kind(run, NodeLost)), "the loss", run.folder.driver_log)
    [lost] = of_kind(run, NodeLost)
    assert f"(job {jobs[0]}) is lost" in lost.reason
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 3, "another job", run.folder.driver_log)
    [said] = of_kind(run, WarningRaised)
    assert said.text.endswith("of the cluster has ended, and is started again")
    assert "SLURMCluster-" in said.text
    go.touch()
    assert end_of(run, LONG_S) == "Completed"
    assert_all_once(run)
    assert not of_kind(run, AttemptFailed), "the loss of a node is not charged"
    wait_until(lambda: not slurm.jobs(), "the jobs to end with the run")


WAITS = """
import os, time

def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    if name == "059.txt":
        open({folder!r} + "/%d" % time.time_ns(), "w").close()
        while not os.path.exists({folder!r} + "/go"):
            time.sleep(0.05)
    time.sleep(0.1)
    return [name]
"""


def test_an_adaptive_cluster_grows_and_shrinks_by_jobs_that_have_nothing_to_do(
    slurm: Slurm, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job has two Dask workers here: one with nothing to do does not end its neighbor's mini-batch.

    An idle timeout is shorter than the last mini-batch, during which no task of Dask changes.
    """
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT", "6s")
    folder = tmp_path / "signals"
    folder.mkdir()
    script = tmp_path / "waits.py"
    script.write_text(WAITS.format(folder=str(folder)))
    compute = queue_of(slurm, adapt=(0, 4), cores=2, processes=2, memory="1GB")
    run = start(numbers, compute, str(script), process_count_per_node=1, run_max_try=1)
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 4, "two jobs", run.folder.driver_log)
    assert len(slurm.jobs()) == 2
    wait_for(run, 59)
    wait_until(lambda: len(slurm.jobs()) == 1, "a job to end", run.folder.driver_log)
    assert run.status == "Running"
    (folder / "go").touch()
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == NAMES
    assert len(list(folder.iterdir())) == 2, "what ran was not begun again"
    lost = of_kind(run, NodeLost)
    assert len(lost) == 2
    assert all(e.reason.endswith("is being retired") for e in lost)
    assert not of_kind(run, AttemptFailed)
    assert not of_kind(run, WarningRaised)
    done = Counter(e.mini_batch for e in of_kind(run, AttemptSucceeded))
    assert done == Counter(range(60))


def test_a_canceled_run_leaves_no_job(slurm: Slurm, numbers: Path) -> None:
    run = start([numbers] * 40, queue_of(slurm), process_count_per_node=1, node_count=1)
    wait_for(run, 3)
    run.cancel()
    assert end_of(run, LONG_S) == "Canceled"
    wait_until(lambda: not slurm.jobs(), "the job to end")


def test_what_the_queue_refuses_is_the_reason(slurm: Slurm, numbers: Path) -> None:
    run = start(numbers, queue_of(slurm, queue="nowhere"), node_count=1)
    assert end_of(run, LONG_S) == "Failed"
    reason = run.snapshot()["reason"]
    assert "cannot start its workers: RuntimeError: sbatch: error: invalid partition" in reason
    assert "nowhere" in reason
    assert reason.endswith("Resume the run to try again")


def test_without_slurm_the_missing_command_is_the_reason(
    slurm: Slurm, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(os.path.realpath("/bin/sh")) + "/nowhere")
    run = start(numbers, queue_of(slurm), node_count=1)
    assert end_of(run, LONG_S) == "Failed"
    assert (
        "FileNotFoundError: [Errno 2] No such file or directory: 'sbatch'"
        in run.snapshot()["reason"]
    )
