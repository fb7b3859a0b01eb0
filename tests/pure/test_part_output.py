"""The rows of a node, its part files, and the one output of all parts: no process, no store."""

from __future__ import annotations

import json
import random
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.data.storage.object_store import ObjectStore
from parallelrun_jupyter.data.storage.storage import StorageSpec
from parallelrun_jupyter.engine.output import part_process
from parallelrun_jupyter.engine.output.part_process import publish, upload_part
from parallelrun_jupyter.engine.output.part_uploader import Spool, UploadTarget, upload_target
from parallelrun_jupyter.errors import ConfigError, InputError, OutputError
from parallelrun_jupyter.runs.journal.events import PartStored
from parallelrun_jupyter.runs.output.manifest import MANIFEST, read_manifest
from parallelrun_jupyter.runs.output.stored_parts import PartIndex
from parallelrun_jupyter.worker.output.formats import encode_table
from tests import journals

URL = "memory://out/rows.parquet"
STORAGE = {"protocol": "memory", "options": {}, "secrets": {}}


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield ObjectStore(StorageSpec.of_spec(STORAGE))
    files.store.clear()


def names_in(store: ObjectStore) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in store.files.find("/out"))


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(1, 60), max_size=40), seed=st.integers(0, 2**32))
def test_what_is_kept_is_there_until_it_is_released_and_no_longer(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int
) -> None:
    rng = random.Random(seed)
    folder = tmp_path_factory.mktemp("spool") / "kept"
    spool = Spool(folder, file_bytes=100)
    kept: dict[int, bytes] = {}
    for size in sizes:
        data = rng.randbytes(size)
        part, offset = spool.append(data)
        assert part == 0, "it is in no part of the driver's"
        kept[offset] = data
        if rng.random() < 0.5:
            gone = rng.choice(list(kept))
            spool.release(gone, len(kept.pop(gone)))
        for where, rows in kept.items():
            path, start = spool.locate(where)
            assert Path(path).read_bytes()[start : start + len(rows)] == rows
        held = sum(map(len, kept.values()))
        assert spool.is_empty == (held == 0)
        assert len(list(folder.iterdir())) <= len(kept) + 1
    assert not spool.error
    spool.close()
    assert not folder.exists()


def test_a_disk_that_refuses_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "kept")
    (tmp_path / "kept").rmdir()
    spool.append(b"x")
    assert spool.error.startswith("No such file or directory")


def job_of(folder: Path, frames: dict[int, pd.DataFrame], name: str) -> dict[str, Any]:
    """Return the job of putting these results, as a node writes it."""
    path = folder / f"{uuid.uuid4().hex}.rows"
    pieces, data = [], b""
    for mini_batch, frame in frames.items():
        rows = encode_table(frame, "parquet", {})
        pieces.append([mini_batch, 0, len(data), len(rows), zlib.crc32(rows)])
        data += rows
    path.write_bytes(data)
    return {
        "url": f"{URL}/{name}", "files": [str(path)], "pieces": pieces,
        "temporary": str(folder / "part.parquet"),
    }  # fmt: skip


def put_all(
    folder: Path, store: ObjectStore, parts: dict[int, list[dict[str, Any]]], suffix: str = "aa"
) -> list[dict[str, Any]]:
    """Upload parts, each with the results from its first mini-batch on; return their records."""
    found = []
    for first, results in parts.items():
        name = f"part-{first:09d}-{suffix}.parquet"
        frames = {first + k: pd.DataFrame(result) for k, result in enumerate(results)}
        rows, size_bytes = upload_part(job_of(folder, frames, name), store)
        found.append(
            {"name": name, "low": (first, 0), "high": (first + len(results) - 1, 0), "drops": 0,
             "mini_batches": len(results), "rows": rows, "size_bytes": size_bytes, "sources": ()}
        )  # fmt: skip
    return found


def publish_all(
    folder: Path, store: ObjectStore, parts: list[dict[str, Any]], run_id: str = "r"
) -> Any:
    told: list[None] = []
    job = {
        "url": URL, "files": [], "run_id": run_id, "parts": parts,
        "temporary": str(folder / "publish.part"), "journal": "", "spliced": str(folder / "spliced"),
    }  # fmt: skip
    rows, size_bytes = publish(job, store, lambda: told.append(None))
    assert len(told) >= len(parts)
    manifest = json.loads(store.files.cat_file(f"{URL}/{MANIFEST}"))
    assert (manifest["rows"], manifest["size_bytes"]) == (rows, size_bytes)
    return manifest


