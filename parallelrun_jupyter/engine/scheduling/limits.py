"""The limits of a run: when it ends early, and how failures of its mini-batches are recorded."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...formatting import plural
from ...runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    Event,
    ItemRanges,
    ItemsFailed,
    ItemsSucceeded,
)
from ...runs.journal.failure_groups import FailureGroup, costliest_first
from ...runs.journal.state import RunState
from ...runs.run_record import RunCalls, RunRecord
from ...runs.setting_names import worded
from ...worker.failures import SHORT_RESULT, short_result
from ...worker.item_ranges import count_of
from .signals import (
    AttemptErrored,
    Failure,
    ItemFailures,
    ItemsAnswered,
    PlanFailed,
    PoolLost,
    Signal,
    TimePassed,
)

INIT_TRIES = 3
"""Failed starts for each worker of a node after which the node counts as unable to start (rule R21)."""

MAX_NODE_LOSSES = 3
"""A mini-batch that ran on this many lost nodes has failed its attempt (rule R18)."""

NODE_LEASE_S = 30.0
"""A node that its driver has not polled for this long shuts itself down."""

LOST_NODE_GRACE_MS = 35_000
"""After this long a lost node has shut itself down; none of its uploads are in progress."""

IDLE_RELEASE_MS = 2_000
"""A node that has been idle for this long, because it is paused or about to leave, uploads its
rows, and other nodes get the rest of its ranges."""

TRACEBACKS_PER_GROUP = 10
"""Further attempts of a failure group are recorded without a traceback, to bound the journal."""


@dataclass(frozen=True, slots=True)
class NodeLimits:
    """Timeouts on a node, in seconds."""

    run_s: float
    init_s: float = 600.0
    overhead_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The failures and delays that a run tolerates.

    A negative threshold and 100 percent tolerate everything; None disables a check.
    """

    run_max_try: int = 3
    error_threshold: int = 0
    allowed_failed_count: int | None = None
    allowed_failed_percent: float | None = None
    append_rows: bool = True
    first_task_creation_timeout_s: float = 600.0
    progress_update_timeout_s: float = 1260.0
    output_in_store: bool = False
    #: whether a mini-batch may run in parts; never one of a run with partition keys
    divides: bool = False
    retry_delay_s: float = 0.0
    retry_on: frozenset[str] = frozenset()
    no_retry_on: frozenset[str] = frozenset()
    calls: RunCalls = field(default_factory=RunCalls)
    #: whether a service runs the mini-batches, whose queue may hold them for hours
    is_queued: bool = False
    #: whether more rows than items are worth a warning
    warns_of_extra_rows: bool = True
    #: "v2" for a run of a job of SDK v2
    api: str = ""

    def worded(self, event: Event) -> Event:
        """Return an event with the names of limits that the user gave them by."""
        return worded(event, self.api)

    @classmethod
    def of(cls, record: RunRecord) -> Limits:
        """Return the limits of a run."""
        return cls(
            record.limits.run_max_try,
            record.limits.error_threshold,
            record.limits.allowed_failed_count,
            record.limits.allowed_failed_percent,
            record.output.append_rows,
            record.limits.first_task_creation_timeout,
            record.limits.progress_update_timeout,
            record.output.storage is not None,
            divides=record.limits.isolate_failures and not record.inputs.partition_keys,
            retry_delay_s=record.limits.retry_delay,
            retry_on=frozenset(record.limits.retry_on),
            no_retry_on=frozenset(record.limits.no_retry_on),
            calls=record.calls,
            is_queued=record.placement.backend == "azureml",
            warns_of_extra_rows=record.limits.warns_of_extra_rows,
            api=record.limits.api,
        )


def exceeded(state: RunState, limits: Limits) -> str:
    """Return which of Azure's three thresholds the run exceeds, or an empty text."""
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
    """Return an example of a short result, if most failed items come from short results."""
    costliest = costliest_first(state.groups.values())[:1]
    return "".join(
        f": {group.message}, first in mini-batch {group.first_mini_batch}"
        for group in costliest
        if group.items_missing
    )


def stalled(
    state: RunState, limits: Limits, now_ms: int, started_ms: int, last_progress_ms: int
) -> str:
    """Return why a run without progress has failed, or an empty text.

    Parameters
    ----------
    state, limits
        The run.
    now_ms, started_ms, last_progress_ms
        The current time, the start of this driver and the last progress, in milliseconds.
    """
    # The planner reports progress while it reads a large table, before its first mini-batch.
    since_ms = max(started_ms, last_progress_ms)
    if state.planned == 0 and now_ms - since_ms > limits.first_task_creation_timeout_s * 1000:
        return (
            "no mini-batch was listed within first_task_creation_timeout = "
            f"{limits.first_task_creation_timeout_s:g} s; the store of the inputs may be stalled"
        )
    if limits.is_queued:
        return ""
    if now_ms - last_progress_ms > limits.progress_update_timeout_s * 1000:
        return (
            "nothing has happened for progress_update_timeout = "
            f"{limits.progress_update_timeout_s:g} s"
        )
    return ""


