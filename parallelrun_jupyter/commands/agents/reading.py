"""The tools that read: runs, progress, failures, logs and rows, as `parallelrun` prints them."""

from __future__ import annotations

import warnings
from itertools import islice
from typing import Any

from ...client.failures import group_text
from ...client.run import Run
from ...errors import ConfigError, Remedy, RunNotFoundError
from ...formatting import nearest_hint, plural
from ...runs.failed_items import failed_items
from ...runs.journal.failure_groups import FailureGroup, costliest_first
from ...runs.run_lookup import find_run, is_id
from ...runs.run_record import RunRecord
from ...runs.snapshot.follower import Follower
from ...runs.snapshot.hints import hint_of
from ...runs.snapshot.result_pages import RowQuery
from ...runs.snapshot.snapshot import Snapshot
from ...views import queries
from ...views.call_texts import call_notes, calls_line
from ...views.run_list import table
from ...views.text import (
    failure_lines,
    headline,
    note_lines,
    plain,
    progress_line,
    trouble_lines,
    worker_lines,
)
from ..shown_rows import pages_of, row_fields, rows_as_table
from ..shown_run import run_fields
from .answers import Answer, answer

RUNS_LIMIT = 100
ROWS_LIMIT = 100
ITEMS_LIMIT = 200
LINES_LIMIT = queries.LOG_LINES_LIMIT


def run_of(run_id: str) -> Run:
    """Return a run of this home.

    Raises
    ------
    RunNotFoundError
        No run of this home has that id.
    """
    if not is_id(run_id):
        msg = f"run_id is {run_id!r:.100}, which is not the id of a run."
        raise RunNotFoundError(msg, remedy=[Remedy.LIST])
    return Run(find_run(run_id))


def within(name: str, value: float, least: int, most: int) -> None:
    """Check a number.

    Raises
    ------
    ConfigError
        It is outside its range.
    """
    if not least <= value <= most:
        msg = f"{name} is {value:g}; expected a number from {least} to {most:,}."
        raise ConfigError(msg)


def list_runs(limit: int, state: str, name: str) -> Answer:
    """Return the newest runs."""
    within("limit", limit, 1, RUNS_LIMIT)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rows = [run.row() for run in Run.list(limit, state=state or None, name=name or None)]
    notes = [str(warning.message) for warning in caught]
    text = "\n".join([table(rows), *(f"! {note}" for note in notes)])
    more = "Give state or name, or a smaller limit."
    return answer(text, {"runs": rows, "warnings": notes}, more)


def show_run(run: Run) -> Answer:
    """Return the progress of a run."""
    follower = Follower(run.folder)
    snapshot = follower.refresh()
    fields = {**run_fields(run, follower), "can_resume": snapshot["can_resume"]}
    fields["failure_groups"] = [
        {**group, "message": plain(group["message"])[:300]} for group in fields["failure_groups"]
    ]
    more = "show_failures has the groups one by one."
    return answer(run_text(snapshot), fields, more)


def run_text(snapshot: Snapshot) -> str:
    """Return the progress of a run in a few lines, with the tools that come next."""
    lines = [f"{plain(snapshot['name'])}: {plain(headline(snapshot))} [{snapshot['run_id']}]"]
    lines.append(progress_line(snapshot))
    lines += filter(None, [calls_line(snapshot)])
    lines += [*note_lines(snapshot), *call_notes(snapshot), *trouble_lines(snapshot)]
    lines += failure_lines(snapshot)
    lines += [f"! {plain(text)}" for text in snapshot["warnings"]]
    if snapshot["output"]:
        lines.append(f"{plural(snapshot['rows'], 'row')} in {plain(snapshot['output'])}")
    if not snapshot["is_final"]:
        lines += worker_lines(snapshot)
    if snapshot["groups"] and (snapshot["items_failed"] or not snapshot["is_final"]):
        lines.append("why: show_failures, show_logs")
    if snapshot["can_resume"]:
        lines.append("to run the items that are left or failed: resume_run")
    return "\n".join(lines)


def show_failures(run: Run, group: str, first_item: int, limit: int) -> Answer:
    """Return the groups of failures with their tracebacks, and the failed items."""
    within("limit", limit, 0, ITEMS_LIMIT)
    within("first_item", first_item, 0, 1 << 40)
    follower = Follower(run.folder)
    snapshot = follower.refresh()
    groups = _groups(follower, group)
    of_group = (item for item in failed_items(run.folder) if not group or item.group == group)
    page = list(islice(of_group, first_item, first_item + limit + 1))
    items = [
        {name: value for name, value in item._asdict().items() if name not in {"traceback", "log"}}
        for item in page[:limit]
    ]
    fields = {
        "run_id": run.run_id,
        "state": snapshot["state"],
        "reason": snapshot["reason"],
        "items_failed": follower.state.items_failed,
        "groups": [_group_fields(follower.record, each) for each in groups],
        "failed_items": items,
        "has_more_items": len(page) > limit,
        "traceback": follower.state.traceback,
    }
    lines = [group_text(follower.record, each) for each in groups]
    lines += [follower.state.traceback.rstrip()] if follower.state.traceback else []
    lines += [
        f"{item['item']} (mini-batch {item['mini_batch']}): {item['error']}" for item in items
    ]
    if len(page) > limit:
        lines.append(f"more failed items: show_failures with first_item={first_item + limit}")
    head = ": ".join(filter(None, [snapshot["state"], snapshot["reason"]]))
    more = "Give group for one of the groups, and limit and first_item for some of the items."
    return answer("\n\n".join([head, *lines] if lines else [head, "no failures"]), fields, more)