def rows_of() -> pd.DataFrame:
    """Return the rows of the folder as pandas alone reads them."""
    return pd.read_parquet(URL)


def test_parts_become_one_output_with_one_schema(store: ObjectStore, tmp_path: Path) -> None:
    parts = put_all(
        tmp_path, store, {0: [{"n": [1, 2]}, {"n": [3]}], 2: [{"n": [0.5]}], 5: [{"n": [None]}]}
    )
    assert [part["rows"] for part in parts] == [3, 1, 1]
    manifest = publish_all(tmp_path, store, parts)
    assert manifest["columns"] == [{"name": "n", "type": "double"}]
    assert manifest["mini_batches"] == 4
    assert read_manifest(json.dumps(manifest), "r", URL) == [part["name"] for part in parts]
    assert rows_of()["n"].fillna(-1).tolist() == [1, 2, 3, 0.5, -1]
    sizes = {part["name"]: part["size_bytes"] for part in manifest["parts"]}
    assert sizes == {name: store.files.size(f"{URL}/{name}") for name in sizes}
    assert publish_all(tmp_path, store, parts) == manifest, "as after a crash, when all was there"


def test_types_of_pandas_survive_parts(store: ObjectStore, tmp_path: Path) -> None:
    large = 2**60 + 1
    gaps = pd.array([large, None], dtype="Int64")
    parts = put_all(
        tmp_path,
        store,
        {
            0: [{"id": gaps, "t": ["a", None], "d": [float("nan")] * 2}],
            1: [{"id": [None], "t": [float("nan")], "d": [pd.Timestamp("2026-01-02")]}],
            2: [{"id": [3], "t": ["b"], "d": [pd.NaT]}],
        },
    )
    manifest = publish_all(tmp_path, store, parts)
    found = rows_of()
    assert found["id"].tolist() == [large, pd.NA, pd.NA, 3]
    assert found["id"].dtype == "Int64"
    assert found["t"].fillna("-").tolist() == ["a", "-", "-", "b"]
    assert found["d"].isna().tolist() == [True, True, False, True]
    assert found["d"][2] == pd.Timestamp("2026-01-02")
    assert publish_all(tmp_path, store, parts) == manifest, "what fits is not put again"


def test_what_no_journal_names_is_deleted_and_what_is_not_ours_stays(
    store: ObjectStore, tmp_path: Path
) -> None:
    old = put_all(tmp_path, store, {0: [{"n": [7]}], 1: [{"n": [8]}]}, "0e")
    publish_all(tmp_path, store, old, "old")
    store.files.pipe_file(f"{URL}/notes.txt", b"the user's")
    store.files.pipe_file(f"{URL}/_trial-0f", b"?")
    parts = put_all(tmp_path, store, {0: [{"n": [1]}], 1: [{"n": [2]}]})
    publish_all(tmp_path, store, parts, "new")
    assert names_in(store) == [MANIFEST, "notes.txt", *(part["name"] for part in parts)]


