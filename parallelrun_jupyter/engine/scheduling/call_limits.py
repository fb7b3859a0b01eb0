"""The limits of calls: when the next ones may start, over all nodes. No clock: time is an argument.

A call is an attempt of a mini-batch. It is assigned only when the limits allow it to start soon, with
the time at which it starts, so that the workers need to know nothing of the limits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ...formatting import plural
from ...runs.journal.call_events import CallsHeld, CallsLimited, CallSpend
from ...runs.journal.calls import CallsState
from ...runs.journal.events import WarningRaised
from ...runs.journal.state import RunState
from ...runs.run_record import RunCalls
from .actions import Assign
from .allocation import Allocation
from .call_costs import FIRST_CALLS, CallCosts
from .call_window import CallWindow
from .signals import Failure

HORIZON_MS = 500
"""Calls are assigned this long before they start: longer than the driver may sleep."""

PACE = 0.98
"""Share of a limit that is used: a server may count in other seconds than this machine."""

TOKEN_CREDIT_MS = 1_000
"""Tokens of this time that are left, since calls were cheaper than expected, are used later."""

_AT_ONCE_MS = 0.01
"""Between two calls that start later, but without a pace: a node reads 0 as no limit at all."""

_BOOKED_MS = 50
"""Calls that nodes hold to start later than this are held back by a limit."""

_REPORT_MS = 1_000
_NANO = 1_000_000_000


class _Call:
    """A call that a node holds."""

    __slots__ = ("assigned_ms", "prepaid", "tokens")

    def __init__(self, assigned_ms: float, prepaid: float) -> None:
        self.assigned_ms = assigned_ms
        #: the tokens that it was expected to spend
        self.prepaid = prepaid
        self.tokens = 0


class CallLimits:
    """Rate, tokens, budget, and what the server allows: one bucket of each for the whole run.

    Parameters
    ----------
    calls
        The limits in the run's record.
    state
        What earlier drivers have spent; None for nothing.
    """

    def __init__(self, calls: RunCalls, state: CallsState | None = None) -> None:
        self._calls = calls
        self._interval_ms = 1000 / (PACE * calls.rate_per_s) if calls.rate_per_s else 0.0
        self._ms_per_token = 1000 / (PACE * calls.tokens_per_s) if calls.tokens_per_s else 0.0
        self._budget = round((calls.budget_usd or 0) * _NANO)
        if state is None:
            self.tokens, self.money = CallCosts(), CallCosts(first=1)
        else:
            count, squares = state.calls_spent, state.usd_squared * _NANO**2
            self.tokens = CallCosts(state.tokens, count if state.tokens else 0)
            known = count if state.nano_usd else 0
            self.money = CallCosts(state.nano_usd, known, squares, first=1)
        self.window = CallWindow()
        if state is not None and state.held is not None and state.is_paused:
            self.window.resume(state.held.until_ms, state.held.window)
        #: the earliest start of the next call, by the rate
        self._next_ms = 0.0
        #: when the tokens of all calls so far are there
        self._paid_ms = 0.0
        #: the start of the last call
        self._last_start_ms = 0.0
        self._held: dict[int, _Call] = {}
        self._slots = 1
        #: how many calls may still be assigned now, and how many each node has room for
        self._left = 0
        self._rooms: dict[str, int] = {}
        self._held_by = ""
        #: what has held calls back last, and when
        self._last_held = ("", -_REPORT_MS)
        self._held_ms = 0
        self._noted_ms = 0
        self._reported: tuple[str, int, int] = ("", 0, 0)
        self._reported_ms = -_REPORT_MS
        self._has_warned_of_tokens = self._has_warned_of_money = False

    def event(self, now_ms: int) -> CallsLimited:
        """Return the event of the limits."""
        calls = self._calls
        rates = calls.rate_per_s, calls.tokens_per_s
        return CallsLimited(now_ms, calls.concurrency, *rates, self._budget)

    def adopt(self, mini_batches: Iterable[int], slots: int) -> None:
        """Count calls in ``slots`` workers, of a run without limits: a server has refused one."""
        self._slots = max(1, slots)
        for mini_batch in mini_batches:
            self._held[mini_batch] = _Call(0.0, 0.0)

    # Assigning

    def shares(
        self, rooms: Sequence[tuple[str, int]], now_ms: int, slots: int, left: int
    ) -> Iterator[tuple[str, int]]:
        """Yield nodes and how many calls each may get now; `assign` follows for those that it gets.

        Parameters
        ----------
        rooms
            Nodes, and how many mini-batches each can accept.
        now_ms
            The current time.
        slots
            Workers of all nodes.
        left
            Mini-batches that are not done.
        """
        self._slots = max(1, slots)
        free = sum(room for _, room in rooms)
        number, held_by = self._allowed(now_ms)
        wanted = min(free, left - len(self._held))
        # Calls that the nodes hold for later wait, too.
        is_held = number < wanted or self._last_start_ms > now_ms + _BOOKED_MS
        self._note(now_ms, held_by if is_held else "")
        self._left = int(min(number, free))
        self._rooms = dict(rooms)
        total = self._left
        # Each node gets its share, as long as it has use for it; the others get what is left.
        for node, room in sorted(rooms, key=lambda pair: -pair[1]):
            if self._left > 0:
                yield node, min(math.ceil(total * room / free), self._left)
        for node, _ in rooms:
            room = min(self._rooms[node], self._left)
            if room > 0:
                yield node, room

    def assign(self, action: Assign, now_ms: int) -> Assign:
        """Return an assignment with the times at which its calls start; count these calls."""
        count = action.count
        tokens = self.tokens.expected
        cost_ms = tokens * self._ms_per_token
        paid_ms = max(self._paid_ms, now_ms - TOKEN_CREDIT_MS) if cost_ms else 0.0
        start_ms = max(now_ms, self._next_ms, paid_ms, self.window.pause_until_ms)
        every_ms = max(self._interval_ms, self.window.every_ms(start_ms))
        if count > 1:
            every_ms = max(every_ms, (paid_ms + (count - 1) * cost_ms - start_ms) / (count - 1))
        self._last_start_ms = start_ms + (count - 1) * every_ms
        self._next_ms = self._last_start_ms + every_ms
        if cost_ms:
            self._paid_ms = paid_ms + count * cost_ms
        for mini_batch in range(action.first, action.first + count):
            self._held[mini_batch] = _Call(now_ms, tokens)
        self._left -= count
        self._rooms[action.node] = self._rooms.get(action.node, 0) - count
        after_ms = start_ms - now_ms
        return replace(action, after_ms=after_ms, every_ms=every_ms or (after_ms and _AT_ONCE_MS))

    def _allowed(self, now_ms: int) -> tuple[float, str]:
        """Return how many calls may be assigned, and what keeps it from being more."""
        cost_ms = self.tokens.expected * self._ms_per_token
        paid_ms = max(self._paid_ms, now_ms - TOKEN_CREDIT_MS) if cost_ms else 0.0
        start_ms = max(now_ms, self._next_ms, self.window.pause_until_ms)
        every_ms = max(self._interval_ms, self.window.every_ms(start_ms))
        end_ms = now_ms + HORIZON_MS
        in_flight = len(self._held)
        by_server = self.window.pause_until_ms > now_ms or every_ms > self._interval_ms
        allowed = [(_fitting(start_ms, every_ms, end_ms), "server" if by_server else "rate")]
        if cost_ms:
            allowed.append((_fitting(paid_ms, cost_ms, end_ms), "tokens"))
        elif self._ms_per_token:
            allowed.append((self.tokens.most_in_flight - in_flight, "tokens"))
        if self._budget:
            number = self.money.fitting(self._budget, in_flight)
            allowed.append((min(number, self.money.most_in_flight - in_flight), "budget"))
        if self.window.size is not None:
            # Calls that nodes hold for later wait for the rate, not for the server.
            waits_for_rate = self._interval_ms and self._last_start_ms > now_ms + _BOOKED_MS
            number = self.window.size - in_flight
            allowed.append((number, "rate" if waits_for_rate and not by_server else "server"))
        return min(allowed)

    # Ends

    def spend(self, spends: Iterable[CallSpend]) -> None:
        """Debit what calls have spent."""
        for mini_batch, _, tokens, nano_usd in spends:
            call = self._held.get(mini_batch)
            is_in_flight = call is not None
            self.tokens.spend(mini_batch, tokens, is_in_flight=is_in_flight)
            self.money.spend(mini_batch, nano_usd, is_in_flight=is_in_flight)
            debit = float(tokens)
            if call is not None:
                prepaid = max(0.0, call.prepaid - call.tokens)
                call.tokens += tokens
                debit = max(0.0, tokens - prepaid)
            self._paid_ms += debit * self._ms_per_token

    def succeed(self, mini_batch: int, duration_us: int) -> None:
        """Count a call that has succeeded."""
        call = self._end(mini_batch, has_succeeded=True)
        if call is not None:
            most = self._slots * self._calls.concurrency
            self.window.succeed(call.assigned_ms, duration_us / 1000, most)

    def end(self, mini_batch: int, failure: Failure | None, now_ms: int, duration_us: int) -> None:
        """Count a call that has ended; all others wait if the server asked for fewer."""
        if failure is None:
            self.succeed(mini_batch, duration_us)
            return
        in_flight = min(len(self._held), self._slots * self._calls.concurrency)
        call = self._end(mini_batch, has_succeeded=False)
        if call is not None and failure.is_throttled:
            self.window.refuse(now_ms, call.assigned_ms, failure.retry_after_s, in_flight)

    def give_back(self, mini_batches: Iterable[int]) -> None:
        """Count calls no longer that a node returned, or that were lost with it."""
        for mini_batch in mini_batches:
            self._end(mini_batch, has_succeeded=False)

    def _end(self, mini_batch: int, *, has_succeeded: bool) -> _Call | None:
        call = self._held.pop(mini_batch, None)
        self.tokens.end(mini_batch, has_succeeded=has_succeeded)
        self.money.end(mini_batch, has_succeeded=has_succeeded)
        if call is not None:
            self._paid_ms -= max(0.0, call.prepaid - call.tokens) * self._ms_per_token
        return call

    # What holds calls back

    @property
    def waits_until_ms(self) -> float:
        """The time until which it is no stall if nothing happens."""
        held_until = max(self._next_ms, self._paid_ms, self.window.pause_until_ms)
        return held_until if self._held_by else self._last_start_ms

    def _note(self, now_ms: int, held_by: str) -> None:
        if self._held_by:
            self._held_ms += now_ms - self._noted_ms
        self._held_by, self._noted_ms = held_by, now_ms
        if held_by:
            self._last_held = held_by, now_ms

    def report(self, now_ms: int, *, is_end: bool = False) -> Iterator[CallsHeld | WarningRaised]:
        """Yield warnings, and what holds calls back if it has changed and the last report is old enough."""
        for text in self._warnings():
            yield WarningRaised(now_ms, text)
        if is_end:
            self._note(now_ms, "")
        until_ms = math.ceil(self.window.pause_until_ms)
        last, last_ms = self._last_held  # between two calls nothing holds them back for a moment
        held_by = "" if is_end or now_ms - last_ms >= _REPORT_MS else last
        present = held_by, until_ms if until_ms > now_ms else 0, self.window.size or 0
        is_due = present != self._reported and now_ms - self._reported_ms >= _REPORT_MS
        if is_due or (is_end and self._held_ms):
            self._reported, self._reported_ms = present, now_ms
            held_by, until_ms, window = present
            yield CallsHeld(now_ms, held_by, self._held_ms, until_ms, window)

    def _warnings(self) -> Iterator[str]:
        """Yield the warning about a limit of which calls report nothing; each once."""
        if self._ms_per_token and self.tokens.is_silent and not self._has_warned_of_tokens:
            self._has_warned_of_tokens = True
            yield (
                f"token_limit holds no call back: {FIRST_CALLS} calls have succeeded, and no call has told "
                "its tokens: call context.spend(tokens=...)"
            )
        if self._budget and self.money.is_silent and not self._has_warned_of_money:
            self._has_warned_of_money = True
            yield (
                f"the budget cannot hold: {FIRST_CALLS} calls have succeeded, and no call has told what it "
                "cost: call context.spend(usd=...), or context.spend(tokens=...) with token_prices"
            )

    def budget_is_spent(self, state: RunState, allocation: Allocation) -> str:
        """Return the reason of a run that has spent its budget; empty if it goes on.

        It has when no call is in flight, and the next one would cost more than is left.
        """
        is_over = self._budget and not self._held and state.left > 0 and state.calls is not None
        if not is_over or self.money.fitting(self._budget, 0):
            return ""
        assert state.calls is not None
        items_left = state.planned_items - state.items_done - allocation.finished_items
        return _budget_spent(self._budget, state.calls, items_left)


def _budget_spent(budget: int, calls: CallsState, items_left: int) -> str:
    usd = budget / _NANO
    return (
        f"its budget of {usd:,.10g} USD is spent: {calls.nano_usd / _NANO:,.2f} USD for "
        f"{plural(calls.calls_spent, 'call')}; {plural(items_left, 'item')} "
        f"{'is' if items_left == 1 else 'are'} left. Resume it with a larger budget: "
        f"run.resume(budget='{_enough(calls, items_left):.10g} USD')"
    )


def _enough(calls: CallsState, items_left: int) -> float:
    """Return US dollars that are probably enough for the rest, and a tenth more, in two digits."""
    spent = calls.nano_usd / _NANO
    usd = 1.1 * (spent + items_left * spent / max(1, calls.calls_spent))
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return math.ceil(round(usd / unit, 6)) * unit


def _fitting(start_ms: float, every_ms: float, end_ms: float) -> float:
    """Return how many calls start until ``end_ms``."""
    if start_ms > end_ms:
        return 0
    return math.floor((end_ms - start_ms) / every_ms) + 1 if every_ms else math.inf
