"""Types assumed from the first rows: confirmed by every range, they are those of all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.tables import first_look, json_lines, text_encoding
from parallelrun_jupyter.engine.planning.assumed_plan import AssumedPlan
from parallelrun_jupyter.engine.planning.planner import Planner
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.runs.journal.state import FAILED, SUCCEEDED
from parallelrun_jupyter.worker.failures import TypesDiffer
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables import delimited
from parallelrun_jupyter.worker.tables.reader import load_table

WHOLE = st.integers(-999, 999).map(str)
FIELDS: dict[str, st.SearchStrategy[str]] = {
    "whole": WHOLE,
    "fraction": st.floats(-1e6, 1e6).map(lambda x: f"{x:.3f}"),
    "exponent": st.sampled_from(["1e5", "2.5E-3", "6.02e23", "1.e3", ".5", "5.", "-.25", "1e", "1e400"]),
    "gap": st.just(""),
    "word": st.sampled_from(["NA", "nan", "NULL", "-nan", "#N/A", "None"]),
    "truth": st.sampled_from(["True", "false", "TRUE"]),
    "text": st.sampled_from(["a", "x,y", "line\nend", "naïve", "2024-01-05", "1.2.3", "5 kg", "-", "1_0"]),
    "code": st.sampled_from(["007", "-01", "00.5", " 08"]),
    "large": st.sampled_from(
        ["9007199254740993", "9007199254740992", "12345678901234567890", "123456789012345678901234",
         "-9223372036854775808", "12345678901234567890.5"]
    ),
    "odd": st.sampled_from(["+5", " 7", "7 ", "inf", "-Infinity", "1 2", "١٢", "0x1F", "1e5 "]),
}  # fmt: skip
COMMON = ["whole", "fraction", "gap", "truth", "text"]


@st.composite
def columns(draw: st.DrawFn, rows: int) -> list[str]:
    """Return a column whose first rows are of few kinds, and later ones perhaps of another."""
    first = draw(st.lists(st.sampled_from(COMMON * 3 + list(FIELDS)), min_size=1, max_size=2))
    later = first + draw(st.lists(st.sampled_from(list(FIELDS)), max_size=1))
    change = draw(st.integers(0, rows))
    kinds = [draw(st.sampled_from(first if row < change else later)) for row in range(rows)]
    return [draw(FIELDS[kind]) for kind in kinds]


@st.composite
def texts(draw: st.DrawFn) -> str:
    rows = draw(st.integers(1, 12))
    table = [draw(columns(rows)) for _ in range(draw(st.integers(1, 4)))]
    frame = pd.DataFrame({f"c{k}": column for k, column in enumerate(table)})
    return str(frame.to_csv(index=False))


def lines_of(dataset: TabularDataset, spec: BatchSpec) -> list[PlanLine]:
    return [PlanLine.decode(line) for line, _ in dataset.mini_batches(0, spec) if line]


def loaded(lines: list[PlanLine]) -> list[pd.DataFrame] | None:
    try:
        return [load_table(line) for line in lines]
    except TypesDiffer:
        return None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inference": "pandas"},
        {"missing": ["-", "NA"]},
        {"column_types": {"c0": "str"}},
        {"columns": ["c0"]},
    ],
    ids=str,
)
@given(
    text=texts(),
    looked_at=st.integers(1, 6),
    rows=st.integers(1, 5),
    wide=st.sampled_from([2, delimited.WIDE]),
    probed=st.sampled_from([20, 1 << 22]),
)
def test_confirmed_types_are_those_of_all_rows(
    tmp_path_factory: pytest.TempPathFactory,
    options: dict[str, Any],
    text: str,
    looked_at: int,
    rows: int,
    wide: int,
    probed: int,
) -> None:
    path = tmp_path_factory.mktemp("look") / "a.csv"
    path.write_text(text, encoding="utf-8")
    dataset = TabularDataset.from_delimited_files(str(path), **options)
    exact = lines_of(dataset, BatchSpec(1, rows=rows))
    with (
        patch.object(first_look, "_ROWS", looked_at),
        patch.object(text_encoding, "_PROBED_BYTES", probed),
        patch.object(text_encoding, "_PROBE_BYTES", 12),
    ):
        assumed = lines_of(dataset, BatchSpec(1, rows=rows, assumes_types=True))
    assert [line.ranges for line in assumed] == [line.ranges for line in exact]
    if not any("assumed" in line.table for line in assumed):
        event("no guess")
        assert [line.table for line in assumed] == [line.table for line in exact]
        return
    with patch.object(delimited, "WIDE", wide):
        frames = loaded(assumed)
    if frames is None:
        event("types differ")
        return
    event("confirmed")
    assert assumed[0].table["types"] == exact[0].table["types"]
    for frame, line in zip(frames, exact, strict=True):
        pd.testing.assert_frame_equal(frame, load_table(line))


VALUES = st.one_of(
    st.integers(-99, 99), st.floats(-9, 9), st.booleans(), st.none(), st.sampled_from(["a", "7", ""]),
    st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63, 2**64]), st.just([1]),
)  # fmt: skip


@st.composite
def objects(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return rows whose columns have few kinds of values at first, and perhaps others later."""
    rows: list[dict[str, Any]] = [{} for _ in range(draw(st.integers(1, 12)))]
    for name in draw(st.permutations("abc"))[: draw(st.integers(1, 3))]:
        first = draw(st.lists(VALUES, min_size=1, max_size=3))
        change = draw(st.integers(0, len(rows)))
        for number, row in enumerate(rows):
            is_there = name in {"a", "b"} or draw(st.booleans())
            if is_there:
                row[name] = draw(st.sampled_from(first) if number < change else VALUES)
    return rows


