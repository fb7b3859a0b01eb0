"""Completions over time: what rates, elapsed time and time left are computed from."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

RATE_WINDOW_S = 10
"""A live rate covers the last ten seconds, or more where completions are rarer than that."""

LEAST_WINDOW_MS = 1000
"""No rate is measured over less than a second of the run, unless the run itself is younger."""

KEPT_POINTS = 128
PACE_POINTS = 64
_BUCKET_MS = 100
_GAPS_IN_WINDOW = 4
"""A window spans four times the longest recent pause between completions: mini-batches that end
together, wave after wave, would otherwise show the rate of a wave, or none."""


@dataclass(slots=True)
class Throughput:
    """What was completed when, since the current driver took up the run. Times in milliseconds.

    Completions within a tenth of a second share one point, so that 128 points span at least the
    window of the rate, and the last 128 completions of a slower run.
    """

    #: when the current driver took up the run; the first one did when the run was submitted
    taken_up_ms: int = 0
    #: how long earlier drivers drove the run
    driven_before_ms: int = 0
    #: mini-batches and items completed before the current driver
    done_before: int = 0
    items_before: int = 0
    #: start of the first completed attempt of the current driver
    began_ms: int | None = None
    first_done_ms: int | None = None
    #: (time of the last completion in it, mini-batches and items completed by then)
    points: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=KEPT_POINTS))
    #: (second, mini-batches completed before it) over the whole course, thinned out as it grows
    pace: list[tuple[int, int]] = field(default_factory=list)
    pace_step_s: int = 1

    def take_up(self, at_ms: int, last_ms: int, done: int, items_done: int) -> None:
        """Begin again for a new driver; the earlier one drove the run until ``last_ms``."""
        driven_ms = self.driven_before_ms + max(0, last_ms - self.taken_up_ms)
        fresh = Throughput(at_ms, driven_ms, done, items_done)
        for name in Throughput.__slots__:
            setattr(self, name, getattr(fresh, name))

    def rebase(self, done: int, items_done: int) -> None:
        """Correct what had been completed before the current driver: some of it is retried."""
        self.done_before, self.items_before = done, items_done

    def complete(self, at_ms: int, duration_us: int, done: int, items_done: int) -> None:
        """Count a completed attempt; ``done`` and ``items_done`` are the totals with it."""
        start_ms = at_ms - duration_us // 1000
        if self.began_ms is None or start_ms < self.began_ms:
            self.began_ms = max(start_ms, self.taken_up_ms)
        if self.first_done_ms is None:
            self.first_done_ms = at_ms
        points = self.points
        if points and points[-1][0] // _BUCKET_MS >= at_ms // _BUCKET_MS:
            points[-1] = (max(points[-1][0], at_ms), done, items_done)
        else:
            points.append((at_ms, done, items_done))
            second = at_ms // 1000
            if not self.pace or second >= self.pace[-1][0] + self.pace_step_s:
                self._keep_pace(second, done - 1)

    def _keep_pace(self, second: int, done: int) -> None:
        """Note how far the run is; leave out every second point where there are too many."""
        self.pace.append((second, done))
        if len(self.pace) > PACE_POINTS:
            del self.pace[1::2]
            self.pace_step_s *= 2

    def elapsed_ms(self, at_ms: int) -> int:
        """Return how long drivers have driven the run, pauses between them left out."""
        return self.driven_before_ms + max(0, at_ms - self.taken_up_ms)

    def recent(self, at_ms: int) -> tuple[float, float, float]:
        """Return mini-batches per second, items per second, and the seconds of the window.

        The window ends now, or at the last completion where the pause since is a usual one. It
        begins at a completion, or where the work began.
        """
        if self.began_ms is None or not self.points:
            return 0.0, 0.0, 0.0
        pause_ms = self._longest_pause_ms()
        end_ms = max(self.points[-1][0], at_ms - pause_ms)
        span_ms = max(RATE_WINDOW_S * 1000, _GAPS_IN_WINDOW * pause_ms)
        start_ms, done, items = self._start_of(end_ms - span_ms)
        least_ms = min(LEAST_WINDOW_MS, at_ms - self.taken_up_ms)
        window_s = max(end_ms - start_ms, least_ms, 1) / 1000
        _, done_now, items_now = self.points[-1]
        return (done_now - done) / window_s, (items_now - items) / window_s, window_s

    def _longest_pause_ms(self) -> int:
        """Return the longest pause between the recent completions that are kept."""
        times = [self.began_ms or 0, *(point[0] for point in self.points)]
        if len(self.points) == KEPT_POINTS:
            del times[0]  # what lies between is not kept any more
        return max(later - earlier for earlier, later in pairwise(times))

    def _start_of(self, wanted_ms: int) -> tuple[int, int, int]:
        """Return the last point up to a time: when, and what was completed by then."""
        began = (self.began_ms or 0, self.done_before, self.items_before)
        earlier = [point for point in self.points if point[0] <= wanted_ms]
        if earlier:
            return earlier[-1]
        return self.points[0] if len(self.points) == KEPT_POINTS else began
