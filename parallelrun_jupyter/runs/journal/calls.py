"""Calls that wait for a server: what they spent, how long they took, what holds them back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .call_events import CallsHeld, CallsLimited, CallsSpent

_STEP = math.log(1.02)
"""Durations are counted in classes that grow by 2 percent, so quantiles are exact to 1 percent."""


@dataclass(slots=True)
class CallsState:
    """The calls of a run with limits or several calls in flight, folded from its journal.

    Attributes
    ----------
    limits
        Those of the present driver.
    held
        The last report of what holds calls back.
    tokens, nano_usd
        Spent by all attempts, in billionths of a US dollar.
    calls_spent
        Attempts that have spent, however often.
    usd_squared
        Sum of the squares of what each attempt spent, for the forecast, in square US dollars.
    open
        Attempt and billionths of a US dollar, by mini-batch whose attempt has spent and has not ended.
    throttled
        Attempts that failed because a server asked for fewer calls.
    durations
        Number of calls that succeeded, by the class of their duration.
    """

    limits: CallsLimited
    held: CallsHeld | None = None
    tokens: int = 0
    nano_usd: int = 0
    calls_spent: int = 0
    usd_squared: float = 0.0
    throttled: int = 0
    durations: dict[int, int] = field(default_factory=dict)
    open: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def mean_usd(self) -> float:
        """What an attempt that has spent has cost on average."""
        return self.nano_usd / 1e9 / self.calls_spent if self.calls_spent else 0.0

    @property
    def sd_usd(self) -> float:
        """The standard deviation of what these attempts have cost."""
        if not self.calls_spent:
            return 0.0
        return math.sqrt(max(0.0, self.usd_squared / self.calls_spent - self.mean_usd**2))

    def spend(self, event: CallsSpent) -> None:
        """Count what calls have spent."""
        for mini_batch, attempt, tokens, nano_usd in event.spends:
            self.tokens += tokens
            self.nano_usd += nano_usd
            number, before = self.open.get(mini_batch, (0, 0))
            if number != attempt:
                self.calls_spent += 1
                before = 0
            self.open[mini_batch] = attempt, before + nano_usd
            self.usd_squared += ((before + nano_usd) / 1e9) ** 2 - (before / 1e9) ** 2

    def end(self, mini_batch: int) -> None:
        """Forget what the attempt of a mini-batch has spent, since it has ended: no more follows."""
        self.open.pop(mini_batch, None)

    def succeed(self, duration_us: int) -> None:
        """Count the duration of a call that succeeded."""
        kind = round(math.log(max(1, duration_us)) / _STEP)
        self.durations[kind] = self.durations.get(kind, 0) + 1

    def quantile_s(self, share: float) -> float | None:
        """Return the duration in seconds below which a share of the successful calls were; None without any."""
        count = sum(self.durations.values())
        if not count:
            return None
        left = max(1, math.ceil(share * count))
        for kind in sorted(self.durations):
            left -= self.durations[kind]
            if left <= 0:
                return math.exp(kind * _STEP) / 1e6
        raise AssertionError


def calls_after(
    calls: CallsState | None, event: CallsLimited | CallsSpent | CallsHeld
) -> CallsState | None:
    """Return the calls of a run after an event about them."""
    if isinstance(event, CallsLimited):
        calls = calls or CallsState(event)
        calls.limits, calls.held = event, None
    elif isinstance(event, CallsSpent):
        # Calls without limits have a price, too.
        calls = calls or CallsState(CallsLimited(event.at_ms, 1, 0.0, 0.0, 0))
        calls.spend(event)
    elif calls is not None and isinstance(event, CallsHeld):
        calls.held = event
    return calls
