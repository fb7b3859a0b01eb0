"""Parquet is read as pandas reads it: whatever the types, the index, the folders and the cut."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables import parquet
from parallelrun_jupyter.worker.tables.reader import load_table
from tests.table_reader import described

TEXT = pd.Series(["x"]).dtype.name
"""The type of a column of text: str from pandas 3 on, object before."""

LAW = settings(max_examples=150)
WHOLE = BatchSpec(1 << 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parquet")


def rows_of(path: Any, cut: BatchSpec = WHOLE) -> list[Any]:
    lines = TabularDataset.from_parquet_files(path).mini_batches(0, cut)
    return [PlanLine.decode(line) for line, _ in lines if line]


def frames_of(path: Any, cut: BatchSpec = WHOLE) -> list[pd.DataFrame]:
    rows = rows_of(path, cut)
    frames = [load_table(row) for row in rows]
    assert [len(frame) for frame in frames] == [row.rows for row in rows]
    return frames


YEARS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
NEAR = st.datetimes(dt.datetime(1678, 1, 1), dt.datetime(2261, 12, 31))
SPANS = st.integers(-(10**9), 10**9)
VALUES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), st.integers(-(2**53), 2**53)),
    (pa.uint32(), st.integers(0, 2**32 - 1)),
    (pa.uint64(), st.integers(0, 2**53)),
    (pa.float16(), st.sampled_from([np.float16(0.5), np.float16(-2), np.float16("inf")])),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=4)),
    (pa.large_string(), st.text(max_size=4)),
    (pa.binary(), st.binary(max_size=4)),
    (pa.binary(3), st.binary(min_size=3, max_size=3)),
    (pa.date32(), st.dates()),
    (pa.time32("ms"), st.integers(0, 86_399_999)),
    (pa.time64("us"), st.integers(0, 86_399_999_999)),
    (pa.timestamp("ms"), YEARS.map(lambda t: t.replace(microsecond=0))),
    (pa.timestamp("us"), YEARS),
    (pa.timestamp("us", tz="UTC"), NEAR),
    (pa.timestamp("ns"), NEAR),
    (pa.duration("ms"), SPANS),
    (pa.duration("ns"), SPANS),
    (pa.decimal128(9, 2), st.decimals(-999, 999, places=2)),
    (pa.decimal256(50, 1), st.decimals(-999, 999, places=1)),
    (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["x", "y", ""])),
    (pa.null(), st.none()),
    (pa.list_(pa.float64()), st.lists(st.floats(allow_nan=False), max_size=3)),
    (pa.large_list(pa.string()), st.lists(st.text(max_size=3), max_size=3)),
    (pa.list_(pa.float64(), 2), st.lists(st.sampled_from([0.5, -1.0]), min_size=2, max_size=2)),
    (pa.map_(pa.string(), pa.int64()), st.lists(st.tuples(st.just("k"), st.integers(0, 9)), max_size=1)),
    (pa.struct([("a", pa.string()), ("b", pa.list_(pa.string()))]),
     st.fixed_dictionaries({"a": st.text(max_size=2), "b": st.lists(st.text(max_size=2), max_size=2)})),
]  # fmt: skip
NEWER: list[tuple[str, tuple[Any, ...], st.SearchStrategy[Any]]] = [
    ("string_view", (), st.text(max_size=20)),
    ("binary_view", (), st.binary(max_size=20)),
    ("decimal32", (5, 1), st.decimals(-999, 999, places=1)),
    ("list_view", (pa.int64(),), st.lists(st.integers(0, 9), max_size=3)),
]
"""Types that the oldest supported pyarrow cannot write, each with its arguments and its values."""


def can_write(name: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether this pyarrow has a type and writes it to Parquet."""
    try:
        column = pa.array([], getattr(pa, name)(*arguments))
        pq.write_table(pa.table({"x": column}), io.BytesIO())
    except (AttributeError, NotImplementedError):
        return False
    return True


VALUES += [
    (getattr(pa, name)(*arguments), values)
    for name, arguments, values in NEWER
    if can_write(name, arguments)
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    kinds = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=4))
    names = draw(st.lists(st.text("ab._ é", min_size=1, max_size=3), min_size=len(kinds),
                          max_size=len(kinds), unique=True))  # fmt: skip
    count = draw(st.integers(1, 7))
    columns = []
    for kind, values in kinds:
        # No pyarrow before 26 can read a gap among lists of a fixed size that it wrote itself.
        has_gaps = draw(st.booleans()) and (
            not pa.types.is_fixed_size_list(kind) or int(pa.__version__.split(".")[0]) >= 26
        )
        strategy = st.none() | values if has_gaps else values
        drawn = draw(st.lists(strategy, min_size=count, max_size=count))
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        made = pa.array(drawn, plain)
        columns.append(made.dictionary_encode().cast(kind) if plain is not kind else made)
    return pa.table(dict(zip(names, columns, strict=True)))


