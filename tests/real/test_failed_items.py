"""The failed items of real runs: as a table, in a terminal, and in a file beside the output."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.errors import RunFailedError
from parallelrun_jupyter.runs.output.failed_items_file import CSV_NAME, PARQUET_NAME
from tests.real.conftest import end_of, rows_of

RAISES = """
def run(mini_batch):
    print("reading", len(mini_batch))
    for path in mini_batch:
        if path.endswith(("05.txt", "41.txt")):
            raise ValueError("no number in " + path[-7:])
    return [path[-7:] for path in mini_batch]
"""


@pytest.fixture
def start_text(tmp_path: Path, numbers: Path) -> Callable[..., Run]:
    """Return a function that submits the text of a script over the 60 numbers."""

    def submit_text(text: str, *, inputs: Any = None, **settings: Any) -> Run:
        script = tmp_path / "score.py"
        script.write_text(text)
        output = tmp_path / "out"
        settings = {"mini_batch_size": 1, "process_count_per_node": 2, "run_max_try": 2,
                    "retry_delay": 0, "error_threshold": -1, **settings}  # fmt: skip
        config = ParallelRunConfig(entry_script=str(script), **settings)
        return submit(config, inputs=inputs or numbers, output=str(output))

    return submit_text


def parallelrun(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "parallelrun_jupyter", *words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_list_is_there_when_the_run_ends_and_gone_when_all_succeed(
    start_text: Callable[..., Run], numbers: Path, tmp_path: Path
) -> None:
    run = start_text(RAISES)
    assert end_of(run) == "Completed"
    path = tmp_path / "out" / PARQUET_NAME
    frame = run.failed_items()
    assert [Path(item).name[-6:] for item in frame["item"]] == ["05.txt", "41.txt"]
    assert Path(frame["item"][0]).parent == numbers
    assert list(frame["mini_batch"]) == list(frame["number"]) == [5, 41]
    assert set(frame["tries"]) == {2}
    assert set(frame["place"]) == {"score.py:6 in run"}
    assert all(text.startswith("no number in ") for text in frame["message"])
    pd.testing.assert_frame_equal(pd.read_parquet(path).astype(frame.dtypes), frame)
    assert list(run.failed_items(logs=True)["log"].str.count("reading 1")) == [1, 1]
    assert list(run.failure_groups()["items_lost"]) == [2]

    lines = parallelrun("failures", run.run_id, "--items").splitlines()
    assert [line.split()[1:3] for line in lines[1:]] == [["5", "ValueError"], ["41", "ValueError"]]
    rows = [json.loads(line) for line in parallelrun("failures", "--json").splitlines()]
    assert [row["item"] for row in rows] == list(frame["item"])
    assert "4 attempts failed there; 2 items failed" in parallelrun("failures", run.run_id)

    repaired = tmp_path / "repaired.py"
    repaired.write_text("def run(mini_batch):\n    return [path[-7:] for path in mini_batch]\n")
    run.resume(failed_only=True, entry_script=repaired)
    assert end_of(run) == "Completed"
    assert run.failed_items().empty
    assert not path.exists()
    assert len(rows_of(run)) == 60
    assert parallelrun("failures", run.run_id, "--items") == "no failed items\n"


def test_a_run_that_failed_has_the_list_most_of_all(
    start_text: Callable[..., Run], tmp_path: Path
) -> None:
    run = start_text(RAISES, error_threshold=0, run_max_try=1, process_count_per_node=1)
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False)
    last = str(caught.value).splitlines()[-1]
    assert "1 item failed; error_threshold allows 0" in last
    assert "run.failed_items() lists the failed items, run.failures() lists the" in last
    assert f"'parallelrun failures {run.run_id} --items' lists the" in caught.value.worded(
        "terminal"
    )
    assert list(pd.read_parquet(tmp_path / "out" / PARQUET_NAME)["mini_batch"]) == [5]


def test_azures_output_folder_has_azures_files_only(
    start_text: Callable[..., Run], tmp_path: Path
) -> None:
    run = start_text(RAISES, isolate_failures=False)
    assert end_of(run) == "Completed"
    assert len(run.failed_items()) == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["parallel_run_step.txt"]


def test_a_list_that_cannot_be_written_is_a_warning(
    start_text: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "out" / PARQUET_NAME / "x").mkdir(parents=True)
    run = start_text(RAISES)
    assert end_of(run) == "Completed"
    [warning] = run.snapshot()["warnings"]
    assert warning.startswith("the list of failed items could not be written ([Errno")
    assert len(run.failed_items()) == 2


def test_rows_of_a_table_are_named_by_their_number(
    start_text: Callable[..., Run], tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "".join(f"{n},x\n" for n in range(20)))
    run = start_text(
        "def run(mini_batch):\n    if 13 in set(mini_batch['a']):\n        raise ValueError('13')\n"
        "    return mini_batch\n",
        inputs=TabularDataset.from_delimited_files(str(table)), mini_batch_size=None,
        mini_batch_rows=4,
    )  # fmt: skip
    assert end_of(run) == "Completed"
    items = run.failed_items()["item"]
    assert f"{table}: row 13" in set(items)
    frame = pd.read_csv(table)
    rows = items.str.rpartition(": row ")[2].astype(int)
    assert 13 in set(frame["a"].iloc[rows])


PICTURES = """
from PIL import Image

def run(mini_batch):
    for path in mini_batch:
        try:
            with Image.open(path) as picture:
                picture.load()
                yield picture.width
        except OSError as error:
            yield error
"""


def test_pictures_cut_in_half_are_the_failed_items(
    start_text: Callable[..., Run], tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = random.Random(7)
    broken = sorted(rng.sample(range(60), 7))
    for k in range(60):
        path = pictures / f"{k:02d}.jpg"
        image.new("RGB", (32 + k, 32), (k, 99, 180)).save(path)
        if k in broken:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run = start_text(PICTURES, inputs=str(pictures), mini_batch_size=10)
    assert end_of(run) == "Completed"
    frame = run.failed_items()
    assert [int(Path(item).stem) for item in frame["item"]] == broken == list(frame["number"])
    assert list(frame["position"]) == [k % 10 for k in broken]
    assert set(frame["error"]) <= {"OSError", "UnidentifiedImageError"}
    assert rows_of(run) == [str(32 + k) for k in range(60) if k not in broken]
    path = tmp_path / "out" / PARQUET_NAME
    pd.testing.assert_frame_equal(pd.read_parquet(path).astype(frame.dtypes), frame)
    assert not path.with_name(CSV_NAME).exists()
