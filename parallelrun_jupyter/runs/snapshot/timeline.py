"""What ran lately, worker by worker, and how much each used meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from ..journal.state import EndedAttempt, RunState, Use, WorkerState

SHOWN_LANES = 24
SHOWN_BARS = 200
WINDOW_MS = 60_000
USE_POINTS = 20
USE_STEP_MS = 2000
_MERGED_SHARE = 240
_LEVELS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
UNKNOWN = "."


class Lane(TypedDict):
    """The bars of one worker: rows of start (ms), length (ms), mini-batch, how many, what became.

    Short ones that touch are one bar, of the first of them.
    """

    worker: str
    bars: list[list[int]]


class Uses(TypedDict):
    """What a worker uses now, and lately: a character a step, of 64 levels; None: not known."""

    cpu_percent: int | None
    memory_mb: int | None
    gpu_percent: int | None
    gpu_memory_mb: int | None
    cpu: str
    memory: str
    gpu: str


def _window_ms(state: RunState, at_ms: int) -> tuple[int, int]:
    """Return from when to when there are bars to show."""
    starts = [at - duration // 1000 for _, _, at, duration, _ in state.recent_attempts]
    return max(0, at_ms - WINDOW_MS, min(starts, default=0)), at_ms


def timeline(state: RunState, workers: Sequence[WorkerState], at_ms: int) -> tuple[int, list[Lane]]:
    """Return since when (ms) what is shown, and what the workers did since; of ended ones, too.

    It is the last minute, or less where a worker has had more bars than are shown: what would be
    empty only for want of room is not shown at all.
    """
    since, until = _window_ms(state, at_ms)
    resolution = max(1, (until - since) // _MERGED_SHARE)
    by_worker: dict[str, list[EndedAttempt]] = {worker.worker: [] for worker in workers}
    for row in sorted(state.recent_attempts, key=lambda row: row[2]):  # those of a part come late
        if row[2] >= since:
            by_worker.setdefault(row[0], []).append(row)
    names = list(by_worker)[:SHOWN_LANES]
    each = max(6, SHOWN_BARS // max(1, len(names)))
    bars = {name: _bars(by_worker[name], resolution) for name in names}
    since = max([since, *(found[-each][0] for found in bars.values() if len(found) > each)])
    return since, [
        Lane(worker=name, bars=[bar for bar in found if bar[0] + bar[1] >= since][-each:])
        for name, found in bars.items()
    ]


def _bars(rows: list[EndedAttempt], resolution: int) -> list[list[int]]:
    """Return bars; those shorter than the resolution are joined with their neighbours."""
    bars: list[list[int]] = []
    for _, mini_batch, at_ms, duration_us, became in rows:
        length = duration_us // 1000
        start = at_ms - length
        last = bars[-1] if bars else None
        touches = last is not None and start - (last[0] + last[1]) <= resolution
        if last is not None and touches and last[4] == became and length <= resolution:
            last[1] = at_ms - last[0]
            last[3] += 1
        else:
            bars.append([start, length, mini_batch, 1, became])
    return bars


def uses(worker: WorkerState, at_ms: int) -> Uses:
    """Return what a worker uses, and the last 40 seconds of it."""
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
    """Return a value for each step: what was last measured by then, -1 before there was any."""
    found = []
    position, value = 0, -1
    end = at_ms // USE_STEP_MS * USE_STEP_MS  # so that points stay where they are as time goes on
    for step in range(USE_POINTS - 1, -1, -1):
        while position < len(rows) and rows[position][0] <= end - step * USE_STEP_MS:
            value = rows[position][column]
            position += 1
        found.append(value)
    return found


def _coded(values: list[int], least_top: int) -> str:
    """Return a character for each value, between nothing and the largest."""
    top = max(least_top, *values)
    if max(values) < 0:
        return ""
    highest = len(_LEVELS) - 1
    return "".join(UNKNOWN if v < 0 else _LEVELS[round(highest * v / top)] for v in values)