@LAW
@given(
    table=tables(),
    group=st.integers(1, 4),
    cut=st.sampled_from([BatchSpec(1), WHOLE, BatchSpec(1, rows=1), BatchSpec(1, rows=3)]),
    has_statistics=st.booleans(),
)
def test_random_tables_are_read_as_pandas_reads_them(
    folder: Path, table: pa.Table, group: int, cut: BatchSpec, has_statistics: bool
) -> None:
    path = folder / "random.parquet"
    pq.write_table(table, path, row_group_size=group, write_statistics=has_statistics)
    parquet._last_group.clear()
    expected = described(pd.read_parquet(path))
    parts = [described(frame) for frame in frames_of(path, cut)]
    for part in parts:
        assert part["columns"] == expected["columns"]
        assert part["types"] == [
            "object" if kind == "category" else kind for kind in expected["types"]
        ]
    assert [row for part in parts for row in part["rows"]] == expected["rows"]


@LAW
@given(
    groups=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    rows=st.integers(1, 20),
)
def test_rows_divide_row_groups(folder: Path, groups: list[int], rows: int) -> None:
    path = folder / "groups.parquet"
    numbers = iter(range(100))
    with pq.ParquetWriter(path, pa.schema([("n", pa.int64())])) as writer:
        for count in groups:
            writer.write_table(pa.table({"n": [next(numbers) for _ in range(count)]}))
    read: list[int] = []
    parquet._last_group.clear()
    with pytest.MonkeyPatch.context() as patch:
        read_groups = pq.ParquetFile.read_row_groups

        def read_and_note(file: Any, groups: list[int], **how: Any) -> Any:
            read.extend(groups)
            return read_groups(file, groups, **how)

        patch.setattr(pq.ParquetFile, "read_row_groups", read_and_note)
        frames = frames_of(path, BatchSpec(1, rows=rows))
    total = sum(groups)
    assert [list(frame["n"]) for frame in frames] == [
        list(range(start, min(start + rows, total))) for start in range(0, total, rows)
    ]
    assert len(read) <= 2 * len(groups), "a group is kept between its parts"


def test_a_file_that_replaces_another_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    seen = []
    for values in ([1, 2], [3, 4]):
        pq.write_table(pa.table({"n": values}), tmp_path / "next.parquet")
        (tmp_path / "next.parquet").rename(path)
        seen += [list(frame["n"]) for frame in frames_of(path, BatchSpec(1, rows=1))]
    assert seen == [[1], [2], [3], [4]]


def test_mini_batches_by_size_are_whole_row_groups(folder: Path) -> None:
    path = folder / "sizes.parquet"
    pd.DataFrame({"n": range(100)}).to_parquet(path, row_group_size=30)
    assert [len(frame) for frame in frames_of(path, BatchSpec(1))] == [30, 30, 30, 10]
    assert [len(frame) for frame in frames_of(path)] == [100]


def test_a_plan_of_an_older_version_is_read(folder: Path) -> None:
    path = folder / "older.parquet"
    pd.DataFrame({"n": [1, 2, 3, None, 5], "b": [True, None, False, True, True]}).astype(
        {"n": "Int64", "b": "boolean"}
    ).to_parquet(path, row_group_size=2)
    [row] = rows_of(path)
    row.ranges = [[1, 3]]  # row groups, and gaps without their types
    row.table = {"format": "parquet", "schema": row.table["schema"], "gaps": ["b", "n"]}
    frame = load_table(row)
    assert frame["n"].dtype.name == "float64"
    assert frame["n"].fillna(-1).tolist() == [3, -1, 5]
    assert frame["b"].tolist() == [False, True, True]


@pytest.mark.parametrize("has_statistics", [True, False])
def test_large_numbers_with_gaps_are_exact(folder: Path, has_statistics: bool) -> None:
    values = {"i": [2**53 + 1, None, -3, 4], "u": [2**64 - 1, 1, None, 4], "small": [1, None, 3, 4]}
    types = {"i": pa.int64(), "u": pa.uint64(), "small": pa.int64()}
    table = pa.table({name: pa.array(values[name], kind) for name, kind in types.items()})
    path = folder / "exact.parquet"
    pq.write_table(table, path, row_group_size=2, write_statistics=has_statistics)
    frames = frames_of(path, BatchSpec(1))
    assert [[kind.name for kind in frame.dtypes] for frame in frames] == 2 * [
        ["Int64", "UInt64", "float64"]
    ]
    joined = pd.concat(frames, ignore_index=True)
    for name in ("i", "u"):
        assert [None if pd.isna(v) else int(v) for v in joined[name]] == values[name]


