"""Runs on hosts behind a real sshd, with another home, environment and view of the files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import DaskCompute, ParallelRunConfig, submit
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.journal.events import AttemptFailed, NodeJoined, NodeLost
from tests.real.cluster_services import GATED, SshServer, free_ports, kill_one, nodes_of, started
from tests.real.conftest import end_of
from tests.real.dask_processes import wait_until
from tests.real.test_dask import LONG_S, assert_all_once, of_kind, start, wait_for


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with started(SshServer(tmp_path_factory.mktemp("ssh"))) as found:
        yield found


def hosts_of(
    ssh: SshServer, count: int = 1, connect: Any = None, adapt: Any = None, **arguments: Any
) -> DaskCompute:
    """Return a cluster of ``count`` hosts, and one more for the scheduler."""
    return DaskCompute(
        cluster="distributed.SSHCluster",
        arguments={
            "hosts": ["127.0.0.1"] * (count + 1),
            "connect_options": {**ssh.connect_options, **(connect or {})},
            "worker_options": {"nthreads": 1},
            "scheduler_options": {"port": 0, "dashboard": False},
            **arguments,
        },
        adapt=adapt,
    )


def test_a_killed_host_loses_nothing_and_more_nodes_than_hosts_are_no_error(
    ssh: SshServer, numbers: Path, tmp_path: Path
) -> None:
    script, go = tmp_path / "gated.py", tmp_path / "go"
    script.write_text(GATED.format(go=str(go)))
    compute = hosts_of(ssh, 2, worker_class="distributed.Worker")
    run = start(
        numbers, compute, str(script), process_count_per_node=1, node_count=5, run_max_try=1
    )
    wait_until(lambda: len(of_kind(run, NodeJoined)) == 2, "two nodes", run.folder.driver_log)
    wait_for(run, 10)
    wait_until(lambda: nodes_of(run) == {"n0", "n1"}, "both in the window")
    kill_one(ssh.spawned(), '"cls": "distributed.Worker"')
    wait_until(lambda: bool(of_kind(run, NodeLost)), "the loss", run.folder.driver_log)
    go.touch()
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_all_once(run)
    assert len(of_kind(run, NodeLost)) == 1
    assert not of_kind(run, AttemptFailed), "the loss of a node is not charged"
    said = run.folder.driver_log.read_text()
    assert "NoneType" not in said, "Dask was not asked for a host that it has not"
    wait_until(lambda: not ssh.spawned(), "what ran on the hosts to end", limit_s=20)


def test_a_canceled_run_leaves_nothing_on_the_hosts(ssh: SshServer, numbers: Path) -> None:
    run = start([numbers] * 40, hosts_of(ssh), process_count_per_node=1)
    wait_for(run, 3)
    run.cancel()
    assert end_of(run, LONG_S) == "Canceled"
    wait_until(lambda: not ssh.spawned(), "what ran on the hosts to end", limit_s=20)


HIDING = """#!/bin/sh
# A Python on a host that has not the folder from which the run was submitted.
exec unshare -m sh -c 'mount -t tmpfs none {hidden} && exec {python} "$@"' sh "$@"
"""


def test_a_file_that_a_host_has_not_is_explained(
    ssh: SshServer, numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces cannot be made here")
    hidden = tmp_path / "notebooks"
    hidden.mkdir()
    (hidden / "weights.txt").write_text("1")
    (hidden / "score.py").write_text(
        "def init():\n    open('weights.txt').read()\ndef run(mini_batch):\n    return mini_batch\n"
    )
    monkeypatch.chdir(hidden)
    python = tmp_path / "python"
    python.write_text(HIDING.format(hidden=hidden, python=sys.executable))
    python.chmod(0o755)
    config = ParallelRunConfig(
        entry_script="score.py", mini_batch_size=10, process_count_per_node=1, run_max_try=1
    )
    run = submit(config, inputs=numbers, compute=hosts_of(ssh, remote_python=str(python)))
    assert end_of(run, LONG_S) == "Failed"
    assert "No such file or directory: 'weights.txt'" in run.snapshot()["reason"]
    [group] = run.snapshot()["groups"]
    assert group["hint"] == (
        f"weights.txt exists on this machine, in {hidden}, and not on the node that ran it. Give "
        "source_directory to send it along, or its absolute path on a file system that all nodes have."
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"remote_python": f"{sys.executable} -S"}, "No module named 'distributed'"),
        ({"remote_python": "/opt/none/python"}, "/opt/none/python"),
        ({"connect": "port"}, "Connect call failed"),
    ],
)
def test_what_is_wrong_with_the_hosts_is_the_reason(
    ssh: SshServer, numbers: Path, arguments: dict[str, Any], said: str
) -> None:
    if "connect" in arguments:
        arguments = {"connect": {"port": free_ports(1)[0]}}
    run = start(numbers, hosts_of(ssh, **arguments))
    assert end_of(run, LONG_S) == "Failed"
    reason = run.snapshot()["reason"]
    assert "distributed.SSHCluster" in reason
    assert said in reason, reason
    assert ("(the host's last line: " in reason) == ("remote_python" in arguments)
    # A process that has lost its connection ends a moment later.
    wait_until(lambda: not ssh.spawned(), "the end of Dask's processes on the hosts")


def test_named_hosts_cannot_adapt(ssh: SshServer) -> None:
    with pytest.raises(ConfigError, match="has the hosts that it is given; leave adapt out"):
        hosts_of(ssh, adapt=(0, 2))
