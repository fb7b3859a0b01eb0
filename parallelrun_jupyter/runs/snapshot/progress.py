"""How fast a run is, when it may end, and what holds it up: computed from its fold."""

from __future__ import annotations

import math
import statistics
from typing import TypedDict

from ..journal.state import RETRYING, RunState, WorkerState
from ..run_record import RunRecord

ETA_AFTER = 30
ETA_AFTER_SHARE = 0.05
STRAGGLES = 3.0
"""A straggler has been running for three times what 95 % of the last mini-batches took."""

_KNOWN_DURATIONS = 20
_SHOWN_STRAGGLERS = 5
_QUIET_S = 10.0
_CONFIDENCE = 1.7
_SLACK = 0.08
_LEAST_SPAN_S = 0.5
_LAST_FEW = 12
_STEEPEST = 0.5
"""What the interval is widened by on both sides, beyond what the durations so far tell."""


class Straggler(TypedDict):
    """A mini-batch that runs for much longer than the others took."""

    worker: str
    mini_batch: int
    for_s: float


class Budget(TypedDict):
    """How much of what may fail has failed; the run fails when ``used`` exceeds ``allowed``."""

    limit: str
    noun: str
    used: int
    allowed: int


class Pace(TypedDict):
    """How fast a run goes, and how long yet. Times in seconds; None before they are known.

    ``at_s`` counts from the run's creation; ``elapsed_s`` leaves out pauses between drivers. A live
    rate covers ``rate_window_s``; that of a run that is over covers all of ``elapsed_s``.
    ``quiet_s`` is the time since the last progress, shown from ``quiet_after_s`` on. The end comes
    between ``eta_low_s`` and ``eta_high_s``.
    """

    at_s: float
    elapsed_s: float
    eta_s: float | None
    eta_low_s: float | None
    eta_high_s: float | None
    items_per_s: float
    mini_batches_per_s: float
    rate_window_s: float
    quiet_s: float
    quiet_after_s: float


def pace(state: RunState, at_ms: int, *, is_live: bool) -> Pace:
    """Return how fast a run goes, as of ``at_ms`` since its creation."""
    mini_batches_per_s, items_per_s, window_s = rate(state, at_ms, is_live=is_live)
    likely = eta(state, at_ms) if is_live else None
    return Pace(
        at_s=at_ms / 1000,
        elapsed_s=state.throughput.elapsed_ms(at_ms) / 1000,
        eta_s=likely[0] if likely else None,
        eta_low_s=likely[1] if likely else None,
        eta_high_s=likely[2] if likely else None,
        items_per_s=items_per_s,
        mini_batches_per_s=mini_batches_per_s,
        rate_window_s=window_s,
        quiet_s=max(0, at_ms - state.moved_ms) / 1000 if is_live else 0.0,
        quiet_after_s=quiet_after_s(state),
    )


def rate(state: RunState, at_ms: int, *, is_live: bool) -> tuple[float, float, float]:
    """Return mini-batches per second, items per second, and over how many seconds that is.

    Of a run that is over, everything done over all its seconds: what the screen shows as done,
    divided by what it shows as elapsed.
    """
    if is_live:
        return state.throughput.recent(at_ms)
    seconds = max(state.throughput.elapsed_ms(at_ms), 1) / 1000
    return state.done / seconds, state.items_done / seconds, seconds


def eta(state: RunState, at_ms: int) -> tuple[float, float, float] | None:
    """Return the seconds left: likely, at least, at most; None before that means something.

    The true end lies inside in about nine of ten runs. The interval spans the rates of several
    parts of the run so far, the scatter of the durations, and one last long mini-batch.
    """
    done = state.done - state.throughput.done_before
    to_do = state.planned - state.throughput.done_before
    enough = done >= min(ETA_AFTER, max(1, to_do * ETA_AFTER_SHARE))
    if not (state.plan_finished and enough and state.left > 0 and done > 0):
        return None
    recent, _, _ = state.throughput.recent(at_ms)
    if recent <= 0:
        return None
    rates = [recent, *_rates_of_parts(state, at_ms)]
    rates.append(rates[-1] * _trend(rates))  # it may go on getting faster, or slower
    durations = [row[3] / 1e6 for row in state.lately]
    scatter = _scatter(durations) * math.sqrt(1 / done + 1 / state.left)
    spread = _CONFIDENCE * scatter + _SLACK
    likely = state.left / recent
    low = state.left / max(rates) / (1 + spread)
    high = state.left / min(rates) * (1 + spread) + _last_ones(durations)
    return likely, min(low, likely), max(high, likely)