def refusal(signal: Signal, limits: Limits, now_ms: int, started_ms: int) -> str:
    """Return why a resume that is still checking its inputs is refused, or an empty text."""
    match signal:
        case PlanFailed(reason, trace) | PoolLost(reason, _, trace):
            return f"{trace.rstrip()}\n{reason}" if trace else reason
        case TimePassed():
            return _check_stalled(limits, now_ms, started_ms)
    return ""


def _check_stalled(limits: Limits, now_ms: int, started_ms: int) -> str:
    limit_s = limits.first_task_creation_timeout_s
    if now_ms - started_ms <= limit_s * 1000:
        return ""
    return (
        f"the inputs could not be checked within first_task_creation_timeout = {limit_s:g} s; "
        "their store may be stalled"
    )


def completion_failure(state: RunState, limits: Limits) -> str:
    """Return why a run without pending mini-batches has failed, or an empty text (rule R17)."""
    if state.planned == 0:
        return "the inputs contain no items: nothing to run"
    if limits.append_rows and state.succeeded == 0:
        return "no mini-batch succeeded, so there is no row to write"
    return ""


def extra_rows_warning(mini_batch: int, items: int, rows: int) -> str:
    """Return the warning about a result with more rows than items (rule R9)."""
    return (
        f"run() returned {plural(rows, 'row')} for the {plural(items, 'item')} of mini-batch "
        f"{mini_batch}; all rows are kept, and at most {items:,} count as succeeded items"
    )


def attempt_failed_event(
    signal: AttemptErrored,
    group: FailureGroup | None,
    now_ms: int,
    *,
    is_last: bool,
    ranges: ItemRanges = (),
    of: int = 0,
) -> AttemptFailed:
    """Return the event of a failed attempt, with a traceback if its group has few so far."""
    failure = signal.failure
    return AttemptFailed(
        signal.mini_batch,
        signal.attempt,
        signal.worker,
        now_ms,
        signal.duration_us,
        signal.items,
        is_last,
        kind_of(failure),
        failure.error,
        failure.message,
        failure.group,
        _kept_traceback(failure, group),
        ranges,
        of,
    )


def kind_of(failure: Failure) -> str:
    """Return the kind of a failure, as the journal names it."""
    return "throttled" if failure.is_throttled else failure.kind


def _kept_traceback(failure: Failure, group: FailureGroup | None) -> str:
    is_kept = group is None or group.attempts < TRACEBACKS_PER_GROUP
    return failure.traceback if is_kept else ""


def items_failed_event(
    signal: AttemptErrored | ItemsAnswered,
    failures: ItemFailures,
    group: FailureGroup | None,
    now_ms: int,
    *,
    of: int,
    is_last: bool,
) -> ItemsFailed:
    """Return the event of items that failed, while others of the attempt may have succeeded."""
    failure = failures.failure
    messages = failures.messages
    return ItemsFailed(
        signal.mini_batch,
        signal.attempt,
        signal.worker,
        now_ms,
        count_of(failures.ranges),
        kind_of(failure),
        failure.error,
        failure.message,
        failure.group,
        _kept_traceback(failure, group),
        failures.ranges,
        () if set(messages) <= {failure.message} else messages,
        of,
        is_last,
    )


def final_error_warning(error: str, retry_on: frozenset[str]) -> str:
    """Return the warning about an error that is not tried again."""
    names = ", ".join(sorted(retry_on))
    return f"{error} is not tried again: neither it nor a base of it is in retry_on ({names})"


def hits_all_warning(group: str, count: int) -> str:
    """Return the warning about a fault of all items."""
    return (
        f"{count} items that were run alone all failed with {group}: mini-batches that fail there "
        "are not divided further until other items succeed, since all items seem to have this fault"
    )


def short_result_event(
    event: AttemptSucceeded | ItemsSucceeded, run_line: str, now_ms: int
) -> ItemsFailed:
    """Return the event for the items of a mini-batch that have no result (rule R4)."""
    return ItemsFailed(
        event.mini_batch,
        event.attempt,
        event.worker,
        now_ms,
        event.items - event.items_succeeded,
        "short_result",
        SHORT_RESULT,
        short_result(event.rows, event.items, run_line),
        f"{SHORT_RESULT} at {run_line or 'run()'}",
        "",
    )


def node_lost_failure(reason: str) -> Failure:
    """Return the failure of a mini-batch that ran on too many lost nodes (rule R18)."""
    text = (
        f"its node was lost while it ran, like {MAX_NODE_LOSSES - 1} or more nodes before: {reason}"
    )
    return Failure("node_lost", "NodeLost", text, "NodeLost at run()", "")


def lost_nodes_warning(left_ms: int) -> str:
    """Return the warning that the output waits until lost nodes have shut down."""
    return (
        f"the output is assembled from its parts in {left_ms // 1000} s, when every lost node "
        "has shut down and no longer uploads"
    )
