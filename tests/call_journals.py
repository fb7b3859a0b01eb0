"""Journals of runs whose calls wait for a server, beside a ledger of the calls that they tell of."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.call_events import CallsHeld, CallsLimited, CallsSpent
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.journals import record

START_S = 0.5
"""When the first call may start."""


class Call(NamedTuple):
    """A call as the server knows it. Times in seconds since the run was created."""

    item: str
    mini_batch: int
    attempt: int
    worker: str
    start_s: float
    end_s: float
    outcome: str
    tokens: int
    usd: float


@dataclass
class CallCourse:
    """How calls of a simulated run go; a call has one item."""

    items: int = 400
    workers: int = 1
    concurrency: int = 50
    rate_per_s: float = 0.0
    tokens_per_s: float = 0.0
    budget_usd: float = 0.0
    seed: int = 0
    latency_s: Callable[[random.Random], float] = lambda rng: rng.lognormvariate(-1.5, 0.5)
    usd: Callable[[random.Random, float], float] = lambda rng, _s: rng.lognormvariate(-6.0, 0.5)
    outcome: Callable[[int, int], str] = lambda _k, _attempt: "succeeded"
    ledger: list[Call] = field(default_factory=list)
    held_ms: int = 0


def calls_of(course: CallCourse) -> list[Call]:
    """Return the calls of a course in the order of their ends: a queue, a limit, and a server."""
    rng = random.Random(course.seed)
    queue = [(k, 1) for k in range(course.items)][::-1]
    slots = [
        (START_S, f"n0w{n % course.workers}") for n in range(course.concurrency * course.workers)
    ]
    heapq.heapify(slots)
    permitted = START_S
    ended: list[Call] = []
    again: list[tuple[float, int, int]] = []
    while queue or again:
        at, worker = heapq.heappop(slots)
        if not queue:
            at_again, k, attempt = heapq.heappop(again)
            at = max(at, at_again)
        else:
            k, attempt = queue.pop()
        start = max(at, permitted)
        if course.rate_per_s:
            permitted = start + 1 / course.rate_per_s
        took = course.latency_s(rng)
        outcome = course.outcome(k, attempt)
        is_paid = outcome != "throttled"
        usd = round(course.usd(rng, took), 9) if is_paid else 0.0
        tokens = round(usd * 1e6) if is_paid else 0
        ended.append(
            Call(f"/in/{k:05d}.txt", k, attempt, worker, start, start + took, outcome, tokens, usd)
        )
        heapq.heappush(slots, (start + took, worker))
        if outcome != "succeeded" and attempt < 3:
            heapq.heappush(again, (start + took, k, attempt + 1))
    return sorted(ended, key=lambda call: call.end_s)


def events_of(course: CallCourse) -> Iterator[ev.Event]:
    """Yield the events of a course, in order, and leave its calls in its ledger."""
    names = [f"n0w{n}" for n in range(course.workers)]
    yield ev.RunStarted(0, 1, 1, "here")
    budget = round(course.budget_usd * 1e9)
    yield CallsLimited(1, course.concurrency, course.rate_per_s, course.tokens_per_s, budget)
    for name in names:
        yield ev.WorkerStarted(10, name, "n0", 7)
    ready = int(START_S * 1000)
    for name in names:
        yield ev.WorkerReady(ready, name, ready)
    yield ev.PlanFinished(ready, course.items, course.items)
    yield ev.StateEntered(ready, "Running")
    course.ledger = calls_of(course)
    starts = sorted((call.start_s, call.worker) for call in course.ledger)
    sampled = ready
    for call in course.ledger:
        end_ms = round(call.end_s * 1000)
        while sampled + 1000 < end_ms:
            sampled += 1000
            yield _sample(course, names, starts, sampled)
            if course.rate_per_s and starts[-1][0] * 1000 > sampled:
                course.held_ms = sampled - ready
                yield CallsHeld(sampled, "rate", course.held_ms, 0, 0)
        yield from _end_of(call, end_ms)
    end = round(course.ledger[-1].end_s * 1000)
    yield ev.StateEntered(end, "Finalizing")
    yield ev.RunFinished(end + 50, "Completed", "", "/out/rows.txt", 10)


def _sample(
    course: CallCourse, names: list[str], starts: list[tuple[float, str]], at_ms: int
) -> ev.NodeSampled:
    at_s = at_ms / 1000
    flying = sorted(
        (c for c in course.ledger if c.start_s <= at_s < c.end_s), key=lambda c: c.start_s
    )
    held = min(course.concurrency, sum(start > at_s for start, _ in starts))
    rows: list[ev.WorkerSample] = []
    for name in names:
        oldest = next((c for c in flying if c.worker == name), None)
        doing = ("waiting", -1, at_ms)
        if oldest is not None:
            doing = ("running", oldest.mini_batch, round(oldest.start_s * 1000))
        rows.append((name, *doing, 4, 80, -1, -1))
    calls = tuple((name, sum(c.worker == name for c in flying), held) for name in names)
    return ev.NodeSampled(at_ms, "n0", tuple(rows), calls=calls)


def _end_of(call: Call, end_ms: int) -> Iterator[ev.Event]:
    took_us = round((call.end_s - call.start_s) * 1e6)
    if call.usd:
        nano_usd = round(call.usd * 1e9)
        yield CallsSpent(end_ms, ((call.mini_batch, call.attempt, call.tokens, nano_usd),))
    if call.outcome == "succeeded":
        yield ev.AttemptSucceeded(
            call.mini_batch, call.attempt, call.worker, end_ms, took_us, 1, 1, 1, 1, 0, 10, 0
        )
        return
    kind = "exception" if call.outcome == "failed" else call.outcome
    error = {"throttled": "HTTPStatusError", "timeout": "TimeoutError"}.get(kind, "ValueError")
    yield ev.AttemptFailed(
        call.mini_batch, call.attempt, call.worker, end_ms, took_us, 1, call.attempt == 3, kind,
        error, "429 Too Many Requests", f"{error} at ask.py:9 in run", "Traceback ...\n",
    )  # fmt: skip


def write_run(home: Path, course: CallCourse, until_s: float = 1e9, **settings: Any) -> RunFolder:
    """Write the folder of a run as it would be at some moment, or after its end."""
    calls = {
        "concurrency": course.concurrency,
        "by_item": True,
        "rate_per_s": course.rate_per_s,
        "tokens_per_s": course.tokens_per_s,
        "budget_usd": course.budget_usd or None,
    }
    made = record(calls=calls, **settings)
    folder = RunFolder(home / "runs" / made.run_id)
    for place in (folder.script, folder.output, folder.user_logs, folder.control):
        place.mkdir(parents=True)
    folder.record.write_text(made.to_json())
    lines = [["f", 0, [f"/in/{k:05d}.txt"], [1], [1]] for k in range(course.items)]
    lines.append(["end", course.items, course.items])
    folder.plan.write_text("".join(json.dumps(line) + "\n" for line in lines))
    events = [event for event in events_of(course) if event.at_ms <= until_s * 1000]
    folder.journal.write_text("".join(encode(event) + "\n" for event in events))
    return folder
