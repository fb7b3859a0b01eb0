"""What a server that is overloaded allows: a pause of all calls, and fewer of them in flight after it."""

from __future__ import annotations

import zlib

FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 500.0, 60_000.0
"""The pause if the server asks for none: it doubles while no call succeeds between two of them."""

_JITTER = 0.1
"""A pause is longer by up to this share, so that runs that paused together do not return together."""

_SHORTEST_RAMP_MS, _LONGEST_RAMP_MS = 50.0, 5_000.0
"""After a pause the calls start one by one within the duration of a call, between these."""

_SMOOTHING = 1 / 16

_FAST_BELOW, _SLOW_UNTIL = 0.85, 1.1
"""Shares of the size that was refused last: below the first, the window doubles with each round of calls,
and until the second it grows slowly."""

_PROBE_MS, _PROBE_SHARE = 5_000.0, 50
"""Near the size that was refused, the window grows by one call in this time, or by one of so many."""


class CallWindow:
    """The most calls in flight, since a server said that it gets too many, and the pause that it needs.

    It is that of TCP: half as many after a refusal, and one more for each window of calls that succeed.
    Well below the size that was refused it grows faster, and near it slowly, since each refusal costs a
    pause. Refusals of calls from before the last decrease do not count: these could not be held back.
    """

    def __init__(self) -> None:
        #: most calls in flight; None for no limit
        self.size: int | None = None
        #: no call starts before this time
        self.pause_until_ms = 0.0
        self._decreased_ms = -1.0
        #: the size that was refused last
        self._refused_size = 0
        #: the share of one more call that successes have earned
        self._earned = 0.0
        #: refusals in a row, without a success between them
        self._rounds = 0
        self._mean_ms = 0.0
        self._ramp_until_ms = 0.0

    def resume(self, pause_until_ms: float, size: int) -> None:
        """Keep to what an earlier driver knew: a pause, and a window of ``size`` calls."""
        self.pause_until_ms = pause_until_ms
        self._ramp_until_ms = pause_until_ms + _SHORTEST_RAMP_MS
        self.size = max(1, size)
        self._refused_size = 2 * self.size

    def refuse(
        self, now_ms: float, assigned_ms: float, retry_after_s: float | None, in_flight: int
    ) -> None:
        """Pause, and decrease the window, after a server has refused a call.

        Parameters
        ----------
        now_ms, assigned_ms
            The current time, and when the call was assigned.
        retry_after_s
            The pause for which the server asks, or None.
        in_flight
            Calls in flight, with this one.
        """
        is_new = assigned_ms > self._decreased_ms
        if is_new:
            self._decreased_ms = now_ms
            self._rounds += 1
            self._earned = 0.0
            size = in_flight if self.size is None else min(self.size, in_flight)
            self._refused_size = size
            self.size = max(1, size // 2)
        if retry_after_s is not None:
            self._pause(now_ms, retry_after_s * 1000)
        elif is_new:
            doubled = FIRST_PAUSE_MS * 2.0 ** min(self._rounds - 1, 30)
            self._pause(now_ms, min(doubled, LONGEST_PAUSE_MS))

    def _pause(self, now_ms: float, pause_ms: float) -> None:
        if now_ms + pause_ms <= self.pause_until_ms:
            return
        share = zlib.crc32(b"%d" % int(now_ms)) / 0xFFFFFFFF
        end_ms = now_ms + pause_ms * (1 + _JITTER * share)
        self.pause_until_ms = max(self.pause_until_ms, end_ms)
        ramp_ms = min(max(self._mean_ms, _SHORTEST_RAMP_MS), _LONGEST_RAMP_MS)
        self._ramp_until_ms = self.pause_until_ms + ramp_ms

    def succeed(self, assigned_ms: float, duration_ms: float, most: int) -> None:
        """Grow after a call that succeeded; ``most`` is the number of calls that all workers can make."""
        self._mean_ms += (duration_ms - self._mean_ms) * (_SMOOTHING if self._mean_ms else 1.0)
        if assigned_ms <= self._decreased_ms:
            return  # it tells of the time before
        self._rounds = 0
        if self.size is None:
            return
        near = self.size / max(1, self._refused_size)
        if near < _FAST_BELOW:
            self._earned += 1.0
        else:
            step = min(1.0, self._mean_ms / _PROBE_MS) if near < _SLOW_UNTIL else 1.0
            self._earned += step * max(1.0, self.size / _PROBE_SHARE) / self.size
        if self._earned >= 1.0 - 1e-9:
            self._earned = 0.0
            self.size = self.size + 1 if self.size < most else None

    def every_ms(self, start_ms: float) -> float:
        """Return the milliseconds between calls that start soon after a pause; 0 for no limit."""
        if self.size is None or start_ms >= self._ramp_until_ms:
            return 0.0
        return (self._ramp_until_ms - self.pause_until_ms) / self.size
