"""Progress of a run: rates, time left, stragglers, budgets of failures, and the timeline of workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

from ..journal.state import RETRYING, EndedAttempt, RunState
from ..journal.throughput import Throughput
from ..journal.worker_state import Use, WorkerState
from ..run_record import RunRecord
from ..setting_names import setting_name
from .server_pauses import by_clock, clock_of, paused_until_ms

ETA_AFTER = 30
ETA_AFTER_SHARE = 0.05
STRAGGLER_FACTOR = 3.0
"""A straggler has run three times as long as 95 % of the recent mini-batches took."""

_LEAST_DURATIONS = 20
_SHOWN_STRAGGLERS = 5
_QUIET_S = 10.0
_CONFIDENCE = 1.7
_SLACK = 0.08
"""Share by which the interval of the time left is widened beyond the spread of the durations."""

_LEAST_SPAN_S = 0.5
_LAST_FEW = 12
_STEEPEST = 0.5

SHOWN_LANES = 24
SHOWN_BARS = 200
TIMELINE_MS = 60_000
USE_POINTS = 20
USE_STEP_MS = 2000
_MERGED_SHARE = 240
"""Bars shorter than this fraction of the timeline are merged."""

_USE_LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
UNKNOWN_USE = "."


class Straggler(TypedDict):
    """A mini-batch that runs much longer than usual."""

    worker: str
    mini_batch: int
    for_s: float


class Budget(TypedDict):
    """A limit of failures; the run fails when ``used`` exceeds ``allowed``."""

    limit: str
    noun: str
    used: int
    allowed: int


class Pace(TypedDict):
    """Speed of a run and time left. Times in seconds; None while unknown.

    ``at_s`` counts from the run's creation; ``elapsed_s`` excludes pauses between drivers. A live
    rate covers ``rate_window_s``; the rate of an ended run covers ``elapsed_s``. ``quiet_s`` is the
    time since the last progress, shown once it exceeds ``quiet_after_s``. The time left is between
    ``eta_low_s`` and ``eta_high_s``.
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
    """Return the speed of a run at ``at_ms`` milliseconds after its creation."""
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
        quiet_s=_quiet_s(state, at_ms) if is_live else 0.0,
        quiet_after_s=quiet_after_s(state),
    )


def _quiet_s(state: RunState, at_ms: int) -> float:
    """Return the time since the last progress; a server's pause and a queue have their own sentences."""
    if state.job is not None and state.job.state != "Running":
        return 0.0
    return max(0, at_ms - max(state.last_progress_ms, paused_until_ms(state))) / 1000


def rate(state: RunState, at_ms: int, *, is_live: bool) -> tuple[float, float, float]:
    """Return mini-batches per second, items per second, and the seconds that these cover.

    The rate of an ended run is its total, without rows that were taken or copied, divided by its
    elapsed time, as displayed.
    """
    if is_live:
        return state.throughput.recent(at_ms)
    seconds = max(state.throughput.elapsed_ms(at_ms), 1) / 1000
    taken = state.reused.items if state.reused is not None else 0
    taken += state.duplicates_copied
    mini_batches = state.done - state.mini_batches_taken
    return mini_batches / seconds, (state.items_done - taken) / seconds, seconds


def eta(state: RunState, at_ms: int) -> tuple[float, float, float] | None:
    """Return the seconds left: likely, at least, at most; None while too little is known.

    The interval contains the true end in about nine of ten runs. It spans the rates of several
    parts of the run, the spread of the durations, and one last long mini-batch. Pauses that a server
    asked for count as no time: they slow the rest of the run no more, save for the end of the present one.
    """
    clock = clock_of(state)
    throughput, now_ms = by_clock(state.throughput, clock), clock(at_ms)
    ends = [clock(row[2]) for row in state.recent_attempts if row[4] != RETRYING]
    done = state.done - state.throughput.done_before
    to_do = state.planned - state.throughput.done_before
    enough = done >= min(ETA_AFTER, max(1, to_do * ETA_AFTER_SHARE))
    if not (state.plan_finished and enough and state.left > 0 and done > 0):
        return None
    recent, _, _ = throughput.recent(now_ms)
    if recent <= 0:
        return None
    rates = [recent, *_rates_of_parts(throughput, ends, state.done, now_ms)]
    rates.append(rates[-1] * _trend(rates))  # the trend may continue
    durations = [row[3] / 1e6 for row in state.recent_attempts]
    scatter = _scatter(durations) * math.sqrt(1 / done + 1 / state.left)
    spread = _CONFIDENCE * scatter + _SLACK
    likely = state.left / recent
    low = state.left / max(rates) / (1 + spread)
    high = state.left / min(rates) * (1 + spread) + _last_ones(durations)
    pause_s = max(0, paused_until_ms(state) - at_ms) / 1000
    low, likely, high = (max(s, _least_s(state)) for s in (min(low, likely), likely, high))
    return pause_s + likely, pause_s + low, pause_s + max(high, likely)


