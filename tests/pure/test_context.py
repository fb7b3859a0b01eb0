"""Which scripts are called with a context, and what it tells them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from parallelrun_jupyter.worker.context import MiniBatchContext, takes_context, with_context


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
        (print, True),
        (dict.fromkeys, False),
        (str.upper, False),
        (dict, False),
    ],
)
def test_the_signature_says_who_gets_a_context(run: Callable[..., Any], takes: bool) -> None:
    assert takes_context(run) is takes


ROW = ["f", 0, ["/a/x.wav", "/a/y.wav"], [1, 2], [3, 4],
       {"keys": {"user": "ada", "day": {"datetime": "2019-01-31T00:00:00"}}, "first": 40}]  # fmt: skip


def test_a_context_tells_of_its_mini_batch() -> None:
    context = with_context(lambda mini_batch, context: (mini_batch, context))(ROW, 7)[1]
    assert context.partition_key_value == {"user": "ada", "day": datetime(2019, 1, 31)}
    assert (context.minibatch_index, context.global_row_index_lower_bound) == (7, 40)
    assert context.dataset.to_path() == ["/a/x.wav", "/a/y.wav"]
    assert repr(context.dataset) == "MiniBatchDataset('/a/x.wav' and 1 more)"
    assert repr(context).startswith(
        "MiniBatchContext(minibatch_index=7, partition_key_value={'user'"
    )
    with pytest.raises(TypeError, match=r"the input is files, which are no table; to_path\(\) has"):
        context.dataset.to_pandas_dataframe()


def test_without_keys_there_are_none() -> None:
    assert MiniBatchContext(["f", 0, ["/x"], [1], [2], {"first": 3}], 3).partition_key_value == {}
    assert with_context(lambda mini_batch: mini_batch)(ROW, 0) == ["/a/x.wav", "/a/y.wav"]
