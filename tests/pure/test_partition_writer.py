"""A partitioned copy: no row lost, every type as it was, the keys last."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import Datastore, TabularDataset
from parallelrun_jupyter.data.datasets.inputs import open_path
from parallelrun_jupyter.data.partitions.writer import write_partitions
from parallelrun_jupyter.data.storage.storage import Place
from parallelrun_jupyter.errors import ConfigError, InputError


def table_of(path: Path, frame: pd.DataFrame) -> TabularDataset:
    frame.to_parquet(path / "source.parquet", index=False, row_group_size=3)
    return TabularDataset.from_parquet_files(path / "source.parquet")


EVERYTHING = pd.DataFrame(
    {
        "n": [1, 2, 3, 4, 5],
        "when": [
            pd.Timestamp("2020-01-01"),
            pd.Timestamp("2020-01-02 03:04:05.678901"),
            pd.NaT,
            pd.Timestamp("2020-01-01"),
            pd.NaT,
        ],
        "city": ["São Paulo/BR", "a=b%2F", "", None, "NA"],
        "store": [2, 10, 2, 10, 2],
        "share": [0.1, float("nan"), 0.1, 1e-300, 0.30000000000000004],
        "open": [True, False, True, True, False],
        "gap": pd.array([1, None, 3, None, 5], dtype="Int64"),
        "x": [0.1, 0.2, float("nan"), 3e300, -0.0],
        "text": ["é\n", "", "NA", None, "5"],
    }
)


@pytest.mark.parametrize("key", ["when", "city", "store", "share", "open", "gap"])
def test_every_type_survives_as_a_column_and_as_a_key(tmp_path: Path, key: str) -> None:
    source = table_of(tmp_path, EVERYTHING)
    before = source.to_pandas_dataframe()
    copy = source.partition_by([key], tmp_path / "copy")
    after = copy.to_pandas_dataframe()
    assert list(after.columns) == [c for c in before.columns if c != key] + [key]
    after = after.sort_values("n", ignore_index=True)[list(before.columns)]
    pd.testing.assert_frame_equal(after, before)
    again = TabularDataset.of_spec(copy.spec()).to_pandas_dataframe()
    pd.testing.assert_frame_equal(
        again.sort_values("n", ignore_index=True)[list(before.columns)], before
    )


def test_the_folder_says_itself_what_it_holds(tmp_path: Path) -> None:
    source = table_of(tmp_path, EVERYTHING)
    copy = source.partition_by(["store", "when", "open", "city"], tmp_path / "copy", name="mine")
    [folder] = (tmp_path / "copy").iterdir()
    assert yaml.safe_load((folder / "MLTable").read_text())["metadata"] == {"name": "mine"}
    table = open_path(folder)
    assert isinstance(table, TabularDataset)
    assert table.get_partition_key_values() == copy.get_partition_key_values()
    values = table.get_partition_key_values(["store", "when"])
    assert {"store": 2, "when": datetime(2020, 1, 1)} in values
    assert len(table.to_pandas_dataframe()) == 5
    store = Datastore.register_local("mine", tmp_path)
    second = source.partition_by(["store"], (store, "copy"))
    assert len(list((tmp_path / "copy").iterdir())) == 2, "a copy is never mixed with another"
    assert len(second.to_pandas_dataframe()) == 5


@settings(max_examples=20)
@given(st.lists(st.tuples(st.text(max_size=3), st.integers(-3, 3)), min_size=1, max_size=12))
def test_rows_of_a_combination_keep_their_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("p")
    frame = pd.DataFrame(rows, columns=["a", "b"]).assign(n=range(len(rows)))
    chunks = [frame[start : start + 5] for start in range(0, len(frame), 5)]
    place, form, types = write_partitions(chunks, ["a", "b"], Place(str(folder)), None)
    table = TabularDataset.from_parquet_files(place.path, partition_format=form)
    assert types == {"a": "str", "b": "int64"}
    after = table.to_pandas_dataframe()
    for (a, b), group in frame.groupby(["a", "b"]):
        found = after[(after["a"] == a) & (after["b"] == str(b))]
        assert found["n"].tolist() == group["n"].tolist()
    assert len(after) == len(frame)


@pytest.mark.parametrize(
    ("keys", "kind", "message"),
    [
        (
            ["stor"],
            ConfigError,
            "has no column 'stor'. Did you mean 'store'. Its columns are: n, when",
        ),
        ([], ConfigError, "expected some of the columns, but not all, each once"),
        (["n", "n"], ConfigError, "each once"),
        (list(EVERYTHING), ConfigError, "but not all"),
    ],
)
def test_keys_that_cannot_be(tmp_path: Path, keys: list[str], kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message.replace("'. Its", r"'\? Its")):
        table_of(tmp_path, EVERYTHING).partition_by(keys, tmp_path / "copy")


def test_values_that_no_path_can_carry(tmp_path: Path) -> None:
    nanos = pd.DataFrame({"k": pd.to_datetime([1], unit="ns"), "v": [1]})
    with pytest.raises(InputError, match="nanoseconds a path cannot represent; round it"):
        write_partitions([nanos], ["k"], Place(str(tmp_path)), None)
    zoned = nanos.assign(k=pd.to_datetime(["2020-01-01"]).tz_localize("UTC"))
    with pytest.raises(InputError, match="times with a time zone, which a path cannot represent"):
        write_partitions([zoned], ["k"], Place(str(tmp_path)), None)
    lists = pd.DataFrame({"k": [(1, 2)], "v": [1]})
    with pytest.raises(InputError, match="the key 'k' has a value of the type tuple"):
        write_partitions([lists], ["k"], Place(str(tmp_path)), None)
    with pytest.raises(InputError, match="the table has no rows to partition"):
        write_partitions([], ["k"], Place(str(tmp_path)), None)
