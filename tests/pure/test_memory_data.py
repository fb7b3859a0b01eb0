"""Variables as inputs: the parts that workers get, joined again, are the variable."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.datasets.grid import grid
from parallelrun_jupyter.data.datasets.memory_dataset import MemoryDataset, StoredDataset
from parallelrun_jupyter.data.memory_digest import check_stored, digest_path, write_digest
from parallelrun_jupyter.errors import ConfigError, InputError
from parallelrun_jupyter.worker.failures import BadInput
from parallelrun_jupyter.worker.memory_items import load_memory, located
from parallelrun_jupyter.worker.memory_names import memory_item_name, memory_item_names
from parallelrun_jupyter.worker.plan_line import PlanLine


def stored(folder: Path, values: Any, rows: int = 0, **options: Any) -> dict[str, Any]:
    """Store values; return their spec as a record holds it."""
    dataset = MemoryDataset(values, options.pop("name", "x"))
    dataset.check()
    dataset.store(folder / "data", 0, rows, **options)
    spec: dict[str, Any] = json.loads(json.dumps(dataset.spec()))
    return spec


def lines_of(spec: dict[str, Any]) -> list[PlanLine]:
    """Return the plan lines, in the form for other processes than workers."""
    lines = StoredDataset(spec).mini_batches(0, BatchSpec(0))
    folder = str(Path(spec["path"]).parent)
    return [located(PlanLine.decode(line), folder) for line, _ in lines]


def parts_of(folder: Path, values: Any, rows: int = 0, **options: Any) -> list[Any]:
    return [load_memory(line) for line in lines_of(stored(folder, values, rows, **options))]


# Lists


@given(
    values=st.lists(st.one_of(st.integers(), st.text(), st.none(), st.tuples(st.floats()))),
    rows=st.integers(1, 7),
)
@settings(deadline=None, max_examples=50)
def test_lists(values: list[Any], rows: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lists")
    if not values:
        with pytest.raises(InputError, match="x is empty; give at least one item"):
            stored(folder, values, rows)
        return
    parts = parts_of(folder, values, rows)
    assert all(len(part) == rows for part in parts[:-1])
    joined = [item for part in parts for item in part]
    assert repr(joined) == repr(values)  # NaN is not equal to itself


@pytest.mark.parametrize("count", [1, 1249, 1250, 1251, 2501, 77_777])
@pytest.mark.parametrize("is_batched", [True, False])
def test_a_generator_is_read_once_in_lists_of_whole_mini_batches(
    count: int, is_batched: bool, tmp_path: Path
) -> None:
    read = []
    values = (read.append(n) or n for n in range(count))  # type: ignore[func-returns-value]
    spec = stored(tmp_path, values, is_batched=is_batched, workers=2)
    assert read == list(range(count))
    parts = [load_memory(line) for line in lines_of(spec)]
    assert [n for part in parts for n in part] == read
    assert {len(part) for part in parts[:-1]} <= {spec["rows"]}
    assert len(parts) <= (1250 if not is_batched else max(64, count // 8192 + 1))
    assert len(parts) >= min(count, 625 if not is_batched else 32) or spec["rows"] == 8192


def _numbers(rows: int, columns: int) -> Any:
    """Return a DataFrame of one value, which needs no memory."""
    return pd.DataFrame(np.broadcast_to(np.float64(1.5), (rows, columns)), copy=False)


@pytest.mark.parametrize(
    ("values", "workers", "expected"),
    [
        (_numbers(1000, 16), 2, 16),  # 64 parts
        (_numbers(1000, 16), 50, 3),  # 8 for each worker
        (_numbers(8_000_000, 16), 2, 50_000),
        (_numbers(1_000_000, 1600), 2, (1 << 24) // (1600 * 8)),  # 16 MB
        (_numbers(8_000_000, 2).assign(text="x"), 2, 10_000),  # perhaps texts for a model
        (_numbers(8_000_000, 1)[0], 2, 50_000),
        (pa.table({"a": pa.nulls(8_000_000, pa.int64())}), 2, 50_000),
        (pa.table({"a": pa.nulls(8_000_000, pa.string())}), 2, 10_000),
        (np.broadcast_to(np.uint8(1), (5000, 1000, 1000)), 2, 16),
        (np.broadcast_to(np.uint8(1), (50, 5000, 5000)), 2, 1),  # more than 16 MB each
        (range(8_000_000), 2, 10_000),
    ],
)
def test_parts_are_of_16_mb_at_most_and_enough_for_all_workers(
    values: Any, workers: int, expected: int
) -> None:
    assert MemoryDataset(values).batch_rows(workers, is_batched=True) == expected


@pytest.mark.parametrize(
    ("items", "workers", "expected"),
    [(1250, 2, 1), (1251, 2, 2), (20_000, 2, 16), (20_000, 100, 4)],
)
def test_few_items_travel_one_by_one(items: int, workers: int, expected: int) -> None:
    assert MemoryDataset(range(items)).batch_rows(workers, is_batched=False) == expected


def test_an_endless_generator_needs_no_memory(tmp_path: Path) -> None:
    def pictures() -> Iterator[np.ndarray]:
        for n in range(200):
            yield np.full(1_000_000, n, np.uint8)

    before = psutil.Process().memory_info().rss
    most = [0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            most[0] = max(most[0], psutil.Process().memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        spec = stored(tmp_path, pictures(), is_batched=False)
    finally:
        is_over.set()
        thread.join()
    assert spec["size_bytes"] > 200_000_000
    assert most[0] - before < 50_000_000
    assert [int(load_memory(line)[0][7]) for line in lines_of(spec)] == list(range(200))


def test_a_generator_that_raises(tmp_path: Path) -> None:
    def values() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        stored(tmp_path, values())


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (
            {1, 2},
            r"the input is \{1, 2\}, of the type set; .* Here: a set has no order; write sorted",
        ),
        ({"a": 1}, "Here: a mapping has keys and values; write list"),
        ("text", r"Here: a single value; write \[value\] for one item"),
        (b"bytes", "Here: a single value"),
        (np.array(3), "Here: an array without a first axis is one value"),
        (7, "Here: its elements cannot be listed"),
    ],
)
def test_values_that_are_no_items(values: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        MemoryDataset(values)


def test_an_item_that_cannot_be_stored_is_named(tmp_path: Path) -> None:
    values = [1, 2, threading.Lock(), 4]
    with pytest.raises(InputError, match=r"^jobs\[2\] is a lock that cannot be stored .*TypeError"):
        stored(tmp_path, values, 3, name="jobs")
    frame = pd.DataFrame({"a": values}, index=list("wxyz"))
    with pytest.raises(InputError, match=r"^frame\.iloc\[2\] is a DataFrame that cannot be stored"):
        stored(tmp_path, frame, 3, name="frame")


def test_a_grid(tmp_path: Path) -> None:
    values = grid(alpha=[0.1, 1.0], depth=[3, 5, 7])
    parts = parts_of(tmp_path, values, 4)
    assert [item for part in parts for item in part] == list(values)
    assert parts[1] == [{"alpha": 1.0, "depth": 5}, {"alpha": 1.0, "depth": 7}]
    assert list(grid(alpha=(k / 2 for k in (1, 2)), depth=iter([3]))) == [
        {"alpha": 0.5, "depth": 3},
        {"alpha": 1.0, "depth": 3},
    ], "a generator is read once"
    with pytest.raises(ConfigError, match="expected a list of values, such as depth="):
        grid(depth=iter([]))


# Arrays


@given(
    array=hypothesis_numpy.arrays(
        st.one_of(
            hypothesis_numpy.scalar_dtypes(),
            hypothesis_numpy.array_dtypes(),
            hypothesis_numpy.unicode_string_dtypes(),
            hypothesis_numpy.byte_string_dtypes(),
        ),
        hypothesis_numpy.array_shapes(max_dims=3, min_side=0, max_side=6),
    ),
    rows=st.integers(1, 4),
    order=st.sampled_from("CF"),
    step=st.sampled_from([1, -1, 2]),
)
@settings(deadline=None, max_examples=60)
def test_arrays(
    array: Any, rows: int, order: Any, step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = np.asarray(array, order=order)[::step]
    folder = tmp_path_factory.mktemp("arrays")
    if not len(values):
        with pytest.raises(InputError, match="x is empty"):
            stored(folder, values, rows)
        return
    parts = parts_of(folder, values, rows)
    for part in parts:
        assert part.flags.writeable
        assert type(part) is np.ndarray
        assert part.dtype == values.dtype
    joined = [row for part in parts for row in part.tolist()]
    assert repr(joined) == repr(values.tolist())  # NaN and NaT are not equal to themselves


def test_arrays_of_other_kinds(tmp_path: Path) -> None:
    masked = np.ma.masked_array(np.arange(10.0), np.arange(10) % 3 == 0)
    parts = parts_of(tmp_path, masked, 3)
    assert all(type(part) is type(masked) for part in parts)
    assert [row for part in parts for row in part.tolist()] == masked.tolist()

    mapped = np.memmap(tmp_path / "array", np.int16, "w+", shape=(10, 2))
    mapped[:] = np.arange(20).reshape(10, 2)
    (tmp_path / "m").mkdir()
    parts = parts_of(tmp_path / "m", mapped, 4)
    assert np.array_equal(np.concatenate(parts), mapped)
    assert type(parts[0]) is np.ndarray

    (tmp_path / "o").mkdir()
    objects = np.array([1, "a", None, [2], {"b": 3}], object)
    joined = np.concatenate(parts_of(tmp_path / "o", objects, 2))
    assert joined.tolist() == objects.tolist()


# Frames


def _columns(count: int) -> st.SearchStrategy[Any]:
    def of(values: st.SearchStrategy[Any], **how: Any) -> st.SearchStrategy[Any]:
        return st.lists(values, min_size=count, max_size=count).map(lambda v: pd.Series(v, **how))

    floats = st.floats(width=64)
    whole = st.integers(-(2**31), 2**31)
    maybe = st.one_of(st.none(), whole)
    words = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    stamps = st.datetimes(pd.Timestamp("1990-01-01"), pd.Timestamp("2030-01-01"))
    return st.one_of(
        of(floats, dtype="float64"),
        of(whole, dtype="int64"),
        of(maybe, dtype="Int64"),
        of(st.one_of(st.none(), st.booleans()), dtype="boolean"),
        of(st.one_of(st.none(), st.booleans(), words, floats, st.lists(whole)), dtype="object"),
        of(st.one_of(st.none(), words)),
        of(st.one_of(st.none(), words), dtype="string[python]"),
        of(st.one_of(st.none(), words), dtype="string[pyarrow]"),
        of(st.sampled_from("ab"), dtype=pd.CategoricalDtype(["z", "b", "a"], ordered=True)),
        of(st.one_of(st.none(), st.sampled_from([3, 1])), dtype=pd.CategoricalDtype([5, 3, 1])),
        of(st.one_of(st.none(), stamps), dtype="datetime64[us]"),
        of(stamps, dtype="datetime64[ns, Europe/Berlin]"),
        of(stamps.map(lambda t: pd.Period(t, "M")), dtype="period[M]"),
        of(whole.map(lambda n: pd.Interval(n, n + 1))),
        of(st.sampled_from([0.0, 1.5]), dtype=pd.SparseDtype(float, 0.0)),
        of(maybe, dtype=pd.ArrowDtype(pa.int64())),
        of(st.lists(whole, max_size=2), dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        of(st.timedeltas(), dtype="object"),
    )


def _indexes(count: int) -> st.SearchStrategy[Any]:
    numbers = st.lists(st.integers(0, 9), min_size=count, max_size=count)
    return st.one_of(
        st.just(pd.RangeIndex(count)),
        st.integers(1, 3).map(lambda s: pd.RangeIndex(5, 5 + s * count, s, name="n")),
        numbers.map(lambda v: pd.Index(v, name=("a", 1))),
        numbers.map(lambda v: pd.Index([f"k{n}" for n in v])),
        numbers.map(lambda v: pd.CategoricalIndex([f"k{n}" for n in v])),
        numbers.map(lambda v: pd.MultiIndex.from_arrays([v, range(count)], names=["a", None])),
        st.sampled_from(["D", "h", "MS"]).map(
            lambda f: pd.date_range("2024-01-01", periods=count, freq=f, tz="UTC")
        ),
        numbers.map(lambda v: pd.Index([None if n < 3 else str(n) for n in v], dtype=object)),
        st.just(pd.interval_range(0, count)),
    )


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    count = draw(st.integers(1, 12))
    series = draw(st.lists(_columns(count), max_size=4))
    frame: pd.DataFrame = pd.concat(series, axis=1) if series else pd.DataFrame(index=range(count))
    names = st.one_of(
        st.text(max_size=3),
        st.integers(0, 3),
        st.none(),
        st.tuples(st.just("a"), st.integers(0, 2)),
    )
    labels = draw(st.lists(names, min_size=len(series), max_size=len(series)))
    if draw(st.booleans()) and series:
        frame.columns = pd.MultiIndex.from_tuples([("top", str(label)) for label in labels])
    elif series:
        frame.columns = pd.Index(labels, dtype=object, tupleize_cols=False)
    frame.index = draw(_indexes(count))
    frame.attrs = draw(st.sampled_from([{}, {"unit": "mm"}]))
    return frame


@given(frame=frames(), rows=st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_frames(frame: pd.DataFrame, rows: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    spec = stored(tmp_path_factory.mktemp("frames"), frame, rows)
    lines = lines_of(spec)
    for start, line in zip(range(0, len(frame), rows), lines, strict=True):
        expected = frame.iloc[start : start + rows]
        part = load_memory(line)
        pd.testing.assert_frame_equal(part, expected, check_exact=True, check_freq=True)
        assert part.attrs == frame.attrs
        assert [*map(_types, part.items())] == [*map(_types, expected.items())]
    pd.testing.assert_index_equal(StoredDataset(spec).index(), frame.index, exact=True)


def _types(item: tuple[Any, pd.Series]) -> list[type]:
    """Return the types of the values of a column: None is not NaN."""
    return list(map(type, item[1]))


@given(frame=frames(), rows=st.integers(1, 5))
@settings(deadline=None, max_examples=30)
def test_frames_for_another_interpreter(
    frame: pd.DataFrame, rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("frames")
    parts = parts_of(folder, frame, rows, is_portable=True)
    for start, part in zip(range(0, len(frame), rows), parts, strict=True):
        expected = frame.iloc[start : start + rows]
        pd.testing.assert_frame_equal(part, expected, check_exact=True, check_freq=True)
        assert [*map(_types, part.items())] == [*map(_types, expected.items())]


def test_plain_frames_are_portable(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x", "y"], "c": [1, 2]}, index=["k", "l"])
    assert stored(tmp_path, frame, 1, is_portable=True)["form"] == "arrow"


@pytest.mark.parametrize("is_portable", [False, True])
@pytest.mark.parametrize("columns", [1, 3])
def test_changes_of_a_part_stay_in_the_process(
    is_portable: bool, columns: int, tmp_path: Path
) -> None:
    frame = pd.DataFrame({f"c{k}": np.arange(200_000.0) for k in range(columns)})
    spec = stored(tmp_path, frame, 100_000, is_portable=is_portable)
    before = Path(spec["path"]).read_bytes()
    for line in lines_of(spec):
        part = load_memory(line)
        part.iloc[0, 0] = -1.0
        part["c0"] += 1
        part.to_numpy(copy=False)
        pd.testing.assert_frame_equal(
            load_memory(line), frame.iloc[line.ranges[0][0] : line.ranges[0][1]]
        )
    assert Path(spec["path"]).read_bytes() == before


def test_changes_of_a_part_do_not_reach_others_of_its_block(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(50.0), "s": ["x"] * 50}, index=list(range(50)))
    nested = pd.DataFrame({"a": [[n] for n in range(50)]})
    for number, values in enumerate((frame, nested)):
        folder = tmp_path / str(number)
        folder.mkdir()
        lines = lines_of(stored(folder, values, 5))
        assert len({tuple(line.table["at"]) for line in lines}) == 1, "they share a block"
        for line in lines:
            part = load_memory(line)
            if values is nested:
                part["a"].iloc[0].append("changed")
            part.iloc[0, 0] = -1.0
            part.index = pd.Index(["changed"] * 5)
        for line in lines:
            first, end = line.ranges[0]
            pd.testing.assert_frame_equal(load_memory(line), values.iloc[first:end])


def test_series(tmp_path: Path) -> None:
    series = pd.Series(range(10), index=list("abcdefghij"), name=("a", 2))
    parts = parts_of(tmp_path, series, 3)
    pd.testing.assert_series_equal(pd.concat(parts), series)
    (tmp_path / "2").mkdir()
    parts = parts_of(tmp_path / "2", series, 3, is_portable=True)
    pd.testing.assert_series_equal(pd.concat(parts), series)


def test_categories_and_levels_are_stored_once(tmp_path: Path) -> None:
    labels = [f"a label of some length {n}" for n in range(50_000)]
    index = pd.MultiIndex.from_arrays([labels, range(50_000)])
    frame = pd.DataFrame({"c": pd.Categorical(labels)}, index=index)
    spec = stored(tmp_path, frame, 1000)
    whole = len(pickle.dumps(frame, 5))
    assert spec["size_bytes"] < 1.5 * whole
    parts = [load_memory(line) for line in lines_of(spec)]
    pd.testing.assert_frame_equal(pd.concat(parts), frame)


def test_subsets_of_a_mini_batch(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": range(20)}, index=[f"k{n}" for n in range(20)])
    line = lines_of(stored(tmp_path, frame, 10))[1].only([(1, 2), (5, 1)])
    pd.testing.assert_frame_equal(load_memory(line), frame.iloc[[11, 12, 15]])
    for values in (list(range(20)), np.arange(20), pa.table({"a": range(20)})):
        folder = tmp_path / type(values).__name__
        folder.mkdir()
        part = load_memory(lines_of(stored(folder, values, 10))[1].only([(1, 2), (5, 1)]))
        part = part["a"].to_pylist() if isinstance(part, pa.Table) else list(part)
        assert part == [11, 12, 15]


# Arrow


def test_arrow_tables(tmp_path: Path) -> None:
    table = pa.table(
        {
            "words": pa.chunked_array(
                [pa.array(["a", "b"]).dictionary_encode(), pa.array(["c"] * 5).dictionary_encode()]
            ),
            "nested": pa.array([{"x": [1, 2]}, None, *[{"x": []}] * 5]),
            "decimal": pa.array([None, *range(6)], pa.decimal128(20, 2)),
            "uuid": pa.ExtensionArray.from_storage(
                pa.uuid(), pa.array([b"0" * 16] * 7, pa.binary(16))
            ),
        }
    )
    parts = parts_of(tmp_path, table, 2)
    joined = pa.concat_tables(parts)
    assert joined.schema == table.schema
    assert joined.to_pylist() == table.to_pylist()
    assert [part.num_rows for part in parts] == [2, 2, 2, 1]
    (tmp_path / "b").mkdir()
    batch = pa.record_batch({"a": range(5)})
    assert pa.concat_tables(parts_of(tmp_path / "b", batch, 2)).to_pylist() == batch.to_pylist()


# Names


def test_names_of_items(tmp_path: Path) -> None:
    def names(values: Any, name: str = "x") -> list[str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        line = lines_of(stored(folder, values, 2, name=name))[1]
        return [memory_item_name(line, 1), memory_item_names(line)]

    assert names(list(range(5)), "texts") == ["texts[3]", "texts[2:4]"]
    assert names(np.arange(5), "a generator") == [
        "a generator: item 3",
        "a generator: items 2 to 3",
    ]
    frame = pd.DataFrame({"a": range(5)})
    assert names(frame) == ["x.iloc[3]", "x.iloc[2:4]"]
    frame.index = pd.Index(list("ABCDE"))
    assert names(frame)[0] == "x.loc['D'] (row 3)"
    assert names(frame, "a DataFrame")[0] == "a DataFrame: row 3, label 'D'"
    frame.index = pd.Index([10, 20, 30, 40, 50])
    assert names(frame["a"])[0] == "x.loc[40] (row 3)"
    frame.index = pd.RangeIndex(100, 110, 2)
    assert names(frame)[0] == "x.loc[106] (row 3)"
    frame.index = pd.date_range("2024-01-01", periods=5)
    assert names(frame)[0] == "x.loc['2024-01-04 00:00:00'] (row 3)"
    frame.index = pd.MultiIndex.from_product([["p"], range(5)])
    assert names(frame)[0] == "x.loc[('p', 3)] (row 3)"
    assert names(pa.table({"a": range(5)}))[0] == "x: row 3"


def test_the_name_is_that_of_the_callers_variable() -> None:
    texts = ["a", "b"]
    assert repr(MemoryDataset(texts)) == "texts"
    assert repr(MemoryDataset(["a", "b"])) == "a list"
    assert repr(MemoryDataset(n for n in texts)) == "a generator"
    assert repr(MemoryDataset(texts, "words")) == "words"


# The file


def test_the_digest_tells_a_copy_from_a_change(tmp_path: Path) -> None:
    spec = stored(tmp_path, list(range(100)))
    path = Path(spec["path"])
    check_stored(spec)
    write_digest(path)
    path.touch()
    check_stored(spec)  # another time, but the same digest
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"the file with the values of x, .*, has changed since"):
        check_stored(spec)
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        check_stored(spec)


def test_a_digest_is_given_up_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "0.data"
    path.write_bytes(bytes(10))
    write_digest(path, lambda: True)
    assert not digest_path(path).exists()


def test_a_file_that_is_too_short(tmp_path: Path) -> None:
    spec = stored(tmp_path, np.arange(1000), 100)
    line = lines_of(spec)[-1]
    Path(spec["path"]).write_bytes(Path(spec["path"]).read_bytes()[:-8])
    with pytest.raises(BadInput, match="the items of x could not be read: the file ends before"):
        load_memory(line)


def test_values_of_a_newer_python_are_a_clear_failure(tmp_path: Path) -> None:
    line = lines_of(stored(tmp_path, pd.DataFrame({"a": range(3)}), 3))[0]
    line.table["written_by"] = "3.99 with pandas 9.0.0"
    path = Path(line.table["file"])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x80\x05", b"\x80\x09", 1))
    expected = (
        r"the items of x were stored by Python 3\.99 with pandas 9\.0\.0, and this interpreter"
    )
    with pytest.raises(BadInput, match=expected):
        load_memory(line)


def test_without_pyarrow(tmp_path: Path) -> None:
    program = """
