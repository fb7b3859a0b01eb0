"""Which scripts are called with a context, and its fields."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, ForwardRef

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis.extra.pandas import column, data_frames

import parallelrun_jupyter
from parallelrun_jupyter.config.call_form import form_of_function
from parallelrun_jupyter.worker.context import MiniBatchContext
from parallelrun_jupyter.worker.context_argument import takes_context, with_context
from parallelrun_jupyter.worker.output.values import records_of
from parallelrun_jupyter.worker.plan_line import PlanLine


class _Scorer:
    def one(self, mini_batch: Any) -> None: ...

    def two(self, mini_batch: Any, context: Any) -> None: ...

    def __call__(self, mini_batch: Any, context: Any) -> None: ...


def _two(mini_batch: Any, context: Any) -> None: ...


def _three(scale: int, mini_batch: Any, context: Any) -> None: ...


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


@pytest.mark.parametrize(
    ("run", "takes"),
    [
        (lambda b: b, False),
        (lambda b, top=3: b, False),
        (lambda b, context=None: b, True),
        (lambda b, mini_batch_context=None, top=3: b, True),
        (lambda b, ctx=None: b, True),
        (lambda b, whatever: b, True),
        (lambda b, whatever, top=3: b, True),
        (lambda *args: args, True),
        (lambda b, *args: args, True),
        (lambda b, *, verbose=False: b, False),
        (lambda b, **options: b, False),
        (functools.partial(_three, 2), True),
        (functools.partial(_two, context=None), False),
        (functools.partial(lambda scale, b: b, 2), False),
        (_Scorer().one, False),
        (_Scorer().two, True),
        (_Scorer(), True),
        (_decorated(lambda b: b), False),
        (_decorated(_two), True),
        (print, sys.version_info >= (3, 11)),  # the first Python in which it has a signature
        (dict.fromkeys, False),
        (str.upper, False),
        (dict, False),
    ],
)
def test_the_signature_says_who_gets_a_context(run: Callable[..., Any], takes: bool) -> None:
    assert takes_context(run) is takes


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="earlier Pythons evaluate annotations where `def` is"
)
def test_annotations_may_name_what_does_not_exist() -> None:
    names: dict[str, Any] = {}
    exec("def run(rows: Rows, context: Context) -> Scores: ...", names)
    exec("class Scorer:\n    def __call__(self, rows: Rows, whatever: Row): ...", names)
    assert takes_context(functools.partial(names["run"]))
    assert takes_context(names["Scorer"]())
    assert not form_of_function(names["run"]).names_item
    parallelrun_jupyter.entry(names["run"])


def test_an_annotation_that_does_not_exist_is_read_by_its_name() -> None:
    def score(batch: Any) -> None: ...

    score.__annotations__["batch"] = ForwardRef("dict[str, Row]")
    assert form_of_function(score).names_item
    score.__annotations__["batch"] = ForwardRef("Frame")
    assert not form_of_function(score).names_item


LINE = PlanLine(0, ["/a/x.wav", "/a/y.wav"], [1, 2], [3, 4],
       extra={"keys": {"user": "ada", "day": {"datetime": "2019-01-31T00:00:00"}}, "first": 40})  # fmt: skip


def test_a_context_tells_of_its_mini_batch() -> None:
    context = with_context(lambda mini_batch, context: (mini_batch, context))(LINE, 7)[1]
    assert context.partition_key_value == {"user": "ada", "day": datetime(2019, 1, 31)}
    assert (context.minibatch_index, context.global_row_index_lower_bound) == (7, 40)
    assert context.dataset.to_path() == ["/a/x.wav", "/a/y.wav"]
    assert repr(context.dataset) == "MiniBatchDataset('/a/x.wav' and 1 more)"
    assert repr(context).startswith(
        "MiniBatchContext(minibatch_index=7, partition_key_value={'user'"
    )
    with pytest.raises(
        TypeError, match=r"the items are files, not rows of a table; to_path\(\) has"
    ):
        context.dataset.to_pandas_dataframe()


def test_rows_are_records_with_the_types_of_their_columns() -> None:
    frame = pd.DataFrame(
        {
            "width": [256, 512],
            "rate": np.array([0.1, np.nan], dtype="float32"),
            "on": [True, False],
            "name": ["a", None],
            "seen": pd.to_datetime(["2026-01-31", None]),  # type: ignore[arg-type]  # pandas takes None
            "count": pd.array([2**60 + 1, None], dtype="Int64"),
            "any": np.array([np.int16(7), "x"], dtype=object),
        }
    )
    call = with_context(lambda mini_batch, context: context.records(), lambda line, k: frame)
    first, second = call(PlanLine(0, ["/x"], [1], [2], ranges=[[0, 1]], table={}, rows=2), 0)
    assert {name: type(value) for name, value in first.items()} == {
        "width": int, "rate": float, "on": bool, "name": str, "seen": pd.Timestamp, "count": int,
        "any": int,
    }  # fmt: skip
    assert (first["count"], first["rate"]) == (2**60 + 1, float(np.float32(0.1)))
    assert second == {
        "width": 512, "rate": None, "on": False, "name": None, "seen": None, "count": None,
        "any": "x",
    }  # fmt: skip


@given(
    data_frames(
        [
            column("i", dtype="int64"),
            column("f", dtype="float64"),
            column("b", dtype="bool"),
            column("u", dtype="uint8"),
        ]
    )
)
def test_records_hold_what_the_columns_hold(frame: pd.DataFrame) -> None:
    records = list(records_of(frame))
    assert len(records) == len(frame)
    for name in frame.columns:
        values = [row[name] for row in records]
        kind = type(frame[name].iloc[0].item()) if len(frame) else None
        assert all(value is None or type(value) is kind for value in values)
        expected = [None if pd.isna(value) else value for value in frame[name]]
        assert values == expected


def test_records_of_two_columns_of_one_name_and_of_none() -> None:
    assert list(records_of(pd.DataFrame([[1, 2]], columns=["a", "a"]))) == [{"a": 2}]
    assert list(records_of(pd.DataFrame(index=range(2)))) == [{}, {}]


def test_files_have_no_records() -> None:
    with pytest.raises(TypeError, match=r"the items are files, which have no rows; run\(\) gets"):
        MiniBatchContext(LINE, 0).records()


def test_without_keys_there_are_none() -> None:
    assert (
        MiniBatchContext(PlanLine(0, ["/x"], [1], [2], extra={"first": 3}), 3).partition_key_value
        == {}
    )
    assert with_context(lambda mini_batch: mini_batch)(LINE, 0) == ["/a/x.wav", "/a/y.wav"]
