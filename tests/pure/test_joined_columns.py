"""The results of one mini-batch, in pieces, are the file of its result as a whole.

The oracle is pandas' table of all dicts, encoded by the worker at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs.output.committed_rows import read_rows
from parallelrun_jupyter.runs.output.merge import merge_rows
from parallelrun_jupyter.runs.output.row_notes import NoteLines, read_notes
from parallelrun_jupyter.worker.output.results import CSV_OPTIONS, encode_result

Result = tuple[int, Any]
"""A mini-batch, and the result for some of its items."""


def file_of(
    results: list[Result], form: str, options: dict[str, Any] = CSV_OPTIONS
) -> tuple[bytes, pd.DataFrame]:
    """Return the file of results, and its table."""

    def pieces() -> Iterator[tuple[int, bytes]]:
        for mini_batch, result in results:
            _, data = encode_result(result, append_rows=True, frame_options=options, form=form)
            yield mini_batch, data

    lines: list[str] = []
    notes = NoteLines(lines.append)
    data = b"".join(merge_rows(pieces, form, notes.add))
    notes.end(len(data))
    return data, read_rows(data, form, read_notes(lines) if notes.is_needed else None)


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4
) | st.sampled_from(["007", "NA", "None", "nan", "", '"', ",", "a\nb", "\r", "True", "1.0"])
SMALL = st.integers(-9, 9)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1))
OF_ARROW = [
    st.integers(-(2**63), 2**63 - 1),
    FLOATS,
    st.booleans(),
    TEXTS,
    TIMES,
    st.dates(dt.date(1900, 1, 1)),
    st.lists(SMALL, max_size=2),
]
OF_CSV = [
    *OF_ARROW,
    st.integers(0, 2**64 - 1),
    SMALL | FLOATS,
    SMALL | TEXTS | st.booleans() | st.none() | st.just(2**70),
    FLOATS | st.just(float("nan")),
    st.tuples(SMALL, TEXTS),
    st.binary(max_size=3),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
]


@st.composite
def mini_batches(draw: st.DrawFn, kinds: list[Any]) -> tuple[list[dict[str, Any]], list[int]]:
    """Return dicts with optional keys in any order, and positions at which they are divided."""
    columns = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    names = draw(st.lists(TEXTS, min_size=len(columns), max_size=len(columns), unique=True))
    optional = [values | st.none() if draw(st.booleans()) else values for values in columns]
    of = dict(zip(names, optional, strict=True))
    rows = []
    for _ in range(draw(st.integers(2, 6))):
        keys = draw(st.lists(st.sampled_from(names), unique=True, min_size=1))
        rows.append({key: draw(of[key]) for key in keys})
    cuts = draw(st.sets(st.integers(1, len(rows) - 1), min_size=1))
    return rows, sorted(cuts)


def divided(rows: list[dict[str, Any]], cuts: list[int]) -> list[list[dict[str, Any]]]:
    return [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


def has_other_columns(parts: list[list[dict[str, Any]]]) -> bool:
    return len({tuple(pd.DataFrame(part).columns) for part in parts}) > 1


def with_none(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with None for all missing objects: in floats, None and NaN are the same."""
    objects = [name for name, kind in frame.dtypes.items() if str(kind) == "object"]
    frame = frame.copy()
    for name in objects:
        frame[name] = frame[name].where(frame[name].notna(), None)
    return frame


SLOW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@SLOW
@given(case=mini_batches(OF_CSV), sep=st.sampled_from([",", "\t"]), header=st.booleans())
def test_csv_is_as_of_the_whole_mini_batch(
    case: tuple[list[dict[str, Any]], list[int]], sep: str, header: bool
) -> None:
    rows, cuts = case
    parts = divided(rows, cuts)
    options = {"sep": sep, "header": header, "index": False}
    whole, expected = file_of([(0, rows)], "csv", options)
    data, found = file_of([(0, part) for part in parts], "csv", options)
    if has_other_columns(parts):
        assert data == whole
        pd.testing.assert_frame_equal(with_none(found), with_none(expected))
    else:
        assert list(found.columns) == list(expected.columns)


