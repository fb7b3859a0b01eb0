"""Outputs in parts: nodes of a real cluster put them into a real store; each row once, in order."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from azure.storage.blob import ContainerClient

from parallelrun_jupyter import Datastore, ParallelRunConfig, Run, submit
from parallelrun_jupyter.events import AttemptSucceeded, PartStored
from tests.azurite_process import ACCOUNT, KEY, Azurite
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of
from tests.real.dask_processes import DaskProcesses
from tests.real.test_dask import of_kind

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
    settings = {"mini_batch_size": 1, "process_count_per_node": 1, **settings}
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
    options = run.folder.read_record().output_storage
    assert options is not None
    frame = pd.concat([pd.read_parquet(io.BytesIO(found[name])) for name in sorted(found)])
    frame = frame.reset_index(drop=True)
    assert list(frame["name"]) == [f"{k:03d}.txt" for k in range(60)] * times
    pd.testing.assert_frame_equal(run.to_pandas(), frame)
    assert (manifest["rows"], manifest["mini_batches"]) == (60 * times, snapshot["succeeded"])
    assert manifest["size_bytes"] == sum(map(len, found.values()))
    done = [e.mini_batch for e in of_kind(run, AttemptSucceeded)]
    assert sorted(done) == list(range(snapshot["mini_batches"]))
    assert not (run.folder.output / FILE).exists()
    assert not list(run.folder.output.glob("*.rows"))
    return frame


def test_nodes_put_parts_and_the_manifest_makes_one_output_of_them(
    cluster: DaskProcesses, container: ContainerClient, numbers: Path, tmp_path: Path
) -> None:
    run = begin(numbers, container, cluster.address, 0.01, 1000)
    assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
    frame = assert_whole(run, container)
    assert len(of_kind(run, PartStored)) >= 15
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "wide_rows.py"), output_format="parquet", mini_batch_size=1
    )
    local = submit(config, inputs=numbers, output=tmp_path / "local", arguments=(0, 1000))
    assert end_of(local) == "Completed"
    pd.testing.assert_frame_equal(local.to_pandas(), frame)
    for path in (tmp_path / "dask").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
