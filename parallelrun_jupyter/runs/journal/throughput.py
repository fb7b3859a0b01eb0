"""Completions over time, from which rates, elapsed time and time left are computed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

RATE_WINDOW_S = 10
"""A live rate covers the last ten seconds, or longer if completions are rarer."""

LEAST_WINDOW_MS = 1000
"""A rate covers at least one second, unless the run itself is younger."""

KEPT_POINTS = 128
PACE_POINTS = 64
_BUCKET_MS = 100
_GAPS_IN_WINDOW = 4
"""A window spans four times the longest recent pause between completions. Otherwise mini-batches
that end together, in waves, would show the rate of one wave, or 0."""


@dataclass(slots=True)
class Throughput:
    """Completions under the current driver. Times in milliseconds since the run was created.

    Completions within a tenth of a second share one point, so 128 points span at least the window
    of the rate, and the last 128 completions of a slower run.
    """

    #: start of the current driver; 0, the run's submission, for the first one
    driver_start_ms: int = 0
    #: time under earlier drivers
    driven_before_ms: int = 0
    #: mini-batches and items completed before the current driver
    done_before: int = 0
    items_before: int = 0
    #: start of the first completed attempt of the current driver
    began_ms: int | None = None
    first_done_ms: int | None = None
    #: (time of its last completion, mini-batches and items completed up to then)
    points: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=KEPT_POINTS))
    #: (second, mini-batches completed before it) over the whole run, thinned out as it grows
    pace: list[tuple[int, int]] = field(default_factory=list)
    pace_step_s: int = 1

    def start_over(self, at_ms: int, last_ms: int, done: int, items_done: int) -> None:
        """Start over, as a new driver does, or when all runs again; the earlier one ended at ``last_ms``."""
        driven_ms = self.driven_before_ms + max(0, last_ms - self.driver_start_ms)
        fresh = Throughput(at_ms, driven_ms, done, items_done)
        for name in Throughput.__slots__:
            setattr(self, name, getattr(fresh, name))

    def rebase(self, done: int, items_done: int) -> None:
        """Correct the totals before the current driver, which retries some of them."""
        self.done_before, self.items_before = done, items_done

    def complete(self, at_ms: int, duration_us: int, done: int, items_done: int) -> None:
        """Count a completed attempt; ``done`` and ``items_done`` include it."""
        start_ms = at_ms - duration_us // 1000
        if self.began_ms is None or start_ms < self.began_ms:
            self.began_ms = max(start_ms, self.driver_start_ms)
        if self.first_done_ms is None:
            self.first_done_ms = at_ms
        points = self.points
        if points and points[-1][0] // _BUCKET_MS >= at_ms // _BUCKET_MS:
            points[-1] = (max(points[-1][0], at_ms), done, items_done)
        else:
            points.append((at_ms, done, items_done))
            second = at_ms // 1000
            if not self.pace or second >= self.pace[-1][0] + self.pace_step_s:
                self._add_pace(second, max(0, done - 1))

    def _add_pace(self, second: int, done: int) -> None:
        """Add a point of the pace; drop every other one if the limit is exceeded."""
        self.pace.append((second, done))
        if len(self.pace) > PACE_POINTS:
            del self.pace[1::2]
            self.pace_step_s *= 2

    def elapsed_ms(self, at_ms: int) -> int:
        """Return the time under drivers, without the pauses between them."""
        return self.driven_before_ms + max(0, at_ms - self.driver_start_ms)

    def recent(self, at_ms: int) -> tuple[float, float, float]:
        """Return mini-batches per second, items per second, and the seconds of the window.

        The window ends now, or at the last completion if the pause since then is not unusual. It
        starts at a completion, or at the start of the first attempt.
        """
        if self.began_ms is None or not self.points:
            return 0.0, 0.0, 0.0
        pause_ms = self._longest_pause_ms()
        end_ms = max(self.points[-1][0], at_ms - pause_ms)
        span_ms = max(RATE_WINDOW_S * 1000, _GAPS_IN_WINDOW * pause_ms)
        start_ms, done, items = self._last_point_before(end_ms - span_ms)
        least_ms = min(LEAST_WINDOW_MS, at_ms - self.driver_start_ms)
        window_s = max(end_ms - start_ms, least_ms, 1) / 1000
        _, done_now, items_now = self.points[-1]
        return (done_now - done) / window_s, (items_now - items) / window_s, window_s

    def _longest_pause_ms(self) -> int:
        """Return the longest pause between the completions in ``points``."""
        times = [self.began_ms or 0, *(point[0] for point in self.points)]
        if len(self.points) == KEPT_POINTS:
            del times[0]  # the completions in between were dropped
        return max(later - earlier for earlier, later in pairwise(times))

    def _last_point_before(self, limit_ms: int) -> tuple[int, int, int]:
        """Return the last point up to a time, or the earliest one."""
        earlier = [point for point in self.points if point[0] <= limit_ms]
        if earlier:
            return earlier[-1]
        if len(self.points) == KEPT_POINTS:
            return self.points[0]
        return self.began_ms or 0, self.done_before, self.items_before
