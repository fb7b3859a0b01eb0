"""How far ahead workers and nodes are fed: by time, so that long mini-batches wait for nobody."""

from __future__ import annotations

from math import ceil

FED_AHEAD_S = 0.010
"""Workers hold about this much work, so that they never wait for a message, and none when
mini-batches take longer."""

SHORT_S = 0.003
FED_SHORT_S = 0.030
"""Mini-batches under three milliseconds are held three times as long: half the messages."""

MOST_FED = 2048


def prefetch_depth(depth: int, each_s: float, done: int) -> int:
    """Return how many mini-batches a worker may hold, whose last ``done`` took ``each_s`` each."""
    ahead_s = FED_SHORT_S if each_s < SHORT_S else FED_AHEAD_S
    fitting = min(MOST_FED, ceil(ahead_s / each_s)) if each_s < FED_AHEAD_S else 1
    return min(fitting, 2 * max(depth, done))


def latency_allowance(workers: int, each_s: float, latency_s: float) -> int:
    """Return how many mini-batches a node holds so that a far driver need not hurry.

    It is what ``workers`` do in the time that a message and its answer take: nothing where
    mini-batches take longer than that. In steps, so that it does not change all the time.
    """
    if latency_s <= 0 or each_s <= 0:
        return 0
    count = min(MOST_FED, int(workers * latency_s / each_s))
    return 1 << (count.bit_length() - 1) if count else 0
