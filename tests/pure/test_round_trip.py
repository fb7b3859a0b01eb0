"""Rows written are rows read: the result of run() comes back, or writing it fails with a reason.

The oracle is pandas: the tables of all mini-batches, concatenated.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import math
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.runs.output.committed_rows import read_rows
from parallelrun_jupyter.runs.output.merge import merge_rows
from parallelrun_jupyter.runs.output.row_notes import NoteLines, read_notes
from parallelrun_jupyter.worker.failures import BadResult
from parallelrun_jupyter.worker.output.formats import FORMATS, HEADER_MARK, NOTE_MARK, with_header
from parallelrun_jupyter.worker.output.results import CSV_OPTIONS, encode_result, read_frame_options


def written(results: list[Any], form: str) -> tuple[bytes, pd.DataFrame]:
    """Return the final file of the results of mini-batches, and the DataFrame of its to_pandas()."""
    options = read_frame_options("nowhere", [], form)

    def pieces() -> Iterator[tuple[int, bytes]]:
        for mini_batch, result in enumerate(results):
            rows, data = encode_result(result, append_rows=True, frame_options=options, form=form)
            assert rows == len(result)
            if data:
                yield mini_batch, data

    lines: list[str] = []
    notes = NoteLines(lines.append)
    data = b"".join(merge_rows(pieces, form, notes.add))
    notes.end(len(data))
    return data, read_rows(data, form, read_notes(lines) if notes.is_needed else None)


def read_back(results: list[Any], form: str) -> pd.DataFrame:
    return written(results, form)[1]


NUL = "\0" if sys.version_info >= (3, 11) else ""
"""A character that the csv module of Python 3.10 cannot write."""

TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="" if NUL else "\0"), max_size=6
) | st.sampled_from(
    ["00123", "NA", "None", "nan", "1e5", "True", "", " ", '"', ",", "a\nb", "\r", "\r\n", NUL, "2026-01-02"]
)  # fmt: skip
WHOLE = st.integers(-(2**63), 2**63 - 1)
TIMES = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))
GAP = st.none()


COLUMNS = st.sampled_from(
    [
        (WHOLE, "int64"),
        (st.integers(0, 255), "uint8"),
        (WHOLE | GAP, "Int64"),
        (st.floats(allow_infinity=False), "float64"),
        (st.floats(width=32, allow_infinity=False), "float32"),
        (st.booleans(), "bool"),
        (st.booleans() | GAP, "boolean"),
        (TEXTS, "str"),
        (TEXTS | GAP, "str"),
        (TEXTS, object),
        (TEXTS | GAP, object),
        (TEXTS | GAP, "string"),
        (TIMES, "datetime64[us]"),
        (TIMES | GAP, "datetime64[ns]"),
        (TIMES | GAP, "datetime64[ns, UTC]"),
        (TIMES | GAP, "datetime64[us, Europe/Berlin]"),
        (st.timedeltas(dt.timedelta(-99999), dt.timedelta(99999)) | GAP, "timedelta64[ns]"),
        (st.sampled_from(["red", "blue", "1"]) | GAP, "category"),
        (st.sampled_from([1, 2]), "category"),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> list[pd.DataFrame]:
    """Return the tables of some mini-batches, with the same columns and types in each."""
    columns = draw(st.lists(COLUMNS, min_size=1, max_size=4))
    names = draw(st.lists(TEXTS, min_size=len(columns), max_size=len(columns), unique=True))

    def column(values: st.SearchStrategy[Any], dtype: Any, rows: int) -> Any:
        return pd.Series(draw(st.lists(values, min_size=rows, max_size=rows)), dtype=dtype)

    return [
        pd.DataFrame({name: column(*how, rows) for name, how in zip(names, columns, strict=True)})
        for rows in draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    ]


def concatenated(frames: list[pd.DataFrame]) -> pd.DataFrame:
    plain: list[pd.DataFrame] = []
    for frame in frames:
        categories = [name for name in frame if frame[name].dtype == "category"]
        kinds = {name: frame[name].cat.categories.dtype for name in categories}
        plain.append(frame.astype(kinds))
    return pd.concat(plain, ignore_index=True)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert list(found.columns) == list(expected.columns)
    assert len(found) == len(expected)
    for name in expected.columns:
        mine, theirs = found[name], expected[name]
        if theirs.dtype == object and mine.dtype != object:
            mine = mine.astype(object)  # of texts, all dtypes are text
        if theirs.dtype == object:
            mine, theirs = (s.where(s.notna(), None) for s in (mine, theirs))
        pd.testing.assert_series_equal(mine, theirs, check_names=False, check_exact=True)


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames=tables())
def test_a_table_comes_back_as_it_was(form: str, frames: list[pd.DataFrame]) -> None:
    assert_same(read_back(frames, form), concatenated(frames))


OBJECTS = (
    st.none()
    | st.floats()
    | st.booleans()
    | st.integers()
    | TEXTS
    | st.binary(max_size=3)
    | st.decimals(allow_nan=False)
    | st.dates()
    | TIMES
    | st.just(pd.NaT)
    | st.just(pd.NA)
    | st.lists(st.integers() | TEXTS, max_size=3)
    | st.tuples(st.integers(), TEXTS)
    | st.dictionaries(TEXTS, st.integers(), max_size=2)
)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.lists(OBJECTS, min_size=1, max_size=4), min_size=1, max_size=3))
def test_cells_of_any_type_come_back_from_csv(parts: list[list[Any]]) -> None:
    frames = [pd.DataFrame({"x": pd.Series(part, dtype=object)}) for part in parts]
    found = read_back(list(frames), "csv")["x"].astype(object).tolist()
    expected = [value for part in parts for value in part]
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        if theirs is None or theirs is pd.NaT or theirs is pd.NA:
            assert pd.isna(mine)
        elif isinstance(theirs, dt.datetime):
            assert mine == pd.Timestamp(theirs)
        elif isinstance(theirs, float) and math.isnan(theirs):
            assert math.isnan(mine)
        else:
            assert (type(mine), mine) == (type(theirs), theirs)


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.lists(TEXTS, max_size=4), max_size=4))
def test_each_text_is_one_row_and_the_file_holds_its_bytes(parts: list[list[str]]) -> None:
    data, frame = written(list(parts), "text")
    texts = [text for part in parts for text in part]
    assert frame["row"].tolist() == texts
    assert data.decode() == "".join(f"{text}\n" for text in texts)


@settings(max_examples=50, deadline=None)
@given(frames=tables())
def test_text_of_a_table_has_one_row_for_each_row_of_the_table(frames: list[pd.DataFrame]) -> None:
    data, found = written(list(frames), "text")
    expected = "".join(frame.to_csv(sep=" ", header=False, index=False) for frame in frames)
    assert data.decode() == expected
    assert len(found) == sum(map(len, frames))
    assert "".join(f"{row}\n" for row in found["row"]) == expected


def test_a_row_that_begins_like_a_header_or_note_is_a_row() -> None:
    for mark in (HEADER_MARK, NOTE_MARK):
        texts = [mark.decode("latin-1"), "x"]
        raw = [mark.decode("utf-8", "ignore") + "\0\0\0\1abc"]
        assert read_back([texts, raw], "text")["row"].tolist() == texts + raw


VECTOR = np.random.default_rng(3).normal(size=2000)


@pytest.mark.parametrize("form", ["text", *FORMATS])
@pytest.mark.parametrize(
    "result",
    [
        [VECTOR, VECTOR / 3],
        np.array([VECTOR, VECTOR / 3]),
        [VECTOR.tolist(), (VECTOR / 3).tolist()],
        [("name", VECTOR), ("other", VECTOR / 3)],
        [{"vector": VECTOR}, {"vector": VECTOR / 3}],
        [pd.Series(VECTOR), pd.Series(VECTOR / 3)],
        pd.DataFrame({"vector": [VECTOR, VECTOR / 3]}),
        [pd.DataFrame({"vector": [VECTOR]}), pd.DataFrame({"vector": [VECTOR / 3]})],
        [np.outer([1, 2], VECTOR), np.outer([1, 2], VECTOR / 3)],
    ],
    ids=["arrays", "array", "lists", "tuples", "dicts", "series", "cells", "frames", "matrices"],
)
def test_every_number_of_a_vector_is_written(result: Any, form: str) -> None:
    data, frame = written([result], form)
    assert len(frame) == 2
    if form != "parquet":
        assert b"..." not in data
        assert data.count(b"\n") == (3 if form == "csv" else 2)
    numbers = set(numbers_in(frame.to_numpy().tolist()))
    assert numbers >= {*VECTOR.tolist(), *(VECTOR / 3).tolist()}


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, str):
        yield from map(float, re.findall(r"-?\d+\.\d+(?:e-?\d+)?", value))
    elif isinstance(value, dict):
        yield from numbers_in(list(value.values()))
    elif isinstance(value, list | tuple | np.ndarray):
        for inner in value:
            yield from numbers_in(inner)
    else:
        yield float(value)


def test_an_array_in_a_cell_comes_back_as_one() -> None:
    vectors = [np.array([0.1, np.nan], dtype="float32"), np.array([np.inf], dtype="float32")]
    for form in ("csv", "parquet"):
        found = read_back([pd.DataFrame({"v": [vector]}) for vector in vectors], form)["v"]
        for mine, theirs in zip(found, vectors, strict=True):
            np.testing.assert_array_equal(mine, theirs, strict=True)


@pytest.mark.parametrize("form", ["text", *FORMATS])
@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            [pd.DataFrame({"a": [1, 2]})],
            "element 0 .* is a DataFrame of 2 rows; one element is one",
        ),
        ([pd.DataFrame({"a": [1]}), 5], r"element 1 .* is 5 \(int\), but others are DataFrames"),
        ([1, pd.Series([1])], r"element 0 .* is 1 \(int\), but others are DataFrames or Series"),
        ([{"a": pd.DataFrame({"b": [1]})}], "DataFrame"),
    ],
)
def test_tables_among_elements_are_refused(result: Any, form: str, message: str) -> None:
    with pytest.raises(BadResult, match=message):
        read_back([result], form)


@pytest.mark.parametrize("form", FORMATS)
def test_elements_that_are_rows_of_a_table_are_joined(form: str) -> None:
    table = pd.DataFrame({"id": ["007", "x"], "n": [1, 2]})
    for result in (
        [row for _, row in table.iterrows()],
        [table.iloc[[0]], table.iloc[[1]]],
    ):
        found = read_back([result], form)
        assert found.astype(object).to_numpy().tolist() == [["007", 1], ["x", 2]]
    assert written([[table.iloc[[0]], table.iloc[[1]]]], "text")[0] == b"007 1\nx 2\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({np.int64(3): 0.5, np.float32(0.5): 1, True: 2}, '{"3": 0.5, "0.5": 1, "true": 2}'),
        ({"p": np.float32("nan")}, '{"p": null}'),
        ({"p": [0.5, float("nan"), [np.nan]]}, '{"p": [0.5, null, [null]]}'),
        ({"p": np.array([0.5, np.nan])}, '{"p": [0.5, null]}'),
        ({"p": pd.NaT, "q": pd.NA, "r": np.datetime64("NaT", "ns")}, '{"p": null, "q": null, "r": null}'),
        (
            {"p": np.datetime64("2026-01-02T03:04:05", "ns")},
            '{"p": "2026-01-02T03:04:05.000000000"}',
        ),
        ({"p": np.array(["2026-01-02"], dtype="datetime64[ns]")}, '{"p": ["2026-01-02T00:00:00.000000000"]}'),
        ({"p": np.bool_(True), "q": np.str_("x"), "r": np.uint8(3)}, '{"p": true, "q": "x", "r": 3}'),
        ({"p": Decimal("1.50"), "q": Path("/a"), "r": (1, 2)}, '{"p": "1.50", "q": "/a", "r": [1, 2]}'),
        ({"p": pd.Series([1.5, None])}, '{"p": [1.5, null]}'),
    ],
)  # fmt: skip
def test_json_lines_have_null_numbers_and_text(value: Any, text: str) -> None:
    assert written([[value]], "jsonl")[0].decode() == f"{text}\n"
    assert written([[{"a": 1}, value, {"a": float("nan")}]], "jsonl")[0].decode() == (
        f'{{"a": 1}}\n{text}\n{{"a": null}}\n'
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": float("inf")}, r"inf \(float\) for row 1 in 'a': JSON has no infinite number"),
        ({"a": [np.float32("-inf")]}, "JSON has no infinite number"),
        (
            {"a": {"b": {1, 2}}},
            r"\{1, 2\} \(set\) for row 1 in 'a' in 'b': JSON cannot represent it",
        ),
        ({"a": b"x"}, r"b'x' \(bytes\) for row 1 in 'a': JSON cannot represent it"),
        ({"a": object}, "JSON cannot represent it"),
        ({(1, 2): 3}, r"\(1, 2\) \(tuple\) as a key for row 1: JSON's keys are text"),
        ({1: 2, "1": 3}, r"'1' \(str\) as a key for row 1: another key is the same in JSON"),
    ],
)
def test_errors_name_the_value_that_json_cannot_represent(value: Any, message: str) -> None:
    with pytest.raises(BadResult, match=message):
        written([[{"a": 1}, value]], "jsonl")


def test_errors_name_the_value_that_csv_cannot_give_back() -> None:
    frame = pd.DataFrame({"tags": [{"a"}]})
    with pytest.raises(BadResult, match=r"\{'a'\} \(set\) in column 'tags', row 0: .*str\(value\)"):
        written([frame], "csv")


def test_errors_show_text_that_is_not_unicode() -> None:
    for form in ("text", *FORMATS):
        with pytest.raises(BadResult, match=r"not valid Unicode .*udc80"):
            written([["fine", "caf\udc80.txt"]], form)


@pytest.mark.parametrize("form", FORMATS)
def test_an_index_that_is_data_comes_back(form: str) -> None:
    table = pd.DataFrame({"k": ["a", "b", "a", "c"], "n": [1, 2, 3, 4], "m": [0.5, 1, 2, 3]})
    for parts in (
        [table.set_index("k")[["n"]], table.set_index("k")[["n"]]],
        [table.groupby("k").sum()],
        [table.groupby(["k", "n"]).sum()],
        [pd.DataFrame({"n": [1, 2]}, index=["x", "y"])],
        [pd.DataFrame({"n": [1]}, index=pd.Index(["007"], name="id"))],
    ):
        pd.testing.assert_frame_equal(read_back(list(parts), form), pd.concat(parts))
    filtered = table[table["n"] > 2]
    found = read_back([table, filtered], form)
    pd.testing.assert_frame_equal(found, pd.concat([table, filtered], ignore_index=True))


PARTS_OF_ONE_COLUMN = {
    "none and text": [[None], ["cat"]],
    "nan and text": [[np.nan, np.nan], ["cat"]],
    "text and nan": [["cat"], [np.nan]],
    "nat and text": [[pd.NaT], ["cat"]],
    "nan and whole": [[np.nan], [2**60 + 1]],
    "none and whole": [[2**60 + 1], [None]],
    "nan and dates": [[np.nan], [pd.Timestamp("2026-01-02", tz="UTC")]],
    "nan and lists": [[np.nan], [[1, 2]]],
    "nan and bool": [[True], [np.nan]],
    "whole and float": [[1], [0.5]],
    "nothing at all": [[None], [np.nan]],
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("parts", PARTS_OF_ONE_COLUMN.values(), ids=PARTS_OF_ONE_COLUMN)
def test_a_part_without_values_takes_the_type_of_the_others(form: str, parts: list[Any]) -> None:
    found = read_back([pd.DataFrame({"x": part}) for part in parts], form)["x"]
    expected = [value for part in parts for value in part]
    if form == "jsonl" and parts is PARTS_OF_ONE_COLUMN["nan and lists"]:
        assert found[1] == [1, 2]
        return
    assert [not gap for gap in found.isna()] == [
        isinstance(value, list) or not pd.isna(value) for value in expected
    ]
    for mine, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, list):
            assert list(mine) == theirs
        elif not pd.isna(theirs):
            assert mine == theirs
    data = written([pd.DataFrame({"x": part}) for part in parts], form)[0]
    if form == "parquet":  # as others read it
        assert pd.read_parquet(io.BytesIO(data))["x"].isna().tolist() == found.isna().tolist()


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        (("Int64", "Int64"), "Int64"),
        (("Int64", "int64"), "Int64"),
        (("Int32", "Int64"), "Int64"),
        (("Int64", "Float64"), "Float64"),
        (("boolean", "bool"), "boolean"),
        (("int64", "int64"), "int64"),
        (("int32", "float64"), "float64"),
        (("string", "string"), "string"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_types_are_merged_as_pandas_merges_them(
    dtypes: tuple[str, str], expected: str, form: str
) -> None:
    values = ["a", "b"] if expected == "string" else [1, 0]
    frames = [pd.DataFrame({"x": pd.Series(values, dtype=dtype)}) for dtype in dtypes]
    found = read_back(list(frames), form)
    assert found["x"].dtype == expected
    pd.testing.assert_frame_equal(found, pd.concat(frames, ignore_index=True))


def test_a_changed_file_is_read_without_types_and_with_a_warning() -> None:
    lines: list[str] = []
    notes = NoteLines(lines.append)
    notes.add({"rows": 1, "columns": [["id", "text"]], "sep": ",", "header": True})
    notes.end(7)
    noted = read_notes(lines)
    assert read_rows(b"id\n007\n", "csv", noted)["id"].tolist() == ["007"]
    with pytest.warns(UserWarning, match="is not as the run wrote it .*8 bytes, not 7"):
        assert read_rows(b"id\n0078\n", "csv", noted)["id"].tolist() == [78]


def test_equal_notes_of_mini_batches_take_one_line() -> None:
    lines: list[str] = []
    notes = NoteLines(lines.append)
    for _ in range(1000):
        notes.add({"rows": 3, "columns": [["id", "text"]], "sep": ",", "header": True})
    notes.end(5)
    assert len(lines) == 3
    assert read_notes(lines).ranges[0][0] == 3000


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("parts", [1, 2])
def test_whole_numbers_beside_none_keep_every_digit(form: str, parts: int) -> None:
    large = 2**60 + 1
    for results in (
        [{"id": large}, {"id": None}, {"id": 3}],
        [large, None, 3],
        [[large], [None], [3]],
    )[: 2 if form == "jsonl" else 3]:  # in JSON lines, a list is one value
        found = read_back([results[:2], results[2:]] if parts == 2 else [results], form)
        assert found.iloc[:, 0].dtype == "Int64"
        assert found.iloc[:, 0].tolist() == [large, pd.NA, 3]
    objects = pd.DataFrame({"id": pd.Series([large, None], dtype=object)})
    assert read_back([objects], form)["id"].iloc[0] == large


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("parts", [1, 2])
def test_unsigned_numbers_are_exact_beside_none(form: str, parts: int) -> None:
    large = 2**63 + 1
    results = [{"id": large}, {"id": None}, {"id": 3}, {"id": large}]
    found = read_back([results[:2], results[2:]] if parts == 2 else [results], form)
    assert found["id"].dtype == "UInt64"
    assert found["id"].tolist() == [large, pd.NA, 3, large]


EXACT_JOINS: dict[str, list[Any]] = {
    "above 2^63": [pd.Series([1, 2]), pd.Series([2**63 + 1, 2], dtype="uint64")],
    "above 2^63, gaps": [
        pd.Series([1, None], dtype="Int64"),
        pd.Series([2**63 + 1, None], dtype="UInt64"),
    ],
    "above 2^63 and negative": [pd.Series([-1]), pd.Series([2**63 + 1], dtype="uint64")],
    "fractions": [pd.Series([2**53 + 1, 5]), pd.Series([1.5, None])],
    "fractions, gaps": [pd.Series([2**53 + 1, None], dtype="Int64"), pd.Series([1.5, None])],
}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("parts", EXACT_JOINS.values(), ids=EXACT_JOINS)
def test_numbers_that_a_float_cannot_hold_are_not_merged_as_floats(
    form: str, parts: list[Any]
) -> None:
    found = read_back([pd.DataFrame({"x": part}) for part in parts], form)["x"]
    expected = [value for part in parts for value in part.tolist()]
    pairs = list(zip(found.tolist(), expected, strict=True))
    assert all(pd.isna(mine) if pd.isna(theirs) else mine == theirs for mine, theirs in pairs)


def test_merges_without_loss_are_those_of_pandas() -> None:
    parts = [pd.Series([2**60, 3]), pd.Series([1.5, None])]
    found = read_back([pd.DataFrame({"x": part}) for part in parts], "csv")
    pd.testing.assert_frame_equal(found, pd.concat(parts, ignore_index=True).to_frame("x"))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_whole_numbers_beside_fractions_keep_every_digit(form: str) -> None:
    results = [{"x": 2**53 + 1}, {"x": 1.5}, {"x": None}]
    assert read_back([results], form)["x"].tolist()[:2] == [2**53 + 1, 1.5]
    assert read_back([[2**53 + 1, 1.5]], form)["result"].tolist() == [2**53 + 1, 1.5]
    with pytest.raises(BadResult, match="Parquet cannot represent"):
        read_back([results], "parquet")


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, 2**70])
def test_errors_name_the_number_that_parquet_cannot_hold(value: int) -> None:
    for results in ([{"x": 1}, {"x": value}], [1, value]):
        with pytest.raises(BadResult, match=rf"{value} \(int\) in column '\w+', row 1: Parquet"):
            read_back([results], "parquet")


def test_an_object_that_prints_an_array_prints_all_of_it() -> None:
    @dataclasses.dataclass
    class Scored:
        vector: np.ndarray[Any, Any]

    found = read_back([[Scored(np.arange(3000)), Scored(np.arange(2))]], "text")["row"]
    assert re.findall(r"\d+", found[0]) == [str(number) for number in range(3000)]
    assert len(found) == 2


def test_encoding_does_not_change_the_result() -> None:
    cell = np.arange(2000.0)
    frame = pd.DataFrame({"v": [cell], "c": pd.Categorical(["x"]), "d": [{"k": (1, 2)}]})
    before = frame.copy()
    for form in ("text", *FORMATS):
        read_back([frame], form)
        pd.testing.assert_frame_equal(frame, before)
        assert frame["v"].iloc[0] is cell


def test_rows_of_older_versions_are_read_beside_new_ones() -> None:
    """They have no notes: a run of theirs may be resumed with these workers."""
    frame = pd.DataFrame({"a": ["007"], "n": [1]})
    new = {form: encode_result(frame, append_rows=True, frame_options=CSV_OPTIONS, form=form)[1]
           for form in FORMATS}  # fmt: skip
    sink = io.BytesIO()
    table = pa.table({"a": ["008"], "n": [2]})
    with pa.RecordBatchStreamWriter(sink, table.schema) as writer:
        writer.write_table(table)
    old = {
        "csv": with_header("a,n\n", "008,2\n"),
        "jsonl": b'{"a": "008", "n": 2}\n',
        "parquet": sink.getvalue(),
    }
    for form in FORMATS:
        for pieces in ([old[form]], [old[form], new[form]], [new[form], old[form]]):
            lines: list[str] = []
            notes = NoteLines(lines.append)
            data = b"".join(merge_rows(partial(enumerate, pieces), form, notes.add))
            notes.end(len(data))
            found = read_rows(data, form, read_notes(lines) if notes.is_needed else None)
            assert sorted(map(int, found["a"])) == [7, 8][-len(pieces) :]
            assert found["n"].sum() == sum([1, 2][-len(pieces) :])
