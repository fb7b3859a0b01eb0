"""Runs behind a real Dask Gateway with its local backend, its proxy and its passwords."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallelrun_jupyter import DaskCompute, Run
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.journal.events import AttemptFailed, NodeJoined, NodeLost
from tests.conftest import SCRIPTS
from tests.real.cluster_services import GATED, GatewayServer, kill_one, nodes_of, started
from tests.real.conftest import end_of
from tests.real.dask_processes import wait_until
from tests.real.test_dask import LONG_S, assert_all_once, of_kind, start, wait_for


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayServer]:
    with started(GatewayServer(tmp_path_factory.mktemp("gateway"))) as found:
        yield found


@pytest.fixture
def password(gateway: GatewayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the password in Dask's configuration, where the run's driver finds it too."""
    monkeypatch.setenv("DASK_GATEWAY__AUTH__KWARGS", f"{{'password': '{gateway.password}'}}")


def dask_workers(gateway: GatewayServer) -> list[psutil.Process]:
    """Return the Dask workers that the gateway has started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        try:
            if "distributed.cli.dask_worker" in words and process.cwd().startswith(
                str(gateway.folder)
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_cluster_that_the_run_makes_loses_a_worker_and_ends_with_the_run(
    gateway: GatewayServer, password: None, numbers: Path, tmp_path: Path
) -> None:
    script, go = tmp_path / "gated.py", tmp_path / "go"
    script.write_text(GATED.format(go=str(go)))
    compute = DaskCompute(
        cluster="dask_gateway.GatewayCluster", arguments={**gateway.connection, "auth": "basic"}
    )
    run = start(
        numbers, compute, str(script), process_count_per_node=1, node_count=2, run_max_try=1
    )
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 2, "two nodes", gateway.log)
    assert all(e.place.startswith("tls://") for e in of_kind(run, NodeJoined))
    wait_for(run, 10)
    wait_until(lambda: nodes_of(run) == {"n0", "n1"}, "both in the window")
    kill_one(dask_workers(gateway), "dask_worker")
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 3, "another worker", gateway.log)
    go.touch()
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_all_once(run)
    [lost] = of_kind(run, NodeLost)
    assert "is lost" in lost.reason
    assert not of_kind(run, AttemptFailed), "the loss of a node is not charged"
    wait_until(lambda: not gateway.clusters(), "the cluster to end with the run", gateway.log)


NOTEBOOK = """
import json, sys, warnings
from dask_gateway import GatewayCluster
from parallelrun_jupyter import ParallelRunConfig, submit

connection, script, numbers = json.loads(input())
cluster = GatewayCluster(**connection)
cluster.scale(1)
said = []
for compute, folders in ((cluster, [numbers]), (cluster.get_client(), [numbers] * 40)):
    config = ParallelRunConfig(entry_script=script, mini_batch_size=1, process_count_per_node=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = submit(config, inputs=folders, compute=compute)
    said.append([str(w.message) for w in caught if w.category is UserWarning])
    print(run.run_id, flush=True)
    sys.stdin.readline()
print(json.dumps([cluster.name, said, [c.name for c in cluster.gateway.list_clusters()]]), flush=True)
cluster.shutdown()
"""


def test_a_cluster_object_is_used_by_its_name_and_outlives_the_run(
    gateway: GatewayServer, password: None, numbers: Path
) -> None:
    slow = str(SCRIPTS / "slow.py")
    with subprocess.Popen(
        [sys.executable, "-c", NOTEBOOK],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as notebook:  # fmt: skip
        assert notebook.stdin is not None
        assert notebook.stdout is not None

        def tell(text: str) -> str:
            assert notebook.stdin is not None
            assert notebook.stdout is not None
            notebook.stdin.write(f"{text}\n")
            notebook.stdin.flush()
            return notebook.stdout.readline().strip()

        run = Run.attach(tell(json.dumps([gateway.connection, slow, str(numbers)])))
        assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
        assert_all_once(run)
        again = Run.attach(tell("next"))
        wait_for(again, 3)
        again.cancel()
        assert end_of(again, LONG_S) == "Canceled"
        name, said, clusters = json.loads(tell("next"))
    assert clusters == [name], "it is not the run's to end"
    assert run.folder.read_record().placement.compute == {
        "cluster": "dask_gateway.GatewayCluster.from_name",
        "arguments": {"cluster_name": name, **gateway.connection},
    }
    for texts in said:
        [text] = texts
        assert f"({name}) was created by this process and usually ends with it" in text
    wait_until(lambda: not gateway.clusters(), "the cluster to end", gateway.log)


def test_a_wrong_password_is_the_reason(
    gateway: GatewayServer, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_GATEWAY__AUTH__KWARGS", "{'password': 'wrong'}")
    compute = DaskCompute(cluster="dask_gateway.GatewayCluster", arguments=gateway.connection)
    run = start(numbers, compute)
    assert end_of(run, LONG_S) == "Failed"
    reason = run.snapshot()["reason"]
    assert "the cluster dask_gateway.GatewayCluster could not be created" in reason
    assert "401" in reason or "Unauthorized" in reason


def test_a_password_among_the_arguments_is_refused(gateway: GatewayServer) -> None:
    arguments: dict[str, Any] = {**gateway.connection, "auth": f"{getpass.getuser()}:sesame"}
    with pytest.raises(ConfigError, match="give its name: auth='env:NAME'"):
        DaskCompute(cluster="dask_gateway.GatewayCluster", arguments=arguments)
