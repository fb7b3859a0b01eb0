"""Keys of values are equal exactly for equal values; those of tables do not depend on mini-batches."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import re
from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.runs.output.value_keys import key_of, keys_of
from parallelrun_jupyter.worker.output.objects import blocks_of, encode_objects


@dataclass
class Point:
    x: Any
    y: Any = None


class Slots:
    __slots__ = ("a",)

    def __init__(self, a: Any) -> None:
        self.a = a


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**200, 0.5, 1.0, float("nan"), 1j, "", "1", "text", b"", b"1", (), (1,), [], [1],
    [[1]], [1, [2]], [[1, 2]], [[1], [2]], ([],), {}, {1: 2}, {2: 1}, {"a": [1]}, set(), {1}, {1, 2}, frozenset(),
    frozenset({1}), Point(1), Point(1, 2), Point([1]), Slots(1), Slots(2), Decimal("0.1"), Decimal("0.10"),
    Fraction(1, 3), dt.date(2020, 1, 1), dt.timedelta(1), OrderedDict(a=1), defaultdict(list, a=1),
    deque([1]), range(3), range(4), slice(1), re.compile("a"), re.compile("b"), PurePosixPath("/a"), len, int, Point,
    functools.partial(pow, 2), functools.partial(pow, 3), ValueError("a"), ValueError("b"), "a" * 100, "b" * 100,
    np.float32(0.5), np.float64(0.5), np.int64(7), np.arange(4), np.arange(4.0), np.zeros((2, 2)), np.zeros((4,)),
    np.array(["a"]), np.array([{}, 3], object), np.ma.masked_array([1, 2], [True, False]),
    np.ma.masked_array([1, 2], [False, True]), pd.Timestamp("2020"), pd.Timestamp("2020", tz="UTC"), pd.NaT,
    pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]}), pd.DataFrame({"a": [1.0]}), pd.Series([1], name="s"),
    pd.Series([1], name="t"), pd.Series(["a"], dtype="category"), pd.Index([1, 2]), pd.DataFrame({"a": [1]}, ["x"]),
    np.dtype("f4"), np.dtype("f8"), pa.array([1]), {"a": Point({1})}, {"a": Point({2})},
]  # fmt: skip


def test_other_values_have_other_keys_and_copies_the_same() -> None:
    keys = [key_of(value) for value in VALUES]
    same = [
        (VALUES[i], VALUES[j])
        for i, j in itertools.combinations(range(len(keys)), 2)
        if keys[i] == keys[j]
    ]
    assert same == []
    [block] = blocks_of(encode_objects(VALUES))
    assert [key_of(value) for value in block.values()] == keys


def test_looking_at_the_attributes_of_a_value_does_not_change_its_key() -> None:
    error, seen = ValueError("a"), ValueError("a")
    assert vars(seen) == {}
    assert error.__reduce__() != seen.__reduce__(), "else this test proves nothing"
    assert key_of(error) == key_of(seen)


def copied(value: Any) -> Any:
    """Return a value with 0.0 in place of -0.0."""
    if isinstance(value, dict):
        return {key: copied(each) for key, each in value.items()}
    return (
        type(value)(map(copied, value))
        if isinstance(value, list | tuple)
        else value or 0.0
        if isinstance(value, float)
        else value
    )


def test_order_and_identity_do_not_matter() -> None:
    text, other = (" ".join(list("xy")) for _ in range(2))
    assert key_of((text, text)) == key_of((text, other))
    assert key_of({"a": 1, "b": {2, 3}}) == key_of({"b": {3, 2}, "a": 1})
    colliding = [8, 0, 16, 24]  # their order in a set is that of their insertion
    one, two = set(colliding), set(colliding[::-1])  # noqa: C415 - see above
    assert list(one) != list(two)
    assert key_of(one) == key_of(two)
    zeros: list[Any] = [-0.0, [-0.0, "-0.0"], {"a": -0.0}, (-0.0, [])]
    for zero in zeros:
        assert key_of(zero) == key_of(copied(zero))
    assert key_of(["-0.0", -0.0]) != key_of(["0.0", 0.0])
    array = np.arange(6).reshape(2, 3)
    assert key_of(np.asfortranarray(array)) == key_of(array)


@given(st.data())
def test_keys_are_equal_if_and_only_if_values_are(data: st.DataObject) -> None:
    inner = st.integers(0, 2) | st.sampled_from(["", "a", "1"]) | st.booleans() | st.none()
    values = st.recursive(
        inner,
        lambda each: (
            st.lists(each, max_size=2)
            | st.tuples(each)
            | st.dictionaries(st.sampled_from("ab"), each, max_size=2)
        ),
        max_leaves=4,
    )
    one, two = data.draw(values), data.draw(values)
    assert (key_of(one) == key_of(two)) == (_typed(one) == _typed(two))


def _typed(value: Any) -> Any:
    """Return a value with its types, since True is equal to 1."""
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_typed, value))
    return type(value), value


def test_what_has_no_key_is_left_out() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert [key is None for key in keys_of([1, lambda: 1, circle, iter, Point(lambda: 2)])] == [
        False, True, True, False, True,
    ]  # fmt: skip


MIXED = pd.DataFrame(
    {
        "whole": [1.0, 2.0, 3.0, np.nan],
        "text": ["a", None, "ccc", "d"],
        "day": pd.to_datetime(pd.Series(["2020", "2021", None, "2022"])),
        "kind": pd.Categorical(["u", "v", "u", None]),
        "list": [[1], [2, 3], None, []],
    }
)


@pytest.mark.parametrize(
    "values",
    [
        MIXED, MIXED["whole"], MIXED.set_index("text"), pa.Table.from_pandas(MIXED), np.arange(4),
        np.array(["a", "bb", "ccc", "d"]), np.arange(12).reshape(4, 3), np.arange(4) + 0.5,
        np.array([[1, 2], [3.5, 4], [5, 6], [7, 8]]), np.array([1, "a", None, 2.5], object),
        np.array([2**62, 1, 2, 3]), ["a", 1, None, np.zeros(2)], np.array(["2020"] * 4, "M8[D]"),
    ],
    ids=range(13),
)  # fmt: skip
def test_keys_of_rows_do_not_depend_on_the_mini_batch(values: Any) -> None:
    whole = keys_of(values)
    assert len(set(whole)) == (1 if str(getattr(values, "dtype", "")).startswith("datetime") else 4)
    assert None not in whole
    for size in (1, 3):
        parts = []
        for start in range(0, 4, size):
            part = _part(values, start, size)
            [block] = blocks_of(encode_objects(part))
            parts += keys_of(block.values())
        assert parts == whole


def _part(values: Any, start: int, size: int) -> Any:
    """Return some of the values, with the types that they have without the others."""
    if hasattr(values, "to_pylist"):
        return values.slice(start, size)
    part = (values.iloc if hasattr(values, "iloc") else values)[start : start + size]
    if isinstance(part, np.ndarray) and part.dtype.kind in "fU":
        return np.array([int(x) if x == int(x) else x for x in part.tolist()]) if part.ndim == 1 and part.dtype.kind == "f" else np.array(part.tolist())  # fmt: skip
    if isinstance(part, pd.DataFrame) and "whole" in part and part["whole"].notna().all():
        return part.astype({"whole": int})
    return part


def test_names_labels_and_values_of_rows_matter() -> None:
    frame = pd.DataFrame({"a": [1, 2]})
    key = keys_of(frame)[0]
    assert keys_of(frame.rename(columns={"a": "b"}))[0] != key
    assert keys_of(frame.set_axis(["x", "y"]))[0] != key
    assert keys_of(frame.set_axis(pd.RangeIndex(5, 7)))[0] == key
    assert keys_of(frame + 1)[0] != key
    assert keys_of(frame["a"])[0] != key
    assert keys_of(np.array([2**62, 1]))[0] != keys_of(np.array([2**62 + 1, 1]))[0]
    assert keys_of(np.array([[2**62, 1]]))[0] != keys_of(np.array([[2**62 + 1, 1]]))[0]
