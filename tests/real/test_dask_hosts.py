"""Clusters behind TLS, and on hosts of their own that can be cut off."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed.security import Security

from parallelrun_jupyter import DaskCompute, ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    NodeJoined,
    NodeLost,
    WarningRaised,
)
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import DaskProcesses, wait_until
from tests.real.test_dask import LONG_S, NAMES, of_kind, start, wait_for


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Security, dict[str, str]]:
    """Return certificates that were made just now, as texts and as files."""
    security = Security.temporary()
    folder = tmp_path_factory.mktemp("tls")
    texts = {
        "tls_ca_file": security.tls_ca_file,
        "tls_client_cert": security.tls_client_cert,
        "tls_client_key": security.tls_client_key,
    }
    files = {}
    for name, text in texts.items():
        path = folder / f"{name}.pem"
        path.write_text(text)
        path.chmod(0o600)
        files[name] = str(path)
    return security, files


@pytest.fixture(scope="module")
def tls_cluster(
    certificates: tuple[Security, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaskProcesses]:
    files = certificates[1]
    options = ["--tls-ca-file", files["tls_ca_file"], "--tls-cert", files["tls_client_cert"],
               "--tls-key", files["tls_client_key"]]  # fmt: skip
    cluster = DaskProcesses(tmp_path_factory.mktemp("dask-tls"), "tls", options)
    try:
        cluster.start_scheduler()
        cluster.add_worker("a")
        cluster.wait_for_workers()
        yield cluster
    finally:
        cluster.close()


@pytest.mark.parametrize("form", ["files", "texts"])
def test_tls(
    form: str,
    tls_cluster: DaskProcesses,
    certificates: tuple[Security, dict[str, str]],
    numbers: Path,
) -> None:
    assert tls_cluster.address.startswith("tls://")
    security = certificates[0] if form == "texts" else certificates[1]
    run = start(numbers, DaskCompute(tls_cluster.address, security=security), mini_batch_size=10)
    assert end_of(run, LONG_S) == "Completed"
    assert rows_of(run) == NAMES
    for path in run.folder.path.rglob("*"):
        assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes(), path


def test_files_that_a_script_writes_come_from_machines_that_see_no_run_folder(
    numbers: Path, home: Path, tmp_path: Path
) -> None:
    (home / "runs").mkdir()
    hidden = f'mount -t tmpfs none {home / "runs"} && exec "$@"'
    inside = ["unshare", "-m", "sh", "-c", hidden, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        if os.environ.get("CI"):
            pytest.fail("no mount namespaces here")
        pytest.skip("mount namespaces cannot be made here")
    script = tmp_path / "writes.py"
    script.write_text(
        "import os\nfolder = os.path.join(os.environ['AZUREML_BI_OUTPUT_PATH'], 'masks')\n"
        "def init():\n    os.makedirs(folder, exist_ok=True)\n"
        "def run(mini_batch):\n    for path in mini_batch:\n"
        "        with open(os.path.join(folder, os.path.basename(path)), 'w') as file:\n"
        "            file.write(path * 1000)\n    return mini_batch\n"
    )
    cluster = DaskProcesses(tmp_path / "dask")
    try:
        cluster.start_scheduler()
        cluster.add_worker("a", inside=inside)
        cluster.add_worker("b", inside=inside)
        cluster.wait_for_workers()
        for output in (None, tmp_path / "out"):
            config = ParallelRunConfig(entry_script=str(script), mini_batch_size=5)
            run = submit(config, inputs=numbers, output=output, compute=cluster.address)
            assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
            masks = (output or run.folder.output) / "masks"
            assert sorted(path.name for path in masks.iterdir()) == NAMES
            for path in masks.iterdir():
                assert path.read_text() == str(numbers / path.name) * 1000
            assert not of_kind(run, WarningRaised)
    finally:
        cluster.close()


def test_tls_without_certificates_is_a_clear_end(tls_cluster: DaskProcesses, numbers: Path) -> None:
    run = start(numbers, tls_cluster.address)
    assert end_of(run, LONG_S) == "Failed"
    reason = run.snapshot()["reason"]
    assert "TLS" in reason
    assert "security=" in reason


def test_tls_from_dasks_own_configuration(
    tls_cluster: DaskProcesses,
    certificates: tuple[Security, dict[str, str]],
    numbers: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = certificates[1]
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    monkeypatch.setenv(f"{prefix}CA_FILE", files["tls_ca_file"])
    monkeypatch.setenv(f"{prefix}CLIENT__CERT", files["tls_client_cert"])
    monkeypatch.setenv(f"{prefix}CLIENT__KEY", files["tls_client_key"])
    run = start(numbers, tls_cluster.address, mini_batch_size=10)
    assert end_of(run, LONG_S) == "Completed"
    assert Counter(e.mini_batch for e in of_kind(run, AttemptSucceeded)) == Counter(range(6))


class Hosts:
    """Hosts on this machine: network namespaces, each with an address of its own.

    The other ends of their cables are in the machine's own network, to be pulled one by one.
    """

    def __init__(self, count: int) -> None:
        self._tag = f"pr{os.getpid() % 100_000}"
        self._subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() % 250}"
        self.gateway = f"{self._subnet}.1"
        self.names = [f"{self._tag}h{number}" for number in range(count)]

    def lay(self) -> None:
        bridge = f"{self._tag}b"
        ip("link", "add", bridge, "type", "bridge")
        ip("addr", "add", f"{self.gateway}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for number, name in enumerate(self.names):
            ip("netns", "add", name)
            ip("link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i")
            ip("link", "set", f"{name}o", "master", bridge, "up")
            ip("link", "set", f"{name}i", "netns", name)
            ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", f"{name}i")
            ip("-n", name, "link", "set", f"{name}i", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def address(self, number: int) -> str:
        return f"{self._subnet}.{number + 2}"

    def inside(self, number: int) -> list[str]:
        return ["ip", "netns", "exec", self.names[number]]

    def cut_off(self, number: int) -> None:
        """Pull the cable: no packet comes through, without an error."""
        ip("link", "set", f"{self.names[number]}o", "down")

    def take_away(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
        subprocess.run(["ip", "link", "del", f"{self._tag}b"], capture_output=True)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Yield three hosts; skip only if the operating system has no network namespaces."""
    if shutil.which("ip") is None:
        pytest.skip("there is no 'ip' here (apt install iproute2): hosts cannot be made")
    found = Hosts(3)
    try:
        try:
            found.lay()
        except OSError as error:
            pytest.skip(f"the operating system refuses network namespaces: {error}")
        yield found
    finally:
        found.take_away()


