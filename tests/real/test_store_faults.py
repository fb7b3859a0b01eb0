"""Faults of networks and stores: the run ends in a definite state, and only affected items are lost."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.storage.blob import ContainerClient

from parallelrun_jupyter import Datastore, FileDataset, Run
from parallelrun_jupyter.errors import InputError
from tests.azurite_process import ACCOUNT, Azurite
from tests.bad_network import BadNetwork, Fate
from tests.real.conftest import end_of, rows_of

BLOBS = {f"in/{number:02d}.txt": f"{number:05d}" * 10 for number in range(40)}


@pytest.fixture
def network(
    azurite: Azurite, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BadNetwork]:
    """Return a proxy between the run and the store, which passes all requests at first."""
    proxy = BadNetwork(azurite.port, lambda *_: "pass")
    monkeypatch.setenv("PARALLELRUN_BLOB_ENDPOINT", proxy.endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    return azurite.make_container(BLOBS)


@pytest.fixture
def run_over(
    start: Callable[..., Run], container: ContainerClient, keyed: dict[str, Any]
) -> Callable[..., Run]:
    def begin(script: str = "reads.py", **settings: Any) -> Run:
        url = f"az://{container.container_name}/in"
        inputs = FileDataset(url, storage_options={**keyed, **settings.pop("options", {})})
        return start(script, inputs=inputs, **settings)

    return begin


def rows_without(container: ContainerClient, *missing: int) -> list[str]:
    name = container.container_name
    return [
        f"{name}/{blob}={text}"
        for number, (blob, text) in enumerate(BLOBS.items())
        if number not in missing
    ]


@pytest.mark.parametrize("fate", ["cut", "half", "503", "slow"])
def test_short_faults_lose_nothing(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient, fate: Fate
) -> None:
    def first_time(method: str, path: str, count: int) -> Fate:
        hurt = path == "list" or path.endswith(("3.txt", "7.txt"))
        return fate if hurt and count == 1 and method == "GET" else "pass"

    network.rule = first_time
    run = run_over()
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == rows_without(container)


def test_only_a_stalled_blob_times_out(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient
) -> None:
    network.rule = lambda _method, path, _count: "stall" if path.endswith("05.txt") else "pass"
    run = run_over(task_overhead_timeout=2, run_max_try=2, error_threshold=1)
    assert end_of(run, 30) == "Completed"
    assert rows_of(run) == rows_without(container, 5)
    failures = run.failures()
    assert list(failures["mini_batch"]) == [5, 5]
    assert set(failures["kind"]) == {"load_timeout"}
    assert (
        failures["message"]
        .str.contains(r"in/05\.txt' was not downloaded within task_overhead_timeout = 2 s")
        .all()
    )


def test_a_store_that_cuts_every_connection_ends_the_run(
    run_over: Callable[..., Run], network: BadNetwork
) -> None:
    network.rule = lambda method, path, _count: (
        "cut" if method == "GET" and path.endswith(".txt") else "pass"
    )
    run = run_over(options={"retry_total": 0}, run_max_try=1)
    assert end_of(run, 30) == "Failed"
    assert "1 item failed; error_threshold allows 0" in run.snapshot()["reason"]
    assert run.failures()["message"].str.contains("did not send the answer of a store").all()


def test_only_a_deleted_or_changed_blob_fails(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient
) -> None:
    def meddle(method: str, path: str, _count: int) -> Fate:
        if method == "GET" and path.endswith("00.txt"):  # the listing is complete
            if container.get_blob_client("in/20.txt").exists():
                container.delete_blob("in/20.txt")
            container.upload_blob("in/30.txt", "x" * 50, overwrite=True)
        return "pass"

    network.rule = meddle
    run = run_over(run_max_try=2, error_threshold=2, process_count_per_node=1)
    assert end_of(run) == "Completed"
    assert rows_of(run) == rows_without(container, 20, 30)
    failures = run.failures().drop_duplicates("mini_batch").set_index("mini_batch")
    gone, changed = failures.loc[20], failures.loc[30]
    assert gone["error"] == "FileNotFoundError"
    assert f"in/20.txt' does not exist in the storage account '{ACCOUNT}'" in gone["message"]
    assert "in/30.txt' has changed since the run was planned" in changed["message"]


def test_a_vanished_blob_fails_alone_in_its_mini_batch(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient
) -> None:
    lock = threading.Lock()

    def meddle(method: str, path: str, _count: int) -> Fate:
        if method == "GET" and path.endswith(".txt"):  # the listing is complete
            with lock:  # downloads run side by side
                for name in ("in/05.txt", "in/20.txt", "in/27.txt"):
                    if container.get_blob_client(name).exists():
                        container.delete_blob(name)
        return "403" if path.endswith("33.txt") else "pass"

    network.rule = meddle
    run = run_over(mini_batch_size=20, run_max_try=1, error_threshold=4, retry_delay=0)
    assert end_of(run) == "Completed"
    assert rows_of(run) == rows_without(container, 5, 20, 27, 33)
    failed = run.failed_items()
    assert [Path(item).name for item in failed["item"]] == ["05.txt", "20.txt", "27.txt", "33.txt"]


def _stagers(run: Run) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "parallelrun_jupyter.data.staging.stager_process" in (process.info["cmdline"] or [])
        and process.environ().get("PARALLELRUN_HOME") == str(run.folder.path.parent.parent)
    ]


def test_a_killed_stager_is_replaced(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient
) -> None:
    network.rule = lambda *_: "slow"
    run = run_over()
    while run.snapshot()["succeeded"] < 5:
        time.sleep(0.01)
    for process in _stagers(run):
        process.kill()
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == rows_without(container)
    assert run.failures().empty


def test_a_killed_driver_leaves_no_processes_and_the_run_resumes(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient, home: Path
) -> None:
    network.rule = lambda *_: "slow"
    run = run_over()
    while run.snapshot()["succeeded"] < 5:
        time.sleep(0.01)
    stagers = _stagers(run)
    os.kill(psutil.Process(stagers[0].pid).ppid(), signal.SIGKILL)
    _, alive = psutil.wait_procs(stagers, timeout=20)
    assert not alive
    while run.status != "Interrupted":
        time.sleep(0.05)
    network.rule = lambda *_: "pass"
    run.resume()
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == rows_without(container)
    until = time.monotonic() + 30
    while list((home / "cache" / "views").iterdir()):
        assert time.monotonic() < until


def test_a_resume_refuses_a_blob_that_has_changed(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient
) -> None:
    network.rule = lambda *_: "slow"
    run = run_over()
    while run.snapshot()["succeeded"] < 5:
        time.sleep(0.01)
    run.cancel()
    end_of(run)
    container.upload_blob("in/39.txt", "other", overwrite=True)
    with pytest.raises(InputError, match=r"in/39\.txt' has changed since the run was planned"):
        run.resume()
    assert run.status == "Canceled"


@pytest.mark.usefixtures("network")
def test_a_repaired_blob_is_retried(
    run_over: Callable[..., Run], container: ContainerClient, tmp_path: Path
) -> None:
    container.upload_blob("in/07.txt", "broken", overwrite=True)
    script = tmp_path / "reads.py"
    script.write_text(
        "def run(mini_batch):\n    return [int(open(p).read()) for p in mini_batch]\n"
    )
    run = run_over(str(script), run_max_try=1, error_threshold=5)
    assert end_of(run) == "Completed"
    assert run.snapshot()["items_failed"] == 1
    container.upload_blob("in/07.txt", "7", overwrite=True)
    run.resume(failed_only=True)
    assert end_of(run) == "Completed"
    assert run.snapshot()["items_failed"] == 0, run.failures()
    assert any("in/07.txt" in warning for warning in run.snapshot()["warnings"])


def test_a_store_that_stalls_at_the_end_loses_no_rows_and_a_resume_publishes_them(
    start: Callable[..., Run],
    network: BadNetwork,
    container: ContainerClient,
    keyed: dict[str, Any],
) -> None:
    name = container.container_name
    Datastore.register_azure_blob_container("out", name, **keyed)
    network.rule = lambda method, _path, _count: "stall" if method == "PUT" else "pass"
    run = start("echo.py", output=f"az://{name}/out", task_overhead_timeout=4)
    assert end_of(run, 40) == "Failed"
    reason = run.snapshot()["reason"]
    assert f"uploading to 'az://{name}/out' timed out after 9 s" in reason
    assert "resume the run to publish them" in reason
    assert not container.get_blob_client("out/parallel_run_step.txt").exists()
    network.rule = lambda *_: "pass"
    run.resume()
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    text = container.download_blob("out/parallel_run_step.txt").readall().decode()
    assert text.split() == [f"{k:03d}.txt" for k in range(60)]


def test_a_listing_that_stalls_is_ended_by_the_progress_timeout(
    run_over: Callable[..., Run], network: BadNetwork
) -> None:
    run = run_over(progress_update_timeout=3)
    network.rule = lambda _method, path, _count: "stall" if path == "list" else "pass"
    assert end_of(run, 40) == "Failed"
    assert "progress_update_timeout" in run.snapshot()["reason"]


def test_a_large_blob_is_complete_and_not_held_in_memory(
    start: Callable[..., Run], endpoint: str, azurite: Azurite, keyed: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    data = os.urandom(1 << 20) * 64
    big = azurite.make_container({"big.bin": data})
    script = tmp_path / "digests.py"
    script.write_text(
        "import hashlib\n"
        "def run(mini_batch):\n"
        "    return [hashlib.sha256(open(p, 'rb').read()).hexdigest() for p in mini_batch]\n"
    )
    inputs = FileDataset(f"az://{big.container_name}", storage_options=keyed)
    run = start(str(script), inputs=inputs, process_count_per_node=1)
    peak = 0
    while not run.snapshot()["is_final"]:
        for process in _stagers(run):
            try:
                peak = max(peak, process.memory_info().rss)
            except psutil.NoSuchProcess:
                pass
        time.sleep(0.02)
    assert rows_of(run) == [hashlib.sha256(data).hexdigest()]
    assert 0 < peak < 170 << 20


def test_an_expired_credential_is_reported(
    run_over: Callable[..., Run], network: BadNetwork, container: ContainerClient
) -> None:
    network.rule = lambda method, path, _count: (
        "403" if method == "GET" and path.endswith("9.txt") else "pass"
    )
    run = run_over(run_max_try=1, error_threshold=4)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == rows_without(container, 9, 19, 29, 39)
    messages = run.failures()["message"]
    assert messages.str.contains(
        "refused the credential (account_key in memory)", regex=False
    ).all()
    assert set(run.failures()["group"]) == {"ClientAuthenticationError while staging"}


def test_a_run_that_waits_for_its_store_can_be_canceled(
    run_over: Callable[..., Run], network: BadNetwork, home: Path
) -> None:
    network.rule = lambda method, path, _count: (
        "stall" if method == "GET" and path.endswith(".txt") else "pass"
    )
    run = run_over()
    while run.status != "Running":
        time.sleep(0.02)
    run.cancel()
    assert end_of(run, 15) == "Canceled"
    until = time.monotonic() + 30
    while list((home / "cache" / "views").iterdir()):
        assert time.monotonic() < until
