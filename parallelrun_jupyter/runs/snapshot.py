"""One bounded JSON value that says where a run stands; every face draws this."""

from __future__ import annotations

import json
import time
from typing import TypedDict

from .liveness import driver_is_alive
from .record import RunRecord
from .state import RATE_WINDOW_S, FailureGroup, RunState, WorkerState
from .store import RunFolder

SHOWN_WORKERS = 50
SHOWN_GROUPS = 10
_SHOWN_TEXT = 300
_SHOWN_TRACEBACK = 3000
_SHOWN_REASON = 1000
_ETA_AFTER = 30
_ETA_AFTER_SHARE = 0.05


class WorkerRow(TypedDict):
    """What one worker is doing."""

    worker: str
    phase: str
    mini_batch: int
    since_s: float
    succeeded: int
    failed: int


class GroupRow(TypedDict):
    """Failures that were raised at the same place."""

    group: str
    kind: str
    message: str
    traceback: str
    first_mini_batch: int
    attempts: int
    mini_batches_lost: int


class Snapshot(TypedDict):
    """Where a run stands. Times in seconds; None where a value is not known yet."""

    run_id: str
    name: str
    state: str
    reason: str
    is_final: bool
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
    items_left: int
    rows: int
    attempts_failed: int
    error_threshold: int
    elapsed_s: float
    eta_s: float | None
    items_per_s: float
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
    """Draw up where the run stands at ``now``, in seconds since the epoch (default: the clock)."""
    now = time.time() if now is None else now
    shown_state, reason = judged_state(folder, record, state, now)
    is_live = not state.is_final and shown_state != "Interrupted"
    at_ms = int((now - record.created_at) * 1000) if is_live else state.at_ms
    rate = _rate(state, at_ms)
    items_done = state.items_succeeded + state.items_failed
    per_mini_batch = items_done / state.done if state.done else 0.0
    workers = list(state.workers.values()) if is_live else []
    groups = sorted(state.groups.values(), key=lambda g: (-g.mini_batches_lost, -g.attempts))
    return Snapshot(
        run_id=folder.run_id,
        name=shorten(record.name, _SHOWN_TEXT),
        state=shown_state,
        reason=shorten(reason, _SHOWN_REASON),
        is_final=state.is_final or shown_state == "Interrupted",
        plan_finished=state.plan_finished,
        mini_batches=state.planned,
        items=state.planned_items,
        succeeded=state.succeeded,
        failed=state.failed,
        retrying=state.retrying,
        running=sum(worker.phase == "running" for worker in workers),
        left=state.left,
        items_succeeded=state.items_succeeded,
        items_failed=state.items_failed,
        items_left=state.planned_items - items_done,
        rows=state.rows,
        attempts_failed=state.attempts_failed,
        error_threshold=record.error_threshold,
        elapsed_s=at_ms / 1000,
        eta_s=_eta(state, rate) if is_live else None,
        items_per_s=rate * per_mini_batch,
        workers=[_worker_row(worker, at_ms) for worker in workers[:SHOWN_WORKERS]],
        workers_hidden=max(0, len(workers) - SHOWN_WORKERS),
        workers_lost=state.workers_lost,
        groups=[_group_row(group, number) for number, group in enumerate(groups[:SHOWN_GROUPS])],
        groups_hidden=max(0, len(groups) - SHOWN_GROUPS),
        warnings=[shorten(text, _SHOWN_TEXT) for text in state.warnings][-3:],
        output=shorten(state.output, _SHOWN_REASON),
    )


def _worker_row(worker: WorkerState, at_ms: int) -> WorkerRow:
    return WorkerRow(
        worker=worker.worker,
        phase=worker.phase,
        mini_batch=worker.mini_batch,
        since_s=max(0, at_ms - worker.since_ms) / 1000,
        succeeded=worker.succeeded,
        failed=worker.failed,
    )


def _group_row(group: FailureGroup, number: int) -> GroupRow:
    """Return a row of the table; the first one shows its traceback."""
    return GroupRow(
        group=shorten(group.group, _SHOWN_TEXT),
        kind=group.kind,
        message=shorten(group.message, _SHOWN_TEXT),
        traceback=shorten(group.traceback, _SHOWN_TRACEBACK) if number == 0 else "",
        first_mini_batch=group.first_mini_batch,
        attempts=group.attempts,
        mini_batches_lost=group.mini_batches_lost,
    )


def shorten(text: str, limit: int) -> str:
    """Return text that takes at most ``limit`` characters as JSON, cut in its middle."""
    kept = limit
    while len(json.dumps(text)) > limit:
        kept = kept * 3 // 4
        text = f"{text[: kept // 2]} ... {text[-kept // 2 :]}"
    return text


def judged_state(
    folder: RunFolder, record: RunRecord, state: RunState, now: float
) -> tuple[str, str]:
    """Return the run state and its reason; a dead driver makes an unfinished run Interrupted."""
    if state.is_final or driver_is_alive(folder, record.created_at, now):
        return state.state, state.reason
    if state.state == "Queued":
        return "Interrupted", f"its driver did not start; {folder.driver_log} may say why"
    return "Interrupted", "driver lost: the process that ran it is gone"


def _rate(state: RunState, at_ms: int) -> float:
    """Return mini-batches per second: over the window while it runs, over all at the end."""
    if state.first_done_ms is None or state.last_done_ms is None:
        return 0.0
    if state.is_final or not state.done_by_second:
        spent_ms = state.last_done_ms - state.first_done_ms
        return state.done / max(spent_ms / 1000, 0.001)
    base = at_ms // 1000 - RATE_WINDOW_S
    before = [done for second, done in state.done_by_second if second < base]
    since_ms = max(state.first_done_ms, at_ms - RATE_WINDOW_S * 1000)
    return (state.done - (before[-1] if before else 0)) / max((at_ms - since_ms) / 1000, 0.2)


def _eta(state: RunState, rate: float) -> float | None:
    """Return the seconds left, once enough is done for that to mean something."""
    enough = state.done >= min(_ETA_AFTER, max(1, state.planned * _ETA_AFTER_SHARE))
    if not (state.plan_finished and enough and rate > 0 and state.left):
        return None
    return state.left / rate