def test_an_integer_with_gaps_in_one_file_and_a_fraction_in_another_are_floats(
    folder: Path,
) -> None:
    paths = [folder / "whole.parquet", folder / "fractions.parquet"]
    pq.write_table(pa.table({"n": [1, None]}), paths[0])
    pq.write_table(pa.table({"n": [0.5, 2.5]}), paths[1])
    assert [frame["n"].dtype.name for frame in frames_of(paths)] == ["float64", "float64"]


def test_one_unit_for_all_files_of_a_dataset(folder: Path) -> None:
    paths = [folder / "ms.parquet", folder / "us.parquet"]
    for unit, path in zip(["ms", "us"], paths, strict=True):
        pq.write_table(pa.table({"t": pa.array([1, None], pa.timestamp(unit))}), path)
    assert [str(frame["t"].dtype) for frame in frames_of(paths)] == ["datetime64[us]"] * 2


def test_a_column_that_cannot_be_converted_is_named(folder: Path) -> None:
    path = folder / "days.parquet"
    pq.write_table(pa.table({"n": [1], "d": pa.array([2**31 - 1], pa.date32())}), path)
    message = r"days\.parquet: the column 'd' of the type date32\[day\] cannot be read by pandas"
    with pytest.raises(BadInput, match=message):
        frames_of(path)
    paths = [folder / "old_ms.parquet", folder / "new_ns.parquet"]
    old = pa.array([dt.datetime(1600, 1, 1)], pa.timestamp("ms"))
    pq.write_table(pa.table({"t": old}), paths[0])
    pq.write_table(pa.table({"t": pa.array([1], pa.timestamp("ns"))}), paths[1])
    with pytest.raises(
        BadInput, match=r"old_ms\.parquet: the column 't' of the type timestamp\[ns"
    ):
        frames_of(paths)


def test_columns_with_the_same_name_fail_their_file_only(folder: Path) -> None:
    paths = [folder / "good.parquet", folder / "twice.parquet"]
    pq.write_table(pa.table({"a": [1]}), paths[0])
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), paths[1])
    first, second = rows_of(paths)
    assert load_table(first)["a"].tolist() == [1]
    with pytest.raises(BadInput, match=r"twice\.parquet could not be read: it has several columns"):
        load_table(second)


def test_types_without_a_common_type_are_refused(folder: Path) -> None:
    paths = [folder / "text.parquet", folder / "list.parquet"]
    pq.write_table(pa.table({"a": ["x"]}), paths[0])
    pq.write_table(pa.table({"a": [{"k": 1}]}), paths[1])
    with pytest.raises(InputError, match=r"the types of '.*list\.parquet' do not fit the types of"):
        rows_of(paths)


# The index


FRAME = pd.DataFrame({"x": range(10), "y": [k * 1.5 for k in range(10)]})
PICKED = FRAME.loc[[0, 1, 4, 7]]


@pytest.mark.parametrize("order", [[FRAME, PICKED], [PICKED, FRAME], [PICKED]])
def test_an_index_without_a_name_is_not_a_column(tmp_path: Path, order: list[pd.DataFrame]) -> None:
    for number, frame in enumerate(order):
        frame.to_parquet(tmp_path / f"{number}.parquet")
    joined = pd.concat(frames_of(tmp_path), ignore_index=True)
    pd.testing.assert_frame_equal(joined, pd.concat(order, ignore_index=True))
    assert list(joined.columns) == list(pd.read_parquet(tmp_path).columns)


def test_index_levels_are_columns_only_if_they_have_names(tmp_path: Path) -> None:
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=[None, "k"])
    pd.DataFrame({"v": [5, 6]}, index=index).to_parquet(tmp_path / "a.parquet")
    [frame] = frames_of(tmp_path)
    assert {name: list(frame[name]) for name in frame} == {"v": [5, 6], "k": [1, 2]}


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_a_range_with_a_name_is_a_column(tmp_path: Path, rows: int) -> None:
    FRAME.set_index(pd.RangeIndex(20, 0, -2, name="k")).to_parquet(tmp_path / "a.parquet")
    assert "k" not in pq.read_schema(tmp_path / "a.parquet").names
    joined = pd.concat(frames_of(tmp_path, BatchSpec(1, rows=rows)), ignore_index=True)
    expected = pd.read_parquet(tmp_path / "a.parquet").reset_index()
    pd.testing.assert_frame_equal(joined[["k", "x", "y"]], expected)


