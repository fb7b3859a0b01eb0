"""Columns of a table that come from its files' paths, and those that are left out."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import FileDataset, TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.datasets import inputs
from parallelrun_jupyter.data.datasets.inputs import open_path
from parallelrun_jupyter.data.tables.column_layout import ColumnLayout
from parallelrun_jupyter.errors import ConfigError, InputError
from parallelrun_jupyter.worker.context import load
from parallelrun_jupyter.worker.plan_line import PlanLine


def frames_of(dataset: TabularDataset, cut: BatchSpec) -> list[tuple[pd.DataFrame, dict[str, Any]]]:
    """Return the frame of every mini-batch, as a worker makes it, with the line's last object."""
    lines = [line for line, _ in inputs.mini_batches([dataset.spec()], cut) if line]
    rows = [PlanLine.decode(line) for line in lines]
    frames = [load(row) for row in rows]
    assert [len(frame) for frame in frames] == [row.rows for row in rows], (
        "the plan counts the rows"
    )
    assert all(list(frame.index) == list(range(len(frame))) for frame in frames)
    return [(frame, row.extra) for frame, row in zip(frames, rows, strict=True)]


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    """Return a folder of nine files, by store, brand and month; the columns are week and Brand."""
    for store in (2, 10):
        for brand in ("dominicks", "tropicana"):
            for month in ("1990/06", "1990/07"):
                path = tmp_path / f"Store={store}" / brand / f"{month}.csv"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("Brand,week\n" + "".join(f"wrong,{k}\n" for k in range(store)))
    (tmp_path / "Store=__HIVE_DEFAULT_PARTITION__" / "none").mkdir(parents=True)
    return tmp_path


FORMAT = "Store={Store}/{Brand}/{month:yyyy/MM}.csv"


def test_keys_of_the_path_are_the_last_columns_and_have_types(sales: Path) -> None:
    types = {"Store": "int64", "week": "float64"}
    table = TabularDataset.from_delimited_files(sales, partition_format=FORMAT, column_types=types)
    assert table.partition_keys == ["Store", "Brand", "month"]
    frame = table.to_pandas_dataframe()
    assert list(frame.columns) == ["week", "Store", "Brand", "month"]
    assert [str(t) for t in frame.dtypes.drop("Brand")] == ["float64", "int64", "datetime64[ns]"]
    assert frame["Brand"].dtype == pd.read_csv(next(sales.rglob("*.csv")))["Brand"].dtype
    assert set(frame["Brand"]) == {"dominicks", "tropicana"}, "the path's, not the file's column"
    assert len(frame) == 4 * 2 + 4 * 10
    values = table.get_partition_key_values(["Store", "month"])
    assert values[:2] == [{"Store": 10, "month": datetime(1990, month, 1)} for month in (6, 7)]
    again = TabularDataset.of_spec(json.loads(json.dumps(table.spec())))
    pd.testing.assert_frame_equal(again.to_pandas_dataframe(), frame)


def test_a_combination_is_one_frame_of_all_its_files(sales: Path) -> None:
    table = TabularDataset.from_delimited_files(sales, partition_format=FORMAT,
                                                column_types={"Store": "int64"})  # fmt: skip
    found = frames_of(table, BatchSpec(1, keys=("Brand", "Store")))
    assert [extra["keys"] for _, extra in found] == [
        {"Brand": "dominicks", "Store": 10}, {"Brand": "tropicana", "Store": 10},
        {"Brand": "dominicks", "Store": 2}, {"Brand": "tropicana", "Store": 2},
    ]  # fmt: skip
    assert [extra["first"] for _, extra in found] == [0, 20, 40, 44], "counted in rows"
    frame = found[2][0]
    assert list(frame["week"]) == [0, 1, 0, 1]
    assert list(frame["month"].dt.month) == [6, 6, 7, 7], "each file's own value"
    whole = table.to_pandas_dataframe()
    assert {tuple(f.dtypes) for f, _ in found} == {tuple(whole.dtypes)}, "types are the same in all"


def test_without_keys_mini_batches_are_cut_by_size(sales: Path) -> None:
    table = TabularDataset.from_delimited_files(sales, partition_format=FORMAT)
    found = frames_of(table, BatchSpec(1, rows=7))
    pd.testing.assert_frame_equal(
        pd.concat([frame for frame, _ in found], ignore_index=True), table.to_pandas_dataframe()
    )
    assert "keys" not in found[0][1]


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ({"Brand": "int64"}, "'Brand': invalid literal for int"),
        ({"Store": "bool"}, "'Store': '10' is neither True nor False"),
        ({"Store": "datetime:%m"}, None),
        ({"Store": "datetime:%m.%Y"}, "'Store': time data '10' does not match"),
        ({"Sore": "int64"}, "column_types names the column 'Sore'"),
    ],
)
def test_errors_of_key_types_name_the_value(
    sales: Path, types: dict[str, str], message: str | None
) -> None:
    table = TabularDataset.from_delimited_files(sales, partition_format=FORMAT, column_types=types)
    if message is None:
        assert table.to_pandas_dataframe()["Store"].iloc[0] == pd.Timestamp(1900, 10, 1)
    else:
        with pytest.raises(InputError, match=message):
            table.to_pandas_dataframe()


