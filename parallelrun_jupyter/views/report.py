"""``run.report("run.html")``: one self-contained file with the views of the notebook."""

from __future__ import annotations

import json
import os
from html import escape
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..runs.journal.state import FAILED, PARTLY, RETRYING, RunState
from ..runs.logs.reader import LogQuery
from ..runs.run_folder import RunFolder
from ..runs.snapshot.failed_item_pages import FailedItems, page_of, read_page
from ..runs.snapshot.mini_batches import mini_batch_detail
from ..runs.snapshot.snapshot import Snapshot
from .html import html_view
from .mime_bundle import run_output
from .preview_process import PICTURES
from .previews import Preview, previews
from .queries import LOG_LINES_LIMIT, failures, grid_part, log_window
from .saved_rows import SavedRows, saved_rows

_STATIC = Path(__file__).with_name("static")
_DETAILS = 100
_PREVIEWED_GROUPS = 3
_MAX_STATUSES = 20_000
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>{title}</title>
<style>:root{{color-scheme:light dark;background:light-dark(#fff,#111418)}}body{{margin:1em}}h1{{font:600 15px system-ui,sans-serif;color:light-dark(#1c1f23,#e3e6ea)}}{css}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<div id="run"></div>
<noscript>{static}</noscript>
</main>
<script type="application/json" id="data">{data}</script>
<script type="module">{code}</script>
</body>
</html>
"""


def write_report(
    folder: RunFolder, state: RunState, snapshot: Snapshot, path: str | os.PathLike[str]
) -> Path:
    """Write a run's progress as an HTML page; return its absolute path.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    output = run_output(snapshot)
    rows = saved_rows(folder, state)
    groups = [row["group"] for row in snapshot["groups"]]
    items = [read_page(folder, page_of(state, group)) for group in groups]
    data = {
        "output": output,
        "failures": [failures(folder, group) for group in groups],
        "items": items,
        "previews": [
            *_previews(folder, items[:_PREVIEWED_GROUPS]),
            *(_row_previews(folder, rows) if rows is not None else ()),
        ],
        "log": log_window(folder, LogQuery(lines=LOG_LINES_LIMIT)),
        "details": [mini_batch_detail(folder, state, k) for k in _detailed(state)],
        "parts": _parts(state, snapshot),
        "rows": None if rows is None else [rows.first, rows.latest],
    }
    target = Path(path).expanduser().absolute()
    text = _PAGE.format(
        title=escape(f"{snapshot['name']}: {output['headline']}"),
        css=(_STATIC / "widget.css").read_text(encoding="utf-8"),
        code=(_STATIC / "report.js").read_text(encoding="utf-8"),
        static=html_view(snapshot, output["at"], rows),
        data=_as_script(data),
    )
    try:
        target.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        msg = f"the report {target} could not be written ({error.strerror}); choose another path."
        raise OutputError(msg) from error
    return target


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
    failed = [k for k, status in enumerate(state.statuses) if status in {FAILED, PARTLY, RETRYING}]
    recent = [row[1] for row in state.recent_attempts]
    first = [group.first_mini_batch for group in state.groups.values() if group.items_missing]
    numbers = [*failed, *first, *sorted(state.tries), *reversed(recent)]
    return list(dict.fromkeys(numbers))[:_DETAILS]


def _parts(state: RunState, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Return the grids behind the cells; in very large runs, only of cells with failures."""
    grid = snapshot["grid"]
    size = grid["per_cell"]
    if size == 1:
        return []
    starts = list(range(0, state.planned, size))
    if state.planned > _MAX_STATUSES:
        starts = sorted({k // size * size for k in state.tries})[: _MAX_STATUSES // size]
    return [dict(grid_part(state, start, size)) for start in starts]


def _as_script(data: Any) -> str:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
