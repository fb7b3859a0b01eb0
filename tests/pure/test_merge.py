"""One file out of the rows of many mini-batches, in each format."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs.output.committed_rows import read_rows
from parallelrun_jupyter.runs.output.merge import merge_rows
from parallelrun_jupyter.worker.failures import BadResult
from parallelrun_jupyter.worker.output.formats import FORMATS
from parallelrun_jupyter.worker.output.results import encode_result, read_frame_options


def file_of(results: list[Any], form: str, argv: tuple[str, ...] = ()) -> bytes:
    options = read_frame_options("nowhere", list(argv), form)

    def pieces() -> Iterator[tuple[int, bytes]]:
        for mini_batch, result in enumerate(results):
            _, data = encode_result(result, append_rows=True, frame_options=options, form=form)
            if data:
                yield mini_batch, data

    return b"".join(merge_rows(pieces, form))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        TEXTS,
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60)
@given(parts=st.lists(ROWS, min_size=1, max_size=4), gaps=st.sets(st.integers(0, 4)))
def test_what_was_returned_is_in_the_file_once_and_in_order(
    form: str, parts: list[list[tuple[Any, ...]]], gaps: set[int]
) -> None:
    columns = ["n", "x", "the, text", "is"]
    frames = [pd.DataFrame(part, columns=columns) for part in parts]
    results: list[Any] = list(frames)
    for gap in sorted(gaps):  # mini-batches that returned nothing
        results.insert(gap, frames[0].head(0))
    found = read_rows(file_of(results, form), form)
    expected = pd.concat(frames, ignore_index=True)
    if form == "csv":  # text is told from numbers by guessing, there
        found, expected = found.drop(columns="the, text"), expected.drop(columns="the, text")
    if form != "parquet":
        expected["x"] = expected["x"].astype(found["x"].dtype)
    pd.testing.assert_frame_equal(found, expected, check_dtype=form != "jsonl")


def test_csv_has_one_header() -> None:
    frames = [
        pd.DataFrame({"a\nb": [1, 2], "c": ["x,y", ""]}),
        pd.DataFrame({"a\nb": [3], "c": [1]}),
    ]
    assert file_of(frames, "csv") == b'"a\nb",c\n1,"x,y"\n2,\n3,1\n'


@pytest.mark.parametrize("form", FORMATS)
def test_lists_arrays_and_series_are_tables_too(form: str) -> None:
    for result, columns in [
        ([1, 2], ["result"]),
        (pd.Series([1, 2], name="score"), ["score"]),
        (np.array([1, 2]), ["result"]),
        (np.array([[1, 5], [2, 6]]), ["0", "1"]),
        ([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}], ["a", "b"]),
    ]:
        found = read_rows(file_of([result], form), form)
        assert list(found.columns) == columns, (form, result)
        assert list(found[columns[0]]) == [1, 2]


def test_json_lines_hold_what_python_holds() -> None:
    rows = [
        {"when": dt.date(2026, 1, 2), "n": np.int64(3), "v": np.array([1.5]), "none": float("nan")}
    ]
    assert file_of([rows], "jsonl") == (
        b'{"when": "2026-01-02", "n": 3, "v": [1.5], "none": null}\n'
    )
    times = pd.to_datetime(["2026-01-02", None])  # type: ignore[arg-type]  # pandas takes None
    frame = pd.DataFrame({"t": times, "é": [0.1, None]})
    assert file_of([frame], "jsonl").decode() == (
        '{"t": "2026-01-02T00:00:00", "é": 0.1}\n{"t": null, "é": null}\n'
    )


def test_parquet_types_give_way_to_gaps_and_floats() -> None:
    frames = [
        pd.DataFrame({"n": [1], "s": [None]}),
        pd.DataFrame({"s": ["x"], "n": [0.5]}),
        pd.DataFrame({"n": [None], "s": ["y"]}),
    ]
    found = read_rows(file_of(frames, "parquet"), "parquet")
    assert found["n"].fillna(-1).tolist() == [1.0, 0.5, -1.0]
    assert found["s"].fillna("-").tolist() == ["-", "x", "y"]


@pytest.mark.parametrize(
    ("form", "second", "message"),
    [
        ("csv", {"a": [1]}, "mini-batch 1 the columns 'a', but for mini-batch 0 'a,b'; one file"),
        (
            "parquet",
            {"a": [1]},
            r"mini-batch 1 the columns \['a'\], but for mini-batch 0 \['a', 'b'\]",
        ),
        ("parquet", {"a": [1], "b": [2]}, "mini-batch 1 the columns 'b' as int64, but .* 'b' as "),
    ],
)
def test_a_conflict_of_columns_names_both_mini_batches(
    form: str, second: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        file_of([pd.DataFrame({"a": [1], "b": ["x"]}), pd.DataFrame(second)], form)


def test_azures_text_has_a_header_where_it_is_asked_for() -> None:
    frames = [pd.DataFrame({"a": [], "b": []}), pd.DataFrame({"a": [1], "b": ["x y"]})] * 2
    assert file_of(frames, "text") == b'1 "x y"\n1 "x y"\n'
    for argv in (
        ("--append_row_dataframe_header", "True"),
        ("--append_row_dataframe_header=True",),
    ):
        assert file_of(frames, "text", argv) == b'a b\n1 "x y"\n1 "x y"\n'


@pytest.mark.parametrize(
    ("result", "form", "message"),
    [
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            "csv",
            "two of its columns have the same name",
        ),
        (
            pd.DataFrame({"a": [1, "x"]}),
            "parquet",
            "run\\(\\) returned a value that Parquet cannot represent",
        ),
        ([{"a": float("inf")}], "jsonl", "inf .* for row 0 in 'a': JSON has no infinite number"),
    ],
)
def test_what_a_format_cannot_hold_is_a_bad_result(result: Any, form: str, message: str) -> None:
    with pytest.raises(BadResult, match=message):
        file_of([result], form)


def test_parquet_without_any_row_is_a_file_that_pandas_reads() -> None:
    data = b"".join(merge_rows(lambda: iter([]), "parquet"))
    assert pd.read_parquet(io.BytesIO(data)).shape == (0, 0)
