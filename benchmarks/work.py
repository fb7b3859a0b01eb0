"""Work that sleeps: uneven durations beside pebble, and faults beside the lower bound of their order."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from pathlib import Path

from .measure import Figure, interleave, run_program

WORKERS = 4
_TIMEOUT_S = 1.0

_SCRIPT = """
import os, signal, sys, time

def run(mini_batch):
    for path in mini_batch:
        with open(path) as file:
            what, seconds = file.read().split()
        if what == "raise":
            raise ValueError(path)
        if what == "exit":
            os._exit(3)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(seconds))
    return mini_batch
"""

_OURS = """
import json, os, sys
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded, StateEntered
folder, files = sys.argv[1:3]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(
    entry_script=os.path.join(folder, "work.py"), mini_batch_size=1, process_count_per_node=4,
    run_max_try=1, run_invocation_timeout=1, error_threshold=-1)
run = submit(config, inputs=files)
run.wait_for_completion(show_output=False)
events = list(run.events(follow=False))
began = next(e.at_ms for e in events if isinstance(e, StateEntered))
ends = [e for e in events if isinstance(e, (AttemptSucceeded, AttemptFailed))]
print(json.dumps([(max(e.at_ms for e in ends) - began) / 1000, len({e.mini_batch for e in ends}),
                  sum(isinstance(e, AttemptFailed) for e in ends)]))
"""

_PEBBLE = """
import json, os, sys, time
from concurrent.futures import wait
from pebble import ProcessPool
folder, files = sys.argv[1:3]
sys.path.insert(0, folder)
from work import run
if __name__ == "__main__":
    paths = sorted(os.path.join(files, name) for name in os.listdir(files))
    with ProcessPool(4) as pool:
        wait([pool.schedule(time.sleep, args=[0.3], timeout=9) for _ in range(4)])  # all are up
        began = time.monotonic()
        futures = [pool.schedule(run, args=[[path]], timeout=1) for path in paths]
        wait(futures)
        seconds = time.monotonic() - began
    failed = sum(future.exception() is not None for future in futures)
    print(json.dumps([seconds, len(futures), failed]))
"""


def earliest_end(mini_batches: Sequence[Sequence[float]], workers: int) -> float:
    """Return the earliest end of mini-batches that run in their order, in seconds from the first start.

    The faults are not known beforehand: a mini-batch that hangs starts when its turn comes, and ends
    with its timeout. Messages, the end of a process and the start of another one take no time.

    Parameters
    ----------
    mini_batches
        The seconds of the attempts of each: each but the first one starts after the end of the one
        before, and before mini-batches that have not run yet.
    workers
        The number of workers.
    """
    free = [0.0] * workers
    new = deque(range(len(mini_batches)))
    again: list[tuple[float, int, int]] = []
    end = 0.0
    while new or again:
        now = heappop(free)
        if again and (again[0][0] <= now or not new):
            due, mini_batch, attempt = heappop(again)
            now = max(now, due)
        else:
            mini_batch, attempt = new.popleft(), 0
        now += mini_batches[mini_batch][attempt]
        if attempt + 1 < len(mini_batches[mini_batch]):
            heappush(again, (now, mini_batch, attempt + 1))
        heappush(free, now)
        end = max(end, now)
    return end


def _write(folder: Path, name: str, lines: list[str]) -> Path:
    files = folder / name
    files.mkdir()
    for number, line in enumerate(lines):
        (files / f"{number:04d}.txt").write_text(line)
    (folder / "work.py").write_text(_SCRIPT)
    return files


_PLAIN = """
import json, os, sys, time
folder, files = sys.argv[1:3]
sys.path.insert(0, folder)
from work import run
paths = [os.path.join(files, name) for name in sorted(os.listdir(files))]
good = [path for path in paths if open(path).read().startswith("sleep")][:200]
began = time.monotonic()
for path in good:
    run([path])
print(json.dumps((time.monotonic() - began) / len(good)))
"""
"""Prints the seconds of a mini-batch without a fault in a plain loop: a sleep of 5 ms is a little longer."""


def _checked(code: str, folder: Path, files: Path, count: int, failed: int) -> float:
    seconds, done, lost = json.loads(run_program(code, folder, files))
    if (done, lost) != (count, failed):
        msg = f"{done} of {count} accounted for, {lost} of {failed} failures"
        raise RuntimeError(msg)
    return float(seconds)


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of uneven work and of faults."""
    rng = random.Random(3)
    uneven = _write(
        folder, "uneven", [f"sleep {rng.uniform(0.010, 0.300):.4f}" for _ in range(200)]
    )
    lines = ["sleep 0.005"] * 1000
    places = rng.sample(range(1000), 20)
    for kind, count in (("raise", 10), ("hang", 5), ("exit", 3), ("kill", 2)):
        for _ in range(count):
            lines[places.pop()] = f"{kind} 1000"
    faults = _write(folder, "faults", lines)

    def bound_s() -> float:
        seconds = {"sleep": json.loads(run_program(_PLAIN, folder, faults)), "hang": _TIMEOUT_S}
        return earliest_end([[seconds.get(line.split()[0], 0.0)] for line in lines], WORKERS)

    print("200 uneven mini-batches of 10 to 300 ms, from the first assignment on")
    found = interleave(
        rounds,
        ours=lambda: _checked(_OURS, folder, uneven, 200, 0),
        pebble=lambda: _checked(_PEBBLE, folder, uneven, 200, 0),
    )
    print("1,000 mini-batches of 5 ms with faults, from the first assignment on")
    hurt = interleave(rounds, ours=lambda: _checked(_OURS, folder, faults, 1000, 20), bound=bound_s)
    return [
        Figure(
            "200 mini-batches of 10 to 300 ms, 4 workers", found["ours"], "pebble, warm",
            found["pebble"], "s", 1.01,
        ),
        Figure(
            "1,000 of 5 ms, 20 of them faulty, all accounted for", hurt["ours"],
            "the bound of their order", hurt["bound"], "s", 1.05,
        ),
    ]  # fmt: skip
