"""The compute of a run: accepted values, and refused values with the reason."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import socket
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parallelrun_jupyter import DaskCompute, ParallelRunConfig, name_compute
from parallelrun_jupyter.backends.dask.cluster import Cluster, fill_in, find_class, refusal
from parallelrun_jupyter.backends.dask.node import read_tails
from parallelrun_jupyter.config.compute import as_compute, named_compute, node_counts
from parallelrun_jupyter.errors import ConfigError, MissingExtraError

ADDRESS = "tcp://10.0.0.5:8786"


def test_an_address_is_a_dask_cluster_wherever_it_is_given(tmp_path: Path) -> None:
    config = ParallelRunConfig(entry_script="score.py", compute_target=ADDRESS)
    assert as_compute(config.compute_target) == DaskCompute(ADDRESS)
    assert as_compute(ADDRESS).backend == "dask"
    config.save_to_yaml(tmp_path / "c.yml")
    assert ParallelRunConfig.load_yaml(tmp_path / "c.yml").compute_target == ADDRESS
    made = DaskCompute(cluster="dask_jobqueue.SLURMCluster", arguments={"cores": 4}, adapt=(0, 9))
    config = ParallelRunConfig(entry_script="score.py", compute_target=made)
    config.save_to_yaml(tmp_path / "c.yml")
    assert as_compute(ParallelRunConfig.load_yaml(tmp_path / "c.yml").compute_target) == made


class FakeCluster:
    scheduler_address = ADDRESS
    security = None


class Fixed(FakeCluster):
    """A cluster of named hosts, as Dask has them: without a way to make one more."""

    new_spec = None
    worker_spec: ClassVar[dict[int, object]] = {0: None, 1: None, 2: None}
    scaled: ClassVar[list[int]] = []

    def scale(self, count: int) -> None:
        self.scaled.append(count)


class FakeScheduler:
    address = ADDRESS


class FakeClient:
    scheduler = FakeScheduler()
    cluster: Any = None
    security = None

    def scheduler_info(self) -> dict[str, Any]:
        return {}


def test_a_cluster_or_client_object_stands_for_its_address() -> None:
    cluster, client = as_compute(FakeCluster()), as_compute(FakeClient())
    assert isinstance(cluster, DaskCompute)
    assert isinstance(client, DaskCompute)
    assert cluster == client == DaskCompute(ADDRESS)
    assert cluster.lives_here
    assert not client.lives_here, "a client of a cluster elsewhere"
    client_of_own = FakeClient()
    client_of_own.cluster = FakeCluster()
    assert DaskCompute(client_of_own).lives_here


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DaskCompute("inproc://10.0.0.5/1/1"), "lives inside this process (processes=False). "
         "The run's driver, another process, cannot reach it."),
        (lambda: DaskCompute("gateway://host:80/x"), "DaskCompute(cluster='dask_gateway.GatewayCluster'"),
        (lambda: DaskCompute("tpc://host:8786"), "is not the address of a Dask scheduler; expected one such "
         "as 'tcp://10.0.0.5:8786' or 'tls://...'. Did you mean 'tcp'?"),
        (DaskCompute, "received 0 of these arguments"),
        (lambda: DaskCompute(ADDRESS, scheduler_file="x"), "received 2 of these arguments"),
        (lambda: DaskCompute(5), "DaskCompute received 5; expected the address of a scheduler"),
        (lambda: DaskCompute(cluster="SLURMCluster"), "expected the dotted name of a class"),
        (lambda: DaskCompute(ADDRESS, arguments={"a": 1}), "arguments are for cluster="),
        (lambda: DaskCompute(ADDRESS, adapt=(1, 2)), "adapt is for a cluster that the run creates"),
        (lambda: DaskCompute(cluster="a.B", adapt=(3, 2)), "expected (minimum, maximum) of workers"),
        (lambda: DaskCompute(cluster="a.B", arguments={"api_token": "hush"}),
         "whose value would be stored on disk. Set an environment variable, and give its name: "
         "api_token='env:NAME'."),
        (lambda: DaskCompute(cluster="a.B", arguments={"x": object()}), "arguments are stored as JSON"),
        (lambda: DaskCompute(ADDRESS, security={"ca": "x"}), "security has no 'ca'."),
        (lambda: DaskCompute(ADDRESS, security={"tls_ca_file": "/no/ca.pem"}),
         "security names the file '/no/ca.pem', which does not exist."),
        (lambda: DaskCompute.of_spec({"adress": ADDRESS}), "no key 'adress'. Did you mean 'address'?"),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_with_the_reason(make: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


def test_certificates_that_are_texts_are_never_in_the_record(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("x")

    class Security:
        tls_ca_file = str(ca)
        tls_client_cert = "-----BEGIN CERTIFICATE-----\nhush\n"
        tls_client_key = "-----BEGIN PRIVATE KEY-----\nhush\n"

    compute = DaskCompute("tls://10.0.0.5:8786", security=Security())
    assert compute.spec() == {"address": "tls://10.0.0.5:8786", "tls": {"tls_ca_file": str(ca)}}
    [text] = compute.secrets().values()
    assert set(json.loads(text)) == {"tls_client_cert", "tls_client_key"}
    assert "hush" not in repr(compute)
    with pytest.raises(ConfigError, match="which are not stored on disk: pass the paths of files"):
        name_compute("farm", compute)


def test_named_computes_live_in_the_home(home: Path) -> None:
    name_compute("farm", DaskCompute(ADDRESS, scheduler_timeout_s=60))
    name_compute("here", "local")
    assert named_compute("farm") == DaskCompute(ADDRESS, scheduler_timeout_s=60)
    assert as_compute("here").backend == "local"
    assert (home / "computes.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="Did you mean 'farm'"):
        as_compute("fram")
    name_compute("farm", None)
    assert named_compute("farm") is None
    (home / "computes.json").write_text("[")
    with pytest.raises(ConfigError, match=r"computes\.json could not be read"):
        as_compute("farm")


def test_what_cannot_be_used_is_said_at_submit(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"nothing answers at tcp://127\.0\.0\.1:{port} \("):
        DaskCompute(f"tcp://127.0.0.1:{port}").check()
    with pytest.raises(ConfigError, match="scheduler_file is '.*', which does not exist"):
        DaskCompute(scheduler_file=tmp_path / "s.json").check()
    with pytest.raises(MissingExtraError, match="pip install no-such-package-xyz"):
        DaskCompute(cluster="no_such_package_xyz.Cluster").check()


def test_without_dask_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "distributed" else find(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'parallelrun-jupyter\[dask\]'"):
        DaskCompute(ADDRESS).check()


def test_numbers_of_nodes_and_workers() -> None:
    here, there = as_compute("local"), as_compute(ADDRESS)
    assert node_counts(here, None, None, 8) == (1, 8)
    assert node_counts(there, None, None, 8) == (0, 0)
    assert node_counts(here, 2, 3, 8) == node_counts(there, 2, 3, 8) == (2, 3)


def test_arguments_from_the_environment() -> None:
    arguments = {"token": "env:MY_TOKEN", "n": 2}
    assert fill_in(arguments, {"MY_TOKEN": "hush"}) == {"token": "hush", "n": 2}
    nested = {"connect_options": {"password": "env:MY_TOKEN", "port": 22}}
    filled = fill_in(nested, {"MY_TOKEN": "hush"})
    assert filled == {"connect_options": {"password": "hush", "port": 22}}
    with pytest.raises(ConfigError, match="in the variable MY_TOKEN, which is not set"):
        fill_in(arguments, {})
    with pytest.raises(ConfigError, match="in the variable MY_TOKEN, which is not set"):
        fill_in(nested, {})
    with pytest.raises(ConfigError, match=r"'os\.Cluster' could not be imported"):
        find_class("os.Cluster")


def test_a_class_or_a_method_that_returns_a_cluster() -> None:
    assert find_class("collections.OrderedDict") is OrderedDict
    assert find_class("collections.OrderedDict.fromkeys") == OrderedDict.fromkeys
    with pytest.raises(
        ConfigError, match=r"'collections\.OrderedDict\.nothing' could not be impor"
    ):
        find_class("collections.OrderedDict.nothing")


def test_paths_of_keys_and_ways_of_authentication_are_no_secrets() -> None:
    for arguments in (
        {"auth": "jupyterhub"},
        {"connect_options": {"client_keys": "~/.ssh/id_ed25519", "username": "me"}},
    ):
        compute = DaskCompute(cluster="a.B", arguments=arguments)
        assert compute.spec()["arguments"] == arguments
    for refused in ({"auth": "hush"}, {"connect_options": {"password": "/hush"}}):
        with pytest.raises(ConfigError, match="whose value would be stored on disk"):
            DaskCompute(cluster="a.B", arguments=refused)


class Gateway:
    address, proxy_address = "http://hub/services/dask", "gateway://hub:8786"


class GatewayCluster(FakeCluster):
    scheduler_address = "gateway://hub:8786/abc"
    name, gateway = "abc", Gateway()
    shutdown_on_close = True


def test_a_cluster_of_a_gateway_stands_for_its_name() -> None:
    client = FakeClient()
    client.cluster = GatewayCluster()
    compute = as_compute(GatewayCluster())
    assert isinstance(compute, DaskCompute)
    assert compute == as_compute(client)
    assert compute.lives_here
    assert not compute.is_owned, "the run neither scales nor closes it"
    assert compute.spec() == {
        "cluster": "dask_gateway.GatewayCluster.from_name",
        "arguments": {"cluster_name": "abc", "address": Gateway.address,
                      "proxy_address": Gateway.proxy_address},
    }  # fmt: skip
    kept = GatewayCluster()
    kept.shutdown_on_close = False
    assert not DaskCompute(kept).lives_here


def test_a_cluster_of_named_hosts_shrinks_and_neither_grows_nor_adapts() -> None:
    for count in (5, 2, 3):
        asyncio.run(Cluster(DaskCompute(cluster=f"{__name__}.Fixed"), count, {}, {}).open())
    assert Fixed.scaled == [2]
    adapting = Cluster(DaskCompute(cluster=f"{__name__}.Fixed", adapt=(0, 2)), 0, {}, {})
    with pytest.raises(
        ConfigError, match=r"cannot adapt their number; leave adapt out\. node_count"
    ):
        asyncio.run(adapting.open())


class Growing:
    """A cluster class that records its calls."""

    asked: ClassVar[list[tuple[int, int]]] = []

    def adapt(self, *, minimum: int, maximum: int) -> None:
        self.asked.append((minimum, maximum))


async def follow(cluster: Cluster, nodes: int) -> None:
    """Scale a cluster as a run does."""
    size = cluster.size_for(nodes)
    if size is not None:
        await cluster.resize(size)


def test_a_cluster_that_adapts_grows_at_once_and_shrinks_slowly() -> None:
    now = 100.0
    compute = DaskCompute(cluster=f"{__name__}.Growing", adapt=(0, 8))
    cluster = Cluster(compute, 0, {}, {}, clock=lambda: now)

    async def ask() -> None:
        nonlocal now
        await cluster.open()
        for nodes in (0, 3, 50, 20):  # it begins with one: a run needs a node
            await follow(cluster, nodes)
        now += 5
        await follow(cluster, 2)
        now += 6
        await follow(cluster, 2)
        await follow(cluster, 0)

    asyncio.run(ask())
    assert Growing.asked == [(1, 8), (3, 8), (8, 8), (2, 8)]


def test_a_dask_worker_of_another_version_is_refused_by_name() -> None:
    assert refusal("tcp://a:1", "1.2", "1.2") == ""
    assert refusal("tcp://a:1", "1.1", "1.2") == (
        "the Dask worker tcp://a:1 has parallelrun-jupyter 1.1, and this run was submitted with 1.2. "
        "Install that version there: pip install 'parallelrun-jupyter[dask]==1.2'"
    )
    missing = importlib.metadata.PackageNotFoundError("parallelrun-jupyter")
    assert "has no parallelrun-jupyter, and this run" in refusal("tcp://a:1", missing, "1.2")
    assert "could not be read" in refusal("tcp://a:1", OSError("boom"), "1.2")


def test_tails_are_whole_lines_of_what_is_new(tmp_path: Path) -> None:
    log = tmp_path / "n0w0.log"
    log.write_bytes(b"one\ntwo\nthr")
    [tail] = read_tails(tmp_path, {})
    assert (tail.worker, tail.start, tail.text) == ("n0w0", 0, b"one\ntwo\n")
    [tail] = read_tails(tmp_path, {"n0w0": 4})
    assert (tail.start, tail.text) == (4, b"two\n")
    log.write_bytes(b"".join(b"line %06d\n" % k for k in range(20_000)))
    [tail] = read_tails(tmp_path, {"n0w0": 24})
    assert tail.start > 24
    assert tail.text.startswith(b"line ")
    assert tail.text.endswith(b"line 019999\n")
    assert 60_000 < len(tail.text) <= 65_536
    assert read_tails(tmp_path, {"n0w0": log.stat().st_size}) == []