def _rates_of_parts(state: RunState, at_ms: int) -> list[float]:
    """Return the rates since the start, over later and later parts, and of the last few."""
    course = state.throughput
    first_ms = course.first_done_ms or 0
    points = [(first_ms, course.done_before), *((s * 1000, over) for s, over in course.pace)]
    found = []
    for share in (1.0, 0.5, 0.25):
        since = at_ms - share * (at_ms - first_ms)
        start_ms, over = max(point for point in points if point[0] <= max(since, first_ms))
        span_s = (at_ms - start_ms) / 1000
        if span_s >= _LEAST_SPAN_S and state.done > over:
            found.append((state.done - over) / span_s)
    ends = [at for _, _, at, _, became in state.lately if became != RETRYING and at >= first_ms]
    last = ends[-max(_LAST_FEW, len(ends) // 4) :]
    if last and at_ms - last[0] >= 1000 * _LEAST_SPAN_S / 2:
        found.append(len(last) * 1000 / (at_ms - last[0]))
    return found


def _trend(rates: list[float]) -> float:
    """Return by what the rate has changed since the start, at most by half of what that says."""
    change = rates[-1] / rates[1] if len(rates) > 2 else 1.0
    return min(max(change, _STEEPEST), 1 / _STEEPEST)


def _scatter(durations: list[float]) -> float:
    """Return the standard deviation of the durations as a share of their mean."""
    mean = statistics.fmean(durations) if durations else 0.0
    return statistics.pstdev(durations) / mean if mean > 0 else 0.0


def _last_ones(durations: list[float]) -> float:
    """Return the seconds by which the last mini-batch may outlast the others."""
    return percentile(durations, 0.95) if durations else 0.0


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def usual_s(state: RunState) -> float | None:
    """Return the seconds within which 95 % of the last mini-batches were over; None for too few."""
    if len(state.lately) < _KNOWN_DURATIONS:
        return None
    return percentile([row[3] / 1e6 for row in state.lately], 0.95)


def stragglers(state: RunState, workers: list[WorkerState], at_ms: int) -> list[Straggler]:
    """Return the mini-batches that run for much longer than usual, the longest first."""
    usual = usual_s(state)
    if usual is None:
        return []
    limit_ms = max(STRAGGLES * usual, 1.0) * 1000
    found = [
        Straggler(worker=w.worker, mini_batch=w.mini_batch, for_s=(at_ms - w.since_ms) / 1000)
        for w in workers
        if w.phase == "running" and at_ms - w.since_ms > limit_ms
    ]
    return sorted(found, key=lambda row: -row["for_s"])[:_SHOWN_STRAGGLERS]


def quiet_after_s(state: RunState) -> float:
    """Return after how many seconds without progress it is worth saying that there is none."""
    usual = usual_s(state)
    return max(_QUIET_S, STRAGGLES * usual) if usual is not None else 3 * _QUIET_S


def budgets(state: RunState, record: RunRecord) -> list[Budget]:
    """Return how much of each limit that was set is used up."""
    found = []
    if record.limits.error_threshold >= 0:
        found.append(Budget(limit="error_threshold", noun="item", used=state.items_failed,
                            allowed=record.limits.error_threshold))  # fmt: skip
    count = record.limits.allowed_failed_count
    if count is not None and count >= 0:
        found.append(Budget(limit="allowed_failed_count", noun="mini-batch", used=state.failed,
                            allowed=count))  # fmt: skip
    percent = record.limits.allowed_failed_percent
    if percent is not None and percent < 100 and state.plan_finished:
        allowed = math.floor(percent * state.planned / 100)
        found.append(Budget(limit="allowed_failed_percent", noun="mini-batch", used=state.failed,
                            allowed=allowed))  # fmt: skip
    return found
