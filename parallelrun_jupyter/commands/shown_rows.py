"""``parallelrun results``: some rows of a run, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..errors import OutputError
from ..runs.snapshot.committed_results import ResultStates
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.result_pages import ResultRow, ResultRows, RowQuery, result_page
from ..views.text import plain

_CELL_CHARS = 40
_NO_ROW = {
    "failed": "no row: it failed",
    "running": "no row: its mini-batch is running",
    "left": "no row: it is not done yet",
    "no row": "no row: its mini-batch has no row for it",
}


def pages_of(follower: Follower, query: RowQuery, limit: int) -> Iterator[ResultRows]:
    """Yield pages of rows until they have at least ``limit`` rows.

    Raises
    ------
    OutputError
        Rows cannot be shown.
    """
    follower.refresh()
    states = ResultStates.of(follower.state)
    while limit > 0:
        page = result_page(follower.folder, follower.record, states, query)
        if page["note"] and not page["has_more"]:
            raise OutputError(page["note"])
        yield page
        limit -= len(page["rows"])
        if not page["has_more"]:
            return
        query = replace(query, after=(page["after"][0], page["after"][1]))


def rows_as_json(pages: Iterator[ResultRows], limit: int) -> Iterator[str]:
    """Yield the rows as JSON objects with the cells by column; a text without columns is ``row``."""
    for row, columns in _rows(pages, limit):
        yield json.dumps(row_fields(row, columns), separators=(",", ":"))


def row_fields(row: ResultRow, columns: list[str]) -> dict[str, Any]:
    """Return the fields of a row for programs."""
    fields: dict[str, Any] = {
        "item": row["name"],
        "number": row["number"],
        "mini_batch": row["mini_batch"],
        "cells": dict(zip(columns or ["row"], row["cells"], strict=False)),
    }
    if row["status"]:
        fields["status"] = row["status"]
    return fields


def _rows(pages: Iterator[ResultRows], limit: int) -> list[tuple[ResultRow, list[str]]]:
    return [(row, page["columns"]) for page in pages for row in page["rows"]][:limit]


def rows_as_table(pages: Iterator[ResultRows], limit: int) -> str:
    """Return the rows as a table with one line each."""
    rows = _rows(pages, limit)
    if not rows:
        return "no rows"
    names = list(dict.fromkeys(name for _, columns in rows for name in columns))
    cells = [["ITEM", *(map(_cut, names) if names else ["ROW"])]]
    for row, columns in rows:
        of = dict(zip(columns or names[:1], row["cells"], strict=False))
        texts = [of.get(name, "") for name in names] if names else row["cells"]
        cells.append(
            [_item(row), *map(_cut, [_NO_ROW[row["status"]]] if row["row"] < 0 else texts)]
        )
    widths = [max(len(row[k]) for row in cells if k < len(row)) for k in range(len(cells[0]))]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=False))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def _item(row: ResultRow) -> str:
    if row["position"] < 0:
        return f"row {row['row']} of mini-batch {row['mini_batch']}"
    name = plain(row["name"])
    number = row["number"] if row["number"] >= 0 else row["position"]
    return f"{name}: row {number}" if row["is_row"] else name


def _cut(text: str) -> str:
    shown = plain(text)
    return shown if len(shown) <= _CELL_CHARS else f"{shown[: _CELL_CHARS - 3]}..."
