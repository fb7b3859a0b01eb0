"""Pauses that a server asked for: a clock that stands still in them, and the completions by this clock."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..journal.state import RunState
from ..journal.throughput import KEPT_POINTS, Throughput


def paused_until_ms(state: RunState) -> int:
    """Return the end of the last pause that a server asked for; 0 without one."""
    return state.calls.pauses[-1][1] if state.calls is not None and state.calls.pauses else 0


def clock_of(state: RunState) -> Callable[[int], int]:
    """Return a function that maps a time to one on a clock that stands still in pauses, all in ms.

    A pause counts from the last completion in its first half to the next one: calls that were in flight
    before end in its first seconds, and some may start a little before its end.
    """
    calls = state.calls
    if calls is None or not calls.pauses:
        return _same
    ends = [point[0] for point in state.throughput.points]
    pauses = []
    for asked_ms, until_ms in calls.pauses:
        middle_ms = (asked_ms + until_ms) // 2
        began_ms = max((end for end in ends if asked_ms <= end <= middle_ms), default=asked_ms)
        pauses.append(
            (began_ms, min((end for end in ends if began_ms < end <= until_ms), default=until_ms))
        )
    return lambda at_ms: at_ms - _passed_ms(pauses, at_ms)


def by_clock(throughput: Throughput, clock: Callable[[int], int]) -> Throughput:
    """Return completions with the times of a clock."""
    if clock is _same:
        return throughput
    points = ((clock(at_ms), done, items) for at_ms, done, items in throughput.points)
    # Completions around a pause may have the same time now: the last one has the sums.
    distinct = [list(same)[-1] for _, same in itertools.groupby(points, lambda point: point[0])]
    began_ms, first_done_ms = throughput.began_ms, throughput.first_done_ms
    return replace(
        throughput,
        driver_start_ms=clock(throughput.driver_start_ms),
        began_ms=None if began_ms is None else clock(began_ms),
        first_done_ms=None if first_done_ms is None else clock(first_done_ms),
        points=deque(distinct, maxlen=KEPT_POINTS),
        pace=[(clock(second * 1000) // 1000, done) for second, done in throughput.pace],
    )


def _same(at_ms: int) -> int:
    return at_ms


def _passed_ms(pauses: Sequence[tuple[int, int]], at_ms: int) -> int:
    return sum(max(0, min(at_ms, until) - began) for began, until in pauses)