def test_a_column_that_only_looks_like_an_index_is_a_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"__index_level_0__": [1, 2]}), tmp_path / "a.parquet")
    [frame] = frames_of(tmp_path)
    assert list(frame.columns) == list(pd.read_parquet(tmp_path).columns) == ["__index_level_0__"]


# Keys in folders


KEYS = st.one_of(
    st.integers(-(10**6), 10**6), st.text("ab/= é%", min_size=1, max_size=3).filter(lambda t: t.strip(". "))
)  # fmt: skip


@settings(max_examples=60)
@example(keys=[(1, "x"), (2, "y=z")])
@given(keys=st.lists(st.tuples(KEYS, KEYS), min_size=1, max_size=4, unique_by=str))
def test_keys_in_folders_are_columns_as_in_pandas(
    tmp_path_factory: pytest.TempPathFactory, keys: list[tuple[Any, Any]]
) -> None:
    root = tmp_path_factory.mktemp("hive")
    for number, (one, other) in enumerate(keys):
        folder = root / f"k={quote(str(one), safe='')}" / f"other={quote(str(other), safe='')}"
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"x": [number, number]}), folder / "part.parquet")
    (root / "_SUCCESS").touch()
    joined = pd.concat(frames_of(root), ignore_index=True)
    expected = pd.read_parquet(root)
    assert list(joined.columns) == list(expected.columns) == ["x", "k", "other"]
    in_order = joined.sort_values("x", kind="stable")
    for name in ("k", "other"):
        assert list(in_order[name]) == expected.sort_values("x", kind="stable")[name].tolist()
        is_number = all(isinstance(value, int) for value in expected[name].tolist())
        assert joined[name].dtype.name == ("int64" if is_number else TEXT)


def test_keys_with_and_without_values(tmp_path: Path) -> None:
    for name in ("n=1/c=007", "n=__HIVE_DEFAULT_PARTITION__/c=8", "n=3"):
        (tmp_path / name).mkdir(parents=True)
        pq.write_table(pa.table({"x": [1]}), tmp_path / name / "a.parquet")
    joined = pd.concat(frames_of(tmp_path), ignore_index=True)
    assert [kind.name for kind in joined.dtypes] == ["int64", "Int64", TEXT]
    assert [None if pd.isna(v) else v for v in joined["n"]] == [1, 3, None]
    assert [None if pd.isna(v) else v for v in joined["c"]] == ["007", None, "8"]
    # The folders that a path names itself are the user's own choice, as in pandas.
    [frame] = frames_of(tmp_path / "n=1")
    assert list(frame.columns) == list(pd.read_parquet(tmp_path / "n=1").columns) == ["x", "c"]
    [frame] = frames_of(tmp_path / "n=1" / "c=007" / "a.parquet")
    assert list(frame.columns) == ["x"]
    frames = frames_of(str(tmp_path / "n=*" / "*.parquet"))
    assert [list(frame.columns) for frame in frames] == [["x", "n"]]


def test_a_partition_format_replaces_the_keys_in_folders(tmp_path: Path) -> None:
    (tmp_path / "n=1").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "n=1" / "a.parquet")
    dataset = TabularDataset.from_parquet_files(tmp_path, partition_format="n={number}/*")
    assert dataset.to_pandas_dataframe().to_dict("list") == {"x": [1], "number": ["1"]}


@pytest.mark.skipif(
    not (can_write("string_view", ()) and can_write("decimal32", (5, 1))),
    reason="this pyarrow has no types that older ones lack",
)
def test_the_schema_of_a_plan_has_only_types_that_old_versions_know(folder: Path) -> None:
    path = folder / "new.parquet"
    pq.write_table(
        pa.table({
            "v": pa.array(["x"], pa.string_view()),
            "d": pa.array([decimal.Decimal("1.5")], pa.decimal32(5, 1)),
            "l": pa.array([["x"]], pa.list_(pa.string_view())),
        }),
        path,
    )  # fmt: skip
    [row] = rows_of(path)
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(row.table["schema"])))
    assert [str(kind) for kind in schema.types] == [
        "string", "decimal128(5, 1)", "list<element: string>"
    ]  # fmt: skip
    assert row.table["rare"]["l"] == "list<element: string_view>"
    assert load_table(row)["l"].iloc[0].tolist() == ["x"]