def test_a_missing_key_needs_a_type_with_gaps(sales: Path) -> None:
    path = sales / "Store=__HIVE_DEFAULT_PARTITION__" / "none" / "1991" / "01.csv"
    path.parent.mkdir()
    path.write_text("week\n5\n")
    options: dict[str, Any] = {"partition_format": FORMAT, "header": "all_files_different_headers"}

    def table(kind: str) -> TabularDataset:
        return TabularDataset.from_delimited_files(sales, column_types={"Store": kind}, **options)

    with pytest.raises(
        InputError, match="has no value, which the type int64 cannot represent; give Int64"
    ):
        table("int64").to_pandas_dataframe()
    for kind in ("Int64", "float64", "str", "datetime:%m"):
        assert table(kind).to_pandas_dataframe()["Store"].isna().sum() == 1, kind
    assert len(frames_of(table("Int64"), BatchSpec(1, keys=("Store",)))) == 3


def test_columns_can_be_left_out_and_the_path_added(sales: Path) -> None:
    table = TabularDataset.from_delimited_files(
        sales / "Store=2", partition_format="{b}/{y}/{m}.csv"
    )
    arranged = table.with_layout(ColumnLayout({}, "Path", ("Brand", "y")))
    for cut in (BatchSpec(1 << 20), BatchSpec(1, keys=("b",))):
        frame = frames_of(arranged, cut)[0][0]
        assert list(frame.columns) == ["Path", "week", "b", "m"]
        assert frame["Path"][0] == str(sales / "Store=2/dominicks/1990/06.csv")
    wrong = table.with_layout(ColumnLayout(keeps=("wek",)))
    with pytest.raises(InputError, match="the column 'wek' is to be kept.*Did you mean 'week'"):
        wrong.to_pandas_dataframe()


def test_the_error_of_a_table_without_keys_has_a_remedy(sales: Path) -> None:
    with pytest.raises(ConfigError, match="has no partition keys. Give it a partition_format"):
        TabularDataset.from_delimited_files(sales).get_partition_key_values()


@settings(max_examples=25)
@given(
    files=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 4)),
        min_size=1, max_size=8, unique_by=lambda f: f[:2],
    ),
    keys=st.sampled_from([("k",), ("l",), ("k", "l"), ("l", "k")]),
)  # fmt: skip
def test_every_row_is_in_exactly_one_combination(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[str, str, int]],
    keys: tuple[str, ...],
) -> None:
    folder = tmp_path_factory.mktemp("t")
    for first, second, rows in files:
        (folder / first).mkdir(exist_ok=True)
        text = "".join(f"{first}{second}{k}\n" for k in range(rows))
        (folder / first / f"{second}.csv").write_text("v\n" + text)
    table = TabularDataset.from_delimited_files(folder, partition_format="{k}/{l}.csv",
                                                column_types={"v": "str"})  # fmt: skip
    found = frames_of(table, BatchSpec(1, keys=keys))
    shown = [tuple(extra["keys"].items()) for _, extra in found]
    assert len(set(shown)) == len(shown)
    for frame, extra in found:
        for key, value in extra["keys"].items():
            assert set(frame[key]) <= {value}
    values = sorted(v for frame, _ in found for v in frame["v"])
    assert values == sorted(f"{a}{b}{k}" for a, b, count in files for k in range(count))


MLTABLE = """
type: mltable
paths:
  - folder: ./
transformations:
  - read_delimited: {delimiter: ';', encoding: latin1, empty_as_string: %s, include_path_column: true}
  - extract_columns_from_partition_format: '{store}/{day:yyyy-MM-dd}.csv'
  - drop_columns: [b]
  - convert_column_types:
      - {columns: [n, store], column_type: int}
"""