@SLOW
@given(case=mini_batches(OF_ARROW))
def test_parquet_is_as_of_the_whole_mini_batch(
    case: tuple[list[dict[str, Any]], list[int]],
) -> None:
    rows, cuts = case
    whole, expected = file_of([(0, rows)], "parquet")
    data, found = file_of([(0, part) for part in divided(rows, cuts)], "parquet")
    table, of_whole = (pq.read_table(pa.BufferReader(each)) for each in (data, whole))
    assert table.replace_schema_metadata(None).equals(of_whole.replace_schema_metadata(None))
    pd.testing.assert_frame_equal(found, expected)


@SLOW
@given(case=mini_batches([SMALL, FLOATS, TEXTS, st.lists(SMALL, max_size=2)]))
def test_json_lines_are_as_of_the_whole_mini_batch(
    case: tuple[list[dict[str, Any]], list[int]],
) -> None:
    rows, cuts = case
    whole, expected = file_of([(0, rows)], "jsonl")
    data, found = file_of([(0, part) for part in divided(rows, cuts)], "jsonl")
    assert data == whole
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_whole_numbers_stay_whole_beside_absent_ones(form: str) -> None:
    large = 2**53 + 1
    rows = [{"a": 1, "n": large}, {"a": 2}, {"b": "x", "a": 3}]
    _, found = file_of([(0, [row]) for row in rows], form)
    assert list(found.columns) == ["a", "n", "b"]
    assert str(found["n"].dtype) == "Int64"
    assert found["n"][0] == large
    assert found["n"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_types_of_frames_are_kept_beside_absent_columns(form: str) -> None:
    other = pd.DataFrame({"id": [3]})
    times = pd.Series(["2026-01-02"]).astype("datetime64[ns]").dt.tz_localize("Europe/Berlin")
    frame = pd.DataFrame(
        {
            "id": [1],
            "x": np.array([0.5], dtype="float32"),
            "is": pd.array([True], dtype="boolean"),
            "t": times,
            "s": pd.array(["x"], dtype="string"),
        }
    )
    _, found = file_of([(0, other), (0, frame)], form)
    assert found["id"].tolist() == [3, 1]
    assert found.loc[0].isna().tolist() == [False, True, True, True, True]
    assert {name: str(kind) for name, kind in found.dtypes.items()} == {
        name: str(kind) for name, kind in frame.dtypes.items()
    }


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_index_stays_one(form: str) -> None:
    index = pd.Index(["k1"], name="key")
    frames = [pd.DataFrame({"a": [1]}, index=index), pd.DataFrame({"b": ["x"]}, index=index)]
    _, found = file_of([(0, frame) for frame in frames], form)
    assert found.index.tolist() == ["k1", "k1"]
    assert found.index.name == "key"
    assert list(found.columns) == ["a", "b"]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_other_mini_batches_must_have_the_columns_of_the_whole(form: str) -> None:
    joined = [(3, [{"a": 1}]), (3, [{"b": 2, "a": 1}])]
    _, found = file_of([*joined, (4, [{"a": 5, "b": 6}])], form)
    assert found["a"].tolist() == [1, 1, 5]
    assert found["b"].fillna(0).tolist() == [0, 2, 6]
    with pytest.raises(OutputError, match="for mini-batch 4 the columns .*, but for mini-batch 3 "):
        file_of([*joined, (4, [{"a": 5}])], form)
    with pytest.raises(OutputError, match="for mini-batch 3 the columns .*, but for mini-batch 2 "):
        file_of([(2, [{"a": 5}]), *joined], form)


def test_rows_with_own_options_are_refused_with_advice() -> None:
    options = {**CSV_OPTIONS, "na_rep": "-"}
    same = [(0, [{"a": 1}]), (0, [{"a": 2}])]
    assert file_of(same, "csv", options)[0] == b"a\n1\n2\n"
    with pytest.raises(OutputError, match="some items of mini-batch 0 the columns 'a,b', but for others 'a'"):  # fmt: skip
        file_of([(0, [{"a": 1}]), (0, [{"a": 1, "b": 2}])], "csv", options)


def test_the_file_is_written_as_the_rows_are_read() -> None:
    """At most the rows of one mini-batch are held."""
    read = []

    def pieces() -> Iterator[tuple[int, bytes]]:
        for mini_batch in range(9):
            read.append(mini_batch)
            yield mini_batch, encode_result([{"a": 1}], append_rows=True, frame_options=CSV_OPTIONS, form="csv")[1]  # fmt: skip

    for written, _ in enumerate(merge_rows(pieces, "csv"), start=-1):
        assert len(read) <= written + 3
    assert len(read) == 9
