"""JSON for programs has the documented fields, and none of them goes."""

from __future__ import annotations

import re
from pathlib import Path

from parallelrun_jupyter.commands.shown_run import GROUP_FIELDS
from parallelrun_jupyter.commands.terminal import item_fields
from parallelrun_jupyter.runs.failed_items import FailedItem
from parallelrun_jupyter.runs.snapshot.snapshot import Snapshot
from parallelrun_jupyter.views.run_list import RunRow, public

PAGE = Path(__file__).parents[2] / "docs" / "notifications.md"

LIST = [
    "run_id", "name", "created_at", "is_final", "state", "reason", "plan_finished", "mini_batches",
    "succeeded", "failed", "items", "items_left", "items_failed", "rows", "usd", "elapsed_s",
    "size_bytes", "output",
]  # fmt: skip
FIELDS = {
    "`list --json`": LIST,
    "`show --json`": ["list --json", "failure_groups", "warnings", "folder"],
    "`failures --json`": [
        "item", "mini_batch", "position", "number", "error", "message", "place", "group", "kind",
        "tries", "traceback",
    ],
    "`results --json`": ["item", "number", "mini_batch", "cells", "status"],
    "`watch --json`": [
        "run_id", "name", "state", "reason", "is_final", "plan_finished", "mini_batches", "succeeded",
        "failed", "items", "items_succeeded", "items_failed", "items_left", "rows", "elapsed_s",
        "output", "warnings",
    ],
    "a group in `failure_groups`": [
        "group", "kind", "error", "message", "attempts", "mini_batches_lost", "items_lost",
        "items_missing",
    ],
}  # fmt: skip
"""The promise: a field may be added here, and none removed."""


def documented() -> dict[str, list[str]]:
    text = PAGE.read_text()
    table = text[text.index("<!-- json:") : text.index("<!-- end of json -->")]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[3:]]
    return {row[0]: re.findall(r"`([^`]+)`", row[-1]) for row in rows}


def test_the_page_has_the_fields() -> None:
    assert documented() == FIELDS


def test_the_code_has_the_fields() -> None:
    row = RunRow(**dict.fromkeys(RunRow.__annotations__))  # type: ignore[typeddict-item]
    assert list(public(row)) == LIST
    item = FailedItem("a", 0, 0, 0, "E", "m", "p", "g", "k", 1, "t", "l")
    assert list(item_fields(item)) == FIELDS["`failures --json`"]
    assert list(GROUP_FIELDS) == FIELDS["a group in `failure_groups`"]
    assert set(FIELDS["`watch --json`"]) <= {*Snapshot.__annotations__, "elapsed_s"}
