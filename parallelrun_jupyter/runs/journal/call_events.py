"""The events about calls that wait for a server: their limits, what they spend, what holds them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class CallsLimited:
    """The limits of calls under the driver that starts; most runs have none, and no such event.

    Parameters
    ----------
    concurrency
        Calls in flight at once in each worker.
    rate_per_s, tokens_per_s
        Most calls and tokens in a second; 0 for no limit.
    budget_nano_usd
        What the run may spend, in billionths of a US dollar; 0 for no limit.
    """

    at_ms: int
    concurrency: int
    rate_per_s: float
    tokens_per_s: float
    budget_nano_usd: int


CallSpend: TypeAlias = tuple[int, int, int, int]
"""Mini-batch, attempt, tokens, and billionths of a US dollar."""


@dataclass(frozen=True, slots=True)
class CallsSpent:
    """Calls have spent tokens or money, whatever becomes of their attempts; these add up."""

    at_ms: int
    spends: tuple[CallSpend, ...]


@dataclass(frozen=True, slots=True)
class CallsHeld:
    """What holds calls back that a worker could make, as it changes, and at most once a second.

    Parameters
    ----------
    held_by
        ``rate``, ``tokens``, ``server`` (it said 429 or 503, or a script asked for a delay), ``budget``;
        empty if no call waits for a limit.
    held_ms
        How long calls have waited for a limit so far, under this driver.
    until_ms
        When the server may be asked again; 0 if it has not asked for a pause.
    window
        Most calls that may be in flight now, over all workers, since a server was overloaded; 0 for
        no limit.
    """

    at_ms: int
    held_by: str
    held_ms: int
    until_ms: int
    window: int


WorkerCalls: TypeAlias = tuple[str, int, int]
"""Worker, its calls in flight, and the calls that it holds and has not started."""
