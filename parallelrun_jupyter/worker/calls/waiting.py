"""The calls that a worker holds and has not started, in order, each with its earliest start."""

from __future__ import annotations

from collections import deque

from ..attempt import Attempt
from ..plan_line import PlanLine

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

FOREVER = float("inf")

_PAUSE_S = 0.5
"""The pause after a server has refused a call, and told no time: the first one of the scheduler."""

_SLACK_S = 0.02
"""A start that is late, because the worker was busy, delays the next ones by what exceeds this time."""


class Waiting:
    """Calls in the order in which they start: none before its time, and none too close to another.

    Times are ``time.monotonic()`` in seconds.
    """

    def __init__(self) -> None:
        self._calls: deque[Any] = deque()
        self._last_start = -FOREVER
        self._held_until = -FOREVER

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, bundle: list[Any]) -> None:
        """Add the calls of a message "run"."""
        self._calls.extend(bundle)

    def next_at(self) -> float:
        """Return the time of the next start; infinity without a call."""
        if not self._calls:
            return FOREVER
        pace = self._calls[0][3:]
        if not pace:
            return self._held_until
        start_at, every_s = pace
        return float(max(start_at, self._last_start + every_s, self._held_until))

    def hold(self, reply: list[Any], now: float) -> None:
        """Start no call for as long as a server asks for in the reply of a call that it refused.

        The scheduler assigns no more calls meanwhile, but those that wait here were assigned before.
        """
        failures = [reply[-1]] if reply[0] == "failed" else [group[-1] for group in reply[-1]]
        for failure in failures:
            if failure.get("is_throttled"):
                until = now + failure.get("retry_after_s", _PAUSE_S)
                self._held_until = max(self._held_until, until)

    def take(self, now: float) -> Attempt:
        """Return the next call, which starts now."""
        self._last_start = max(self.next_at(), now - _SLACK_S)
        mini_batch, number, row = self._calls.popleft()[:3]
        return Attempt(mini_batch, number, PlanLine.of_row(row))
