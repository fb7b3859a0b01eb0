"""Runs that never ran: folders with the journal, the plan and the logs of a simulated course."""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parallelrun_jupyter.runs.journal import events as ev
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.run_record import (
    EntryScript,
    Placement,
    RunInputs,
    RunLimits,
    RunOutput,
    RunRecord,
)

CREATED = 1_795_000_000.0
ITEMS = 5


def record(run_id: str = "20261118-100000000-test", **changed: Any) -> RunRecord:
    """Return a run record; a dict as in ``limits={"run_max_try": 1}`` replaces some of a section."""
    made = RunRecord(
        run_id=run_id,
        name="digits",
        created_at=CREATED,
        version="0",
        driver_python="",
        script=EntryScript("score.py", None, "/", ""),
        inputs=RunInputs(mini_batch_size=ITEMS),
        output=RunOutput(file_name="f"),
        placement=Placement(process_count_per_node=2, cores=2),
        limits=RunLimits(error_threshold=20),
    )
    for name, value in changed.items():
        section = getattr(made, name)
        changed_value = replace(section, **value) if isinstance(value, dict) else value
        made = replace(made, **{name: changed_value})
    return made


@dataclass
class Course:
    """How a simulated run goes: how long mini-batches take, and which attempts fail."""

    mini_batches: int = 200
    workers: int = 4
    seed: int = 0
    duration_s: Callable[[int, random.Random], float] = lambda _k, rng: rng.uniform(0.3, 0.7)
    fails: Callable[[int, int], bool] = lambda _k, _attempt: False
    start_s: float = 0.4
    sampled_s: float = 2.0
    message: str = "no picture in 0013.png"


def events_of(course: Course) -> Iterator[ev.Event]:
    """Yield the events of a course, in order; the last one is its end."""
    rng = random.Random(course.seed)
    names = [f"n0w{number}" for number in range(course.workers)]
    yield ev.RunStarted(0, 1, 1, "here")
    for name in names:
        yield ev.WorkerStarted(10, name, "n0", 7)
    ready = int(course.start_s * 1000)
    for name in names:
        yield ev.WorkerReady(ready, name, ready)
    yield ev.PlanFinished(ready, course.mini_batches, course.mini_batches * ITEMS)
    yield ev.StateEntered(ready, "Running")
    queue = [(k, 1) for k in range(course.mini_batches)]
    queue.reverse()
    busy: list[tuple[float, str, int, int, float]] = []
    free = [(ready / 1000, name) for name in reversed(names)]
    sampled, now = ready / 1000, ready / 1000
    while busy or queue:
        while queue and free:
            at, name = free.pop()
            k, attempt = queue.pop()
            took = course.duration_s(k, rng)
            heapq.heappush(busy, (max(at, now) + took, name, k, attempt, took))
        now, name, k, attempt, took = heapq.heappop(busy)
        while sampled + course.sampled_s < now:
            sampled += course.sampled_s
            measures = sampled % 2 < course.sampled_s
            yield _sample(sampled, busy, rng, measures=measures)
        free.append((now, name))
        at_ms, took_us = int(now * 1000), int(took * 1e6)
        if course.fails(k, attempt):
            is_last = attempt == 3
            yield ev.AttemptFailed(
                k, attempt, name, at_ms, took_us, ITEMS, is_last, "exception", "ValueError",
                course.message, f"ValueError at score.py:{9 + k % 2} in run",
                f"Traceback (most recent call last):\n  File score.py, line 9\nValueError: {course.message}\n",
            )  # fmt: skip
            if not is_last:
                queue.append((k, attempt + 1))
        else:
            yield ev.AttemptSucceeded(
                k, attempt, name, at_ms, took_us, ITEMS, ITEMS, ITEMS, 1, k * 10, 10, 0
            )
    yield ev.StateEntered(int(now * 1000), "Finalizing")
    yield ev.RunFinished(int(now * 1000) + 50, "Completed", "", "/out/rows.txt", 10)


def _sample(
    at_s: float,
    busy: list[tuple[float, str, int, int, float]],
    rng: random.Random,
    *,
    measures: bool,
) -> ev.NodeSampled:
    rows: list[ev.WorkerSample] = []
    for until, name, k, _, took in sorted(busy, key=lambda row: row[1]):
        doing = (name, "running", k, int((until - took) * 1000))
        used = (rng.randrange(60, 105, 5), 200 + rng.randrange(40), -1, -1)
        rows.append((*doing, *used) if measures else doing)
    return ev.NodeSampled(int(at_s * 1000), "n0", tuple(rows))


def write_run(home: Path, course: Course, until_s: float = 1e9, **settings: Any) -> RunFolder:
    """Write the folder of a run as it would be at some moment, or after its end."""
    made = record(**settings)
    folder = RunFolder(home / "runs" / made.run_id)
    for place in (folder.script, folder.output, folder.user_logs, folder.control):
        place.mkdir(parents=True)
    folder.record.write_text(made.to_json())
    with open(folder.plan, "w") as plan:
        for k in range(course.mini_batches):
            paths = [f"/data/digits/{k * ITEMS + n:06d}.png" for n in range(ITEMS)]
            plan.write(json.dumps(["f", 0, paths, [1] * ITEMS, [1] * ITEMS]) + "\n")
        plan.write(json.dumps(["end", course.mini_batches, course.mini_batches * ITEMS]) + "\n")
    with open(folder.journal, "w") as journal:
        for event in events_of(course):
            if event.at_ms > until_s * 1000:
                break
            journal.write(encode(event) + "\n")
    return folder


def write_log(folder: RunFolder, worker: str, lines: list[tuple[str, int, str]]) -> None:
    """Append lines of level, mini-batch and text to the log of a worker."""
    with open(folder.user_logs / f"{worker}.log", "a") as log:
        for number, (level, mini_batch, text) in enumerate(lines):
            stamp = f"2026-11-18T10:{number // 60 % 60:02d}:{number % 60:02d}.000Z"
            tag = f"#{mini_batch}" if mini_batch >= 0 else "#-"
            log.write(f"{stamp} {level} {tag} {text}\n")
