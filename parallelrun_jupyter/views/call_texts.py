"""Calls that wait for a server, in words; the TypeScript module ``calls`` has the same words."""

from __future__ import annotations

import math

from ..formatting import format_duration
from ..runs.snapshot.calls import Calls
from ..runs.snapshot.snapshot import Snapshot

_WHOLE = 1e-6
_LEAST_SHARE = 0.05
_WAITS_FOR = {
    "rate": "rate limit",
    "tokens": "token limit",
    "server": "server's limit",
    "budget": "budget",
}
_UNITS = (("s", 1), ("min", 60), ("h", 3600))


def calls_line(snapshot: Snapshot) -> str:
    """Return one line about the calls of a run; empty for runs whose calls wait for no server.

    ``calls: 48 in flight of 50 · 4.9 of 5 calls/s · wait for: rate limit · 429 or 503: 3 · ...``
    """
    calls = snapshot.get("calls")  # missing in snapshots of older versions
    if calls is None:
        return ""
    parts = [] if snapshot["is_final"] else _now(calls)
    parts.append(_rate(calls["rate_per_s"], calls["rate_limit_per_s"], "calls"))
    if waits_for(calls) and not snapshot["is_final"]:
        parts.append(f"wait for: {waits_for(calls)}")
    if calls["throttled"]:
        parts.append(f"429 or 503: {calls['throttled']:,}")
    if calls["latency_s"] is not None and calls["latency_95_s"] is not None:
        median, most = map(format_latency, (calls["latency_s"], calls["latency_95_s"]))
        parts.append(f"latency {median}, 95 %: {most}")
    if calls["tokens"] or calls["token_limit_per_s"]:
        parts.append(f"{calls['tokens']:,} tokens")
        parts.append(_rate(calls["tokens_per_s"], calls["token_limit_per_s"], "tokens"))
    parts += _cost(calls)
    return f"calls: {' · '.join(parts)}"


def _now(calls: Calls) -> list[str]:
    most = calls["concurrency"]
    if calls["window"]:
        most = min(most, calls["window"])
    parts = [f"{calls['in_flight']:,} in flight of {most:,}"]
    if calls["waiting"]:
        parts.append(f"{calls['waiting']:,} waiting")
    return parts


def _cost(calls: Calls) -> list[str]:
    usd, budget = calls["usd"], calls["budget_usd"]
    if not usd and not budget:
        return []
    spent = f"{format_usd(usd)} USD"
    if budget:
        spent += f" of {format_usd(budget)}"
    low, high = calls["forecast_low_usd"], calls["forecast_high_usd"]
    if low is not None and high is not None:
        first, last = format_usd(low), format_usd(high)
        spent += f", forecast {first} to {last}" if first != last else f", forecast about {last}"
    parts = [spent]
    if calls["usd_per_item"]:
        parts.append(f"{format_usd(calls['usd_per_item'])} USD per item")
    return parts


def call_notes(snapshot: Snapshot) -> list[str]:
    """Return sentences about what holds calls back: a pause, a limit, the budget."""
    calls = snapshot.get("calls")
    if calls is None:
        return []
    notes = []
    if calls["held_by"] == "server" and calls["held_until_s"] > 0:
        seconds = format_seconds(calls["held_until_s"])
        notes.append(f"The server asked for a pause (429 or 503): calls go on in {seconds}.")
    if calls["window"]:
        most = f"{calls['window']:,} {'call' if calls['window'] == 1 else 'calls'}"
        notes.append(f"The server was overloaded: at most {most} in flight for now.")
    verb = "waited" if snapshot["is_final"] else "wait"
    for held_by, share in sorted(calls["held_shares"].items(), key=lambda pair: -pair[1]):
        if share >= _LEAST_SHARE:
            percent = math.floor(100 * share)
            notes.append(f"Calls {verb} for {_cause(held_by, calls)} {percent} % of the time.")
    if calls["held_by"] == "budget" and calls["budget_usd"] and not snapshot["is_final"]:
        notes.append(_budget_note(calls["usd"], calls["budget_usd"]))
    return notes


def _budget_note(usd: float, budget_usd: float) -> str:
    budget = f"The budget of {format_usd(budget_usd)} USD"
    if usd < budget_usd / 2:
        return f"{budget} allows few calls at once until their cost is known."
    return f"{budget} is nearly spent: calls in flight may need the rest, and others wait."


def _cause(held_by: str, calls: Calls) -> str:
    if held_by == "rate" and calls["rate_limit_per_s"]:
        return f"rate_limit = {format_rate(calls['rate_limit_per_s'])}"
    if held_by == "tokens" and calls["token_limit_per_s"]:
        return f"token_limit = {format_rate(calls['token_limit_per_s'])}"
    return "the budget" if held_by == "budget" else "the server's own limit"


def waits_for(calls: Calls) -> str:
    """Return what calls wait for now; the server if no limit holds them back, empty without calls."""
    if calls["held_by"] == "server" and calls["held_until_s"] > 0:
        return "server's pause"
    if calls["held_by"]:
        return _WAITS_FOR.get(calls["held_by"], calls["held_by"])
    return "server" if calls["in_flight"] else ""


def _rate(now: float, limit: float, noun: str) -> str:
    """Return a rate beside its limit, in the unit of the limit: ``4.9 of 5 calls/s``."""
    unit, seconds = _unit(limit) if limit else _unit_above_one(now)
    if not limit:
        return f"{_number(now * seconds)} {noun}/{unit}"
    return f"{_number(now * seconds)} of {_number(limit * seconds)} {noun}/{unit}"


def format_rate(per_s: float) -> str:
    """Return a limit as it may be written in a setting: ``5/s``, ``100/min``."""
    unit, seconds = _unit(per_s)
    return f"{_number(per_s * seconds)}/{unit}"


def _unit(per_s: float) -> tuple[str, int]:
    """Return the first unit of time in which a rate is a whole number, else one where it is above 1."""
    for unit, seconds in _UNITS:
        value = per_s * seconds
        if round(value) >= 1 and abs(value - round(value)) < _WHOLE * value:
            return unit, seconds
    return _unit_above_one(per_s)


def _unit_above_one(per_s: float) -> tuple[str, int]:
    for unit, seconds in _UNITS:
        if per_s * seconds >= 1:
            return unit, seconds
    return _UNITS[0] if per_s <= 0 else _UNITS[-1]


def _number(value: float) -> str:
    if abs(value - round(value)) < _WHOLE * max(1.0, value) or value >= 100:
        return f"{round(value):,}"
    return f"{value:.1f}"


def format_usd(usd: float) -> str:
    """Return an amount: ``20``, ``1.24``, and of small ones two digits: ``0.0042``."""
    if usd == round(usd):
        return f"{usd:,.0f}"
    decimals = 2 if usd >= 1 else max(2, 1 - math.floor(math.log10(usd)))
    return f"{usd:,.{decimals}f}"


def format_latency(seconds: float) -> str:
    """Return the duration of a call: ``4.2 ms``, ``210 ms``, ``1.3 s``, ``1:05``."""
    ms = seconds * 1000
    if ms < 9.95:
        return f"{ms:.1f} ms"
    return f"{ms:.0f} ms" if ms < 999.5 else format_duration(seconds)


def format_seconds(seconds: float) -> str:
    """Return a time to wait in whole seconds, rounded up: ``12 s``, ``1:05``."""
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 60 else format_duration(whole)