def _least_s(state: RunState) -> float:
    """Return the seconds in which the calls that are left can start at most, by the limit of their rate."""
    if state.calls is None or not state.calls.limits.rate_per_s:
        return 0.0
    in_flight = sum(worker.calls[0] for worker in state.workers.values() if worker.calls)
    return max(0, state.left - in_flight) / state.calls.limits.rate_per_s


def _rates_of_parts(
    throughput: Throughput, ends: Sequence[int], done_now: int, at_ms: int
) -> list[float]:
    """Return the rates since the start, over its last half and quarter, and of the last few ends."""
    first_ms = throughput.first_done_ms or 0
    points = [
        (first_ms, throughput.done_before),
        *((second * 1000, done) for second, done in throughput.pace),
    ]
    rates = []
    for share in (1.0, 0.5, 0.25):
        since = at_ms - share * (at_ms - first_ms)
        start_ms, done = max(point for point in points if point[0] <= max(since, first_ms))
        span_s = (at_ms - start_ms) / 1000
        if span_s >= _LEAST_SPAN_S and done_now > done:
            rates.append((done_now - done) / span_s)
    ends = [end_ms for end_ms in ends if end_ms >= first_ms]
    last = ends[-max(_LAST_FEW, len(ends) // 4) :]
    if last and at_ms - last[0] >= 1000 * _LEAST_SPAN_S / 2:
        rates.append(len(last) * 1000 / (at_ms - last[0]))
    return rates


def _trend(rates: list[float]) -> float:
    """Return the factor by which the rate has changed, at most `_STEEPEST` or its inverse."""
    change = rates[-1] / rates[1] if len(rates) > 2 else 1.0
    return min(max(change, _STEEPEST), 1 / _STEEPEST)


def _scatter(durations: list[float]) -> float:
    """Return the standard deviation of the durations as a share of their mean."""
    # Not by the module statistics, whose import takes longer than the first snapshots.
    count = max(1, len(durations))
    mean = math.fsum(durations) / count
    variance = math.fsum((each - mean) ** 2 for each in durations) / count
    return math.sqrt(variance) / mean if mean > 0 else 0.0


def _last_ones(durations: list[float]) -> float:
    """Return the seconds by which the last mini-batch may outlast the others."""
    return percentile(durations, 0.95) if durations else 0.0


def percentile(values: list[float], share: float) -> float:
    """Return the value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def usual_s(state: RunState) -> float | None:
    """Return the seconds within which 95 % of the recent mini-batches ended; None for too few."""
    if len(state.recent_attempts) < _LEAST_DURATIONS:
        return None
    return percentile([row[3] / 1e6 for row in state.recent_attempts], 0.95)


def stragglers(state: RunState, workers: list[WorkerState], at_ms: int) -> list[Straggler]:
    """Return the mini-batches that run much longer than usual, the longest first."""
    usual = usual_s(state)
    if usual is None:
        return []
    limit_ms = max(STRAGGLER_FACTOR * usual, 1.0) * 1000
    rows = [
        Straggler(worker=w.worker, mini_batch=w.mini_batch, for_s=(at_ms - w.since_ms) / 1000)
        for w in workers
        if w.phase == "running" and at_ms - w.since_ms > limit_ms and not _has_ended(state, w)
    ]
    return sorted(rows, key=lambda row: -row["for_s"])[:_SHOWN_STRAGGLERS]


def _has_ended(state: RunState, worker: WorkerState) -> bool:
    """Return whether the oldest call of a worker has ended since the worker was last looked at."""
    return any(
        (name, mini_batch) == (worker.worker, worker.mini_batch) and end_ms >= worker.since_ms
        for name, mini_batch, end_ms, _, _ in state.recent_attempts
    )


def quiet_after_s(state: RunState) -> float:
    """Return the seconds without progress after which views show them."""
    usual = usual_s(state)
    return max(_QUIET_S, STRAGGLER_FACTOR * usual) if usual is not None else 3 * _QUIET_S


def budgets(state: RunState, record: RunRecord) -> list[Budget]:
    """Return the use of each limit that is set."""
    limits = record.limits
    rows = []
    if limits.error_threshold >= 0:
        rows.append(("error_threshold", "item", state.items_failed, limits.error_threshold))
    count = limits.allowed_failed_count
    if count is not None and count >= 0:
        rows.append(("allowed_failed_count", "mini-batch", state.failed, count))
    percent = limits.allowed_failed_percent
    if percent is not None and percent < 100 and state.plan_finished:
        allowed = math.floor(percent * state.planned / 100)
        rows.append(("allowed_failed_percent", "mini-batch", state.failed, allowed))
    return [
        Budget(limit=setting_name(limit, limits.api), noun=noun, used=used, allowed=allowed)
        for limit, noun, used, allowed in rows
    ]


class Lane(TypedDict):
    """The bars of one worker: start (ms), length (ms), mini-batch, number of mini-batches, status.

    Short adjacent bars are merged; a merged bar has the first of their mini-batches.
    """

    worker: str
    bars: list[list[int]]


class Uses(TypedDict):
    """Resources that a worker uses: the last values (None: unknown), and a series for each.

    A series has one character of 64 levels for each step of time.
    """

    cpu_percent: int | None
    memory_mb: int | None
    gpu_percent: int | None
    gpu_memory_mb: int | None
    cpu: str
    memory: str
    gpu: str


def call_progress(worker: WorkerState) -> list[int]:
    """Return the progress within the call that a worker runs, as in its row; empty without."""
    has_progress = worker.progress is not None and worker.phase == "running"
    return list(worker.progress or ()) if has_progress else []


def timeline(state: RunState, workers: Sequence[WorkerState], at_ms: int) -> tuple[int, list[Lane]]:
    """Return the start of the timeline (ms), and the bars of the workers, ended ones included.

    It covers the last minute. If a worker has more bars than are shown, it starts later, so that no
    lane is empty only because its bars were left out.
    """
    starts = [at - duration // 1000 for _, _, at, duration, _ in state.recent_attempts]
    since = max(0, at_ms - TIMELINE_MS, min(starts, default=0))
    resolution = max(1, (at_ms - since) // _MERGED_SHARE)
    by_worker: dict[str, list[EndedAttempt]] = {worker.worker: [] for worker in workers}
    for row in sorted(state.recent_attempts, key=lambda row: row[2]):  # parts arrive out of order
        if row[2] >= since:
            by_worker.setdefault(row[0], []).append(row)
    names = list(by_worker)[:SHOWN_LANES]
    limit = max(6, SHOWN_BARS // max(1, len(names)))
    lanes = {name: _bars(by_worker[name], resolution) for name in names}
    since = max([since, *(bars[-limit][0] for bars in lanes.values() if len(bars) > limit)])
    return since, [
        Lane(worker=name, bars=[bar for bar in bars if bar[0] + bar[1] >= since][-limit:])
        for name, bars in lanes.items()
    ]


def _bars(rows: list[EndedAttempt], resolution: int) -> list[list[int]]:
    """Return the bars of a worker.

    Those shorter than the resolution are merged with neighbors, and those of calls in flight at the
    same time with each other.
    """
    bars: list[list[int]] = []
    for _, mini_batch, at_ms, duration_us, status in rows:
        length = duration_us // 1000
        start = at_ms - length
        last = bars[-1] if bars else None
        touches = last is not None and start - (last[0] + last[1]) <= resolution
        overlaps = last is not None and start < last[0] + last[1] - resolution
        is_merged = touches and (length <= resolution or overlaps)
        if last is not None and is_merged and last[4] == status:
            last[0] = min(last[0], start)
            last[1] = at_ms - last[0]
            last[3] += 1
        else:
            bars.append([start, length, mini_batch, 1, status])
    return bars


def uses(worker: WorkerState, at_ms: int) -> Uses:
    """Return the resources that a worker uses, and used in the last 40 seconds."""
    last = worker.uses[-1] if worker.uses else None
    cpu, memory, gpu = (_series(worker.uses, column, at_ms) for column in (1, 2, 3))
    return Uses(
        cpu_percent=last[1] if last else None,
        memory_mb=last[2] if last else None,
        gpu_percent=last[3] if last and last[3] >= 0 else None,
        gpu_memory_mb=last[4] if last and last[4] >= 0 else None,
        cpu=_coded(cpu, 100),
        memory=_coded(memory, 1),
        gpu=_coded(gpu, 100),
    )


def _series(rows: Sequence[Use], column: int, at_ms: int) -> list[int]:
    """Return the last measured value at each step, -1 before the first one."""
    values = []
    position, value = 0, -1
    end = at_ms // USE_STEP_MS * USE_STEP_MS  # so that points keep their position between snapshots
    for step in range(USE_POINTS - 1, -1, -1):
        while position < len(rows) and rows[position][0] <= end - step * USE_STEP_MS:
            value = rows[position][column]
            position += 1
        values.append(value)
    return values


def _coded(values: list[int], least_top: int) -> str:
    """Return a character for each value, scaled from 0 to the largest."""
    top = max(least_top, *values)
    if max(values) < 0:
        return ""
    highest = len(_USE_LEVELS) - 1
    return "".join(UNKNOWN_USE if v < 0 else _USE_LEVELS[round(highest * v / top)] for v in values)
