"""The storm of kills on a cluster: drivers, nodes, workers, and the scheduler; not a byte changes."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.commands.demo import write_digits
from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded, NodeLost
from tests.real.conftest import end_of
from tests.real.dask_processes import DaskProcesses
from tests.real.test_dask import of_kind

KILLS = int(os.environ.get("STORM_KILLS", "10"))
"""``make storm`` asks for more."""


class Storm:
    """Kills something of a run, and puts the cluster's processes back as a cluster would."""

    def __init__(self, cluster: DaskProcesses, rng: random.Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._numbers = 0
        self._struck_at = 0
        self.killed: Counter[str] = Counter()

    def fill_up(self) -> None:
        """Start Dask workers in the place of those that are gone."""
        for name, process in list(self._cluster.workers.items()):
            if process.poll() is not None:
                del self._cluster.workers[name]
        while len(self._cluster.workers) < 2:
            self._cluster.add_worker(f"s{self._numbers}")
            self._numbers += 1

    def strike(self, run: Run) -> None:
        """Kill the next one, once something has come of the run since the last."""
        succeeded = run.snapshot()["succeeded"]
        if succeeded <= self._struck_at:
            return
        count = self.killed.total()
        kinds = ("node", "worker", "driver", "node", "worker", "scheduler")
        kind = kinds[count % len(kinds)]
        if kind == "scheduler":
            self.restart_scheduler()
        elif kind == "node":
            self._cluster.kill(self._rng.choice(list(self._cluster.workers)))
        elif kind == "worker":
            workers = self._cluster.run_workers()
            if not workers:
                return
            self._rng.choice(workers).kill()
        else:
            try:
                psutil.Process(json.loads(run.folder.driver.read_text())["pid"]).kill()
            except (psutil.NoSuchProcess, FileNotFoundError):
                return
        self.killed[kind] += 1
        self._struck_at = succeeded

    def restart_scheduler(self) -> None:
        port = self._cluster.port
        self._cluster.kill_scheduler()
        for name in list(self._cluster.workers):
            self._cluster.kill(name)
        self._cluster.start_scheduler(port)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[DaskProcesses]:
    found = DaskProcesses(tmp_path / "dask")
    try:
        found.start_scheduler()
        yield found
    finally:
        found.close()


def test_a_storm_of_kills_on_a_cluster_changes_no_byte(
    cluster: DaskProcesses, tmp_path: Path
) -> None:
    rng = random.Random(KILLS)
    write_digits(tmp_path)
    script = tmp_path / "classify.py"
    head = "def run(mini_batch):\n"
    slower = f"import time\n\n\n{head}    time.sleep(0.01)\n"
    script.write_text(script.read_text().replace(head, slower))
    settings = {"entry_script": script, "mini_batch_size": 5, "run_max_try": 100}
    inputs = [tmp_path / "digits"] * max(1, KILLS // 10)
    digits: dict[str, Any] = {"inputs": inputs, "arguments": [tmp_path / "model.npz"]}
    config = ParallelRunConfig(process_count_per_node=2, **settings)
    quiet = submit(config, output=tmp_path / "quiet", **digits)
    assert end_of(quiet) == "Completed"
    storm = Storm(cluster, rng)
    storm.fill_up()
    cluster.wait_for_workers()
    slow = ParallelRunConfig(process_count_per_node=1, **settings)
    run = submit(slow, output=tmp_path / "storm", compute=cluster.address, **digits)
    resumes = 0
    until = time.monotonic() + 60 + 20 * KILLS
    while (status := run.status) != "Completed":
        assert time.monotonic() < until, run.snapshot()
        assert status not in {"Failed", "Canceled"}, run.snapshot()["reason"]
        time.sleep(rng.uniform(0.05, 0.3))
        storm.fill_up()
        if status == "Interrupted":
            run.resume()
            resumes += 1
        elif storm.killed.total() < KILLS:
            storm.strike(run)
    print(f"killed {dict(storm.killed)}; {resumes} resumes")
    assert storm.killed.total() >= KILLS * 3 // 4, "the run was over too soon to be tried"
    assert storm.killed["scheduler"] >= 1
    assert resumes == storm.killed["driver"] >= 1
    assert of_kind(run, NodeLost)
    done = Counter(e.mini_batch for e in of_kind(run, AttemptSucceeded))
    assert done == Counter(range(run.snapshot()["mini_batches"]))
    assert {e.kind for e in of_kind(run, AttemptFailed)} <= {"worker_lost"}
    name = "parallel_run_step.txt"
    assert (tmp_path / "storm" / name).read_bytes() == (tmp_path / "quiet" / name).read_bytes()
