"""The table of floors in CONTRIBUTING.md has the floors that test_architecture.py enforces.

``python -m tests.pure.test_map --write`` corrects the table: it numbers and sorts the rows, drops
modules that no longer exist, and appends a row for each module that has none. It keeps the
descriptions.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from tests.pure.test_architecture import FLOORS, PACKAGE

CONTRIBUTING = Path(__file__).parents[2] / "CONTRIBUTING.md"
HEADER = "| floor | modules | content |\n| --- | --- | --- |\n"
MISSING = "not described yet"

Floors: TypeAlias = Sequence[Iterable[str]]


class Row(NamedTuple):
    """One row of the table: modules of one floor, and their description."""

    modules: tuple[str, ...]
    description: str


def table_in(text: str) -> str:
    """Return the rows of the table of floors, without its header."""
    assert text.count(HEADER) == 1, f"CONTRIBUTING.md needs one table with the header {HEADER!r}"
    after = text[text.index(HEADER) + len(HEADER) :]
    return after[: after.index("\n\n") + 1]


def rows_of(table: str) -> list[Row]:
    rows = []
    for line in table.splitlines():
        _, _, modules, description, _ = re.split(r"(?<!\\)\|", line)
        names = re.findall(r"`([^`]+)`", modules)
        rows.append(Row(tuple(name.rstrip("/") for name in names), description.strip()))
    return rows


def corrected(table: str, floors: Floors) -> str:
    """Return the table for these floors, from the top, with the descriptions of `table`."""
    numbers = {
        name.replace(".", "/"): number
        for number, names in enumerate(floors, start=1)
        for name in names
    }
    described: set[str] = set()
    rows = []
    for row in rows_of(table):
        for names in split(row, numbers, described):
            rows.append(Row(names, row.description))
            described.update(names)
    rows += [Row((name,), MISSING) for name in numbers if name not in described]
    rows.sort(key=lambda row: -numbers[row.modules[0]])
    return "".join(line(numbers[row.modules[0]], row) for row in rows)


def split(row: Row, numbers: dict[str, int], described: set[str]) -> list[tuple[str, ...]]:
    """Return the modules of a row that exist and have no earlier row, by floor."""
    by_floor: dict[int, list[str]] = {}
    for name in row.modules:
        if name in numbers and name not in described:
            by_floor.setdefault(numbers[name], []).append(name)
    return [tuple(names) for names in by_floor.values()]


def line(number: int, row: Row) -> str:
    folders = {name for name in row.modules if (PACKAGE / name).is_dir()}
    shown = ", ".join(f"`{name}/`" if name in folders else f"`{name}`" for name in row.modules)
    return f"| {number} | {shown} | {row.description} |\n"


def test_the_table_has_the_floors_that_are_enforced() -> None:
    table = table_in(CONTRIBUTING.read_text())
    assert table == corrected(table, FLOORS), "correct it: python -m tests.pure.test_map --write"
    assert MISSING not in table, "describe the new modules in CONTRIBUTING.md"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("| 1 | `a` | the ground |\n| 2 | `b` | above |\n", "| 2 | `b` | above |\n| 1 | `a` | the ground |\n"),
        ("| 7 | `b`, `gone` | above |\n| 1 | `a` | x |\n", "| 2 | `b` | above |\n| 1 | `a` | x |\n"),
        ("| 2 | `a`, `b` | both |\n", "| 2 | `b` | both |\n| 1 | `a` | both |\n"),
        ("| 2 | `b` | above |\n| 1 | `a`, `b` | x |\n", "| 2 | `b` | above |\n| 1 | `a` | x |\n"),
        ("| 2 | `b` | above |\n", f"| 2 | `b` | above |\n| 1 | `a` | {MISSING} |\n"),
    ],
    ids=["sorted", "gone", "on two floors", "twice", "new"],
)  # fmt: skip
def test_a_table_is_corrected(table: str, expected: str) -> None:
    assert corrected(table, [("a",), ("b",)]) == expected
    assert corrected(expected, [("a",), ("b",)]) == expected


def write() -> None:
    text = CONTRIBUTING.read_text()
    table = table_in(text)
    CONTRIBUTING.write_text(text.replace(table, corrected(table, FLOORS)))


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.pure.test_map --write")
    write()
