"""The snapshot of a run: one bounded JSON value, which all views draw."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TypedDict

from ...errors import visible
from ..driver_lock import driver_is_alive
from ..journal.events import FINAL_STATES
from ..journal.failure_groups import FailureGroup, costliest_first
from ..journal.state import RunState
from ..journal.worker_state import WorkerState
from ..notices import warnings_of
from ..run_folder import RunFolder
from ..run_record import RunRecord
from . import progress
from .calls import Calls, calls_of, has_budget, running_calls
from .hints import hint_of
from .mini_batches import Grid, grid
from .progress import Budget, Lane, Pace, Straggler, Uses, timeline, uses

SHOWN_WORKERS = 50
SHOWN_GROUPS = 10
_CUT = " ... "
_SHOWN_TEXT = 300
_SHOWN_TRACEBACK = 3000
_SHOWN_REASON = 1000
_SHOWN_HINT = 500
DRIVER_LOST = ("Interrupted", "driver lost: its process has ended")
LIMIT_CHARS = 19_000
"""Maximum size of a snapshot as JSON, so that a message with it stays below 20 kB."""


class WorkerRow(Uses):
    """Activity and resources of a worker; ``restarts`` counts the workers that it has replaced.

    ``progress`` is of the running call of ``run()``: how much is done, of how much (-1: unknown), and
    1 if these are the items of the mini-batch, 0 if the script counts something else. It is empty
    unless the script tells.

    ``calls`` of a worker that makes several at once: those in flight, and those that it holds and has
    not started. It is empty for a worker that makes one at a time.
    """

    worker: str
    node: str
    phase: str
    mini_batch: int
    since_s: float
    succeeded: int
    failed: int
    restarts: int
    progress: list[int]
    calls: list[int]


class GroupRow(TypedDict):
    """Failures raised at the same line; ``hint`` suggests a remedy, or is ''.

    ``items_failed`` includes ``items_missing``, the items without a result.
    """

    group: str
    kind: str
    message: str
    traceback: str
    first_mini_batch: int
    attempts: int
    mini_batches_lost: int
    items_failed: int
    items_missing: int
    hint: str


class Reused(TypedDict):
    """``items`` whose rows an update took from another run, and counts of the other items."""

    run_id: str
    items: int
    changed: int
    new: int
    gone: int


class Job(TypedDict):
    """The job of another service, such as Azure ML; ``since_s`` is the age of its state in seconds."""

    name: str
    status: str
    detail: str
    url: str
    since_s: float


class Snapshot(Pace):
    """State and progress of a run. Times in seconds; None while a value is unknown.

    ``can_resume``: the run has ended, and a resume with the same settings would run some of its items.

    ``items_lost`` are the failed items without those that lack a result. ``items_per_call`` is 0
    unless larger calls of ``run()`` do not fit into memory. ``duplicates_copied`` are the items with
    a copy of the rows of others. ``calls`` are those that wait for a server: None unless a worker makes
    several at once, or they are limited. ``job`` is that of another service which runs the run.
    """

    run_id: str
    name: str
    state: str
    reason: str
    is_final: bool
    can_resume: bool
    plan_finished: bool
    mini_batches: int
    items: int
    succeeded: int
    failed: int
    retrying: int
    running: int
    left: int
    items_succeeded: int
    items_failed: int
    items_lost: int
    items_left: int
    items_per_call: int
    reused: Reused | None
    duplicates_copied: int
    calls: Calls | None
    job: Job | None
    rows: int
    attempts_failed: int
    error_threshold: int
    run_max_try: int
    budgets: list[Budget]
    stragglers: list[Straggler]
    grid: Grid
    lanes_from_ms: int
    lanes: list[Lane]
    workers: list[WorkerRow]
    workers_hidden: int
    workers_lost: int
    groups: list[GroupRow]
    groups_hidden: int
    warnings: list[str]
    output: str


def take_snapshot(
    folder: RunFolder, record: RunRecord, state: RunState, now: float | None = None
) -> Snapshot:
    """Return the snapshot of a run at ``now``, in seconds since the epoch (default: the clock)."""
    now = time.time() if now is None else now
    return snapshot_as(
        folder.run_id,
        record,
        state,
        now,
        shown=effective_state(folder, record, state, now),
        warnings=all_warnings(folder, record, state),
    )


def snapshot_as(
    run_id: str,
    record: RunRecord,
    state: RunState,
    now: float,
    *,
    shown: tuple[str, str],
    warnings: Sequence[str],
) -> Snapshot:
    """Return the snapshot of a run that is ``shown`` in a state, for a reason; no file is read."""
    shown_state, reason = shown
    is_live = not state.is_final and shown_state != "Interrupted"
    at_ms = int((now - record.created_at) * 1000) if is_live else state.at_ms
    workers = list(state.workers.values()) if is_live else []
    calls = calls_of(state, workers, at_ms, is_live=is_live)
    since_ms, lanes = timeline(state, workers, at_ms)
    groups = costliest_first(state.groups.values())[:SHOWN_GROUPS]
    snapshot = Snapshot(
        run_id=run_id,
        name=shorten(visible(record.name), _SHOWN_TEXT),
        state=shown_state,
        reason=shorten(visible(reason), _SHOWN_REASON),
        is_final=state.is_final or shown_state == "Interrupted",
        can_resume=not is_live and has_budget(calls) and is_resumable(state, record),
        plan_finished=state.plan_finished,
        mini_batches=state.planned,
        items=state.planned_items,
        succeeded=state.succeeded,
        failed=state.failed,
        retrying=state.retrying,
        running=running_calls(workers),
        left=state.left,
        items_succeeded=state.items_succeeded,
        items_failed=state.items_failed,
        items_lost=state.items_lost,
        items_left=state.planned_items - state.items_done,
        items_per_call=state.items_per_call,
        reused=_reused(state),
        duplicates_copied=state.duplicates_copied,
        calls=calls,
        job=_job(state, at_ms),
        rows=state.rows,
        attempts_failed=state.attempts_failed,
        error_threshold=record.limits.error_threshold,
        run_max_try=record.limits.run_max_try,
        budgets=progress.budgets(state, record),
        **progress.pace(state, at_ms, is_live=is_live),
        stragglers=progress.stragglers(state, workers, at_ms),
        grid=grid(state, [row.mini_batch for row in workers if row.phase == "running"]),
        lanes_from_ms=since_ms,
        lanes=lanes,
        workers=[_worker_row(worker, at_ms) for worker in workers[:SHOWN_WORKERS]],
        workers_hidden=max(0, len(workers) - SHOWN_WORKERS),
        workers_lost=state.crew.workers_lost,
        groups=[_group_row(record, group, k) for k, group in enumerate(groups)],
        groups_hidden=len(state.groups) - len(groups),
        warnings=[shorten(text, _SHOWN_TEXT) for text in warnings[-3:]],
        output=shorten(visible(state.output), _SHOWN_REASON),
    )
    return _fit(snapshot)


def all_warnings(folder: RunFolder, record: RunRecord, state: RunState) -> list[str]:
    """Return the warnings of a run, the oldest first."""
    return [*state.warnings, *warnings_of(folder, record, state)]


def _fit(snapshot: Snapshot) -> Snapshot:
    """Remove details, the least important first, until the snapshot is within its limit."""
    for reduce in (
        _fewer_bars,
        _no_series,
        _shorter_texts,
        _fewer_groups,
        _fewer_groups,
        _no_progress,
    ):
        if len(json.dumps(snapshot)) <= LIMIT_CHARS:
            break
        reduce(snapshot)
    return snapshot


def _fewer_bars(snapshot: Snapshot) -> None:
    for lane in snapshot["lanes"]:
        del lane["bars"][:-4]


def _no_series(snapshot: Snapshot) -> None:
    for row in snapshot["workers"]:
        row["cpu"] = row["memory"] = row["gpu"] = ""


def _shorter_texts(snapshot: Snapshot) -> None:
    snapshot["lanes"] = []
    for group in snapshot["groups"]:
        group["group"] = shorten(group["group"], _SHOWN_TEXT // 2)
        group["message"] = shorten(group["message"], _SHOWN_TEXT // 2)
        group["traceback"] = shorten(group["traceback"], _SHOWN_TRACEBACK // 2)
    for group in snapshot["groups"][1:]:
        group["hint"] = ""


def _fewer_groups(snapshot: Snapshot) -> None:
    kept = len(snapshot["groups"]) // 2
    snapshot["groups_hidden"] += len(snapshot["groups"]) - kept
    del snapshot["groups"][kept:]


def _no_progress(snapshot: Snapshot) -> None:
    for row in snapshot["workers"]:
        row["progress"] = []


def _worker_row(worker: WorkerState, at_ms: int) -> WorkerRow:
    return WorkerRow(
        worker=worker.worker,
        node=worker.node,
        phase=worker.phase,
        mini_batch=worker.mini_batch,
        since_s=max(0, at_ms - worker.since_ms) / 1000,
        succeeded=worker.succeeded,
        failed=worker.failed,
        restarts=worker.restarts,
        progress=progress.call_progress(worker),
        calls=list(worker.calls or ()),
        **uses(worker, at_ms),
    )


def _reused(state: RunState) -> Reused | None:
    event = state.reused
    if event is None:
        return None
    return Reused(
        run_id=event.run_id,
        items=event.items,
        changed=event.changed,
        new=event.new,
        gone=event.gone,
    )


def _job(state: RunState, at_ms: int) -> Job | None:
    job = state.job
    if job is None:
        return None
    detail, url = shorten(job.detail, _SHOWN_TEXT), shorten(job.url, _SHOWN_REASON)
    since_s = max(0, at_ms - job.since_ms) / 1000
    return Job(name=job.name, status=job.state, detail=detail, url=url, since_s=since_s)


def _group_row(record: RunRecord, group: FailureGroup, number: int) -> GroupRow:
    """Return the row of a group; only the first one includes its traceback."""
    return GroupRow(
        group=shorten(group.group, _SHOWN_TEXT),
        kind=group.kind,
        message=shorten(group.message, _SHOWN_TEXT),
        traceback=shorten(group.traceback, _SHOWN_TRACEBACK) if number == 0 else "",
        first_mini_batch=group.first_mini_batch,
        attempts=group.attempts,
        mini_batches_lost=group.mini_batches_lost,
        items_failed=group.items_lost + group.items_missing,
        items_missing=group.items_missing,
        hint=shorten(hint_of(record, group), _SHOWN_HINT),
    )


def shorten(text: str, limit: int) -> str:
    """Return text of at most ``limit`` characters as JSON, shortened in its middle."""
    kept = limit
    while len(json.dumps(text)) > limit:
        kept = kept * 3 // 4
        text = f"{text[: kept // 2]}{_CUT}{text[-kept // 2 :]}"
    return text


def is_shown_as(text: str, shown: str) -> bool:
    """Return whether ``shown`` is ``text``, or may be a result of `shorten` for it."""
    head, cut, rest = shown.partition(_CUT)
    if not cut:
        return text == shown
    return text.startswith(head) and text.endswith(rest.rpartition(_CUT)[2])


def is_resumable(state: RunState, record: RunRecord) -> bool:
    """Return whether a resume of an ended run would run any item.

    One with ``failed_only`` may also run the items of short results again; see
    `short_results_exceed`.
    """
    if record.is_followed:
        return state.state not in FINAL_STATES
    return not state.is_all_done and not short_results_exceed(state, record)


def short_results_exceed(state: RunState, record: RunRecord, group: str = "") -> int:
    """Return the number of items without a result in mini-batches that a resume keeps.

    The result is 0 if ``error_threshold`` allows them. A plain resume keeps all short results; one
    of a ``group`` runs those of the group again.
    """
    missing = state.items_failed - state.items_lost
    if group in state.groups:
        missing -= state.groups[group].items_missing
    return missing if 0 <= record.limits.error_threshold < missing else 0


def effective_state(
    folder: RunFolder, record: RunRecord, state: RunState, now: float
) -> tuple[str, str]:
    """Return the state of a run and its reason; Interrupted if its driver died."""
    if state.is_final or driver_is_alive(folder, record.created_at, now):
        return journaled_state(state)
    if not folder.path.exists():
        return "Interrupted", "its folder has been removed"
    if state.state == "Queued":
        return "Interrupted", f"its driver did not start; see {folder.driver_log}"
    return DRIVER_LOST


def journaled_state(state: RunState) -> tuple[str, str]:
    """Return the state of a run and its reason, while its driver lives or after its end."""
    is_queued = state.state == "Running" and state.job is not None and state.job.is_waiting
    return "Queued" if is_queued else state.state, state.reason
