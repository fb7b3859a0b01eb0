"""Runs whose inputs carry keys: one mini-batch for each combination, which the context has."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parallelrun_jupyter import FileDataset, Run, TabularDataset
from parallelrun_jupyter.azureml_v2.execution.failed import failed_sentence
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.errors import RunFailedError
from parallelrun_jupyter.runs.snapshot.failed_item_pages import page_of, read_page
from parallelrun_jupyter.runs.snapshot.follower import Follower
from tests.real.conftest import end_of, rows_of

SONGS = ("ada/summer/jazz", "ada/winter/jazz", "ada/winter/rock", "bob/summer/folk",
         "bob/winter/jazz", "cid/summer/rock")  # fmt: skip
FORMAT = "songs/{user}/{season}/{genres}.wav"


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for name in SONGS:
        path = tmp_path / "songs" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "songs"


def told_by(run: Run) -> list[dict[str, Any]]:
    return [json.loads(row) for row in rows_of(run)]


def test_folders_give_one_mini_batch_for_each_combination(
    start: Callable[..., Run], songs: Path
) -> None:
    run = start(
        "tells_context.py", inputs=FileDataset(songs / "**/*.wav", partition_format=FORMAT),
        mini_batch_size=None, partition_keys=["user", "genres"],
    )  # fmt: skip
    assert end_of(run) == "Completed"
    rows = told_by(run)
    assert [(row["index"], *row["keys"].values(), row["first"]) for row in rows] == [
        (0, "ada", "jazz", 0), (0, "ada", "jazz", 0), (1, "ada", "rock", 2),
        (2, "bob", "folk", 3), (3, "bob", "jazz", 4), (4, "cid", "rock", 5),
    ]  # fmt: skip
    assert run.snapshot()["mini_batches"] == 5
    assert all(row["same"] for row in rows)
    assert list(rows[0]["keys"]) == ["user", "genres"], (
        "the keys that were asked for, in that order"
    )
    [first, again] = run.try_one(0)
    assert [json.loads(first), json.loads(again)] == rows[:2]


def test_dates_arrive_as_datetime_and_without_keys_a_context_still_numbers(
    start: Callable[..., Run], songs: Path, numbers: Path
) -> None:
    for day in ("2019/12/31", "2020/01/01"):
        (numbers / day).mkdir(parents=True)
        (numbers / "000.txt").rename(numbers / day / "a.txt")
        (numbers / "000.txt").write_text("0")
    dated = FileDataset(numbers / "20*/**", partition_format="{day:yyyy/MM/dd}/{name}.txt")
    run = start("tells_context.py", inputs=dated, mini_batch_size=None, partition_keys=["day"])
    assert end_of(run) == "Completed"
    told = [(row["keys"]["day"], row["types"]) for row in told_by(run)]
    assert told == [(f"{d} 00:00:00", ["datetime"]) for d in ("2019-12-31", "2020-01-01")]
    run = start("tells_context.py", inputs=[dated, songs], mini_batch_size=4)
    assert end_of(run) == "Completed"
    assert [(row["index"], row["first"], row["keys"]) for row in told_by(run)] == [
        (k, f, {}) for k, f in [(0, 0)] * 2 + [(1, 2)] * 4 + [(2, 6)] * 2
    ]


def test_a_path_that_does_not_match_ends_the_run_with_its_name(
    start: Callable[..., Run], songs: Path
) -> None:
    (songs / "zoe" / "zoe").mkdir(parents=True)
    (songs / "zoe" / "zoe" / "zoe.mp3").write_text("x")
    inputs = FileDataset(songs, partition_format=FORMAT)
    run = start("tells_context.py", inputs=inputs, mini_batch_size=None, partition_keys=["user"])
    with pytest.raises(
        RunFailedError, match=r"zoe\.mp3' does not match the partition_format 'songs"
    ):
        run.wait_for_completion(show_output=False)


@pytest.mark.parametrize("change", ["none", "edit", "add"])
def test_a_run_over_combinations_resumes(
    start: Callable[..., Run], numbers: Path, change: str
) -> None:
    inputs = FileDataset(numbers, partition_format="numbers/0*{digit}.txt")
    run = start("slow.py", inputs=inputs, mini_batch_size=None, partition_keys=["digit"])
    while run.snapshot()["succeeded"] < 3:
        pass
    os.kill(json.loads((run.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
    while run.status != "Interrupted":
        pass
    lines = run.folder.plan.read_bytes().splitlines(keepends=True)
    run.folder.plan.write_bytes(b"".join(lines[:-3]))
    if change == "edit":
        (numbers / "057.txt").write_text("something else")
    elif change == "add":
        (numbers / "00a0.txt").write_text("new")
    run.resume()
    if change == "none":
        assert end_of(run) == "Completed"
        assert run.folder.plan.read_bytes() == b"".join(lines)
    else:
        with pytest.raises(RunFailedError, match="since the run was planned"):
            run.wait_for_completion(show_output=False)


def oj_sales(folder: Path) -> Path:
    """Write two files of sales in which stores and brands take turns; week is the row's number."""
    rows = [
        (k, (2, 5, 8)[k % 3], ("dominicks", "minute.maid")[k // 5 % 2], k * 1.5) for k in range(40)
    ]
    frame = pd.DataFrame(rows, columns=["week", "Store", "Brand", "Revenue"])
    folder.mkdir()
    frame[:23].to_csv(folder / "a.csv", index=False)
    frame[23:].to_csv(folder / "b.csv", index=False)
    return folder


def test_columns_give_one_mini_batch_for_each_combination_with_keys_last(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    source = TabularDataset.from_delimited_files(oj_sales(tmp_path / "oj"))
    copy = source.partition_by(["Store", "Brand"], tmp_path / "by_store", name="oj")
    run = start(
        "tells_rows.py", inputs=copy, mini_batch_size=None, partition_keys=["Store", "Brand"],
        error_threshold=-1,
    )  # fmt: skip
    assert end_of(run) == "Completed"
    told = [json.loads(row) for row in rows_of(run)]
    assert len(told) == run.snapshot()["mini_batches"] == 6
    whole = source.to_pandas_dataframe()
    first = 0
    for number, one in enumerate(told):
        keys = one["keys"]
        assert (type(keys["Store"]), type(keys["Brand"])) == (int, str), "types survive"
        expected = whole[(whole["Store"] == keys["Store"]) & (whole["Brand"] == keys["Brand"])]
        assert one["weeks"] == expected["week"].tolist(), "rows keep their order"
        assert one["columns"] == ["week", "Revenue", "Store", "Brand"], "keys come last"
        assert (one["index"], one["first"], one["same"]) == (number, first, True)
        first += len(expected)
    assert first == 40 == run.snapshot()["items_succeeded"] + run.snapshot()["items_failed"]


def test_failed_items_name_their_partition(
    start: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = TabularDataset.from_delimited_files(oj_sales(tmp_path / "oj"))
    copy = source.partition_by(["Store", "Brand"], tmp_path / "by_store", name="oj")
    script = tmp_path / "refuses.py"
    script.write_text("def run(frame):\n    raise ValueError('no')\n")
    run = start(
        str(script), inputs=copy, mini_batch_size=None, partition_keys=["Store", "Brand"],
        error_threshold=-1, run_max_try=1,
    )  # fmt: skip
    end_of(run)
    items = run.failed_items()
    whole = source.to_pandas_dataframe()
    pairs = zip(whole["Store"], whole["Brand"], strict=True)
    suffixes = Counter(f" (Store={store}, Brand={brand})" for store, brand in pairs)
    found = Counter(" (" + item.rpartition(" (")[2] for item in items["item"])
    assert found == suffixes
    first = items["item"][0]
    path, _, rest = first.partition(": row ")
    assert Path(path).is_file()
    assert rest == "0 (Store=2, Brand=dominicks)"
    assert main(["failures", run.run_id, "--items"]) == 0
    assert f"{first}  " in capsys.readouterr().out
    follower = Follower(run.folder)
    follower.refresh()
    [group] = follower.state.groups
    page = read_page(run.folder, page_of(follower.state, group))  # of the window
    name = page["items"][0]["name"]
    assert name.startswith(path)
    assert name.endswith(" (Store=2, Brand=dominicks)")
    assert f": {Path(path).name}: row 0 (Store=2, Brand=dominicks)," in failed_sentence(run.run_id)


def test_a_partitioned_folder_is_an_input_by_itself(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    copy = TabularDataset.from_delimited_files(oj_sales(tmp_path / "oj")).partition_by(
        ["Brand"], tmp_path / "by_brand"
    )
    [folder] = (tmp_path / "by_brand").iterdir()
    run = start(
        "tells_rows.py",
        inputs=folder,
        mini_batch_size=None,
        partition_keys=["Brand"],
        error_threshold=-1,
    )
    assert end_of(run) == "Completed"
    values = [json.loads(row)["keys"] for row in rows_of(run)]
    assert (
        values
        == copy.get_partition_key_values()
        == [{"Brand": "dominicks"}, {"Brand": "minute.maid"}]
    )


@pytest.mark.parametrize("version", ["3.7", "3.13"])
def test_another_python_is_told_the_same(
    start: Callable[..., Run], songs: Path, version: str
) -> None:
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} on this machine")
    (songs / "2020-02-29").mkdir()
    (songs / "2020-02-29" / "x.wav").write_text("x")
    run = start(
        "tells_context.py", environment=str(found[0]), mini_batch_size=None, partition_keys=["day"],
        inputs=FileDataset(songs / "2020*/*", partition_format="{day:yyyy-MM-dd}/*"),
    )  # fmt: skip
    assert end_of(run) == "Completed"
    [told] = told_by(run)
    assert (told["keys"], told["types"]) == ({"day": "2020-02-29 00:00:00"}, ["datetime"])
