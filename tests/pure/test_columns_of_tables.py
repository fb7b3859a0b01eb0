"""Tables of which some columns are read have the rows that pandas has after dropping the others."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.tables import type_inference
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables import delimited
from parallelrun_jupyter.worker.tables.reader import load_table


def joined(dataset: TabularDataset, size: int = 1 << 30) -> pd.DataFrame:
    lines = [text for text, _ in dataset.mini_batches(0, BatchSpec(size)) if text]
    frames = [load_table(PlanLine.decode(line)) for line in lines]
    frame: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return frame


CELLS = st.sampled_from(["1", "-2", "0.5", "", "x", "a,b", "a\nb", "NA", "True", "007", 'q"q', " "])


@st.composite
def rows_and_columns(draw: st.DrawFn) -> tuple[list[list[str]], list[str]]:
    width, rows = draw(st.integers(2, 5)), draw(st.integers(1, 6))
    columns = []
    for _ in range(width):
        cell = draw(st.sampled_from([st.integers(-9, 9).map(str), st.just("0.5"), CELLS]))
        columns.append(draw(st.lists(cell, min_size=rows, max_size=rows)))
    names = [f"c{k}" for k in range(width)]
    kept = draw(st.lists(st.sampled_from(names), min_size=1, max_size=width, unique=True))
    return [names, *(list(row) for row in zip(*columns, strict=True))], kept


@settings(max_examples=150)
@given(
    table=rows_and_columns(),
    size=st.integers(1, 40),
    lacking=st.integers(0, 2),
    wide=st.sampled_from([1, 256]),
    types=st.sampled_from([None, "str"]),
)
def test_some_columns_of_delimited_text(
    tmp_path_factory: pytest.TempPathFactory,
    table: tuple[list[list[str]], list[str]],
    size: int,
    lacking: int,
    wide: int,
    types: Any,
) -> None:
    rows, kept = table
    path = tmp_path_factory.getbasetemp() / "some_columns.csv"
    rows[1] = rows[1][: max(1, len(rows[1]) - lacking)]  # a short first row
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    delimited.MISTAKEN.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "WIDE", wide)
        patch.setattr(type_inference, "WIDE", wide)
        some = TabularDataset.from_delimited_files(path, columns=kept, column_types=types)
        every = TabularDataset.from_delimited_files(path, column_types=types)
        frame = joined(some, size)
        expected = joined(every, size)
    expected = expected[[name for name in expected if name in kept]]
    pd.testing.assert_frame_equal(frame, expected)
    if types:
        of_pandas = pd.read_csv(
            path, usecols=kept, dtype="str", keep_default_na=False, na_values=[""]
        )
        pd.testing.assert_frame_equal(frame, of_pandas)


@pytest.mark.parametrize("wide", [1, 256])
def test_only_the_width_of_a_row_matters_in_the_other_columns(tmp_path: Path, wide: int) -> None:
    path = tmp_path / "x.csv"
    types = {"a": "int64", "b": "int64", "c": "int64"}
    path.write_text("a,b,c\n1,x,3\n4,,6,\n7\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delimited, "WIDE", wide)
        table = TabularDataset.from_delimited_files(path, columns=["a"], column_types=types)
        assert joined(table)["a"].tolist() == [1, 4, 7]
        for surplus in (",8", ",,8", ",,"):
            path.write_text(f"a,b,c\n1,x,3\n4,,6{surplus}\n")
            table = TabularDataset.from_delimited_files(path, columns=["a"], column_types=types)
            with pytest.raises(
                BadInput, match="the row at byte 12 has more fields than the 3 columns"
            ):
                joined(table)
        path.write_text("a,b,c\n1,x,3\ny,,6\n")
        table = TabularDataset.from_delimited_files(path, columns=["a"], column_types=types)
        with pytest.raises(BadInput, match="column 'a' contains 'y' in the row at byte 12"):
            joined(table)


def test_a_plan_names_only_the_columns_that_are_read(tmp_path: Path) -> None:
    names = [f"c{k}" for k in range(5000)]
    path = tmp_path / "x.csv"
    path.write_text("\n".join([",".join(names), ",".join("7" * 5000), ""]))
    table = TabularDataset.from_delimited_files(path, columns=["c4999", "c3"])
    [line] = [text for text, _ in table.mini_batches(0, BatchSpec(1 << 30)) if text]
    assert len(line) < 1000
    assert joined(table).to_dict("list") == {"c3": [7], "c4999": [7]}


def test_files_joined_by_name_may_lack_all_columns_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,x\n")
    (tmp_path / "b.csv").write_text("b,c,d\ny,0.5,z\nw,,z\n")
    for columns in (["c"], ["a"], ["c", "a"], ["d"]):
        options: dict[str, Any] = {"header": "all_files_different_headers"}
        some = TabularDataset.from_delimited_files(tmp_path, columns=columns, **options)
        every = joined(TabularDataset.from_delimited_files(tmp_path, **options))
        pd.testing.assert_frame_equal(joined(some), every[sorted(columns)])


JSON_ROWS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from([1, 2.5, "x", None, True, [1]])),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=60)
@given(rows=JSON_ROWS, columns=st.sampled_from([["a"], ["a", "b"]]))
def test_some_columns_of_json_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], columns: list[str]
) -> None:
    rows = [{"a": 1, "b": "x", "c": 2.5}, *rows]
    path = tmp_path_factory.getbasetemp() / "some_columns.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    some = TabularDataset.from_json_lines_files(path, columns=columns)
    every = joined(TabularDataset.from_json_lines_files(path))
    pd.testing.assert_frame_equal(joined(some), every[columns])


def test_some_columns_of_parquet_may_differ_in_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "year=2024"
    folder.mkdir()
    frames = [
        pd.DataFrame({"a": [1, 2], "b": [None, 2.5], "c": ["x", "y"]}),
        pd.DataFrame({"a": [3], "d": ["z"]}),
    ]
    for number, frame in enumerate(frames):
        frame.to_parquet(folder / f"{number}.parquet")
    some = TabularDataset.from_parquet_files(tmp_path, columns=["year", "a"])
    every = pd.read_parquet(tmp_path, columns=["a", "year"])
    pd.testing.assert_frame_equal(joined(some), every, check_dtype=False, check_categorical=False)
    only_keys = joined(TabularDataset.from_parquet_files(tmp_path, columns=["year"]))
    assert only_keys.to_dict("list") == {"year": [2024, 2024, 2024]}
    missing = TabularDataset.from_parquet_files(folder / "0.parquet", columns=["A"])
    with pytest.raises(BadInput, match="the column 'A' is to be kept.*Its columns are: a, b, c"):
        joined(missing)


def test_the_type_of_an_unread_column_of_parquet_need_not_be_known(tmp_path: Path) -> None:
    for number, values in enumerate(([1], ["x"])):
        table = pa.table({"a": [number], "b": values})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    some = TabularDataset.from_parquet_files(tmp_path, columns=["a"])
    assert joined(some).to_dict("list") == {"a": [0, 1]}


def test_columns_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("week,price\n1,2\n")
    wrong: Any
    for wrong in ([], "week", ["week", 1]):
        with pytest.raises(InputError, match="expected the names of columns, such as"):
            TabularDataset.from_delimited_files(path, columns=wrong)
    with pytest.raises(InputError, match="'wek' is to be kept.*Did you mean 'week'.*: week, price"):
        TabularDataset.from_delimited_files(path, columns=["wek"]).check()


def test_a_record_keeps_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    table = TabularDataset.from_delimited_files(path, columns=["b"])
    again = TabularDataset.of_spec(json.loads(json.dumps(table.spec())))
    assert again.to_pandas_dataframe().to_dict("list") == {"b": [2]}
