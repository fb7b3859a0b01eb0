"""Previews of items: a picture, the values of a row, the first lines of a text."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from ..errors import visible
from ..runs.run_folder import RunFolder
from ..runs.snapshot.failed_item_pages import PAGE_ITEMS
from ..runs.snapshot.lookup import plan_lines
from ..worker.memory_items import is_memory, located
from ..worker.plan_line import PlanLine

_TIMEOUT_S = 8.0
_MODULE = "parallelrun_jupyter.views.preview_process"
_PACKAGES = Path(__file__).parents[2]
_PAGE_CHARS = 600_000


class Preview(TypedDict):
    """An item in little.

    ``outcome`` is shown, partial (with the reason in ``detail``), or why it is not shown: unreadable
    (with the reason), crashed, stopped (it took too long), missing, empty, large, remote, or none.
    """

    mini_batch: int
    position: int
    outcome: str
    detail: str
    picture: str
    text: str
    columns: list[list[str]]
    columns_hidden: int


def previews(folder: RunFolder, items: Sequence[tuple[int, int]]) -> list[Preview]:
    """Return the previews of items, given as mini-batch and position.

    A child process reads the items, so that data that ends a process does not end this one. Files
    that are not on this machine are not fetched.
    """
    asked = list(items)[:PAGE_ITEMS]
    lines = plan_lines(folder.plan, {mini_batch for mini_batch, _ in asked})
    rows = [_preview(mini_batch, position, {}) for mini_batch, position in asked]
    local = []
    for row in rows:
        line = lines.get(row["mini_batch"])
        question = None if line is None else _question(line, row["position"], folder)
        if question == "remote":
            row["outcome"] = "remote"
        elif isinstance(question, dict):
            local.append((row, question))
    replies = _ask([question for _, question in local])
    room = _PAGE_CHARS
    for (row, _), reply in zip(local, replies, strict=True):
        room -= len(reply.get("picture", ""))
        shown = reply if room >= 0 else {"outcome": "large"}
        row.update(_preview(row["mini_batch"], row["position"], shown))
    return rows


def _question(line: PlanLine, position: int, folder: RunFolder) -> dict[str, Any] | str:
    """Return the question for the child process, or "none" or "remote" without one."""
    if not 0 <= position < line.item_count:
        return "none"
    if is_memory(line):
        one = located(line, str(folder.data)).only([(position, 1)])
        return {
            "line": one.encode().decode("ascii"),
            "position": 0,
            "cwd": folder.read_record().script.cwd,
        }
    paths = line.paths if line.is_table else line.paths[position : position + 1]
    if any("://" in path for path in paths):
        return "remote"
    if line.is_table:
        return {"line": line.encode().decode("ascii"), "position": position}
    return {"path": paths[0]}


def _ask(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a reply to each question; an item that ends the process is skipped in the next one."""
    replies: list[dict[str, Any]] = []
    until = time.monotonic() + _TIMEOUT_S
    while len(replies) < len(questions):
        rest = questions[len(replies) :]
        replies += _replies(rest, until - time.monotonic())
        if len(replies) < len(questions):
            is_late = time.monotonic() >= until
            replies.append({"outcome": "stopped" if is_late else "crashed"})
            if is_late:
                replies += [{"outcome": "stopped"}] * (len(questions) - len(replies))
    return replies


def _replies(questions: list[dict[str, Any]], timeout_s: float) -> list[dict[str, Any]]:
    """Return the replies of one process, fewer if it has ended early or the time is over."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=_PACKAGES,  # Python searches it for modules first
    )
    with process:
        try:
            output, _ = process.communicate(json.dumps(questions).encode("ascii"), timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    return [json.loads(line) for line in output.splitlines(keepends=True) if line.endswith(b"\n")]


def _preview(mini_batch: int, position: int, reply: dict[str, Any]) -> Preview:
    return Preview(
        mini_batch=mini_batch,
        position=position,
        outcome=reply.get("outcome", "none"),
        detail=visible(reply.get("detail", "")),
        picture=reply.get("picture", ""),
        text=visible(reply.get("text", "")),
        columns=[[visible(cell) for cell in pair] for pair in reply.get("columns", [])],
        columns_hidden=reply.get("columns_hidden", 0),
    )
