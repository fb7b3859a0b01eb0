"""Runs over tables: what run() gets, what is counted, and what bad input does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from parallelrun_jupyter import Run, TabularDataset
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
    assert "for mini-batch 1 the columns 'twice' as " in run.snapshot()["reason"]
    assert "but for mini-batch 0 'twice' as double" in run.snapshot()["reason"]