@pytest.mark.parametrize("empty_is_text", [True, False])
def test_a_folder_with_an_mltable_is_the_table_that_the_file_describes(
    tmp_path: Path, empty_is_text: bool
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "2020-02-29.csv").write_bytes(
        "a;b;n\n\xe9;1;\nNA;2;3\n;x;4\n".encode("latin1")
    )
    (tmp_path / "MLTable").write_text(MLTABLE % str(empty_is_text).lower())
    table = open_path(tmp_path)
    assert isinstance(table, TabularDataset)
    frame = TabularDataset.of_spec(table.spec()).to_pandas_dataframe()
    assert list(frame.columns) == ["Path", "a", "n", "store", "day"]
    assert [v if isinstance(v, str) else None for v in frame["a"]] == (
        ["é", "NA", "" if empty_is_text else None]
    )
    assert frame["n"].isna().tolist() == [True, False, False]
    assert frame["store"].tolist() == [7, 7, 7]
    assert frame["day"].tolist() == [pd.Timestamp(2020, 2, 29)] * 3
    assert open_path(tmp_path / "MLTable").spec() == table.spec()
    with pytest.raises(InputError, match="--format is 'csv', but '.*MLTable' describes the format"):
        open_path(tmp_path, "csv")


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("steps", "expected"),
    # what mltable 1.7.0 gives
    [
        ([("keep_columns", ["c", "a"])], {"a": [1, 4], "c": [3, 6]}),
        ([("keep_columns", "c")], {"c": [3, 6]}),
        ([("keep_columns", ["a", "b"]), ("drop_columns", "a")], {"b": [2, 5]}),
        ([("drop_columns", "a"), ("keep_columns", ["a", "b"])], {"b": [2, 5]}),
        ([("keep_columns", ["a", "b"]), ("keep_columns", ["b", "c"])], {"b": [2, 5]}),
        ([("drop_columns", ["zz", "b"])], {"a": [1, 4], "c": [3, 6]}),
        ([("drop_columns", "zz")], {"a": [1, 4], "b": [2, 5], "c": [3, 6]}),
    ],
)
def test_columns_of_an_mltable_are_kept(
    tmp_path: Path, form: str, steps: list[tuple[str, Any]], expected: dict[str, list[int]]
) -> None:
    frame = pd.DataFrame({"a": [1, 4], "b": [2, 5], "c": [3, 6]})
    if form == "csv":
        frame.to_csv(tmp_path / "x.csv", index=False)
        reader = "read_delimited: {delimiter: ',', header: all_files_same_headers}"
    else:
        frame.to_parquet(tmp_path / "x.parquet")
        reader = "read_parquet"
    lines = [f"- {name}: {json.dumps(columns)}" for name, columns in steps]
    text = f"paths: [file: ./x.{form}]\ntransformations:\n- {reader}\n" + "\n".join(lines)
    (tmp_path / "MLTable").write_text(text)
    table = open_path(tmp_path)
    assert isinstance(table, TabularDataset)
    found = TabularDataset.of_spec(table.spec()).to_pandas_dataframe()
    assert {name: list(found[name]) for name in found} == expected
    assert list(found.columns) == list(expected)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_the_type_of_a_missing_column_of_an_mltable_is_ignored(tmp_path: Path, form: str) -> None:
    lines = "a,b\n1,2\n" if form == "csv" else '{"a": "1", "b": 2}\n'
    (tmp_path / f"x.{form}").write_text(lines)
    reader = "read_delimited: {delimiter: ','}" if form == "csv" else "read_json_lines"
    types = "convert_column_types: [{columns: [zz, a], column_type: string}]"
    text = f"paths: [file: ./x.{form}]\ntransformations:\n- {reader}\n- {types}\n"
    (tmp_path / "MLTable").write_text(text)
    table = open_path(tmp_path)
    assert isinstance(table, TabularDataset)
    table.check()
    found = TabularDataset.of_spec(table.spec()).to_pandas_dataframe()
    assert {name: list(found[name]) for name in found} == {"a": ["1"], "b": [2]}  # as mltable 1.7.0


def test_a_column_to_keep_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("week,price\n1,2\n")
    reader = "read_delimited: {delimiter: ',', header: all_files_same_headers}"
    text = f"paths: [file: ./x.csv]\ntransformations:\n- {reader}\n- keep_columns: [wek]\n"
    (tmp_path / "MLTable").write_text(text)
    table = open_path(tmp_path)
    assert isinstance(table, TabularDataset)
    with pytest.raises(
        InputError, match=r"the column 'wek' is to be kept.*Did you mean 'week'.*: week, price\.$"
    ):
        table.to_pandas_dataframe()


def test_an_mltable_of_files_gives_their_paths(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "x.wav").write_text("")
    (tmp_path / "MLTable").write_text(
        "paths: [folder: ./]\ntransformations:\n- extract_columns_from_partition_format: '{user}/*.wav'"
    )
    files = open_path(tmp_path)
    assert isinstance(files, FileDataset)
    assert files.to_path() == [str(tmp_path / "ada" / "x.wav")]
    assert files.get_partition_key_values() == [{"user": "ada"}]