@pytest.mark.parametrize(
    "options",
    [{}, {"inference": "pandas"}, {"column_types": {"a": "str"}}, {"columns": ["a"]}],
    ids=str,
)
@given(rows=objects(), head=st.integers(10, 200), size=st.integers(1, 5))
def test_confirmed_columns_of_json_lines_are_those_of_all_rows(
    tmp_path_factory: pytest.TempPathFactory,
    options: dict[str, Any],
    rows: list[dict[str, Any]],
    head: int,
    size: int,
) -> None:
    path = tmp_path_factory.mktemp("look") / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = TabularDataset.from_json_lines_files(str(path), **options)
    try:
        exact = lines_of(dataset, BatchSpec(1, rows=size))
    except InputError:
        exact = []
    with patch.object(json_lines, "HEAD_BYTES", head):
        try:
            assumed = lines_of(dataset, BatchSpec(1, rows=size, assumes_types=True))
        except InputError:
            assert not exact
            return
    if not any("assumed" in line.table for line in assumed):
        assert [line.table for line in assumed] == [line.table for line in exact]
        return
    frames = loaded(assumed)
    event("types differ" if frames is None else "confirmed")
    if frames is not None:
        assert [assumed[0].table[key] for key in ("columns", "types")] == [
            exact[0].table[key] for key in ("columns", "types")
        ]
        for frame, line in zip(frames, exact, strict=True):
            pd.testing.assert_frame_equal(frame, load_table(line))


@pytest.mark.parametrize(
    ("field", "type_"),
    [
        ("7", "int64"), ("-0.5", "float64"), (".5", "float64"), ("1e5", "float64"), ("", "float64"),
        ("true", "bool"), ("007", "str"), ("2024-01-05", "str"), ("1.2.3", "str"), ("-", "str"),
        ("x", "str"), ("7 kg", "str"), ("+7", ""), (" 7", ""), ("inf", ""), ("1e", ""), ("NA", ""),
        ("12345678901234567890", ""),
    ],
)  # fmt: skip
def test_unusual_fields_are_not_guessed(tmp_path: Path, field: str, type_: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"a,b\n1,{field}\n2,{field}\n", encoding="utf-8")
    dataset = TabularDataset.from_delimited_files(path)
    [line] = lines_of(dataset, BatchSpec(1 << 20, assumes_types=True))
    assert line.table.get("assumed") is not None or not type_
    if type_:
        assert line.table["types"] == ["int64", type_]
        assert line.table["types"] == lines_of(dataset, BatchSpec(1 << 20))[0].table["types"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("place", [0.33, 0.66, 0.999])
def test_later_rows_of_a_long_file_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, place: float
) -> None:
    monkeypatch.setattr(text_encoding, "_PROBED_BYTES", 10_000)
    monkeypatch.setattr(text_encoding, "_PROBE_BYTES", 2_000)
    values = [json.dumps("x") if row == int(4000 * place) - 1 else str(row) for row in range(4000)]
    path = tmp_path / f"a.{form}"
    if form == "csv":
        path.write_text("a,b\n" + "".join(f"1,{value}\n" for value in values))
        dataset = TabularDataset.from_delimited_files(path)
    else:
        path.write_text("".join(f'{{"a": 1, "b": {value}}}\n' for value in values))
        dataset = TabularDataset.from_json_lines_files(path)
    spec = BatchSpec(1 << 20, assumes_types=True)
    [line] = lines_of(dataset, spec)
    # Lines of JSON are whole rows, which tell the types; of a CSV they may begin in a quoted text.
    assert ("assumed" in line.table) == (form == "jsonl")
    assert line.table["types"] == ["int64", "str" if form == "csv" else "object"]
    path.write_text(path.read_text().replace('"x"', "7"))
    [line] = lines_of(dataset, spec)
    assert line.table["types"] == ["int64", "int64"]
    assert "assumed" in line.table


@pytest.mark.parametrize("end", ["", "\n"], ids=["no line end", "a line end"])
def test_the_last_row_is_looked_at_with_or_without_its_line_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(text_encoding, "_PROBED_BYTES", 10_000)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,7\n" * 4000 + "1,x" + end)
    [line] = lines_of(
        TabularDataset.from_delimited_files(path), BatchSpec(1 << 20, assumes_types=True)
    )
    assert line.table["types"] == ["int64", "str"]
    assert "assumed" not in line.table


