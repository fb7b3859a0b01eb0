"""Calls that wait for a server: what they spent, how long they took, what holds them back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .call_events import CallsHeld, CallsLimited, CallsSpent

_STEP = math.log(1.02)
"""Durations are counted in classes that grow by 2 percent, so quantiles are exact to 1 percent."""

KEPT_SECONDS = 12


@dataclass(slots=True)
class CallsState:
    """The calls of a run with limits or several calls in flight, folded from its journal.

    Attributes
    ----------
    limits
        Those of the present driver.
    held
        The last report of what holds calls back, under the present driver.
    held_ms
        How long calls have waited under the present driver, by what they waited for, up to that report.
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
    recent_tokens
        The last seconds in which tokens were spent, since the run was created, each with the tokens.
    """

    limits: CallsLimited
    held: CallsHeld | None = None
    held_ms: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    nano_usd: int = 0
    calls_spent: int = 0
    usd_squared: float = 0.0
    throttled: int = 0
    durations: dict[int, int] = field(default_factory=dict)
    open: dict[int, tuple[int, int]] = field(default_factory=dict)
    recent_tokens: list[list[int]] = field(default_factory=list)

    def start_driver(self, event: CallsLimited) -> None:
        """Take the limits of a driver that starts."""
        self.limits, self.held = event, None
        self.held_ms.clear()

    def hold(self, event: CallsHeld) -> None:
        """Take a report: what it says ends what the one before said."""
        before, self.held = self.held, event
        passed_ms = event.held_ms - (before.held_ms if before is not None else 0)
        if passed_ms > 0:
            held_by = (before.held_by if before is not None else "") or event.held_by
            if not held_by:  # it has begun and ended between the two reports
                held_by = next(reversed(self.held_ms), self._usual_limit())
            self.held_ms[held_by] = self.held_ms.get(held_by, 0) + passed_ms

    def _usual_limit(self) -> str:
        limits = self.limits
        return "rate" if limits.rate_per_s else "tokens" if limits.tokens_per_s else "server"

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
        second, tokens_before = event.at_ms // 1000, self.tokens
        for mini_batch, attempt, tokens, nano_usd in event.spends:
            self.tokens += tokens
            self.nano_usd += nano_usd
            number, before = self.open.get(mini_batch, (0, 0))
            if number != attempt:
                self.calls_spent += 1
                before = 0
            self.open[mini_batch] = attempt, before + nano_usd
            self.usd_squared += ((before + nano_usd) / 1e9) ** 2 - (before / 1e9) ** 2
        if not self.recent_tokens or self.recent_tokens[-1][0] < second:
            self.recent_tokens.append([second, 0])
            del self.recent_tokens[:-KEPT_SECONDS]
        self.recent_tokens[-1][1] += self.tokens - tokens_before

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
        calls.start_driver(event)
    elif isinstance(event, CallsSpent):
        # Calls without limits have a price, too.
        calls = calls or CallsState(CallsLimited(event.at_ms, 1, 0.0, 0.0, 0))
        calls.spend(event)
    elif calls is not None and isinstance(event, CallsHeld):
        calls.hold(event)
    return calls
