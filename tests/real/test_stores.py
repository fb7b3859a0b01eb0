"""Inputs in a store: a real Azurite, listed, staged ahead and run, with credentials kept off disk."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import generate_container_sas

from parallelrun_jupyter import (
    DaskCompute,
    Datastore,
    FileDataset,
    ParallelRunConfig,
    Run,
    TabularDataset,
    submit,
)
from parallelrun_jupyter.data.storage import credentials
from parallelrun_jupyter.data.storage.storage import Place
from parallelrun_jupyter.errors import ConfigError, ParallelRunError
from tests.azurite_process import ACCOUNT, KEY, Azurite
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import DaskProcesses

pytestmark = pytest.mark.usefixtures("endpoint")

BLOBS = {f"mnist/{number:03d}.txt": str(number) for number in range(60)}


def test_blobs_are_listed_staged_and_run_in_order(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any], home: Path
) -> None:
    container = azurite.make_container(BLOBS)
    url = f"az://{container.container_name}/mnist/*.txt"
    run = start("reads.py", inputs=FileDataset(url, storage_options=keyed), mini_batch_size=5)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    name = container.container_name
    assert rows_of(run) == [f"{name}/mnist/{k:03d}.txt={k}" for k in range(60)]
    first = json.loads(run.folder.plan.read_bytes().splitlines()[0])
    assert first[:2] == ["f", 0]
    assert first[2][0] == f"az://{name}/mnist/000.txt"
    assert first[3] == [1] * 5
    assert first[4][
        0
    ] == f'"{container.get_blob_client("mnist/000.txt").get_blob_properties().etag}"'.replace(
        '""', '"'
    )
    for path in home.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
    until = time.monotonic() + 30
    while list((home / "cache" / "views").iterdir()):  # until the run has removed its view
        assert time.monotonic() < until


def test_the_order_is_that_of_a_local_listing(
    azurite: Azurite, keyed: dict[str, Any], tmp_path: Path
) -> None:
    names = [
        "b.txt", "a.txt", "z/1.txt", "z/MLTable", "c/2.txt", "c/1.txt", "c/d/1.txt", "c.d/x.txt", ".hidden",
        "_SUCCESS", "c/_temporary/0/1.txt", "c/_k=1/2.txt",
        "c/.hidden/x.txt", "c!/1.txt", "ünï/ #?%20.txt", "c/a b.txt", "c2/10.txt", "c2/9.txt",
    ]  # fmt: skip
    container = azurite.make_container(dict.fromkeys(names, "x"))
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text("x")
    root = f"az://{container.container_name}"
    for pattern in ("", "**", "c", "c*", "*", "c/*.txt", "*/*.txt", "**/1.txt", "**/d/**", "c?/*",
                    "**/**/*.txt", "c/[12].txt", "c/.hidden/x.txt", "_*", "c/_*/0/*"):  # fmt: skip
        local = FileDataset(tmp_path / "in" / pattern)
        remote = FileDataset(f"{root}/{pattern}", storage_options=keyed)
        here, there = str(tmp_path / "in"), root
        for at_home, away in ((local, remote), (local.for_table(), remote.for_table())):
            listed = [path.removeprefix(there) for path in away.to_path()]
            assert listed == [path.removeprefix(here) for path in at_home.to_path()], pattern
        assert listed or pattern == "c*", pattern  # which matches folders only


def test_a_public_container_needs_no_credential(
    start: Callable[..., Run], azurite: Azurite
) -> None:
    container = azurite.make_container(BLOBS, public=True)
    url = f"https://{ACCOUNT}.blob.core.windows.net/{container.container_name}/mnist"
    run = start("reads.py", inputs=FileDataset(url, storage_options={"anon": True}))
    assert end_of(run) == "Completed"
    assert [row.partition("=")[2] for row in rows_of(run)] == list(map(str, range(60)))


def test_the_output_goes_to_a_store(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any]
) -> None:
    container = azurite.make_container(BLOBS)
    name = container.container_name
    inputs = FileDataset(f"az://{name}/mnist", storage_options=keyed)
    run = start("echo.py", inputs=inputs, output=f"az://{name}/predictions/today")
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    url = f"az://{name}/predictions/today/parallel_run_step.txt"
    assert run.snapshot()["output"] == url
    text = "".join(f"{k:03d}.txt\n" for k in range(60))
    blob = container.get_blob_client("predictions/today/parallel_run_step.txt")
    assert blob.download_blob().readall().decode() == text
    assert rows_of(run) == text.split()
    (run.folder.output / "parallel_run_step.txt").unlink()
    assert rows_of(run) == text.split(), "without the run's own copy it is read from the store"


def test_files_that_the_script_writes_are_uploaded(
    start: Callable[..., Run], azurite: Azurite, numbers: Path
) -> None:
    container = azurite.make_container({})
    store = Datastore.register_azure_blob_container(
        "out", container.container_name, ACCOUNT, account_key=KEY
    )
    run = start("writes_files.py", output=store.path("own"), output_action="summary_only")
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    names = sorted(blob.name for blob in container.list_blobs())
    assert [n for n in names if "/end/" not in n] == [f"own/{k:03d}.txt.out" for k in range(60)]
    assert [n for n in names if "/end/" in n], "also what shutdown() wrote"


def test_side_inputs_are_local_paths_in_the_arguments(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any], numbers: Path
) -> None:
    container = azurite.make_container(
        {"labels.txt": " ".join(f"L{k}" for k in range(60)), "model/b": "1", "model/a": "2"}
    )
    root = f"az://{container.container_name}"
    labels = FileDataset(f"{root}/labels.txt", storage_options=keyed)
    model = FileDataset(f"{root}/model", storage_options=keyed)
    named = labels.as_named_input("labels").as_mount("/mnt/of/azure")
    arguments = ["--labels", named, "--folder", model.as_download(), "--word", "w"]
    run = start("side.py", arguments=arguments, mini_batch_size=20, node_count=2)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == [f"L{k} a b w labels.txt" for k in range(60)]
    rows = run.try_one(0)
    assert rows[0] == "L0 a b w labels.txt", "also in this process"


def test_a_missing_side_input_ends_the_run(
    start: Callable[..., Run],
    azurite: Azurite,
    keyed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    container = azurite.make_container({"labels.txt": "1"})
    labels = FileDataset(f"az://{container.container_name}/labels.txt", storage_options=keyed)
    labels.check()
    container.delete_blob("labels.txt")
    mounted = labels.as_mount()
    monkeypatch.setattr(mounted, "check", lambda: None)  # as if it was deleted after the check
    run = start("side.py", arguments=["--labels", mounted], process_count_per_node=1)
    assert end_of(run, 30) == "Failed"
    assert "labels.txt' matches no file" in run.snapshot()["reason"]


def test_try_one_reads_from_the_store(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any]
) -> None:
    container = azurite.make_container(BLOBS)
    url = f"az://{container.container_name}/mnist"
    run = start("echo.py", inputs=FileDataset(url, storage_options=keyed), mini_batch_size=3)
    assert end_of(run) == "Completed"
    assert run.try_one(2) == ["006.txt", "007.txt", "008.txt"]


def test_a_typed_key_is_asked_for_by_name_when_another_process_resumes(
    start: Callable[..., Run],
    azurite: Azurite,
    keyed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    container = azurite.make_container(BLOBS)
    inputs = FileDataset(f"az://{container.container_name}/mnist", storage_options=keyed)
    run = start("slow.py", inputs=inputs)
    while run.snapshot()["succeeded"] < 5:
        time.sleep(0.01)
    run.cancel()
    assert end_of(run) == "Canceled"
    monkeypatch.setattr(credentials, "_held", {})  # as in another process
    with pytest.raises(ConfigError, match=r"whose value is not stored on disk\. Set it first"):
        run.resume()
    [variable] = run.folder.read_record().secret_variables()
    monkeypatch.setenv(variable, KEY)
    run.resume()
    assert end_of(run) == "Completed"
    assert rows_of(run) == [f"{k:03d}.txt" for k in range(60)]


def test_the_script_does_not_see_the_key(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any], tmp_path: Path
) -> None:
    container = azurite.make_container({"a.txt": "1"})
    script = tmp_path / "environment.py"
    script.write_text(
        "import os\n"
        "def run(mini_batch):\n"
        "    return [sorted(k for k, v in os.environ.items() if 'ACCOUNT_KEY' in k)]\n"
    )
    inputs = FileDataset(f"az://{container.container_name}", storage_options=keyed)
    run = start(str(script), inputs=inputs)
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["[]"]


def test_keys_in_a_store_and_a_partitioned_copy_there(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any]
) -> None:
    rows = "week,Store,Brand\n" + "".join(f"{k},{k % 3},b{k % 2}\n" for k in range(12))
    songs = [
        f"songs/{name}.wav" for name in ("ada/summer/jazz", "ada/winter/jazz", "bob/summer/folk")
    ]
    container = azurite.make_container({"sales/a.csv": rows, **dict.fromkeys(songs, "x")})
    root = f"az://{container.container_name}"
    files = FileDataset(
        f"{root}/songs", partition_format="{user}/{season}/{genres}.wav", storage_options=keyed
    )
    settings = {"mini_batch_size": None, "error_threshold": -1}
    run = start("tells_context.py", inputs=files, partition_keys=["user", "genres"], **settings)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    told = [json.loads(row) for row in rows_of(run)]
    assert [(one["index"], *one["keys"].values()) for one in told] == [
        (0, "ada", "jazz"), (0, "ada", "jazz"), (1, "bob", "folk"),
    ]  # fmt: skip
    assert all(one["same"] for one in told), "the context has the copies' paths too"
    sales = TabularDataset.from_delimited_files(f"{root}/sales", storage_options=keyed)
    target = FileDataset(f"{root}/by_store", storage_options=keyed)
    copy = sales.partition_by(["Store", "Brand"], Place(target.paths[0], target.storage))
    assert [
        blob.name for blob in container.list_blobs("by_store/") if blob.name.endswith("MLTable")
    ]
    run = start("tells_rows.py", inputs=copy, partition_keys=["Store"], **settings)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    told = [json.loads(row) for row in rows_of(run)]
    assert [(one["keys"], sorted(one["weeks"])) for one in told] == [
        ({"Store": k}, [k, k + 3, k + 6, k + 9]) for k in range(3)
    ]
    assert [one["first"] for one in told] == [0, 4, 8]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("az://nothere/in/*.txt", {}, "has no container 'nothere'. Check its name, and the account."),
        ("az://C/in/*.txt", {"account_key": "d3Jvbmc="},
         "refused the credential (account_key in memory): HttpResponseError: "
         "AuthorizationFailure: Server failed to authenticate the request. Check that it belongs"),
        ("az://C/in/*.txt", {"account_key": None, "anon": True},
         "cannot be used without a credential: the storage account 'pipelinedata' has no container "
         "'C', or it is not public"),
        ("az://C/in/*.txt", {"account_key": None, "sas_token": "sv=2020-01-01&sig=xx"},
         "refused the credential (sas_token in memory)"),
        ("az://C/in/*.txt", {"account_name": "otheraccount"},
         "the storage account 'otheraccount' has no container 'C'."),
        ("az://C/in/*.txt", {"account_key": None, "credential": "identity"},
         "an identity's token is sent over https only. Give a key, a SAS token or anon=True"),
        ("az://C/in/*.txt", {"acount_name": "x"}, "'acount_name', which is not an option of the storage account "
         "'pipelinedata'. Did you mean 'account_name'?"),
        ("az://C/in/*.png", {}, "matches no file in the storage account 'pipelinedata'; "
         "'az://C/in' contains 000.txt."),
        ("az://C/inn", {}, "the input 'az://C/inn' matches no file in the storage account "
         "'pipelinedata'; 'az://C' contains in."),
        ("az://*/in", {}, "does not name the container; write az://CONTAINER/*"),
    ],
)  # fmt: skip
def test_wrong_inputs_are_refused_before_the_run_starts(
    start: Callable[..., Run],
    azurite: Azurite,
    keyed: dict[str, Any],
    path: str,
    options: dict[str, Any],
    message: str,
) -> None:
    name = azurite.make_container({"in/000.txt": "0"}).container_name
    with pytest.raises(ParallelRunError) as caught:
        start("echo.py", inputs=FileDataset(path.replace("C", name, 1) if "://C" in path else path,
                                            storage_options={**keyed, **options}))  # fmt: skip
    assert message in str(caught.value).replace(name, "C")
    assert not Run.list()


def test_a_read_only_output_is_refused_before_the_run_starts(
    start: Callable[..., Run], azurite: Azurite
) -> None:
    public = Datastore.register_azure_blob_container(
        "public", azurite.make_container({}, public=True).container_name, ACCOUNT
    )
    with pytest.raises(ConfigError, match="cannot be written to: it is opened without a cred"):
        start("echo.py", output=public.path("out"))
    Datastore.register_azure_blob_container("gone", "nothere", ACCOUNT, account_key=KEY)
    with pytest.raises(ParallelRunError, match="has no container 'nothere'"):
        start("echo.py", output="az://nothere/out")
    assert not Run.list()


def test_a_web_server_is_an_input(start: Callable[..., Run], numbers: Path) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(numbers)))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        run = start("echo.py", inputs=[f"{base}/0[0-4]*.txt", f"{base}/059.txt"])
        assert end_of(run) == "Completed", run.snapshot()["reason"]
        assert rows_of(run) == [f"{k:03d}.txt" for k in (*range(50), 59)]
        with pytest.raises(
            ParallelRunError, match=r"matches no file in the web server; .* contains"
        ):
            FileDataset(f"{base}/none.txt").check()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_other_file_systems_of_fsspec_are_inputs(start: Callable[..., Run], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in range(20):
            archive.writestr(f"in/{k:02d}.txt", str(k))
    options = {"fo": str(tmp_path / "a.zip")}
    run = start("reads.py", inputs=FileDataset("zip://in/*.txt", storage_options=options))
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == [f"in/{k:02d}.txt={k}" for k in range(20)]


def test_datastores_upload_and_download_files(
    azurite: Azurite, keyed: dict[str, Any], tmp_path: Path, numbers: Path
) -> None:
    container = azurite.make_container({})
    token = generate_container_sas(
        ACCOUNT, container.container_name, account_key=KEY, permission="rwcl",
        expiry=datetime.now(timezone.utc) + timedelta(hours=1),
    )  # fmt: skip
    ways: dict[str, Any] = {
        "key": {"account_key": KEY},
        "sas": {"sas_token": token},
        "string": {"connection_string": azurite.connection_string},
    }
    for way, credential in ways.items():
        store = Datastore.register_azure_blob_container(
            way, container.container_name, ACCOUNT, **credential
        )
        where = store.upload(numbers, f"{way}/all")
        assert len(FileDataset(where).to_path()) == 60
        (numbers / "000.txt").write_text(way)
        store.upload_files([numbers / "000.txt"], target_path=f"{way}/all")
        store.upload_files([numbers / "001.txt"], None, f"{way}/one", overwrite=True)
        assert store.download(tmp_path / way, f"{way}/all") == 60
        assert (tmp_path / way / way / "all" / "000.txt").read_text() != way, "it was there before"
        store.upload_files([numbers / "000.txt"], target_path=f"{way}/all", overwrite=True)
        store.download(tmp_path / way, f"{way}/all/000.txt", overwrite=True)
        assert (tmp_path / way / way / "all" / "000.txt").read_text() == way
    assert Datastore.get("sas").storage is not None
    signed = f"https://{ACCOUNT}.blob.core.windows.net/{container.container_name}/key/all?{token}"
    dataset = FileDataset(signed)
    assert len(dataset.to_path()) == 60
    assert token not in json.dumps(dataset.spec())
    copies = FileDataset((Datastore.get("key"), "key/a*/00*.txt")).download(tmp_path / "copy")
    assert copies == [str(tmp_path / "copy" / "all" / f"00{k}.txt") for k in range(10)]
    assert FileDataset((Datastore.get("key"), "key/all")).take(2).to_path() == [
        f"az://{container.container_name}/key/all/00{k}.txt" for k in range(2)
    ]


def test_two_processes_register_at_the_same_time(home: Path) -> None:
    code = (
        "import sys; from parallelrun_jupyter import Datastore\n"
        "for k in range(20):\n"
        "    Datastore.register_azure_blob_container(f'{sys.argv[1]}{k}', 'c', 'acct')\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    assert len(Datastore.list()) == 40


def test_two_runs_share_a_cache_that_may_be_small(
    start: Callable[..., Run],
    azurite: Azurite,
    keyed: dict[str, Any],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blobs = {f"in/{k:02d}.txt": f"{k:02d}" * 50_000 for k in range(30)}
    container = azurite.make_container(blobs)
    inputs = FileDataset(f"az://{container.container_name}/in", storage_options=keyed)
    monkeypatch.setenv("PARALLELRUN_CACHE_SIZE", "500KB")
    run = start("reads.py", inputs=inputs, mini_batch_size=2)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    text = "\n".join(rows_of(run))
    objects = [path for path in (home / "cache" / "objects").rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in objects) < 2_000_000
    monkeypatch.setenv("PARALLELRUN_CACHE_SIZE", "50MB")
    runs = [start("reads.py", inputs=inputs, mini_batch_size=2) for _ in range(2)]
    for other in runs:
        assert end_of(other) == "Completed", other.snapshot()["reason"]
        assert "\n".join(rows_of(other)) == text
    objects = [path for path in (home / "cache" / "objects").rglob("*") if path.is_file()]
    assert len(objects) == 30, "each version once"


def test_thousands_of_small_blobs_in_many_folders(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any]
) -> None:
    blobs = {f"in/{k % 40:02d}/{k:04d}.txt": str(k) for k in range(1200)}
    container = azurite.make_container(blobs)
    inputs = FileDataset(f"az://{container.container_name}/in", storage_options=keyed)
    run = start("reads.py", inputs=inputs, mini_batch_size=7)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    name = container.container_name
    assert rows_of(run) == [f"{name}/{blob}={blobs[blob]}" for blob in sorted(blobs)]
    assert run.snapshot()["mini_batches"] == 172


def test_the_nodes_of_a_cluster_stage_for_themselves(
    azurite: Azurite, keyed: dict[str, Any], tmp_path: Path
) -> None:
    container = azurite.make_container(BLOBS)
    name = container.container_name
    inputs = FileDataset(f"az://{name}/mnist", storage_options=keyed)
    cluster = DaskProcesses(tmp_path / "dask")
    try:
        cluster.start_scheduler()
        for worker in "ab":
            cluster.add_worker(worker)
        cluster.wait_for_workers()
        config = ParallelRunConfig(
            entry_script=str(SCRIPTS / "reads.py"), mini_batch_size=2, process_count_per_node=1
        )
        compute = DaskCompute(cluster.address)
        run = submit(config, inputs=inputs, output=f"az://{name}/out", compute=compute)
        assert end_of(run, 120) == "Completed", run.snapshot()["reason"]
        assert rows_of(run) == [f"{name}/mnist/{k:03d}.txt={k}" for k in range(60)]
        assert container.get_blob_client("out/parallel_run_step.txt").exists()
        for path in (tmp_path / "dask").rglob("*"):
            assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    finally:
        cluster.close()
