"""Runs over tables: the arguments of run(), the counts, and bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parallelrun_jupyter import Run, TabularDataset
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.runs.journal.events import WarningRaised
from tests.azurite_process import Azurite
from tests.real.conftest import end_of, rows_of


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    frame = pd.DataFrame(
        {
            "id": range(5000),
            "price": [number / 4 for number in range(5000)],
            "text": [f'say "{number}",\nplease' for number in range(5000)],
        }
    )
    frame.to_csv(tmp_path / "orders.csv", index=False)
    return tmp_path / "orders.csv"


@pytest.mark.parametrize("settings", [{"mini_batch_size": "20KB"}, {"mini_batch_rows": 700}])
def test_rows_are_items_and_come_in_order(
    start: Callable[..., Run], orders: Path, settings: dict[str, object]
) -> None:
    run = start(
        "rows.py",
        inputs=TabularDataset.from_delimited_files(orders),
        **{"mini_batch_size": None, **settings},
    )
    assert end_of(run) == "Completed"
    assert rows_of(run) == [f"{number} int64 float64 {number / 4}" for number in range(5000)]
    snapshot = run.snapshot()
    assert (snapshot["items"], snapshot["items_succeeded"]) == (5000, 5000)
    assert snapshot["mini_batches"] == (8 if "mini_batch_rows" in settings else 9)
    if "mini_batch_rows" in settings:
        assert run.try_one(3)[0].startswith("2100 ")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_output_format_is_one_file_that_reads_back_with_types(
    start: Callable[..., Run], orders: Path, form: str
) -> None:
    table = TabularDataset.from_delimited_files(orders)
    run = start("frames.py", inputs=table, mini_batch_size="20KB", output_format=form)
    assert end_of(run) == "Completed"
    assert run.snapshot()["output"].endswith(f"parallel_run_step.{form}")
    expected = pd.read_csv(orders)
    expected["twice"] = expected["price"] * 2
    pd.testing.assert_frame_equal(run.to_pandas(), expected)


def test_an_output_of_two_schemas_fails_and_names_the_mini_batches(
    start: Callable[..., Run], orders: Path
) -> None:
    table = TabularDataset.from_delimited_files(orders)
    run = start("frames.py", inputs=table, mini_batch_rows=1000, mini_batch_size=None,
                output_format="parquet", arguments=["odd"])  # fmt: skip
    assert end_of(run) == "Failed"
    reason = run.snapshot()["reason"]
    types = dict(re.findall(r"for mini-batch (\d) (?:the columns )?'twice' as (\w+)", reason))
    assert len(types) == 2, reason
    for mini_batch, kind in types.items():
        assert kind.endswith("string" if int(mini_batch) % 2 else "double")
    assert "submit again" in reason


def test_bad_rows_cost_nothing_but_themselves(start: Callable[..., Run], tmp_path: Path) -> None:
    good, bad = tmp_path / "a.csv", tmp_path / "b.csv"
    good.write_text("id,price\n" + "".join(f"{k},1.5\n" for k in range(100)))
    bad.write_text("id,price\n1,2.5\n2,2.5,oops\n")
    (tmp_path / "c.csv").write_bytes(b"id,price\n3,1.5\n4,\xff\n")
    table = TabularDataset.from_delimited_files(
        [good, bad, tmp_path / "c.csv"], column_types={"id": int, "price": float}
    )
    run = start("rows.py", inputs=table, mini_batch_size="200", error_threshold=-1, run_max_try=2)
    assert end_of(run) == "Completed"
    assert len(rows_of(run)) == 102
    snapshot = run.snapshot()
    assert (snapshot["items_succeeded"], snapshot["items_failed"]) == (102, 2)
    failures = run.failures()
    assert set(failures["kind"]) == {"bad_input"}
    messages = "\n".join(failures["message"])
    assert f"{bad}: the row at byte 15 has more fields than the 2 columns" in messages
    assert "c.csv: the byte 0xff at offset 17 is not utf-8" in messages


def test_loading_has_a_clock_of_its_own(start: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,price\n1,1.5\n")
    table = TabularDataset.from_delimited_files(path, column_types={"id": int, "price": float})
    run = start(
        "loads_slowly.py", inputs=table, task_overhead_timeout=1, run_max_try=1, error_threshold=-1
    )
    assert end_of(run) == "Failed"
    [failure] = run.failures().to_dict("records")
    assert failure["kind"] == "load_timeout"
    assert failure["group"] == "Timeout at loading"
    assert failure["message"] == (
        "loading the mini-batch took longer than task_overhead_timeout = 1 s"
    )


@pytest.mark.usefixtures("endpoint")
def test_a_table_in_a_store_is_brought_here_once_and_read_as_ranges(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, Any], orders: Path
) -> None:
    two = "id,price,text\n5000,1250.0,x\n"
    container = azurite.make_container({"t/one.csv": orders.read_text(), "t/two.csv": two})
    table = TabularDataset.from_delimited_files(
        f"az://{container.container_name}/t/*.csv", storage_options=keyed
    )
    run = start("rows.py", inputs=table, mini_batch_size="20KB")
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == [f"{number} int64 float64 {number / 4}" for number in range(5001)]
    assert run.snapshot()["mini_batches"] == 10
    assert table.take(3)["id"].tolist() == [0, 1, 2]
    assert run.try_one(9) == ["5000 int64 float64 1250.0"]


def test_a_table_goes_on_after_its_driver_was_killed(
    start: Callable[..., Run], orders: Path
) -> None:
    table = TabularDataset.from_delimited_files(orders)
    run = start("rows.py", inputs=table, mini_batch_size=None, mini_batch_rows=20,
                arguments=["slow"])  # fmt: skip
    while run.snapshot()["succeeded"] < 20:
        time.sleep(0.02)
    os.kill(json.loads((run.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
    assert end_of(run) == "Interrupted"
    assert end_of(run.resume()) == "Completed"
    assert rows_of(run) == [f"{number} int64 float64 {number / 4}" for number in range(5000)]
    assert run.snapshot()["items_succeeded"] == 5000


def test_a_file_that_looks_escaped_warns_the_run(start: Callable[..., Run], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,price,text\n1,1.5,"say \\"hi\\""\n2,2.5,"two\\\nlines"\n')
    table = TabularDataset.from_delimited_files(path)
    run = start("rows.py", inputs=table, mini_batch_size="20KB")
    assert end_of(run) == "Completed"
    [warning] = [event for event in run.events(follow=False) if isinstance(event, WarningRaised)]
    assert f"{str(path)!r} seems to escape quotes with a backslash" in warning.text
    table = TabularDataset.from_delimited_files(path, escape="\\")
    run = start("rows.py", inputs=table, mini_batch_size="20KB")
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["1 int64 float64 1.5", "2 int64 float64 2.5"]
    assert not [event for event in run.events(follow=False) if isinstance(event, WarningRaised)]


MAKERS: dict[str, tuple[Callable[..., TabularDataset], Callable[[pd.DataFrame, Path], Any]]] = {
    "csv": (
        TabularDataset.from_delimited_files,
        lambda frame, path: frame.to_csv(path, index=False),
    ),
    "jsonl": (
        TabularDataset.from_json_lines_files,
        lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ),
    "parquet": (TabularDataset.from_parquet_files, lambda frame, path: frame.to_parquet(path)),
}


@pytest.mark.parametrize("form", MAKERS)
def test_tables_that_were_repaired_are_planned_again_with_the_types_of_the_others(
    start: Callable[..., Run], tmp_path: Path, form: str
) -> None:
    make, write = MAKERS[form]
    folder = tmp_path / "tables"
    folder.mkdir()
    frames = [
        pd.DataFrame({"id": range(10 * k, 10 * k + 3 + k), "price": [k + 0.5] * (3 + k)})
        for k in range(6)
    ]
    for k, frame in enumerate(frames):
        write(frame, folder / f"{k}.{form}")
    whole = {k: (folder / f"{k}.{form}").read_bytes() for k in (1, 4)}
    torn = {"csv": b'id,price\n"40,', "jsonl": b'{"id": 1', "parquet": b"PAR1"}[form]
    (folder / f"1.{form}").write_bytes(torn)
    (folder / f"4.{form}").write_bytes(torn)
    script = tmp_path / "keep.py"
    script.write_text("def run(mini_batch):\n    return mini_batch\n")
    run = start(
        str(script), inputs=make(folder), mini_batch_size="1MB", run_max_try=1,
        error_threshold=9, output_format="parquet",
    )  # fmt: skip
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert run.snapshot()["failed"] == 2
    (folder / f"1.{form}").write_bytes(whole[1])
    run.resume(failed_only=True)
    assert end_of(run) == "Completed"
    assert run.snapshot()["failed"] == 1, run.failures().iloc[-1]["message"]
    (folder / f"4.{form}").write_bytes(whole[4])
    run.resume(failed_only=True)
    assert end_of(run) == "Completed"
    snapshot = run.snapshot()
    assert (snapshot["items"], snapshot["items_succeeded"]) == (33, 33)
    assert (snapshot["items_failed"], snapshot["items_left"]) == (0, 0)
    # A line that is not JSON counted as a gap when the types were decided.
    expected = pd.concat(frames, ignore_index=True)
    pd.testing.assert_frame_equal(run.to_pandas(), expected, check_dtype=form != "jsonl")


def test_a_table_of_which_rows_are_kept_is_refused_when_it_was_repaired(
    start: Callable[..., Run], orders: Path
) -> None:
    whole = orders.read_text()
    orders.write_bytes(whole.replace('say ""3000""', "say \xff").encode("latin-1"))
    run = start(
        "rows.py", inputs=TabularDataset.from_delimited_files(orders), mini_batch_size="20KB",
        run_max_try=1, error_threshold=-1,
    )  # fmt: skip
    assert end_of(run) == "Completed"
    before = run.snapshot(), rows_of(run)
    assert before[0]["items_failed"] == 1
    orders.write_text(whole)
    with pytest.raises(InputError, match="rows that mini-batch 0 made from it are kept"):
        run.resume(failed_only=True)
    assert (run.snapshot(), rows_of(run)) == before
