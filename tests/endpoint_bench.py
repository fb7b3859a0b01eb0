"""A scheduler under test whose nodes call a simulated server; the time is simulated, too."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from parallelrun_jupyter.engine.scheduling import actions as act
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.scheduling.allocation import Allocation, Pending
from parallelrun_jupyter.engine.scheduling.limits import Limits
from parallelrun_jupyter.engine.scheduling.scheduler import Scheduler
from parallelrun_jupyter.runs.journal.events import RunFinished
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_record import RunCalls

TICK_MS = 100.0


def refusal(retry_after_s: float | None = None) -> sg.Failure:
    """Return the failure of a call that a server has refused."""
    return sg.Failure(
        "exception", "HTTPStatusError", "429 Too Many Requests", "HTTPStatusError at s.py:1 in run",
        "Traceback ...", retry_after_s=retry_after_s, is_throttled=True,
    )  # fmt: skip


@dataclass
class Server:
    """Answers calls after a latency, and refuses those above its limits.

    Parameters
    ----------
    latency_ms
        Of the call that starts at a time.
    per_s
        Most calls in each second of its own clock; 0 for no limit.
    most_at_once
        Most calls at once; 0 for no limit.
    retry_after_s
        The pause for which it asks.
    """

    latency_ms: Callable[[float], float] = lambda _: 200.0
    per_s: float = 0
    most_at_once: int = 0
    retry_after_s: float | None = None
    starts: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    now_active: int = 0
    _seconds: dict[int, int] = field(default_factory=dict)

    def call(self, now_ms: float) -> tuple[float, sg.Failure | None]:
        """Return when a call ends, and its failure."""
        self.starts.append(now_ms)
        second = int((now_ms + 370) // 1000)
        is_above = self.per_s and self._seconds.get(second, 0) >= self.per_s
        if is_above or (self.most_at_once and self.now_active >= self.most_at_once):
            self.refused.append(now_ms)
            return now_ms + 10, refusal(self.retry_after_s)
        self._seconds[second] = self._seconds.get(second, 0) + 1
        self.now_active += 1
        end_ms = now_ms + self.latency_ms(now_ms)
        self.served.append(end_ms)
        return end_ms, None


@dataclass
class _Node:
    concurrency: int
    in_flight: int = 0
    #: (start, mini-batch, attempt)
    waiting: deque[tuple[float, int, int]] = field(default_factory=deque)
    free_at: float = 0.0


class EndpointBench:
    """A run of ``calls`` mini-batches of one item.

    Parameters
    ----------
    limits
        The limits of the calls.
    server
        The server.
    calls
        Their number.
    nodes
        Number of nodes, each with one worker.
    cost
        Returns tokens and billionths of a dollar of a mini-batch; None if calls tell nothing.
    """

    def __init__(
        self,
        limits: RunCalls,
        server: Server,
        calls: int,
        *,
        nodes: int = 1,
        cost: Callable[[int], tuple[int, int]] | None = None,
        allocate: Callable[[RunState], Allocation] = Pending,
        run_limits: dict[str, Any] | None = None,
        state: RunState | None = None,
    ) -> None:
        self.server, self._cost = server, cost
        names = tuple(f"n{k}" for k in range(nodes))
        self.scheduler = Scheduler(
            Limits(calls=limits, **(run_limits or {})), names, allocate, lambda _: 1, state
        )
        self.now = float(state.at_ms if state else 0)
        self.events: list[Any] = []
        self.is_finished = False
        self.most_in_flight = 0
        #: mini-batch -> how often it was called
        self.made: dict[int, int] = {}
        self._nodes = {name: _Node(limits.concurrency) for name in names}
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._offset = 0
        self._perform(self.scheduler.start(int(self.now), 1, "host"))
        self.send(sg.PlanAdvanced(calls, calls, is_end=True))
        for name in names:
            self.send(sg.NodeOffered(name, 1, 2 * limits.concurrency))
        self._at(self.now + TICK_MS, self._tick)

    @property
    def end(self) -> RunFinished:
        """The last event."""
        assert isinstance(self.events[-1], RunFinished)
        return self.events[-1]

    def of_kind(self, kind: type[Any]) -> list[Any]:
        """Return the recorded events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def run(self, until_s: float = 1e6) -> None:
        """Let time pass until the run is over."""
        until = self.now + until_s * 1000
        while not self.is_finished and self._due[0][0] <= until:
            self.now, _, act = heappop(self._due)
            act()

    def send(self, signal: sg.Signal) -> None:
        """Let the scheduler handle a signal."""
        self._perform(self.scheduler.handle(signal, int(self.now)))

    def _at(self, time_ms: float, act: Callable[[], None]) -> None:
        heappush(self._due, (time_ms, next(self._numbers), act))

    def _tick(self) -> None:
        self.send(sg.TimePassed())
        self._at(self.now + TICK_MS, self._tick)

    def _perform(self, actions: list[act.Action]) -> None:
        for action in actions:
            match action:
                case act.Record(events):
                    self.events += events
                case act.Assign(node, first, number, attempt):
                    start = int(self.now) + action.after_ms
                    for k in range(number):
                        at = max(self.now, start + k * action.every_ms)
                        self._at(at, partial(self._offer, node, first + k, attempt))
                case act.UploadPart(node, first, pieces):
                    size = sum(piece[2] for piece in pieces)
                    part = sg.PartUploaded(node, first, f"part-{first}", len(pieces), size)
                    self._at(self.now + 20, partial(self.send, part))
                case act.StopNodes():
                    for name in self._nodes:
                        self._at(self.now + 1000, partial(self.send, sg.NodeStopped(name)))
                case act.Publish():
                    self._at(self.now, partial(self.send, sg.OutputPublished("/out", 1)))
                case act.Finish():
                    self.is_finished = True

    def _offer(self, name: str, mini_batch: int, attempt: int) -> None:
        node = self._nodes[name]
        node.waiting.append((self.now, mini_batch, attempt))
        self._start(name)

    def _start(self, name: str) -> None:
        node = self._nodes[name]
        while node.waiting and node.in_flight < node.concurrency:
            _, mini_batch, attempt = node.waiting.popleft()
            node.in_flight += 1
            in_flight = sum(n.in_flight for n in self._nodes.values())
            self.most_in_flight = max(self.most_in_flight, in_flight)
            self.made[mini_batch] = self.made.get(mini_batch, 0) + 1
            end, failure = self.server.call(self.now)
            self._at(end, partial(self._end, name, mini_batch, attempt, failure, self.now))

    def _end(
        self, name: str, mini_batch: int, attempt: int, failure: sg.Failure | None, began: float
    ) -> None:
        self._nodes[name].in_flight -= 1
        us = int((self.now - began) * 1000)
        if failure is None:
            self.server.now_active -= 1
            if self._cost is not None:
                self.send(sg.CallsSpentReported(((mini_batch, attempt, *self._cost(mini_batch)),)))
            success = sg.Success(mini_batch, attempt, 1, 1, us, 3, 0)
            part = self.scheduler.state.drivers
            self.send(sg.AttemptsSucceeded(name, f"{name}w0", (success,), part, self._offset))
            self._offset += 3
        else:
            self.send(sg.AttemptErrored(name, f"{name}w0", mini_batch, attempt, 1, us, failure))
        self._start(name)


def uniform(low: float, high: float, seed: int = 0) -> Callable[[float], float]:
    """Return latencies between two values."""
    generator = random.Random(seed)
    return lambda _: generator.uniform(low, high)
