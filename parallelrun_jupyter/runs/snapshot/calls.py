"""The calls of a run that wait for a server: how many, how fast, how long, what for, and their cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from ..journal.calls import KEPT_SECONDS, CallsState
from ..journal.state import RETRYING, RunState
from ..journal.throughput import RATE_WINDOW_S
from ..journal.worker_state import WorkerState
from .cost_forecast import Spent, forecast

_LEAST_WINDOW_S = 1.0
_NANO = 1e9
_BUDGET_SPENT = "budget of "
"""In the reason of a run that ended because its budget is spent."""


class Calls(TypedDict):
    """Calls that wait for a server. Times in seconds, money in US dollars; None while unknown.

    ``in_flight`` calls wait for the server, ``waiting`` ones are held by workers until a limit allows
    them to start. At most ``concurrency`` are in flight at once, ``window`` while the server is
    overloaded. ``rate_per_s`` are the calls that end; limits are 0 if there is none.

    ``held_by`` names what calls wait for now: ``rate``, ``tokens``, ``server`` (until ``held_until_s``
    from now) or ``budget``; ``held_shares`` are the shares of the time that they have waited for each
    of these. ``throttled`` calls were refused with 429 or 503. Half of the calls that succeeded took
    ``latency_s`` at most, 95 of 100 ``latency_95_s``.
    """

    in_flight: int
    waiting: int
    concurrency: int
    window: int
    rate_per_s: float
    rate_limit_per_s: float
    tokens: int
    tokens_per_s: float
    token_limit_per_s: float
    held_by: str
    held_until_s: float
    held_shares: dict[str, float]
    throttled: int
    latency_s: float | None
    latency_95_s: float | None
    usd: float
    usd_per_item: float | None
    budget_usd: float | None
    forecast_low_usd: float | None
    forecast_high_usd: float | None


def calls_of(
    state: RunState, workers: Sequence[WorkerState], at_ms: int, *, is_live: bool
) -> Calls | None:
    """Return the calls of a run at ``at_ms`` milliseconds after its creation; None for other runs."""
    calls = state.calls
    if calls is None:
        return None
    in_flight = running_calls(workers)
    limits, held = calls.limits, calls.held
    most = limits.concurrency * len(workers)
    is_told = limits.concurrency == 1 or any(worker.calls for worker in workers)
    expected = _forecast(state, calls, in_flight if is_told else min(most, state.left))
    items = _items_answered(state)
    usd = calls.nano_usd / _NANO
    return Calls(
        in_flight=in_flight,
        waiting=sum(worker.calls[1] for worker in workers if worker.calls),
        concurrency=most,
        window=held.window if held and is_live else 0,
        rate_per_s=_rate(state, at_ms, is_live=is_live),
        rate_limit_per_s=limits.rate_per_s,
        tokens=calls.tokens,
        tokens_per_s=_token_rate(state, calls, at_ms, is_live=is_live),
        token_limit_per_s=limits.tokens_per_s,
        held_by=_held_by(state, calls, is_live=is_live),
        held_until_s=max(0, held.until_ms - at_ms) / 1000 if held and is_live else 0.0,
        held_shares=_held_shares(state, calls, at_ms, is_live=is_live),
        throttled=calls.throttled,
        latency_s=calls.quantile_s(0.5),
        latency_95_s=calls.quantile_s(0.95),
        usd=usd,
        usd_per_item=usd / items if usd and items else None,
        budget_usd=limits.budget_nano_usd / _NANO or None,
        forecast_low_usd=expected[0] if expected else None,
        forecast_high_usd=expected[1] if expected else None,
    )


def running_calls(workers: Sequence[WorkerState]) -> int:
    """Return the calls of ``run()`` that run now."""
    return sum(worker.calls[0] if worker.calls else worker.phase == "running" for worker in workers)


def has_budget(calls: Calls | None) -> bool:
    """Return whether a run that has ended may spend more: most have no budget."""
    return calls is None or calls["held_by"] != "budget"


def _rate(state: RunState, at_ms: int, *, is_live: bool) -> float:
    """Return the calls that end in a second, those that will be tried again included."""
    if not is_live:
        seconds = max(state.throughput.elapsed_ms(at_ms), 1) / 1000
        return (state.succeeded - state.mini_batches_taken + state.attempts_failed) / seconds
    ends = sorted(row[2] for row in state.recent_attempts)
    began_ms = state.throughput.began_ms or 0
    since_ms = max(at_ms - RATE_WINDOW_S * 1000, began_ms)
    is_all = len(ends) < (state.recent_attempts.maxlen or 0)
    if is_all or (ends and ends[0] <= since_ms):
        window_s = max((at_ms - since_ms) / 1000, _LEAST_WINDOW_S)
        return sum(end > since_ms for end in ends) / window_s
    # The kept attempts are of less time than the window: only the share of retries is theirs.
    retried = sum(row[4] == RETRYING for row in state.recent_attempts)
    done_per_s, _, _ = state.throughput.recent(at_ms)
    return done_per_s * len(ends) / max(1, len(ends) - retried)


def _token_rate(state: RunState, calls: CallsState, at_ms: int, *, is_live: bool) -> float:
    """Return the tokens that calls have spent in a second, over the last ten ones."""
    if not is_live:
        return calls.tokens * 1000 / max(state.throughput.elapsed_ms(at_ms), 1)
    first = at_ms // 1000 - min(RATE_WINDOW_S, KEPT_SECONDS) + 1
    since_ms = max(first * 1000, state.throughput.began_ms or 0)
    spent = sum(tokens for second, tokens in calls.recent_tokens if second >= first)
    return spent / max((at_ms - since_ms) / 1000, _LEAST_WINDOW_S)


def _held_by(state: RunState, calls: CallsState, *, is_live: bool) -> str:
    """Return what calls wait for; after the end only the budget, which a resume may raise."""
    if is_live:
        return calls.held.held_by if calls.held else ""
    has_ended_run = calls.limits.budget_nano_usd and _BUDGET_SPENT in state.reason
    return "budget" if has_ended_run and state.left else ""


def _held_shares(
    state: RunState, calls: CallsState, at_ms: int, *, is_live: bool
) -> dict[str, float]:
    """Return the shares of the time of the present driver in which calls waited, by what for."""
    shares = dict(calls.held_ms)
    held = calls.held
    if held is not None and held.held_by and is_live:
        waits_ms = max(0, at_ms - held.at_ms)
        shares[held.held_by] = shares.get(held.held_by, 0) + waits_ms
    driven_ms = max(1, at_ms - state.throughput.driver_start_ms)
    return {name: min(1.0, ms / driven_ms) for name, ms in shares.items()}


def _items_answered(state: RunState) -> int:
    """Return the items that calls of this run have answered, also with a failure."""
    taken = state.reused.items if state.reused is not None else 0
    return state.items_done - taken - state.duplicates_copied


def _forecast(state: RunState, calls: CallsState, in_flight: int) -> tuple[float, float] | None:
    if not state.plan_finished or not state.left:
        return None
    return forecast(
        Spent(
            usd=calls.nano_usd / _NANO,
            usd_squared=calls.usd_squared,
            calls=calls.calls_spent,
            in_flight=in_flight,
            mini_batches=state.done - state.mini_batches_taken,
            items=_items_answered(state),
            mini_batches_left=state.left,
            items_left=state.planned_items - state.items_done,
        )
    )