import sys
sys.modules["pyarrow"] = None
from pathlib import Path
import numpy as np
import pandas as pd
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.datasets.memory_dataset import MemoryDataset, StoredDataset

frame = pd.DataFrame({"a": ["x", None, "z"], "b": [1.5, None, 2], "c": pd.Categorical(list("pqp"))})
frame.index = pd.Index(list("klm"))
for number, is_portable in enumerate((False, True)):
    dataset = MemoryDataset(frame)
    dataset.store(Path(sys.argv[1]) / "data", number, 2, is_portable=is_portable)
    parts = list(StoredDataset(dataset.spec()).parts())
    assert [len(part) for part in parts] == [2, 1]
    pd.testing.assert_frame_equal(pd.concat(parts), frame)
for values in ([1, "a"], np.arange(4), frame["a"]):
    dataset = MemoryDataset(values)
    dataset.store(Path(sys.argv[1]) / "data", 0, 2)
    assert len(next(StoredDataset(dataset.spec()).parts())) == 2
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert not done.returncode, done.stderr


def test_a_large_frame_is_written_without_a_copy_of_it(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
import numpy as np
import pandas as pd
from parallelrun_jupyter.data.datasets.memory_dataset import MemoryDataset

frame = pd.DataFrame(np.random.default_rng(0).random((2_000_000, 16)))
frame = frame if sys.argv[2] == "rows" else frame.copy()
MemoryDataset(frame[:10]).store(Path(sys.argv[1]) / "small", 0, 0)  # what it imports
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
MemoryDataset(frame).store(Path(sys.argv[1]) / "data", 0, 0)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    for layout in ("rows", "columns"):
        folder = tmp_path / layout
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder), layout],
            capture_output=True,
            text=True,
            check=True,
        )
        assert float(done.stdout) < 0.1 * 256, "megabytes, beside the 256 of the frame"
        data = folder / "data" / "0.data"
        assert data.stat().st_size < 1.01 * 256e6
        data.unlink()  # later tests need the room
