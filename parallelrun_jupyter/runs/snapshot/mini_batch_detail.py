"""One mini-batch of a run: what is in it, and what became of its attempts."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import TypedDict

from ...errors import visible
from ...formatting import plural
from ...worker.plan_line import END_MARK, PlanLine
from ..journal.events import AttemptFailed, AttemptSucceeded, ItemsFailed, decode
from ..journal.state import FAILED, LEFT, RETRYING, SUCCEEDED, RunState
from ..run_folder import RunFolder

SHOWN_ITEMS = 50
SHOWN_ATTEMPTS = 20
_SHOWN_CHARS = 1000
_WORDS = {LEFT: "left", SUCCEEDED: "succeeded", FAILED: "failed", RETRYING: "retrying"}
_BLOCK = 1 << 20


class AttemptRow(TypedDict):
    """One try of a mini-batch that is over."""

    attempt: int
    worker: str
    succeeded: bool
    at_s: float
    duration_s: float
    rows: int
    group: str
    message: str


class MiniBatchDetail(TypedDict):
    """A mini-batch: its state in a word, its first items, its attempts, who runs it now."""

    mini_batch: int
    state: str
    worker: str
    items: list[str]
    items_count: int
    attempts: list[AttemptRow]


def mini_batch_detail(folder: RunFolder, state: RunState, mini_batch: int) -> MiniBatchDetail:
    """Return what is known of a mini-batch."""
    running = [w.worker for w in state.workers.values()
               if w.phase == "running" and w.mini_batch == mini_batch]  # fmt: skip
    word = "running" if running else _WORDS[state.status_of(mini_batch)]
    items = _items(folder, mini_batch)
    return MiniBatchDetail(
        mini_batch=mini_batch,
        state=word,
        worker=running[0] if running else "",
        items=[visible(item)[:_SHOWN_CHARS] for item in items[:SHOWN_ITEMS]],
        items_count=len(items),
        attempts=_attempts(folder.journal, state, mini_batch)[-SHOWN_ATTEMPTS:],
    )


def _items(folder: RunFolder, mini_batch: int) -> list[str]:
    """Return the items of a mini-batch: paths, or where its rows are; nothing without a plan line."""
    text = _line(folder.plan, mini_batch)
    if not text.endswith(b"\n") or text.startswith(END_MARK):
        return []
    line = PlanLine.decode(text)
    if not line.is_table:
        return line.paths
    rows = plural(line.rows, "row")
    ranges = zip(line.paths, line.ranges, strict=False)
    return [f"{rows}: bytes {start:,} to {end:,} of {path}" for path, (start, end) in ranges]


def _line(path: Path, number: int) -> bytes:
    """Return a line of a file by its number, looking at as little as possible of those before."""
    passed = 0
    rest = b""
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return b""
    with file:
        while block := file.read(_BLOCK):
            here = block.count(b"\n")
            if passed + here > number:
                return (rest + block).split(b"\n", number - passed + 1)[number - passed] + b"\n"
            passed += here
            rest = (rest + block).rpartition(b"\n")[2]
    return b""


def _attempts(journal: Path, state: RunState, mini_batch: int) -> list[AttemptRow]:
    events = [decode(line) for line in _lines_of(journal, mini_batch)]
    found: list[AttemptSucceeded | AttemptFailed]
    found = [event for event in events if isinstance(event, AttemptFailed)]
    if state.status_of(mini_batch) == SUCCEEDED:
        # The last one holds: those before it were of parts that did not come to be whole.
        found += [event for event in events if isinstance(event, AttemptSucceeded)][-1:]
    short = {event.attempt: event for event in events if isinstance(event, ItemsFailed)}
    ordered = sorted(found, key=lambda event: event.at_ms)
    return [_attempt_row(event, short.get(event.attempt)) for event in ordered]


def _attempt_row(
    event: AttemptSucceeded | AttemptFailed, short: ItemsFailed | None = None
) -> AttemptRow:
    failed = isinstance(event, AttemptFailed)
    reason = event if isinstance(event, AttemptFailed) else short
    return AttemptRow(
        attempt=event.attempt,
        worker=event.worker,
        succeeded=not failed,
        at_s=event.at_ms / 1000,
        duration_s=event.duration_us / 1e6,
        rows=0 if isinstance(event, AttemptFailed) else event.rows,
        group=reason.group[:_SHOWN_CHARS] if reason is not None else "",
        message=reason.message[:_SHOWN_CHARS] if reason is not None else "",
    )


def _lines_of(journal: Path, mini_batch: int) -> list[bytes]:
    """Return the journal's lines about a mini-batch; those about a million others are not read."""
    try:
        file = open(journal, "rb")  # noqa: SIM115 - closed by the with below
    except FileNotFoundError:
        return []
    found = []
    with file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # it is empty
            return []
        with data:
            for letter in (b"s", b"f", b"i"):
                start = b'\n["%b",%d,' % (letter, mini_batch)
                position = data.find(start)
                while position >= 0:
                    end = data.find(b"\n", position + 1)
                    if end < 0:
                        break
                    found.append(data[position + 1 : end])
                    position = data.find(start, end)
    return found