def _groups(follower: Follower, name: str) -> list[FailureGroup]:
    groups = costliest_first(follower.state.groups.values())
    if not name:
        return groups
    if name in follower.state.groups:
        return [follower.state.groups[name]]
    names = [group.group for group in groups]
    listed = f" The groups are: {', '.join(map(repr, names[:5]))}." if names else ""
    msg = (
        f"run {follower.folder.run_id} has no group of failures {name!r}.{nearest_hint(name, names)}"
        f"{listed or ' Nothing failed in it.'}"
    )
    raise ConfigError(msg)


def _group_fields(record: RunRecord, group: FailureGroup) -> dict[str, Any]:
    names = (
        "group", "kind", "error", "message", "attempts", "mini_batches_lost", "items_lost",
        "items_missing", "first_mini_batch", "traceback",
    )  # fmt: skip
    return {**{name: getattr(group, name) for name in names}, "hint": hint_of(record, group)}


def show_logs(run: Run, worker: str, mini_batch: int, text: str, lines: int) -> Answer:
    """Return the last lines that the script printed or logged."""
    within("lines", lines, 1, LINES_LIMIT)
    question = {"worker": worker, "mini_batch": mini_batch, "text": text, "lines": lines}
    window = queries.log_window(run.folder, queries.log_query(question))
    found = [plain(line.rstrip("\r")) for line in window["lines"]]
    fields = {"run_id": run.run_id, "lines": found, "has_older": window["has_older"]}
    more = "Give worker, mini_batch or text, or fewer lines."
    body = "\n".join(found) or "no lines"
    if window["has_older"]:
        body = f"[there are earlier lines: give more lines, worker, mini_batch or text]\n{body}"
    return answer(body, fields, more, keeps_end=True)


def place_of(after: list[int]) -> tuple[int, int]:
    """Return where the rows begin.

    Raises
    ------
    ConfigError
        It is not a pair of numbers, or one is outside its range.
    """
    if len(after) != 2:
        msg = f"after is {after!r:.100}; expected after of the answer before, such as [7, 2]."
        raise ConfigError(msg)
    for number in after:
        within("after", number, -1, 1 << 40)
    return after[0], after[1]


def show_results(run: Run, item: str, rows: int, after: tuple[int, int], *, latest: bool) -> Answer:
    """Return some rows of a run."""
    within("rows", rows, 1, ROWS_LIMIT)
    if len(item) > queries.ROW_TEXT_CHARS:
        msg = f"item has {len(item):,} characters; expected at most {queries.ROW_TEXT_CHARS:,}."
        raise ConfigError(msg)
    follower = Follower(run.folder)
    query = RowQuery("latest" if latest else "first", item.strip(), after)
    pages = list(pages_of(follower, query, rows))
    made = [(row, columns) for page in pages for row, columns in page_rows(page)]
    kept = made[:rows]
    fields: dict[str, Any] = {
        "run_id": run.run_id,
        "rows": [row_fields(row, columns) for row, columns in kept],
        "columns": list(dict.fromkeys(name for page in pages for name in page["columns"])),
        "output": follower.state.output,
        "has_more": False,
        "after": [1 << 40, 1 << 40],
    }
    kept = kept[: len(answer("", fields).fields["rows"])]
    fields["rows"] = fields["rows"][: len(kept)]
    is_cut = len(kept) < len(made) or any(page["has_more"] for page in pages[-1:])
    fields["has_more"] = is_cut and not latest
    place = "position" if query.text else "row"
    fields["after"] = [kept[-1][0]["mini_batch"], kept[-1][0][place]] if kept else list(after)
    text = rows_as_table(iter(pages), len(kept))
    if fields["has_more"]:
        text = f"{text}\n[more rows: show_results with after={fields['after']}]"
    if follower.state.output:
        text = f"{text}\nall rows: {plain(follower.state.output)}"
    return answer(text, fields, "Give fewer rows, or item.")


def page_rows(page: Any) -> list[tuple[Any, list[str]]]:
    """Return the rows of a page, each with the page's columns."""
    return [(row, page["columns"]) for row in page["rows"]]
