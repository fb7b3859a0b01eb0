"""Tables with very many columns: read as pandas reads them, at a cost that hardly depends on columns."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.tables import type_inference
from parallelrun_jupyter.data.tables.type_inference import Reading, Rules, infer_block
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.tables.reader import load_table
from parallelrun_jupyter.worker.tables.row_splitter import Marks

MARKS = Marks(",", '"')
FIELDS = st.one_of(
    st.sampled_from(
        ["", "0", "-1", "+2", "007", "-0", "1.5", ".5", "5.", "1e3", "1E-2", "-", "+", ".", "e5", "1e",
         "1.2.3", "2024-01-02", "12:30", "1-2", "--1", "1_0", "9007199254740993", "18446744073709551617",
         "1e999", "inf", "-Infinity", "nan", "NaN", "NA", " NA", "n/a", "-1.#IND", "null", "True", "false",
         "x", "é", "x7", "e", " 1", "1 ", " ", "'x'", 'a"b', '"', "a,b", "a\nb", "a\r\nb", "T", "Inf x"]
    ),
    st.integers(-99, 99).map(str),
    st.floats(-1e6, 1e6).map(lambda number: repr(round(number, 2))),
)  # fmt: skip
RULES = st.sampled_from(
    [
        Rules(is_exact=True),
        Rules(),
        Rules(missing=("-", " NA"), is_exact=True),
        Rules(missing=("x",)),
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, int]:
    """Return delimited text whose columns are mostly alike, and the number of columns."""
    width, rows = draw(st.integers(2, 5)), draw(st.integers(1, 6))
    columns = []
    for _ in range(width):
        usual = draw(st.sampled_from([st.integers(-9, 99).map(str), st.just("0.5"), FIELDS]))
        columns.append(
            draw(st.lists(st.one_of(usual, usual, FIELDS), min_size=rows, max_size=rows))
        )
    text = io.StringIO()
    line_end, quoting = draw(st.sampled_from([("\n", 0), ("\r\n", 0), ("\n", 2), ("\r\n", 1)]))
    rows_ = [list(row) for row in zip(*columns, strict=True)]
    csv.writer(text, lineterminator=line_end, quoting=quoting).writerows(rows_)  # type: ignore[arg-type]
    return text.getvalue(), width


@settings(max_examples=150)
@example(table=("1,\n2, NA\n", 2), rules=Rules(missing=("-", " NA"), is_exact=True))
@example(table=('1,"N"A\n2,3\n', 2), rules=Rules(is_exact=True))
@example(table=("1,\n\n3,007\n4\n", 2), rules=Rules(is_exact=True))
@given(table=tables(), rules=RULES)
def test_types_of_very_many_columns_are_those_that_are_inferred_apart(
    table: tuple[str, int], rules: Rules
) -> None:
    text, width = table
    reading = Reading(MARKS, "utf-8", rules)
    apart = infer_block(text.encode(), width, list(range(width)), reading)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type_inference, "WIDE", 1)
        together = infer_block(text.encode(), width, list(range(width)), reading)
    for one, other in zip(apart, together, strict=True):
        if not one.is_text:  # then nothing else matters
            assert one == other
        assert one.decide() == other.decide()


def wide_table(folder: Path, columns: int) -> tuple[TabularDataset, Path]:
    names = ["sample", *(f"gene_{k}" for k in range(1, columns))]
    rows = [
        ",".join(
            [
                f"s{r}",
                *(f"{(k * r) % 977 / 977:.3f}" if k % 3 else str(k) for k in range(1, columns)),
            ]
        )
        for r in range(1, 4)
    ]
    path = folder / f"{columns}.csv"
    path.write_text("\n".join([",".join(names), *rows, ""]))
    return TabularDataset.from_delimited_files(path), path


def calls_of(work: Callable[[], object]) -> int:
    """Return the number of functions that are called, those of C included."""
    count = 0

    def profile(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_the_read_of_a_range_calls_as_much_for_many_columns_as_for_few(tmp_path: Path) -> None:
    counts = []
    for columns in (400, 4000):
        dataset, path = wide_table(tmp_path, columns)
        [text] = [text for text, _ in dataset.mini_batches(0, BatchSpec(1 << 30)) if text]
        line = PlanLine.decode(text)
        pd.testing.assert_frame_equal(load_table(line), pd.read_csv(path))
        counts.append(calls_of(lambda line=line: load_table(line)))  # type: ignore[misc]
    alone = calls_of(lambda: pd.read_csv(path))
    assert counts[1] < 1.1 * counts[0] < alone


def test_types_of_a_column_are_inferred_with_few_calls(tmp_path: Path) -> None:
    counts = []
    for columns in (400, 4000):
        _, path = wide_table(tmp_path, columns)
        data = path.read_bytes().partition(b"\n")[2]
        reading = Reading(MARKS, "utf-8", Rules(is_exact=True))
        counts.append(
            calls_of(lambda: infer_block(data, columns, list(range(columns)), reading))  # noqa: B023 - called at once
        )
    assert counts[1] - counts[0] < 10 * 3600
