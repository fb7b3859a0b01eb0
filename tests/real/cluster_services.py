"""Real services of clusters on the loopback, each with folders, ports and keys of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from parallelrun_jupyter import Run
from tests.real.dask_processes import wait_until

AService = TypeVar("AService", bound="Service")

GATED = """
import os, time

def run(mini_batch):
    name = os.path.basename(mini_batch[0])
    while name >= "040.txt" and not os.path.exists({go!r}):
        time.sleep(0.02)
    time.sleep(0.05)
    return [name]
"""
"""An entry script that does not end before a file is there."""


def require(programs: Mapping[str, str], modules: Iterable[str] = ()) -> None:
    """Skip a test of services that are not installed here; in CI, fail.

    Parameters
    ----------
    programs
        Each program, and the package of Debian that has it.
    modules
        The modules that `make test` installs.
    """
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    packages = [package for name, package in programs.items() if not shutil.which(name, path=path)]
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    reasons = []
    if packages:
        reasons.append(f"apt-get install {' '.join(packages)}")
    if missing:
        reasons.append(f"pip install 'parallelrun-jupyter[test]' (no {', '.join(missing)})")
    if os.geteuid():
        reasons.append("root: the services of a cluster run as root here")
    if not reasons:
        return
    text = f"this test needs {' and '.join(reasons)}"
    if "CI" in os.environ:
        pytest.fail(text)
    pytest.skip(text)


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for found in sockets:
        found.bind(("127.0.0.1", 0))
    ports = [int(found.getsockname()[1]) for found in sockets]
    for found in sockets:
        found.close()
    return ports


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Service:
    """Daemons in the foreground, with a log each; all that they started ends with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, name: str, *words: object, environ: Mapping[str, str] | None = None) -> Path:
        """Start a daemon; return its log."""
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") or name
        log = self.folder / f"{Path(name).name}.log"
        inherited = {k: v for k, v in os.environ.items() if k != "PARALLELRUN_HOME"}
        with open(log, "ab") as out:
            self._daemons[name] = subprocess.Popen(
                [path, *map(str, words)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=self.folder, env={**inherited, **(environ or {})},
            )  # fmt: skip
        return log

    def start(self) -> None:
        """Start the daemons, or skip the test if they are not installed."""
        raise NotImplementedError

    def close(self) -> None:
        for process in reversed(self._daemons.values()):
            children = _descendants(process)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for child in children:
                try:
                    child.kill()
                except psutil.Error:
                    continue
        self._daemons.clear()


@contextmanager
def started(service: AService) -> Iterator[AService]:
    """Start a service, and close it at the end, also if it has started only in part."""
    try:
        service.start()
        yield service
    finally:
        service.close()


def _descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        return []


SLURM = """
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=5
NodeName=localhost NodeAddr=127.0.0.1 CPUs=8 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


class Slurm(Service):
    """A Slurm of one node: munged, slurmctld and slurmd, without systemd and without cgroups."""

    def start(self) -> None:
        require(
            {
                "munged": "munge",
                "slurmctld": "slurmctld",
                "slurmd": "slurmd",
                "sbatch": "slurm-client",
            },
            ["dask_jobqueue"],
        )
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.conf.write_text(SLURM.format(folder=self.folder, ports=free_ports(2)))
        log = self.run(
            "munged", "--force", "--foreground", f"--key-file={key}",
            *(f"--{name}-file={self.folder}/munge.{name}" for name in ("pid", "log", "seed")),
            f"--socket={self.folder}/munge.socket",
        )  # fmt: skip
        wait_until((self.folder / "munge.socket").exists, "munged", log)
        log = self.run("slurmctld", "-D", "-i", "-f", self.conf)
        self.run("slurmd", "-D", "-N", "localhost", "-f", self.conf)
        wait_until(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"), "Slurm", log)

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    def ask(self, *words: str) -> str:
        """Run one of Slurm's commands."""
        return subprocess.run(
            words, capture_output=True, text=True, env={**os.environ, "SLURM_CONF": str(self.conf)}
        ).stdout

    def jobs(self) -> list[str]:
        """Return the jobs that run or wait."""
        return self.ask("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%i").split()

    def close(self) -> None:
        if self._daemons:
            for job in self.jobs():
                self.ask("scancel", job)
            until = time.monotonic() + 20
            while self.ask("squeue", "-h") and time.monotonic() < until:
                time.sleep(0.1)
        super().close()


GATEWAY = """
import sys
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.address = "127.0.0.1:{ports[0]}"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = "{password}"
c.Proxy.address = "127.0.0.1:{ports[1]}"
c.Proxy.tcp_address = "127.0.0.1:{ports[2]}"
c.UnsafeLocalBackend.clusters_directory = "{folder}/clusters"
c.UnsafeLocalBackend.cluster_heartbeat_period = 2
c.UnsafeLocalBackend.check_timeouts_period = 1
c.ClusterConfig.scheduler_cmd = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
c.ClusterConfig.worker_cmd = [sys.executable, "-m", "distributed.cli.dask_worker"]
c.ClusterConfig.idle_timeout = 30
"""

MAIN = "import sys; from dask_gateway_server.app import main; sys.exit(main())"


class GatewayServer(Service):
    """A Dask Gateway that starts clusters on this machine, with its own proxy and a password."""

    password = "open sesame"

    def start(self) -> None:
        require({}, ["dask_gateway", "dask_gateway_server", "sqlalchemy"])
        ports = free_ports(3)
        (self.folder / "clusters").mkdir()
        conf = self.folder / "dask_gateway_config.py"
        conf.write_text(GATEWAY.format(ports=ports, folder=self.folder, password=self.password))
        self.connection = {
            "address": f"http://127.0.0.1:{ports[1]}",
            "proxy_address": f"gateway://127.0.0.1:{ports[2]}",
        }
        log = self.run(sys.executable, "-c", MAIN, "-f", conf)
        wait_until(lambda: all(map(listens, ports)), "the gateway", log)
        self.log = log

    def clusters(self) -> int:
        """Return the number of clusters that have a folder: it goes with the cluster."""
        return len(list((self.folder / "clusters").iterdir()))


SSHD = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
"""


class SshServer(Service):
    """An sshd that lets one key in, on a port of its own."""

    def start(self) -> None:
        require({"sshd": "openssh-server", "ssh-keygen": "openssh-client"}, ["asyncssh"])
        Path("/run/sshd").mkdir(exist_ok=True)  # as Debian's own service does
        for name in ("host_key", "user_key"):
            path = str(self.folder / name)
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        [self.port] = free_ports(1)
        conf = self.folder / "sshd_config"
        conf.write_text(SSHD.format(port=self.port, folder=self.folder))
        public = (self.folder / "host_key.pub").read_text()
        self.known_hosts = self.folder / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}")
        log = self.run("sshd", "-D", "-e", "-f", conf)
        wait_until(lambda: listens(self.port), "sshd", log)

    @property
    def connect_options(self) -> dict[str, object]:
        """The way in, as SSHCluster wants it."""
        return {
            "port": self.port,
            "username": "root",
            "client_keys": [str(self.folder / "user_key")],
            "known_hosts": str(self.known_hosts),
        }

    def spawned(self) -> list[psutil.Process]:
        """Return Dask's processes on the hosts, also those that outlive their connection."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            try:
                if "distributed.cli.dask_spec" in words and (
                    process.environ().get("SSH_CONNECTION", "").endswith(f" {self.port}")
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def close(self) -> None:
        for process in self.spawned() if self._daemons else ():
            process.kill()
        super().close()


def nodes_of(run: Run) -> set[str]:
    """Return the nodes whose workers the window shows."""
    return {row["node"] for row in run.snapshot()["workers"]}


def kill_one(processes: Iterable[psutil.Process], word: str) -> psutil.Process:
    """Kill the first process with a word in its command, and return it."""
    victim = next(p for p in processes if any(word in part for part in p.cmdline()))
    victim.send_signal(signal.SIGKILL)
    return victim
