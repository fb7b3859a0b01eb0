"""Items answer one by one: the rows of the others are those of a result without the failed items."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.runs.output.merge import merge_rows
from parallelrun_jupyter.worker.answers import FailedItems, answers_of
from parallelrun_jupyter.worker.context_argument import with_context
from parallelrun_jupyter.worker.failures import BadResult, ItemFailed
from parallelrun_jupyter.worker.output.formats import FORMATS, TEXT
from parallelrun_jupyter.worker.output.results import (
    HoldsErrors,
    encode_result,
    materialized,
    read_frame_options,
)
from parallelrun_jupyter.worker.plan_line import PlanLine

if TYPE_CHECKING:
    from parallelrun_jupyter.worker.context import Failed


def line_of(items: int, *ranges: tuple[int, int]) -> PlanLine:
    line = PlanLine(0, [f"/in/{k}" for k in range(items)], [], [])
    return line.only(ranges) if ranges else line


def encoded(result: Any, form: str) -> tuple[int, bytes]:
    options = read_frame_options("nowhere", [], form)
    return encode_result(result, append_rows=True, frame_options=options, form=form)


def merged(blobs: list[bytes], form: str) -> Any:
    """Return the output of a run with these mini-batches: its bytes, or the table of a Parquet file."""

    def pieces() -> Iterator[tuple[int, bytes]]:
        return ((number, blob) for number, blob in enumerate(blobs) if blob)

    if form == TEXT:
        return b"".join(blobs)
    data = b"".join(merge_rows(pieces, form))
    return pa.parquet.read_table(io.BytesIO(data)).to_pylist() if form == "parquet" else data


def as_list(values: list[Any]) -> Any:
    return values


def as_objects(values: list[Any]) -> Any:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def as_series(values: list[Any]) -> Any:
    return pd.Series(values, dtype=object)


def as_generator(values: list[Any]) -> Any:
    return (value for value in values)


VALUES = st.one_of(
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=12),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5), min_size=1, max_size=12
    ),
    st.lists(
        st.permutations(["a", "b", "c"]).map(lambda names: {name: f"{name}, 1" for name in names}),
        min_size=1,
        max_size=12,
    ),
)


@pytest.mark.parametrize("form", [TEXT, *FORMATS])
@settings(max_examples=60)
@given(
    values=VALUES,
    bad=st.sets(st.integers(0, 11)),
    marked=st.sets(st.integers(0, 11)),
    make=st.sampled_from([as_list, tuple, deque, as_objects, as_series, as_generator]),
    are_left_out=st.booleans(),
)
def test_the_rows_are_those_of_a_result_without_the_failed_items(
    form: str,
    values: list[Any],
    bad: set[int],
    marked: set[int],
    make: Callable[[list[Any]], Any],
    are_left_out: bool,
) -> None:
    items = len(values)
    bad, marked = {k for k in bad if k < items}, {k for k in marked if k < items}
    elements = [ValueError(str(k)) if k in bad else value for k, value in enumerate(values)]
    if are_left_out:
        elements = [element for k, element in enumerate(elements) if k not in marked]
    failed: Failed = {k: (KeyError(k), "") for k in marked}
    answers = answers_of(materialized(make(elements)), line_of(items), failed, form)
    assert [position for position, _, _ in answers.failed] == sorted(bad | marked)
    for position, error, _ in answers.failed:
        assert isinstance(error, KeyError if position in marked else ValueError)
    blobs, covered = [], [position for position, _, _ in answers.failed]
    for first, count, part in answers.pieces:
        rows, blob = encoded(part, form)
        assert rows == count
        covered += range(first, first + count)
        blobs.append(blob)
    assert sorted(covered) == list(range(items)), "each item has one answer"
    firsts = [(first, count) for first, count, _ in answers.pieces]
    assert all(a + n < b for (a, n), (b, _) in pairwise(firsts)), "ranges are long"
    others = [value for k, value in enumerate(values) if k not in bad | marked]
    make = as_list if make is deque else make  # others have their keys in one order
    expected = [encoded(materialized(make(others)), form)[1]] if others else []
    assert merged(blobs, form) == merged(expected, form)


def test_parts_of_dicts_with_optional_keys_have_the_same_columns() -> None:
    values = [{"a": 1}, ValueError(), {"b": 2, "a": 1}, ValueError(), {"b": 3}]
    pieces = answers_of(values, line_of(5), {}, "csv").pieces
    blobs = [encoded(part, "csv")[1] for _, _, part in pieces]
    assert merged(blobs, "csv") == b"a,b\n1,\n1,2\n,3\n"


def test_parts_of_series_with_optional_labels_have_the_same_columns() -> None:
    values = [pd.Series({"a": "x"}), ValueError(), pd.Series({"b": "y", "a": "z"})]
    pieces = answers_of(values, line_of(3), {}).pieces
    assert [encoded(part, TEXT)[1] for _, _, part in pieces] == [b"x \n", b"z y\n"]


@pytest.mark.parametrize("form", [TEXT, *FORMATS])
@settings(max_examples=40)
@given(items=st.integers(1, 12), marked=st.sets(st.integers(0, 11)), are_left_out=st.booleans())
def test_the_rows_of_a_frame_are_those_without_the_failed_items(
    form: str, items: int, marked: set[int], are_left_out: bool
) -> None:
    frame = pd.DataFrame({"n": range(items), "t": [f"x {k}" for k in range(items)]})
    marked = {k for k in marked if k < items}
    others = frame[~frame.index.isin(marked)]
    failed: Failed = {k: (KeyError(k), "") for k in marked}
    answers = answers_of(others if are_left_out else frame, line_of(items), failed)
    blobs = [encoded(part, form)[1] for _, _, part in answers.pieces]
    expected = [encoded(others, form)[1]] if len(others) else []
    assert merged(blobs, form) == merged(expected, form)


@given(
    ranges=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=5),
    bad=st.sets(st.integers(0, 20)),
)
def test_an_attempt_of_some_items_answers_by_their_positions(
    ranges: list[tuple[int, int]], bad: set[int]
) -> None:
    spans, at = [], 0
    for gap, count in ranges:
        spans.append((at + gap, count))
        at += gap + count
    positions = [first + k for first, count in spans for k in range(count)]
    elements = [ValueError() if position in bad else position for position in positions]
    answers = answers_of(elements, line_of(at, *spans), {})
    assert [p for p, _, _ in answers.failed] == [p for p in positions if p in bad]
    for first, count, part in answers.pieces:
        assert part == list(range(first, first + count))
    assert sum(count for _, count, _ in answers.pieces) == len(set(positions) - bad)


@pytest.mark.parametrize(
    ("result", "line", "failed", "message"),
    [
        ([1, ValueError()], line_of(3), {}, r"returned 2 elements for 3 items, and 1 of them exceptions.* Return one element for each item, or call context\.fail"),
        ([1, 2, 3, ValueError()], line_of(3), {}, r"returned 4 elements for 3 items"),
        ([1], line_of(3), {0: (KeyError(), "")}, r"context\.fail\(\) failed 1.* Return 3 elements \(one for each item\), or 2 \(for"),
        ([1], line_of(9, (0, 1), (3, 2)), {}, r"returned 1 elements for 3 items, which are in 2 places"),
        (None, line_of(1), {0: (KeyError(), "")}, r"run\(\) returned None"),
    ],
)  # fmt: skip
def test_an_unclear_result_is_refused_with_its_numbers(
    result: Any, line: PlanLine, failed: Any, message: str
) -> None:
    with pytest.raises(BadResult, match=message):
        answers_of(result, line, failed)


def test_all_items_may_fail_and_one_range_may_be_short_or_long() -> None:
    everything = answers_of([], line_of(2), {0: (KeyError(), ""), 1: (KeyError(), "")})
    assert (everything.pieces, len(everything.failed)) == ([], 2)
    for result in ([], [1], [1, 2, 3, 4]):
        assert answers_of(result, line_of(9, (4, 3)), {}).pieces == [(4, 3, result)]


@pytest.mark.parametrize("form", [TEXT, *FORMATS])
def test_exceptions_are_noticed_in_every_format_if_they_may_fail_items(form: str) -> None:
    for result in ([1, ValueError("x")], pd.Series([ValueError("x"), 2]), as_objects([OSError()])):
        for append_rows in (True, False):
            options = {"append_rows": append_rows, "form": form, "seeks_errors": True}
            with pytest.raises(HoldsErrors):
                encode_result(result, **options)  # type: ignore[arg-type]
    for plain in ([1, 2], np.array([1.5]), pd.Series(["a"]), pd.DataFrame({"a": [1]})):
        assert encode_result(plain, append_rows=True, form=form, seeks_errors=True) == (
            encode_result(plain, append_rows=True, form=form)
        )
    assert encode_result([ValueError("x")], append_rows=True) == (1, b"x\n"), "Azure's meaning"


# The context


def failing(*calls: tuple[Any, Any]) -> Callable[[Any, Any], list[Any]]:
    def run(mini_batch: Any, context: Any) -> list[Any]:
        for index, error in calls:
            context.fail(index, error)
        return list(mini_batch)

    return run


def test_the_last_call_for_an_item_wins() -> None:
    failed: dict[int, Any] = {}
    calls = ((2, "no face"), (np.int64(1), OSError("gone")), (2, ValueError("no eyes")))
    with_context(failing(*calls))(line_of(4), 0, failed)
    assert {k: repr(error) for k, (error, _) in failed.items()} == {
        1: "OSError('gone')", 2: "ValueError('no eyes')",
    }  # fmt: skip
    assert all(place.startswith("test_answers.py:") for _, place in failed.values())
    with_context(failing((0, "no face")))(line_of(4), 0, failed)
    assert repr(failed[0][0]) == "ItemFailed('no face')"


@pytest.mark.parametrize(
    ("index", "error", "kind", "message"),
    [
        (3, "x", IndexError, r"context\.fail\(3, \.\.\.\): expected the position of a path in the list that run\(\) received, from 0 to 2"),
        (-1, "x", IndexError, "from 0 to 2"),
        ("a.jpg", "x", TypeError, "context.fail.'a.jpg', .* expected the position of a path"),
        (True, "x", TypeError, "from 0 to 2"),
        (1.0, "x", TypeError, "from 0 to 2"),
        (0, None, TypeError, r"context\.fail\(0, None\): expected an exception \(such as"),
        (0, ValueError, TypeError, r"'no face'\)\) or a text as the error, not a type"),
        ([*range(999)], "x", TypeError, "characters left out"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused(index: Any, error: Any, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        with_context(failing((index, error)))(line_of(3), 0, {})


@pytest.mark.parametrize("form", [TEXT, *FORMATS])
def test_a_class_of_exceptions_fails_its_item_as_raise_would(form: str) -> None:
    class Picky(Exception):
        def __init__(self, path: str) -> None:
            super().__init__(path)

    values = [1, KeyError, 3, Picky, ValueError("x")]
    with pytest.raises(HoldsErrors):
        encode_result(values[:2], append_rows=True, form=form, seeks_errors=True)
    answers = answers_of(values, line_of(5), {}, form)
    assert [piece[:2] for piece in answers.pieces] == [(0, 1), (2, 1)]
    errors = [repr(error) for _, error, _ in answers.failed]
    assert errors == ["KeyError()", "ItemFailed('run() returned the class Picky as an element')", "ValueError('x')"]  # fmt: skip
    others = answers_of([int, str], line_of(2), {})
    assert (others.pieces, others.failed) == ([(0, 2, [int, str])], [])


def test_an_exception_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(BadResult, match=r"an exception, ValueError\('x'\) .*; raise it to fail"):
        encoded(ValueError("x"), TEXT)


def test_a_wrong_call_for_a_single_item_is_refused_plainly() -> None:
    with pytest.raises(IndexError, match=r"run\(\) received, 0 for its only item$"):
        with_context(failing((1, "x")))(line_of(1), 0, {})


def test_fail_names_the_setting_that_it_needs() -> None:
    with pytest.raises(RuntimeError, match="isolate_failures is off in this run: turn it on"):
        with_context(failing((0, "x")))(line_of(3), 0)


def test_a_context_of_some_items_begins_at_the_first_of_them() -> None:
    line = PlanLine(0, [f"/in/{k}" for k in range(9)], [], [], extra={"first": 100})
    part = line.only([(4, 2), (7, 1)])
    call = with_context(lambda mini_batch, context: (mini_batch, context))
    paths, context = call(part, 3)
    assert paths == context.dataset.to_path() == ["/in/4", "/in/5", "/in/7"]
    assert (context.global_row_index_lower_bound, context.minibatch_index) == (104, 3)


# Groups


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_failed_items_are_grouped_by_type_and_line() -> None:
    failed = [
        (0, raised(ValueError("a")), ""),
        (1, raised(ValueError("a")), ""),
        (2, raised(ValueError("b")), ""),
        (3, ValueError("b"), ""),
        (4, raised(KeyError("b")), ""),
        (6, raised(ValueError("b")), ""),
        (7, ItemFailed("no face"), "score.py:9 in run"),
    ]
    roots = [str(__file__).rpartition("/")[0]]
    groups = FailedItems(roots, "score.py:1 in run").grouped(failed)
    assert [(ranges, messages) for ranges, messages, _ in groups] == [
        ([[0, 2], [2, 1], [6, 1]], ["a", "b", "b"]),
        ([[3, 1]], ["b"]),
        ([[4, 1]], ["'b'"]),
        ([[7, 1]], ["no face"]),
    ]
    places = [failure["group"].partition(" at ") for _, _, failure in groups]
    assert [kind for kind, _, _ in places] == ["ValueError", "ValueError", "KeyError", "ItemFailed"]
    assert places[0][2].endswith(" in raised")
    assert [place for _, _, place in places] == [places[0][2], "score.py:1 in run", places[0][2], "score.py:9 in run"]  # fmt: skip
    assert "Traceback" in groups[0][2]["traceback"]
    assert json.loads(json.dumps(groups)) == groups


def test_an_exception_and_its_wrapper_are_told_apart_and_messages_are_short() -> None:
    error = raised(RuntimeError("x" * 5000))
    wrapped = raised(RuntimeError("y"))
    wrapped.__cause__ = MemoryError()
    groups = FailedItems([], "run()").grouped([(0, error, ""), (1, wrapped, "")])
    assert [failure["kind"] for _, _, failure in groups] == ["exception", "out_of_memory"]
    assert len(groups[0][1][0]) <= 300


class _Nasty(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_element_that_cannot_be_printed_fails_its_item_only() -> None:
    answers = answers_of([_Nasty(), 1, _Nasty()], line_of(3), {})
    ((ranges, messages, failure),) = FailedItems([], "").grouped(answers.failed)
    assert (ranges, len(messages)) == ([[0, 1], [2, 1]], 2)
    assert failure["group"] == "_Nasty at run()"
