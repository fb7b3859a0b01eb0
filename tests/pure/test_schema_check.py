"""Columns that fit no file are seen as their mini-batches come in."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from parallelrun_jupyter.engine.output.schema_check import SchemaCheck
from parallelrun_jupyter.worker.output.formats import encode_table
from parallelrun_jupyter.worker.output.results import CSV_OPTIONS


def reasons(frames: dict[int, dict[str, list[Any]]], form: str) -> list[str]:
    """Return the reasons for the results of mini-batches that come in this order."""
    check = SchemaCheck(form)
    said = []
    offset = 0
    for mini_batch, frame in frames.items():
        rows = encode_table(pd.DataFrame(frame), form, CSV_OPTIONS)
        check.add_rows(rows, (1, offset))
        said.append(check.conflict(mini_batch, (1, offset)))
        offset += len(rows)
    return said


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_columns_that_fit_are_fine(form: str) -> None:
    frames: dict[int, dict[str, list[Any]]] = {
        0: {"n": [1]},
        1: {"n": [0.5]},
        2: {"n": [None]},
        3: {"n": [1]},
    }
    assert reasons(frames, form) == ["", "", "", ""]


def test_a_clash_is_named_by_both_mini_batches_in_their_order() -> None:
    said = reasons({7: {"n": [1]}, 4: {"n": [None]}, 2: {"n": ["x"]}}, "parquet")
    assert said[:2] == ["", ""]
    assert "for mini-batch 7 the columns 'n' as int64, but for mini-batch 2 'n' as " in said[2]
    said = reasons({7: {"n": [1]}, 4: {"m": [1]}}, "csv")
    assert "for mini-batch 7 the columns 'n', but for mini-batch 4 'm'" in said[1]


def test_rows_that_are_of_no_attempt_are_of_no_concern() -> None:
    check = SchemaCheck("csv")
    for number, name in enumerate("ab"):
        check.add_rows(encode_table(pd.DataFrame({name: [1]}), "csv", CSV_OPTIONS), (0, number))
    assert not check.conflict(5, (0, 1)), "the first of its kind"
    assert not check.conflict(5, (3, 3))


def test_rows_of_some_items_are_forgotten() -> None:
    check = SchemaCheck("csv")
    for number, name in enumerate("abc"):
        check.add_rows(encode_table(pd.DataFrame({name: [1]}), "csv", CSV_OPTIONS), (0, number))
    check.forget((0, 1))
    check.forget((7, 7))
    assert not check.conflict(5, (0, 0))
    assert not check.conflict(5, (0, 1)), "nothing is left of them"
    assert "for mini-batch 6 the columns 'c', but for mini-batch 5 'a'" in check.conflict(6, (0, 2))
