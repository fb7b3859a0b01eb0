"""The file of failed items, the table of them, and the lines in a terminal."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parallelrun_jupyter.client.failures import SHOWN_ITEMS, items_frame, items_text
from parallelrun_jupyter.runs.failed_items import FailedItem
from parallelrun_jupyter.runs.output.failed_items_file import (
    COLUMNS,
    CSV_NAME,
    PARQUET_NAME,
    failed_items_file,
    folder_of,
    write_failed_items,
)
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.journals import record

ISOLATED = {"isolate_failures": True}


def items(count: int) -> Iterator[FailedItem]:
    """Yield failed items; every third one is of a short result."""
    for k in range(count):
        is_known = k % 3 < 2
        yield FailedItem(
            f"/in/{k}, caf\u00e9.png" if is_known else None, k // 5, k % 5 if is_known else None,
            k if is_known else None, "ValueError", f'cut "in" half\n{k}', "score.py:9 in run",
            f"ValueError at score.py:{k % 2} in run", "exception", 3, "Traceback:\n  line 9", "",
        )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.output.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("count", [1, 5000, 12_345])
def test_parquet_is_the_same_table(folder: RunFolder, tmp_path: Path, count: int) -> None:
    made = record(limits=ISOLATED, output={"destination": str(tmp_path / "out")})
    path = write_failed_items(folder, made, items(count))
    assert path == tmp_path / "out" / PARQUET_NAME == failed_items_file(folder, made)
    frame = pd.read_parquet(path)
    expected = items_frame(items(count), logs=False)
    assert list(frame) == list(COLUMNS)
    pd.testing.assert_frame_equal(frame.astype(expected.dtypes), expected)
    assert [p.name for p in path.parent.iterdir()] == [PARQUET_NAME]


def test_csv_has_a_traceback_for_each_group(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = record(limits=ISOLATED)
    write_failed_items(folder, made, items(1))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = write_failed_items(folder, made, items(9))
    assert path == folder.output / CSV_NAME
    assert [p.name for p in folder.output.iterdir()] == [CSV_NAME], "the other one is of a retry"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["item"] or None for row in rows] == [item.item for item in items(9)]
    assert [row["message"] for row in rows] == [item.message for item in items(9)]
    assert [bool(row["traceback"]) for row in rows] == [True] * 2 + [False] * 7
    assert write_failed_items(folder, made, ()) is None
    assert not list(folder.output.iterdir())


@pytest.mark.parametrize("name", [PARQUET_NAME, CSV_NAME])
def test_a_file_of_someone_else_stays(folder: RunFolder, name: str) -> None:
    made = record(limits=ISOLATED)
    (folder.output / name).write_text("item,comment\n1,mine\n")
    assert write_failed_items(folder, made, ()) is None
    assert (folder.output / name).read_text() == "item,comment\n1,mine\n"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({}, "run/output"),
        ({"destination": "/out"}, "/out"),
        ({"destination": "/out", "append_rows": False}, "run/output"),
        ({"destination": "https://a.blob/c/out", "storage": {"protocol": "az"}}, "run/output"),
        ({"destination": "/out", "file_name": CSV_NAME}, "run/output"),
    ],
)
def test_the_file_is_beside_the_output(
    folder: RunFolder, tmp_path: Path, output: dict[str, Any], expected: str
) -> None:
    assert folder_of(folder, record(limits=ISOLATED, output=output)) == tmp_path / expected
    azure = record(output=output)
    assert folder_of(folder, azure) is failed_items_file(folder, azure) is None
    assert write_failed_items(folder, azure, items(3)) is None


def test_the_types_of_the_table_are_the_same_without_rows() -> None:
    for logs in (False, True):
        empty = items_frame((), logs=logs)
        assert list(empty) == [*COLUMNS, *(["log"] if logs else [])]
        assert empty.empty
        assert items_frame(items(7), logs=logs).dtypes.equals(empty.dtypes)
    frame = items_frame(items(9), logs=False)
    assert frame["position"].isna().sum() == frame["item"].isna().sum() == 3
    assert list(frame.query("mini_batch == 1")["number"].dropna()) == [6, 7]


def test_a_terminal_shows_the_first_items() -> None:
    lines = items_text(items(3), 3, "all").splitlines()
    assert lines[0].split() == ["ITEM", "MINI-BATCH", "ERROR", "MESSAGE"]
    assert lines[3].split()[:3] == ["unknown", "0", "ValueError"]
    assert len({line.index("ValueError") for line in lines[1:]}) == 1, "columns are aligned"
    many = items_text(items(SHOWN_ITEMS + 1000), SHOWN_ITEMS + 1000, "see /out").splitlines()
    assert len(many) == SHOWN_ITEMS + 2
    assert many[-1] == "and 1,000 more: see /out"
