"""Files of a store, an archive that fsspec opens: duplicates, deleted files, unusual names."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parallelrun_jupyter import FileDataset, TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.storage.object_store import ObjectStore
from parallelrun_jupyter.data.storage.storage import Place
from parallelrun_jupyter.data.storage.transfer import download_all
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.worker.plan_line import PlanLine


def archive(path: Path, content: dict[str, str]) -> dict[str, Any]:
    """Write an archive; return the storage options that open it."""
    with zipfile.ZipFile(path, "w") as file:
        for name, text in content.items():
            file.writestr(name, text)
    return {"fo": str(path)}


TABLES = {f"in/{k}.csv": f"n,t\n{k},x{k}\n{k + 10},y\n" for k in range(12)}


def expected(names: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the files in order, as pandas reads them."""
    frames = [pd.read_csv(io.StringIO(TABLES[name])) for name in names]
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["in/1.csv", "in/1.csv"], ["in/1.csv"] * 2),
        (["in/1.csv"] * 20, ["in/1.csv"] * 20),
        (["in/1*.csv", "in/1.csv", "in/*1.csv"], [f"in/{n}.csv" for n in ("1", "10", "11", "1", "1", "11")]),
        (["in", "in/"], sorted(TABLES) * 2),
    ],
)  # fmt: skip
def test_a_table_that_is_given_twice_counts_twice(
    tmp_path: Path, given: list[str], names: list[str]
) -> None:
    options = archive(tmp_path / "a.zip", TABLES)
    urls = [f"zip://{path}" for path in given]
    table = TabularDataset.from_delimited_files(urls, storage_options=options)
    planned = [
        PlanLine.decode(line) for line, _ in table.mini_batches(0, BatchSpec(1 << 20)) if line
    ]
    assert [row.paths for row in planned] == [[f"zip://{name}"] for name in names]
    assert {row.table["format"] for row in planned} == {"delimited"}
    pd.testing.assert_frame_equal(table.to_pandas_dataframe(), expected(names))


def test_a_deleted_table_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = archive(tmp_path / "a.zip", TABLES)
    table = TabularDataset.from_delimited_files("zip://in", storage_options=options)
    listed = list(table.files.folders())
    archive(tmp_path / "a.zip", {k: v for k, v in TABLES.items() if k != "in/3.csv"})
    monkeypatch.setattr(FileDataset, "folders", lambda _: iter(listed))
    planned = [
        PlanLine.decode(line) for line, _ in table.mini_batches(0, BatchSpec(1 << 20)) if line
    ]
    assert [row.paths[0] for row in planned] == [f"zip://{name}" for name in sorted(TABLES)]
    [bad] = [row for row in planned if row.table["format"] == "unreadable"]
    assert bad.paths == ["zip://in/3.csv"]
    assert "'zip://in/3.csv' does not exist in the zip store" in bad.table["why"]


def files_below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["in/../../up.txt", "../up.txt", "in/..", "in/a/../b.txt"])
def test_a_key_that_leads_out_of_the_folder_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = FileDataset("zip://in", storage_options=archive(tmp_path / "a.zip", {"in/b.txt": ""}))
    listed = [[("zip://in/b.txt", 0, ""), (f"zip://{name}", 0, "")]]
    monkeypatch.setattr(
        ObjectStore, "folders", lambda *_: iter(listed)
    )  # a store that allows such keys
    (tmp_path / "home" / "target").mkdir(parents=True)
    before = files_below(tmp_path)
    place = Place(dataset.paths[0], dataset.storage)
    with pytest.raises(InputError, match=r"would not stay below .* Nothing was written"):
        download_all(place, "zip://in", str(tmp_path / "home" / "target"), overwrite=True)
    with pytest.raises(InputError, match=r"would not stay below .* Nothing was written"):
        dataset.download(tmp_path / "home" / "target")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["in//a.txt", "in/a.txt"], "would be the same local file"),
        (["in/a", "in/a/b"], "is below it, which a local folder cannot represent"),
    ],
)
def test_colliding_names_are_refused(
    tmp_path: Path, names: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = FileDataset("zip://in", storage_options=archive(tmp_path / "a.zip", {"in/b": ""}))
    listed = [[(f"zip://{name}", 0, "") for name in names]]
    monkeypatch.setattr(ObjectStore, "folders", lambda *_: iter(listed))
    with pytest.raises(InputError, match=why):
        dataset.download(tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_an_archive_is_downloaded_as_python_unpacks_it(tmp_path: Path) -> None:
    names = ["in/a.txt", "in/deep/b.txt", "in/..c", "in/d..", "in/ü [1].txt"]
    options = archive(tmp_path / "a.zip", {name: name for name in names})
    FileDataset("zip://in", storage_options=options).download(tmp_path / "ours")
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        file.extractall(tmp_path / "theirs")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    shown = [name for name in files_below(theirs) if not Path(name).name.startswith(".")]
    assert files_below(ours) == shown
    for name in shown:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
