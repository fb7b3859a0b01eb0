"""Results of any type are the same after a round trip; views get their texts without pickles."""

from __future__ import annotations

import math
import pickle
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.worker.function_script import WholeTable
from parallelrun_jupyter.worker.output import objects
from parallelrun_jupyter.worker.output.objects import NotStored, blocks_of, encode_objects
from parallelrun_jupyter.worker.output.short_texts import TEXT_CHARS, text_of

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def back(result: Any) -> Any:
    [block] = blocks_of(encode_objects(result))
    return block.values()


@given(st.lists(PLAIN, max_size=6))
def test_lists_of_values_come_back_as_they_were(values: list[Any]) -> None:
    again = back(values)
    assert type(again) is list
    assert repr(again) == repr(values)  # equal values of other types have another repr
    [block] = blocks_of(encode_objects(values))
    assert len(block.texts) == block.rows == len(values)
    assert all(len(text) <= TEXT_CHARS * 2 for text in block.texts)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6),
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([1, 2], ">f4"),
        np.array(["a", "bc"]),
        np.array(["2020-01-01"], "M8[D]"),
        np.array([{}, 3], object),
        np.empty((0, 4)),
        np.array([True, False]),
        np.ma.masked_array([1, 2], [True, False]),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)  # fmt: skip
def test_arrays_come_back_with_type_and_shape(array: Any) -> None:
    again = back(array)
    assert type(again) is type(array)
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert pickle.dumps(again.tolist()) == pickle.dumps(array.tolist())


def test_arrays_of_items_can_be_written_to() -> None:
    first, second = back([np.zeros(3), np.ones(3)])
    first += 1
    assert (first == second).all()
    assert isinstance(back([np.zeros(2), np.zeros(3)]), list)


FRAMES = [
    pd.DataFrame({"a": [1, 2], "b": [0.5, math.nan]}),
    pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
    pd.DataFrame({"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", None])),
    pd.DataFrame({"a": pd.Categorical(["u", "v"]), "b": pd.to_datetime(["2020", "2021"])}),
    pd.DataFrame({"a": [{"x": 1}, [2]], "b": [(1,), {2}]}),
    pd.DataFrame({0: [1], "0": [2]}),
    pd.DataFrame([[1, 2]], columns=["a", "a"]),
    pd.DataFrame({"a": []}),
    pd.DataFrame(index=[1, 2]),
    pd.DataFrame({"a": pd.array([1, None], "Int64"), "b": ["t", None]}),
    pd.DataFrame({"a": np.array([1, 2], "float16"), "b": np.array([1, 2], ">i4")}),
    pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", 1)])),
]  # fmt: skip


@pytest.mark.parametrize("frame", FRAMES, ids=range(len(FRAMES)))
def test_frames_come_back_with_index_and_types(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(back(frame), frame, check_freq=False)
    for name, column in zip(
        frame.columns, (frame.iloc[:, k] for k in range(frame.shape[1])), strict=True
    ):
        again = back(column)
        pd.testing.assert_series_equal(again, column, check_freq=False)
        assert again.name == name
    [block] = blocks_of(encode_objects(frame))
    assert len(block.texts) == len(frame)


def test_attributes_and_names_of_frames_are_kept() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    frame.attrs["unit"] = "m"
    frame.index.name, frame.columns.name = "n", "c"
    again = back(frame)
    assert (again.attrs, again.index.name, again.columns.name) == ({"unit": "m"}, "n", "c")
    unnamed = back(pd.Series([1.5, 2.5]))
    assert unnamed.name is None


def test_arrow_tables_come_back() -> None:
    table = pa.table({"a": [1, None], "b": [[1], None]})
    assert back(table).equals(table)
    [block] = blocks_of(encode_objects(table))
    assert block.texts[0] == "a: 1.0, b: array([1])"


def test_a_table_may_stand_for_other_numbers_of_items() -> None:
    frame = pd.DataFrame({"a": range(5)})
    first, second = WholeTable(frame, 3).divided([2, 1])
    assert (len(first), len(second)) == (2, 1)
    pd.testing.assert_frame_equal(back(first), frame)
    assert len(back(second)) == 0


class Raises:
    def __repr__(self) -> str:
        msg = "no repr"
        raise ValueError(msg)


class Unpicklable:
    def __reduce__(self) -> Any:
        msg = "not me"
        raise ValueError(msg)


def test_values_that_cannot_be_stored_are_found() -> None:
    values = [1, threading.Lock(), "x", Unpicklable(), ValueError("its own")]
    with pytest.raises(
        NotStored, match=r"the result, a lock, cannot be stored \(TypeError: cannot pickle"
    ):
        encode_objects(values)
    errors = objects.not_stored(values)
    assert list(errors) == [1, 3]
    assert "ValueError: not me" in str(errors[3][0])


def test_deep_recursion_is_an_error_of_its_item() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    try:
        with pytest.raises(NotStored, match="recursion"):
            encode_objects([1, deep])
        assert list(objects.not_stored([1, deep])) == [1]
    finally:
        while deep:  # its deallocation must not recurse either
            deep = deep.pop()


@dataclass
class Point:
    x: int
    y: list[int]


def test_texts_are_short_and_never_raise() -> None:
    assert text_of("a" * 500) == repr("a" * 120)[: TEXT_CHARS - 3] + "..."
    assert text_of(Raises()).startswith("<Raises instance at 0x")
    assert text_of(10**5000) == "int of 16610 bits"
    assert text_of(np.arange(1000)) == "array of shape (1000,): 0, 1, 2, 3, 4, 5, ..."
    assert text_of(pd.DataFrame({"a": [1]})) == "DataFrame of shape (1, 1)"
    assert text_of(Point(1, list(range(10**6)))) == "Point(x=1, y=[0, 1, 2, 3, 4, 5, ...])"
    assert text_of({"b": 1, "a": [2]}) == "{'b': 1, 'a': [2]}"
    assert text_of(dict.fromkeys(range(100), 0)).endswith("7: 0, ...}")
    cycle: dict[int, Any] = {}
    cycle.update(dict.fromkeys(range(8), cycle))
    assert text_of(cycle).startswith("{0: {0: {")
    assert text_of("caf\udce9") == r"'caf\udce9'"


def test_bytes_that_are_no_block_are_an_error() -> None:
    data = encode_objects([1, 2])
    with pytest.raises(ValueError, match="incomplete"):
        list(blocks_of(data[:5]))
    with pytest.raises(ValueError, match="no block of results at byte 0"):
        list(blocks_of(data[:-1]))
    assert [block.rows for block in blocks_of(data + data)] == [2, 2]
