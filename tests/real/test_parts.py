"""Outputs in parts: nodes of a real cluster put them into a real store; each row once, in order."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from azure.storage.blob import ContainerClient, generate_container_sas

from parallelrun_jupyter import Datastore, ParallelRunConfig, Run, submit
from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    NodeLost,
    PartStored,
)
from tests.azurite_process import ACCOUNT, KEY, Azurite
from tests.bad_network import BadNetwork, Fate
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of
from tests.real.dask_processes import DaskProcesses, wait_until
from tests.real.test_dask import in_cluster, of_kind, wait_for
from tests.real.test_dask_storm import KILLS, Storm

pytestmark = pytest.mark.usefixtures("endpoint")

FILE = "rows.parquet"
LONG_S = 180


@pytest.fixture
def cluster(tmp_path: Path, endpoint: str) -> Iterator[DaskProcesses]:
    """Return a cluster of two workers that a test may do anything to."""
    found = DaskProcesses(tmp_path / "dask")
    try:
        found.start_scheduler()
        for name in "ab":
            found.add_worker(name)
        found.wait_for_workers()
        yield found
    finally:
        found.close()


@pytest.fixture
def container(azurite: Azurite) -> ContainerClient:
    made = azurite.make_container({})
    Datastore.register_azure_blob_container("out", made.container_name, ACCOUNT, account_key=KEY)
    return made


def begin(
    numbers: Any, container: ContainerClient, compute: str, *words: Any, **settings: Any
) -> Run:
    # After the loss of a node, the output waits for its uploads: overhead, and five seconds.
    base = {"mini_batch_size": 1, "process_count_per_node": 1, "task_overhead_timeout": 10}
    settings = {**base, **settings}
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "wide_rows.py"), output_format="parquet",
        append_row_file_name=FILE, **settings,
    )  # fmt: skip
    arguments = words or (0.01, 10)
    output = f"az://{container.container_name}/out"
    return submit(config, inputs=numbers, output=output, compute=compute, arguments=arguments)


def blobs(container: ContainerClient, folder: str = FILE) -> dict[str, bytes]:
    prefix = f"out/{folder}/"
    return {
        str(name).removeprefix(prefix): container.download_blob(name).readall()
        for name in container.list_blob_names(name_starts_with=prefix)
    }


def assert_whole(run: Run, container: ContainerClient, times: int = 1) -> pd.DataFrame:
    """See that the folder holds the parts of the manifest, and in them every row once, in order."""
    found = blobs(container)
    manifest = json.loads(found.pop("_manifest.json"))
    assert [part["name"] for part in manifest["parts"]] == sorted(found)
    assert manifest["run_id"] == run.run_id
    url = f"az://{container.container_name}/out/{FILE}"
    snapshot = run.snapshot()
    assert snapshot["output"] == url
    parts = [pd.read_parquet(io.BytesIO(found[name])) for name in sorted(found)]
    frame: pd.DataFrame = pd.concat(parts, ignore_index=True)
    assert list(frame["name"]) == [f"{k:03d}.txt" for k in range(60)] * times
    pd.testing.assert_frame_equal(run.to_pandas(), frame)
    assert (manifest["rows"], manifest["mini_batches"]) == (60 * times, snapshot["succeeded"])
    assert manifest["size_bytes"] == sum(map(len, found.values()))
    done = [e.mini_batch for e in of_kind(run, AttemptSucceeded)]
    assert sorted(done) == list(range(snapshot["mini_batches"]))
    assert not (run.folder.output / FILE).exists()
    assert not list(run.folder.output.glob("*.rows"))
    return frame


@pytest.fixture
def network(
    azurite: Azurite, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BadNetwork]:
    """Return a network between everybody and the store that is good until it is told otherwise.

    It comes before the container, which remembers how it is reached.
    """
    proxy = BadNetwork(azurite.port, lambda *_: "pass")
    monkeypatch.setenv("PARALLELRUN_BLOB_ENDPOINT", proxy.endpoint)
    yield proxy
    proxy.close()


def single_file(numbers: Any, folder: Path, *words: Any) -> pd.DataFrame:
    """Return the rows of a run on this machine, which writes one file."""
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "wide_rows.py"), output_format="parquet", mini_batch_size=1
    )
    run = submit(config, inputs=numbers, output=folder, arguments=words)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    return run.to_pandas()


def kill_driver(run: Run) -> None:
    os.kill(json.loads(run.folder.driver.read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: run.status == "Interrupted", "the driver's death to be seen")


def test_nodes_put_parts_and_the_manifest_makes_one_output_of_them(
    cluster: DaskProcesses,
    container: ContainerClient,
    numbers: Path,
    tmp_path: Path,
    azurite: Azurite,
) -> None:
    run = begin(numbers, container, cluster.address, 0.01, 1000)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    frame = assert_whole(run, container)
    options = {"connection_string": azurite.connection_string}
    read = pd.read_parquet(run.snapshot()["output"], storage_options=options)
    pd.testing.assert_frame_equal(read, frame)
    assert len(of_kind(run, PartStored)) >= 8
    pd.testing.assert_frame_equal(single_file(numbers, tmp_path / "local", 0, 1000), frame)
    for path in (tmp_path / "dask").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    [name, *_] = [e.name for e in of_kind(run, PartStored)]
    container.delete_blob(f"out/{FILE}/{name}")
    with pytest.raises(OutputError, match="could not be read: .* does not exist"):
        run.to_pandas()


def test_parts_of_other_types_give_way_to_one_schema_and_what_cannot_is_said(
    dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path, tmp_path: Path
) -> None:
    words = (0, 10, "gaps")
    run = begin(numbers, container, dask_cluster.address, *words)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    frame = assert_whole(run, container)
    pd.testing.assert_frame_equal(single_file(numbers, tmp_path / "local", *words), frame)
    parts = [data for name, data in blobs(container).items() if name.startswith("part-")]
    kinds = {str(pd.read_parquet(io.BytesIO(data))["number"].dtype) for data in parts}
    assert kinds == {"Int64"}, "no part has a column of nothing, none has floats"
    run = begin(numbers, container, dask_cluster.address, 0, 10, "clash")
    assert end_of(run, LONG_S) == "Failed"
    reason = run.snapshot()["reason"]
    whose = r"mini-batch(es)? \d+( to \d+)?"  # in one part or in two, as the ranges were
    assert re.search(
        rf"returned for {whose} the columns 'number' as .*string, but for {whose} 'number' as int64",
        reason,
    )
    assert "_manifest.json" in blobs(container), "the earlier output is still what it was"


def test_a_new_run_replaces_what_was_there_and_nothing_else(
    dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    container.upload_blob(f"out/{FILE}", b"one file of an earlier run")
    first = begin(numbers, container, dask_cluster.address)
    assert end_of(first, LONG_S) == "Completed", first.snapshot()["reason"]
    assert_whole(first, container)
    assert not container.get_blob_client(f"out/{FILE}").exists()
    old = set(blobs(container))
    container.upload_blob(f"out/{FILE}/notes.txt", b"the user's own")
    second = begin(numbers, container, dask_cluster.address)
    assert end_of(second, LONG_S) == "Completed", second.snapshot()["reason"]
    assert container.download_blob(f"out/{FILE}/notes.txt").readall() == b"the user's own"
    container.delete_blob(f"out/{FILE}/notes.txt")
    assert_whole(second, container)
    assert old & set(blobs(container)) == {"_manifest.json"}
    with pytest.raises(OutputError, match=f"is gone: run {second.run_id} has replaced it"):
        first.to_pandas()


def test_a_killed_dask_worker_s_ranges_are_put_by_another(
    cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    run = begin([numbers] * 3, container, cluster.address, 0.05, 1000, run_max_try=1)
    wait_for(run, 30)
    cluster.kill("a")
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container, 3)
    assert of_kind(run, NodeLost)
    assert not of_kind(run, AttemptFailed)


def test_a_killed_driver_s_run_goes_on_and_no_row_is_twice(
    cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    run = begin([numbers] * 3, container, cluster.address, 0.05, 1000)
    wait_for(run, 30)
    kill_driver(run)
    kept = run.snapshot()["succeeded"]
    with pytest.warns(UserWarning, match=f"of {kept} mini-batches of 180, not all, from az://"):
        assert len(run.to_pandas()) == kept
    run.resume()
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container, 3)


def test_a_part_of_a_node_that_dies_before_it_is_heard_is_deleted(
    network: BadNetwork, cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    stopped: list[str] = []

    def stop_worker(method: str, path: str, _count: int) -> Fate:
        if method == "PUT" and "/part-" in path and not stopped:
            stopped.append(path.rpartition("/")[2])
            cluster.workers["a"].send_signal(signal.SIGSTOP)
            cluster.workers["b"].send_signal(signal.SIGSTOP)
        return "pass"

    network.rule = stop_worker
    run = begin(numbers, container, cluster.address, 0.02, 1000)
    wait_until(lambda: bool(stopped) and stopped[0] in blobs(container), "the part to be there")
    for name in "ab":
        cluster.kill(name)
    cluster.add_worker("c")
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert stopped[0] not in blobs(container)
    assert stopped[0] not in {e.name for e in of_kind(run, PartStored)}
    assert_whole(run, container)


def test_rows_do_not_go_through_the_driver(
    dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    run = begin(numbers, container, dask_cluster.address, 0.01, 4_000_000)
    wait_until(run.folder.driver.exists, "the driver to start")
    driver = psutil.Process(json.loads(run.folder.driver.read_text())["pid"])
    peak = 0
    while not run.snapshot()["is_final"]:
        try:
            peak = max(peak, driver.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    sizes = [e.size_bytes for e in of_kind(run, PartStored)]
    assert sum(sizes) > 100_000_000
    assert 0 < peak < 120_000_000
    assert sum(p.stat().st_size for p in run.folder.path.rglob("*") if p.is_file()) < 1_000_000


def test_a_store_that_stalls_ends_the_run_and_a_resume_goes_on(
    network: BadNetwork, dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    network.rule = lambda method, path, _count: (
        "stall" if method == "PUT" and "/part-" in path else "pass"
    )
    run = begin(numbers, container, dask_cluster.address, task_overhead_timeout=1)
    assert end_of(run, LONG_S) == "Failed"
    reason = run.snapshot()["reason"]
    assert "a part of the output could not be uploaded from" in reason
    assert "uploading part-" in reason
    assert "resume the run" in reason
    assert run.snapshot()["succeeded"] == 0
    network.rule = lambda *_: "pass"
    run.resume()
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container)


def test_what_passes_by_itself_costs_nothing(
    network: BadNetwork, dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    def first_time(method: str, path: str, count: int) -> Fate:
        return "cut" if method == "PUT" and count == 1 and path.endswith(("3", "7")) else "pass"

    network.rule = lambda method, path, count: first_time(
        method, path.removesuffix(".parquet"), count
    )
    run = begin(numbers, container, dask_cluster.address)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container)


def test_a_killed_process_that_puts_is_replaced(
    dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    def putting() -> list[psutil.Process]:
        nodes = [psutil.Process(process.pid) for process in dask_cluster.workers.values()]
        children = [child for node in nodes for child in node.children()]
        return [
            p for p in children if "parallelrun_jupyter.engine.output.part_process" in p.cmdline()
        ]

    run = begin([numbers] * 2, container, dask_cluster.address, 0.05, 1000)
    wait_for(run, 8)
    killed = putting()
    assert killed
    for process in killed:
        process.kill()
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container, 2)
    assert not of_kind(run, NodeLost)


def test_cancel_after_what_runs_puts_it_and_this_machine_may_go_on(
    dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    run = begin([numbers] * 3, container, dask_cluster.address, 0.05, 1000)
    wait_for(run, 16)
    run.cancel(drain=True)
    assert end_of(run, LONG_S) == "Canceled"
    snapshot = run.snapshot()
    assert "_manifest.json" not in blobs(container)
    parts = of_kind(run, PartStored)
    assert sum(part.count for part in parts) == snapshot["succeeded"] < 180
    run.resume(compute="local")
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container, 3)


def test_a_retired_worker_puts_what_it_keeps_before_it_leaves(
    cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    run = begin([numbers] * 4, container, cluster.address, 0.05, 1000, run_max_try=1)
    wait_for(run, 30)
    in_cluster(cluster.address, "print(client.retire_workers(names=['a'], close_workers=True))")
    wait_until(lambda: bool(of_kind(run, NodeLost)), "the node to leave")
    [lost] = of_kind(run, NodeLost)
    assert lost.reason.endswith("is being retired")
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container, 4)


def test_failed_mini_batches_leave_a_gap_that_a_resume_fills(
    dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path, tmp_path: Path
) -> None:
    words = (0, 10, "bad")
    run = begin(numbers, container, dask_cluster.address, *words, error_threshold=1, run_max_try=2)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert run.snapshot()["failed"] == 1
    assert len(run.to_pandas()) == 59
    assert len(run.failures()) == 2
    corrected = tmp_path / "corrected.py"
    text = (SCRIPTS / "wide_rows.py").read_text()
    corrected.write_text(text.replace("7 in numbers", "False"))
    run.resume(failed_only=True, entry_script=corrected)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert_whole(run, container)


def test_rows_of_failed_items_land_between_those_of_their_mini_batches(
    dask_cluster: DaskProcesses, container: ContainerClient, numbers: Path, tmp_path: Path
) -> None:
    settings = {"error_threshold": -1, "run_max_try": 1, "mini_batch_size": 5}
    run = begin(numbers, container, dask_cluster.address, 0, 10, "bad", **settings)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    assert (run.snapshot()["items_failed"], len(run.to_pandas())) == (1, 59)
    before = blobs(container)
    del before["_manifest.json"]
    corrected = tmp_path / "corrected.py"
    text = (SCRIPTS / "wide_rows.py").read_text()
    corrected.write_text(text.replace("7 in numbers", "False"))
    run.resume(failed_only=True, entry_script=corrected)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    parts = blobs(container)
    manifest = json.loads(parts.pop("_manifest.json"))
    assert [part["name"] for part in manifest["parts"]] == sorted(parts)
    assert manifest["mini_batches"] == 12
    kept = [name for name in before if parts.get(name) == before[name]]
    assert len(kept) == len(before) - 1, "only the part around the item is written again"
    frame = pd.concat([pd.read_parquet(io.BytesIO(parts[name])) for name in sorted(parts)])
    assert list(frame["name"]) == [f"{k:03d}.txt" for k in range(60)]
    pd.testing.assert_frame_equal(run.to_pandas(), frame.reset_index(drop=True))
    stored = [part.name for part in of_kind(run, PartStored)]
    assert len(stored) == len(before) + 1
    assert not set(parts) & {stored[-1]}, "its rows are in the new part"


def test_a_node_without_pyarrow_is_a_clear_error_at_the_start(
    tmp_path: Path, container: ContainerClient, numbers: Path
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")
    cluster = DaskProcesses(tmp_path / "dask")
    try:
        cluster.start_scheduler()
        cluster.add_worker("a", environ={"PYTHONPATH": str(without)})
        cluster.wait_for_workers()
        run = begin(numbers, container, cluster.address)
        assert end_of(run) == "Failed"
        reason = run.snapshot()["reason"]
        assert "has no pyarrow. Install it there: pip install" in reason
    finally:
        cluster.close()


def test_a_store_that_nodes_may_not_write_is_a_clear_error_at_the_start(
    dask_cluster: DaskProcesses, azurite: Azurite, container: ContainerClient, numbers: Path
) -> None:
    token = generate_container_sas(
        ACCOUNT, container.container_name, account_key=KEY, permission="rl",
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )  # fmt: skip
    Datastore.register_azure_blob_container(
        "out", container.container_name, ACCOUNT, sas_token=token
    )
    run = begin([numbers] * 10, container, dask_cluster.address, 0.5, 10)
    assert end_of(run) == "Failed"
    reason = run.snapshot()["reason"]
    assert "a part of the output could not be uploaded from" in reason
    assert "refused the credential (sas_token in memory)" in reason


def test_a_storm_of_kills_changes_no_row(
    cluster: DaskProcesses, container: ContainerClient, numbers: Path
) -> None:
    rng = random.Random(KILLS)
    storm = Storm(cluster, rng)
    times = max(5, KILLS // 2)
    run = begin(
        [numbers] * times, container, cluster.address, 0.05, 1000,
        run_max_try=100, error_threshold=-1,
    )  # fmt: skip
    until = time.monotonic() + 100 + 20 * KILLS
    while (status := run.status) != "Completed":
        assert time.monotonic() < until, run.snapshot()
        assert status not in {"Failed", "Canceled"}, run.snapshot()["reason"]
        time.sleep(rng.uniform(0.05, 0.3))
        storm.fill_up()
        if status == "Interrupted":
            run.resume()
        elif storm.killed.total() < KILLS:
            storm.strike(run)
    print(f"killed {dict(storm.killed)}")
    assert storm.killed.total() >= KILLS // 2, "the run was over too soon to be tried"
    assert_whole(run, container, times)