@pytest.mark.parametrize("step", range(12))
def test_whenever_publishing_is_cut_off_it_can_be_done_again(
    store: ObjectStore, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(tmp_path, store, put_all(tmp_path, store, {0: [{"n": [7]}]}, "0e"), "old")
    parts = put_all(tmp_path, store, {0: [{"n": [1]}], 1: [{"n": [None]}], 2: [{"n": [0.5]}]})
    before = [dict(part) for part in parts]
    steps = iter(range(100))

    def cut(function: Any) -> Any:
        def call(*given: Any) -> Any:
            if next(steps) == step:
                raise InputError("cut off")
            return function(*given)

        return call

    with monkeypatch.context() as patch:
        for name in ("put_file", "_delete", "_schema_of"):
            patch.setattr(part_process, name, cut(getattr(part_process, name)))
        try:
            publish_all(tmp_path, store, parts, "new")
        except InputError:
            if MANIFEST in names_in(store):  # the earlier output is whole, or the new one is
                text = store.files.cat_file(f"{URL}/{MANIFEST}")
                assert set(read_manifest(text, json.loads(text)["run_id"], URL)) <= set(
                    names_in(store)
                )
    publish_all(tmp_path, store, before, "new")
    assert rows_of()["n"].fillna(-1).tolist() == [1, -1, 0.5]
    assert len(names_in(store)) == 4


def test_without_any_row_there_is_a_manifest_of_nothing(store: ObjectStore, tmp_path: Path) -> None:
    manifest = publish_all(tmp_path, store, [])
    assert (manifest["rows"], manifest["columns"], manifest["parts"]) == (0, [], [])
    assert names_in(store) == [MANIFEST]


def test_conflicts_name_the_mini_batches(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"mini-batch 1 the columns \['m'\], but for mini-batch 0"
    ):
        put_all(tmp_path, store, {0: [{"n": [1]}, {"m": [2]}]})
    parts = put_all(tmp_path, store, {0: [{"n": [1]}, {"n": [2]}], 2: [{"n": ["x"]}]})
    with pytest.raises(
        OutputError,
        match="for mini-batch 2 the columns 'n' as .*string, but for mini-batches 0 to 1 ",
    ):
        publish_all(tmp_path, store, parts)
    assert MANIFEST not in names_in(store)


def test_a_part_that_was_changed_or_is_gone_is_said(store: ObjectStore, tmp_path: Path) -> None:
    parts = put_all(tmp_path, store, {0: [{"n": [1]}]})
    with pytest.raises(OutputError, match="has 1 rows, but 2 were uploaded"):
        publish_all(tmp_path, store, [{**parts[0], "rows": 2}])
    store.files.rm_file(f"{URL}/{parts[0]['name']}")
    with pytest.raises(InputError, match="does not exist"):
        publish_all(tmp_path, store, parts)


def test_rows_that_a_disk_has_changed_are_not_put(store: ObjectStore, tmp_path: Path) -> None:
    job = job_of(tmp_path, {3: pd.DataFrame({"n": [1]})}, "part-3.parquet")
    Path(job["files"][0]).write_bytes(b"x" * 500)
    with pytest.raises(OutputError, match="the rows of mini-batch 3 in .* have changed"):
        upload_part(job, store)


def test_a_trial_leaves_nothing(store: ObjectStore, tmp_path: Path) -> None:
    job = {"url": f"{URL}/_trial-0", "files": [], "pieces": [], "temporary": str(tmp_path / "t")}
    assert upload_part(job, store) == (0, 0)
    assert names_in(store) == []


def test_who_puts_parts_and_what_that_takes() -> None:
    storage = {"protocol": "az", "options": {"account_name": "a"},
               "secrets": {"account_key": {"env": "KEY_OF_OUTPUT"}}}  # fmt: skip
    output = {"destination": "az://c/out", "file_name": "rows", "storage": storage}
    record = journals.record(output=output)
    assert upload_target(record, {}) is None
    record = journals.record(output={**output, "in_parts": True})
    spec = upload_target(record, {})
    assert isinstance(spec, UploadTarget)
    assert spec.url == "az://c/out/rows"
    with pytest.raises(ConfigError, match="and on .* the credential of .* KEY_OF_OUTPUT, which is"):
        spec.check()
    spec = upload_target(record, {"KEY_OF_OUTPUT": "k"})
    assert spec is not None
    spec.check()


def test_a_manifest_of_another_run_is_not_taken_for_ours() -> None:
    with pytest.raises(OutputError, match="the output of run a is gone: run b has replaced it in"):
        read_manifest('{"run_id": "b", "parts": []}', "a", URL)
    with pytest.raises(OutputError, match="is not the manifest of an output in parts"):
        read_manifest("[]", "a", URL)


def test_parts_are_in_input_order_and_those_without_rows_are_none() -> None:
    index = PartIndex()
    for first in (8, 0, 4):
        index.note(PartStored(1, f"part-{first}", first, 1, 5, 9))
    index.note(PartStored(1, "", 5, 1, 0, 0))
    names = [[part.name for part in group] for group, _ in index.groups()]
    assert names == [["part-0"], ["part-4"], ["part-8"]]
