"""The rows that are saved with a notebook: a few of the first and of the latest ones, as HTML."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from ..errors import ParallelRunError
from ..formatting import plural
from ..runs.journal.state import RunState
from ..runs.run_folder import RunFolder
from ..runs.snapshot.committed_results import ResultStates
from ..runs.snapshot.result_pages import ResultRow, ResultRows, RowQuery, result_page

_ROWS = 5
_COLUMNS = 8
_CELL_CHARS = 100
_NAME_CHARS = 60


class SavedRows(NamedTuple):
    """The first rows of a run in input order, and the latest ones, newest first."""

    first: ResultRows
    latest: ResultRows


def saved_rows(folder: RunFolder, state: RunState) -> SavedRows | None:
    """Return the rows to save; None if there are none, or the run's folder cannot be read."""
    if not state.rows:
        return None
    states = ResultStates.of(state)
    try:
        record = folder.read_record()
        pages = [result_page(folder, record, states, RowQuery(k)) for k in ("first", "latest")]
    except (ParallelRunError, OSError):
        return None
    return SavedRows(*pages)


def rows_html(rows: SavedRows | None, count: int) -> list[str]:
    """Return the rows as HTML, with the user's texts escaped; ``count`` rows are committed so far."""
    if rows is None:
        return []
    if not rows.first["rows"]:
        return [f"<div>{escape(rows.first['note'])}</div>"] if rows.first["note"] else []
    shown = len(rows.first["rows"])
    if count <= _ROWS or count == shown <= 2 * _ROWS:
        return [_part(plural(count, "row"), rows.first, 2 * _ROWS)]
    return [_part("first rows", rows.first), _part("latest rows", rows.latest)]


def _part(title: str, page: ResultRows, limit: int = _ROWS) -> str:
    columns = page["columns"][:_COLUMNS]
    hidden = page["columns_hidden"] + len(page["columns"]) - len(columns)
    heads = "".join(f"<th>{escape(_cut(name))}</th>" for name in ["item", *(columns or ["row"])])
    body = "".join(
        f"<tr><td>{escape(_item(row))}</td>"
        + "".join(f"<td>{escape(_cut(cell))}</td>" for cell in row["cells"][:_COLUMNS])
        + "</tr>"
        for row in page["rows"][:limit]
    )
    more = f"<small>and {plural(hidden, 'other column')}</small>" if hidden else ""
    return (
        f"<details open><summary>{title}</summary>"
        f'<div class="pr-rows"><table><tr>{heads}</tr>{body}</table></div>{more}</details>'
    )


def _item(row: ResultRow) -> str:
    name = "/".join(row["name"].split("/")[-2:])[-_NAME_CHARS:]
    if row["position"] < 0:
        return f"mini-batch {row['mini_batch']:,}"
    return f"{name}: row {row['position']:,}" if row["is_row"] else name


def _cut(text: str) -> str:
    return text if len(text) <= _CELL_CHARS else text[: _CELL_CHARS - 3] + "..."
