"""The rules that end a run early, and the limits they watch."""

from __future__ import annotations

from dataclasses import dataclass

from ...formatting import plural
from ...runs.journal.state import RunState, costliest_first
from ...runs.run_record import RunRecord

INIT_TRIES = 3
"""Failed starts in a row, per worker slot of a node, after which nobody can start (rule R21)."""

MAX_NODE_LOSSES = 3
"""The loss of a node is charged to a mini-batch only when it was the third with that one on it
(rule R18)."""

NODE_LEASE_S = 30.0
"""A node that nobody has listened to for so long ends: its driver is gone, or cut off."""

LOST_NODE_GRACE_MS = 35_000
"""So long after a node was lost, it has ended by itself, and what it was putting is there or not."""

TRACEBACKS_PER_GROUP = 10
"""Later attempts of the same group keep their message only; a million would fill the disk."""


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """Seconds that things may take on a node."""

    run_s: float
    init_s: float = 600.0
    overhead_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run tolerates; -1 and 100 percent tolerate everything, None is not checked."""

    run_max_try: int = 3
    error_threshold: int = 0
    allowed_failed_count: int | None = None
    allowed_failed_percent: float | None = None
    append_rows: bool = True
    first_task_creation_timeout_s: float = 600.0
    progress_update_timeout_s: float = 1260.0
    puts_in_store: bool = False

    @classmethod
    def of(cls, record: RunRecord) -> Limits:
        """Return the limits that a run was given."""
        return cls(
            record.limits.run_max_try,
            record.limits.error_threshold,
            record.limits.allowed_failed_count,
            record.limits.allowed_failed_percent,
            record.output.append_rows,
            record.limits.first_task_creation_timeout,
            record.limits.progress_update_timeout,
            record.output.storage is not None,
        )


def exceeded(state: RunState, limits: Limits) -> str:
    """Return why the run must fail now, or nothing (Azure's three independent levels)."""
    if 0 <= limits.error_threshold < state.items_failed:
        return (
            f"{plural(state.items_failed, 'item')} failed; "
            f"error_threshold allows {limits.error_threshold:,}{_short_results(state)}"
        )
    count = limits.allowed_failed_count
    if count is not None and 0 <= count < state.failed:
        return f"{plural(state.failed, 'mini-batch')} failed; allowed_failed_count allows {count:,}"
    percent = limits.allowed_failed_percent
    if percent is not None and state.plan_finished and state.planned:
        share = 100 * state.failed / state.planned
        if share > percent:
            return (
                f"{share:.3g} % of the mini-batches failed; "
                f"allowed_failed_percent allows {percent:g} %"
            )
    return ""


def _short_results(state: RunState) -> str:
    """Return an example of results that were too short, where most of what failed is theirs."""
    costliest = costliest_first(state.groups.values())[:1]
    return "".join(
        f": {group.message}, first in mini-batch {group.first_mini_batch}"
        for group in costliest
        if group.items_missing
    )


def stalled(state: RunState, limits: Limits, now_ms: int, started_ms: int, moved_ms: int) -> str:
    """Return why a run in which nothing happens must fail now, or nothing.

    Parameters
    ----------
    state, limits
        Where it stands, and what it tolerates.
    now_ms, started_ms, moved_ms
        The time, when this driver took it up, and when something last happened.
    """
    # Reading a table ahead counts as progress: its planner says that it moves.
    begun_ms = max(started_ms, moved_ms)
    if state.planned == 0 and now_ms - begun_ms > limits.first_task_creation_timeout_s * 1000:
        return (
            "no mini-batch was listed within first_task_creation_timeout = "
            f"{limits.first_task_creation_timeout_s:g} s; the store of the inputs may be stalled"
        )
    if now_ms - moved_ms > limits.progress_update_timeout_s * 1000:
        return (
            "nothing has happened for progress_update_timeout = "
            f"{limits.progress_update_timeout_s:g} s"
        )
    return ""


def check_stalled(limits: Limits, now_ms: int, started_ms: int) -> str:
    """Return why a resume whose inputs are still being checked must be refused, or nothing."""
    limit_s = limits.first_task_creation_timeout_s
    if now_ms - started_ms <= limit_s * 1000:
        return ""
    return (
        f"the inputs could not be checked within first_task_creation_timeout = {limit_s:g} s; "
        "their store may be stalled"
    )


def completion_failure(state: RunState, limits: Limits) -> str:
    """Return why a run whose mini-batches are all over has failed, or nothing (rule R17)."""
    if state.planned == 0:
        return "the inputs hold no items: nothing to run"
    if limits.append_rows and state.succeeded == 0:
        return "no mini-batch succeeded, so there is no row to write"
    return ""


def extra_rows_warning(mini_batch: int, items: int, rows: int) -> str:
    """Return what to say of a result with more rows than the mini-batch has items (rule R9)."""
    return (
        f"run() returned {plural(rows, 'row')} for the {plural(items, 'item')} of mini-batch "
        f"{mini_batch}; all rows are kept, and at most {items:,} count as succeeded items"
    )
