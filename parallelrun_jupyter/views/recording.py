"""A recorded run: the state of its views, their answers to queries, and its past, as one bounded JSON value."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import TypedDict

from ..runs.journal.state import FAILED, PARTLY, RETRYING, RunState
from ..runs.logs.reader import LogQuery
from ..runs.run_folder import RunFolder
from ..runs.snapshot.failed_item_pages import FailedItems, page_of, read_page
from ..runs.snapshot.mini_batches import Grid, MiniBatchDetail, mini_batch_details
from ..runs.snapshot.result_pages import ResultRows
from ..runs.snapshot.snapshot import Snapshot
from .frames import Frames, frames
from .mime_bundle import RunOutput, run_output
from .preview_process import PICTURES
from .previews import Preview, previews
from .queries import LOG_LINES_LIMIT, Failures, LogWindow, failures_of_groups, grid_part, log_window
from .saved_rows import SavedRows, saved_rows

MOST_JOURNAL_BYTES = 32 << 20
"""A longer journal takes more than some seconds to replay: the past is recorded only on request."""

_NOT_WHOLE = re.compile(b"[%c%c%c]" % (FAILED, PARTLY, RETRYING))
_DETAILS = 100
_PREVIEWED_GROUPS = 3
_MAX_STATUSES = 20_000


class Recording(TypedDict):
    """A run, the answers to the queries of its view, and its past; ``frames`` is None without it.

    ``items`` are the first failed items of each group, with ``previews`` of some. ``rows`` are the first
    rows and the latest ones; None without rows. ``parts`` are the grids that cells with several
    mini-batches open into.
    """

    output: RunOutput
    failures: list[Failures]
    items: list[FailedItems]
    previews: list[Preview]
    rows: list[ResultRows] | None
    log: LogWindow
    details: list[MiniBatchDetail]
    parts: list[Grid]
    frames: Frames | None


def take_recording(
    folder: RunFolder, state: RunState, snapshot: Snapshot, *, with_past: bool | None = None
) -> Recording:
    """Return the recording of a run up to a snapshot of its state.

    Parameters
    ----------
    folder
        The run.
    state
        Its state.
    snapshot
        The snapshot of this state.
    with_past
        Whether the run can be played. None: if its journal is at most 32 MiB, about 400,000 mini-batches.
    """
    rows = saved_rows(folder, state)
    groups = [row["group"] for row in snapshot["groups"]]
    failed = failures_of_groups(folder, groups)
    items = [read_page(folder, page_of(state, group)) for group in groups]
    details = mini_batch_details(folder, state, _detailed(state))
    noted = {row["mini_batch"] for group in failed for row in group["rows"]}
    noted |= {item["mini_batch"] for page in items for item in page["items"]}
    noted |= {row["mini_batch"] for page in rows or () for row in page["rows"]}
    if with_past is None:
        with_past = folder.journal.exists() and folder.journal.stat().st_size <= MOST_JOURNAL_BYTES
    return Recording(
        output=run_output(snapshot),
        failures=failed,
        items=items,
        previews=[
            *_previews(folder, items[:_PREVIEWED_GROUPS]),
            *(_row_previews(folder, rows) if rows is not None else ()),
        ],
        rows=None if rows is None else list(rows),
        log=log_window(folder, LogQuery(lines=LOG_LINES_LIMIT)),
        details=details,
        parts=_parts(state, snapshot),
        frames=frames(folder, state, snapshot, noted) if with_past else None,
    )


def to_json(recording: Recording) -> str:
    """Return a recording as JSON that is safe inside a script element."""
    text = json.dumps(recording, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _previews(folder: RunFolder, pages: list[FailedItems]) -> list[Preview]:
    """Return the previews of the first failed items of some groups."""
    return [
        row
        for page in pages
        for row in previews(folder, [(i["mini_batch"], i["position"]) for i in page["items"]])
    ]


def _row_previews(folder: RunFolder, rows: SavedRows) -> list[Preview]:
    """Return the previews of the pictures that rows belong to."""
    made: list[Preview] = []
    for page in rows:
        pictures = [
            (row["mini_batch"], row["position"])
            for row in page["rows"]
            if not row["is_row"] and row["name"].lower().endswith(tuple(PICTURES))
        ]
        made += previews(folder, pictures) if pictures else []
    return made


def _detailed(state: RunState) -> list[int]:
    """Return the mini-batches to describe in detail: failed, retried and recent ones."""
    matches = islice(_NOT_WHOLE.finditer(state.statuses), _DETAILS)
    failed = [match.start() for match in matches]
    recent = [row[1] for row in state.recent_attempts]
    first = [group.first_mini_batch for group in state.groups.values() if group.items_missing]
    numbers = [*failed, *first, *sorted(state.tries), *reversed(recent)]
    return list(dict.fromkeys(numbers))[:_DETAILS]


def _parts(state: RunState, snapshot: Snapshot) -> list[Grid]:
    """Return the grids behind the cells; in very large runs, only of cells with failures."""
    grid = snapshot["grid"]
    size = grid["per_cell"]
    if size == 1:
        return []
    starts = list(range(0, state.planned, size))
    if state.planned > _MAX_STATUSES:
        starts = sorted({k // size * size for k in state.tries})[: _MAX_STATUSES // size]
    return [grid_part(state, start, size) for start in starts]
