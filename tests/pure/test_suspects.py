"""The suspect of an attempt: the item that a variable of the script holds when it raises."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.suspects import suspect_of

PATHS = [f"/in/{number}.txt" for number in range(6)]
FILES = PlanLine(0, PATHS, [], [])
TABLE = PlanLine(0, ["/in/t.csv"], [], [], ranges=[[0, 9]], table={}, rows=6)
FRAME = pd.DataFrame({"n": range(6)})


def fails(value: Any) -> Any:
    raise ValueError(value)


def loop(items: Any) -> None:
    for path in items:
        if "4" in path:
            fails(path)


def comprehension(items: Any) -> None:
    [fails(path) if "4" in path else 0 for path in items]


def paths(items: Any) -> None:
    for path in map(Path, items):
        if path.name == "4.txt":
            raise ValueError


def generator(items: Any) -> None:
    def score() -> Any:
        for path in items:
            yield fails(path) if "4" in path else path

    list(score())


def tuples(_: Any) -> None:
    for row in FRAME.itertuples():
        if row.n == 4:
            fails(row)


def rows(_: Any) -> None:
    for _, row in FRAME.iterrows():
        if row["n"] == 4:
            fails(0)


def apply(_: Any) -> None:
    FRAME.apply(lambda row: fails(row["n"]) if row["n"] == 4 else 0, axis=1)


def whole(items: Any) -> None:
    fails(len(items))


def several(items: Any) -> None:
    first, second = items[:2]
    raise ValueError(first, second)


def error_of(run: Callable[[Any], None]) -> BaseException:
    try:
        run(PATHS)
    except ValueError as error:
        return error
    pytest.fail("it did not raise")


ROOTS = [os.path.dirname(__file__)]


@pytest.mark.parametrize("run", [loop, comprehension, paths, generator])
def test_a_path_in_a_variable_is_the_suspect(run: Callable[[Any], None]) -> None:
    assert suspect_of(error_of(run), FILES, ROOTS) == 4


@pytest.mark.parametrize("run", [tuples, rows, apply])
def test_a_row_in_a_variable_is_the_suspect(run: Callable[[Any], None]) -> None:
    assert suspect_of(error_of(run), TABLE, ROOTS) == 4


@pytest.mark.parametrize("run", [whole, several])
def test_without_a_variable_of_one_item_there_is_none(run: Callable[[Any], None]) -> None:
    assert suspect_of(error_of(run), FILES, ROOTS) == -1
    assert suspect_of(error_of(loop), FILES, ["/elsewhere"]) == -1


def test_positions_count_in_the_whole_mini_batch() -> None:
    part = FILES.only(((1, 1), (4, 2)))
    assert suspect_of(error_of(loop), part, ROOTS) == 4
    row = TABLE.only(((1, 1), (3, 2), (5, 1)))
    assert suspect_of(error_of(tuples), row, ROOTS) == -1, "there are four rows: none has number 4"
