"""Retries: which failures are tried again, and after which delay."""

from __future__ import annotations

import zlib

from .call_window import FIRST_PAUSE_MS, LONGEST_PAUSE_MS
from .limits import Limits, kind_of
from .signals import Failure

LONGEST_DELAY_MS = 60_000
"""The upper limit of a delay that doubles; a script may ask for a longer one."""

_JITTER = 0.25
"""A delay varies by this share, so that mini-batches that failed together return one by one."""

_ENDS_WORKER = {"timeout", "worker_lost", "out_of_memory"}
"""Kinds of failures of which a worker may not survive many."""

_NOT_DIVIDED = {"node_lost", "load_timeout", "throttled"}
"""Kinds of failures that say little about the items of a mini-batch."""


def may_retry(failure: Failure, limits: Limits) -> bool:
    """Return whether a failure is tried again, by ``retry_on`` and ``no_retry_on``.

    A script that asks for a delay asks for a retry, and so does a server that asks for fewer calls.
    """
    names = {failure.error, *failure.bases}
    if not names.isdisjoint(limits.no_retry_on):
        return False
    is_asked = failure.retry_after_s is not None or failure.is_throttled
    return is_asked or not limits.retry_on or not names.isdisjoint(limits.retry_on)


def may_isolate(failure: Failure, limits: Limits) -> bool:
    """Return whether a mini-batch that failed in its last try is divided to isolate its items."""
    return limits.divides and kind_of(failure) not in _NOT_DIVIDED


def survives(failure: Failure) -> bool:
    """Return whether a worker survives the failure."""
    return failure.kind not in _ENDS_WORKER


def isolates_in_worker(failure: Failure, limits: Limits) -> bool:
    """Return whether the worker runs the items in parts itself, all in one attempt.

    If calls are limited, each part is a call, and so an attempt of its own.
    """
    return survives(failure) and not limits.calls.is_limited


def is_too_large(failure: Failure, limits: Limits) -> bool:
    """Return whether a mini-batch is divided because it does not fit into memory."""
    return limits.divides and failure.kind == "out_of_memory"


def refused_delay_ms(refused: int, asked_s: float | None) -> int:
    """Return the delay after a server has refused a call.

    Parameters
    ----------
    refused
        How often it has refused the call so far.
    asked_s
        The seconds for which the server asks; None: half a second, doubled for each refusal.
    """
    if asked_s is not None:
        return int(asked_s * 1000)
    return int(min(FIRST_PAUSE_MS * 2.0 ** min(max(0, refused - 1), 30), LONGEST_PAUSE_MS))


def delay_ms(limits: Limits, tries: int, mini_batch: int, asked_s: float | None) -> int:
    """Return the delay before the next try.

    Parameters
    ----------
    limits
        With ``retry_delay_s``, the first delay; it doubles with each try.
    tries
        Number of failed tries; 0 for no delay but the one that the script asks for.
    mini_batch
        The mini-batch; delays of different ones differ.
    asked_s
        The seconds for which the script asks, or None.
    """
    first = limits.retry_delay_s * 1000
    doubled = first * 2 ** min(tries - 1, 30) if tries else 0.0
    number = zlib.crc32(b"%d/%d" % (mini_batch, tries)) / 0xFFFFFFFF
    varied = doubled * (1 - _JITTER + 2 * _JITTER * number)
    longest = max(LONGEST_DELAY_MS, first)
    return int(max(min(varied, longest), (asked_s or 0) * 1000))
