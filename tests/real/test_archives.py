"""Inputs in a store that needs no server: an archive, staged like any other store's files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import FileDataset, ParallelRunConfig, Run, TabularDataset, submit
from tests.real.conftest import end_of, rows_of

NAMES = [f"in/{k:02d}.txt" for k in range(20)]


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Return the storage options of an archive of files, tables and a model."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, name in enumerate(NAMES):
            archive.writestr(name, str(number))
        for number in range(3):
            archive.writestr(f"tables/{number}.csv", f"n\n{number}\n{number + 10}\n")
        for name in ("model/a", "model/deep/b", "model/deep/c"):
            archive.writestr(name, name)
    return {"fo": str(tmp_path / "a.zip")}


def test_files_of_overlapping_globs_run_once_for_each(
    start: Callable[..., Run], options: dict[str, Any]
) -> None:
    urls = ["zip://in/*.txt", "zip://in/03.txt", "zip://in/1*.txt"]
    run = start("reads.py", inputs=FileDataset(urls, storage_options=options), mini_batch_size=4)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    names = [*NAMES, NAMES[3], *NAMES[10:]]
    assert rows_of(run) == [f"{name}={int(name[3:5])}" for name in names]


def test_tables_of_overlapping_globs_run_once_for_each(
    options: dict[str, Any], tmp_path: Path
) -> None:
    urls = ["zip://tables/*.csv", "zip://tables/1.csv", "zip://tables/1.csv"]
    inputs = TabularDataset.from_delimited_files(urls, storage_options=options)
    script = tmp_path / "tables.py"
    script.write_text("def run(frame):\n    return list(frame['n'])\n")
    config = ParallelRunConfig(entry_script=str(script), process_count_per_node=2)
    run = submit(config, inputs=inputs)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == ["0", "10", "1", "11", "2", "12", *["1", "11"] * 2]


def test_side_inputs_that_overlap_each_have_all_of_their_files(
    options: dict[str, Any], tmp_path: Path
) -> None:
    script = tmp_path / "lists.py"
    script.write_text(
        "import os, sys\n"
        "def below(folder):\n"
        "    found = [os.path.join(at, n) for at, _, names in os.walk(folder) for n in names]\n"
        "    return ' '.join(sorted(os.path.relpath(path, folder) for path in found))\n"
        "def run(mini_batch):\n"
        "    return [f'{os.path.basename(p)}: ' + '; '.join(map(below, sys.argv[1:])) for p in mini_batch]\n"
    )
    sides = [FileDataset(f"zip://{at}", storage_options=options) for at in ("model", "model/deep")]
    inputs = FileDataset("zip://model/deep", storage_options=options)
    config = ParallelRunConfig(entry_script=str(script), process_count_per_node=2)
    run = submit(config, inputs=inputs, arguments=sides)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == [f"{name}: a deep/b deep/c; b c" for name in ("b", "c")]