def test_one_host_is_cut_off_and_one_is_killed(hosts: Hosts, numbers: Path, tmp_path: Path) -> None:
    cluster = DaskProcesses(tmp_path / "dask", host=hosts.gateway)
    try:
        cluster.start_scheduler()
        for number, name in enumerate("abc"):
            cluster.add_worker(name, host=hosts.address(number), inside=hosts.inside(number))
        cluster.wait_for_workers()
        run = start([numbers] * 3, cluster.address, run_max_try=1, process_count_per_node=1)
        wait_until(lambda: len(of_kind(run, NodeJoined)) == 3, "three nodes")
        places = {e.place.split("//")[1].split(":")[0] for e in of_kind(run, NodeJoined)}
        assert places == {hosts.address(number) for number in range(3)}
        wait_for(run, 9)
        hosts.cut_off(0)
        cluster.kill("b")
        assert end_of(run, LONG_S) == "Completed"
        done = Counter(e.mini_batch for e in of_kind(run, AttemptSucceeded))
        assert done == Counter(range(180))
        assert not of_kind(run, AttemptFailed)
        reasons = " ".join(e.reason for e in of_kind(run, NodeLost))
        assert hosts.address(0) in reasons
        assert hosts.address(1) in reasons
        # The node that was cut off has no listener: it ends its workers by itself.
        wait_until(lambda: not cluster.run_workers(), "its workers to end", limit_s=60)
    finally:
        cluster.close()