@pytest.mark.parametrize(
    ("inside", "is_guessed"), [("a line, and, commas", True), ("1,2", True), ("x,y", False)]
)
def test_lines_in_a_quote_never_lead_to_a_wrong_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, is_guessed: bool
) -> None:
    monkeypatch.setattr(text_encoding, "_PROBED_BYTES", 1_000)
    text = "\n".join(inside for _ in range(300))
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "".join(f'{row},"{text}"\n' for row in range(20)))
    [line] = lines_of(
        TabularDataset.from_delimited_files(path), BatchSpec(1 << 20, assumes_types=True)
    )
    assert line.table["types"] == ["int64", "str"]
    assert ("assumed" in line.table) == is_guessed


PARTS = [("7", "007"), ("7", "x"), ("7", "1.0"), ("0.5", "9007199254740993"), ("", "NA")]


@pytest.mark.parametrize(("first", "later"), PARTS, ids=str)
def test_rows_that_are_read_in_parts_confirm_the_types(
    tmp_path: Path, first: str, later: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + f"1,{first}\n" * 5 + f"2,{later}\n" + f"3,{first}\n")
    with patch.object(first_look, "_ROWS", 3):
        spec = BatchSpec(1 << 20, assumes_types=True)
        [line] = lines_of(TabularDataset.from_delimited_files(path), spec)
    assert "assumed" in line.table
    assert load_table(line.only([[0, 5]]))["b"].dtype == line.table["types"][1]
    assert loaded([line.only([[4, 2]])]) is None


def test_parts_of_json_lines_confirm_the_types(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' * 5 + '{"a": 2, "b": 1}\n')
    with patch.object(json_lines, "HEAD_BYTES", 30):
        spec = BatchSpec(1 << 20, assumes_types=True)
        [line] = lines_of(TabularDataset.from_json_lines_files(path), spec)
    assert list(load_table(line.only([[0, 5]])).columns) == ["a"]
    assert loaded([line.only([[5, 1]])]) is None


@pytest.mark.parametrize("later", ["5\n", " \n5\n", "\n5\n"])
def test_rows_without_a_field_in_an_empty_column_are_in_doubt_at_most(
    tmp_path: Path, later: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "1,\n" * 4 + later)
    with patch.object(first_look, "_ROWS", 2):
        spec = BatchSpec(1, rows=4, assumes_types=True)
        lines = lines_of(TabularDataset.from_delimited_files(path), spec)
    assert loaded(lines[:1]) is not None
    loaded(lines)  # raises nothing else


@pytest.mark.parametrize("text", ["a\n1\n \n2\n", "a\n1\n\t \n2\n", "a\n\n\n\n\n7\n"])
def test_a_line_of_blanks_is_no_value_of_a_single_column(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with patch.object(first_look, "_ROWS", 3):
        spec = BatchSpec(1 << 20, assumes_types=True)
        [line] = lines_of(TabularDataset.from_delimited_files(path), spec)
    assert line.table["types"] == [str(pd.read_csv(path)["a"].dtype)] == ["int64"]


def test_columns_of_json_lines_keep_the_order_of_all_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n' * 50 + '{"a": 1, "c": 1}\n')
    (tmp_path / "b.jsonl").write_text('{"b": 1, "c": 1}\n')
    dataset = TabularDataset.from_json_lines_files(tmp_path)
    with patch.object(json_lines, "HEAD_BYTES", 100):
        lines = lines_of(dataset, BatchSpec(1 << 20, assumes_types=True))
    assert [line.table["columns"] for line in lines] == [["a", "c", "b"]] * 2


@pytest.mark.parametrize("succeeded", [0, 7, 20])
def test_rows_of_mini_batches_that_have_succeeded_are_not_confirmed_again(
    tmp_path: Path, succeeded: int
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "".join(f"{row}\n" for row in range(100)))
    spec = BatchSpec(1, rows=5, assumes_types=True)
    dataset = TabularDataset.from_delimited_files(path)
    lines = [line for line, _ in dataset.mini_batches(0, spec) if line]
    (tmp_path / "plan").write_bytes(b"".join(lines) + b'["end",20,100]\n')
    statuses = bytearray([SUCCEEDED] * succeeded + [FAILED] + [SUCCEEDED] * 5)[:20]
    planner = Planner(cast("Any", None), tmp_path / "plan", lambda _: None)
    for is_open in (False, True):
        planner._is_open = is_open
        planner.note_statuses(statuses)
    plan = AssumedPlan(
        cast("Any", None), tmp_path / "plan", count_succeeded=planner._count_succeeded
    )
    rows = [row for line in plan._ranges() for row in load_table(line)["a"]]
    assert sorted(rows) == list(range(5 * succeeded, 100))
