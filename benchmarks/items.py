"""Items that fail: isolated by the engine, beside a script that catches them."""

from __future__ import annotations

import json
from pathlib import Path

from .measure import Figure, interleave, run_program

ITEMS, PER_MINI_BATCH = 100_000, 50
BOUND = 1.5

_SCRIPT = """
import os
import sys
from hashlib import blake2b
from random import Random

_POISON = set(Random(0).sample(range(100_000), 1000))
_CATCHES = sys.argv[1:] == ["catch"]

def score(path):
    with open(path, "rb") as file:
        digest = file.read()
    for _ in range(500):
        digest = blake2b(digest).digest()
    if int(os.path.basename(path)) in _POISON:
        raise ValueError("%s cannot be scored" % path)
    return digest.hex()[:16]

def guarded(path):
    try:
        return score(path)
    except ValueError as error:
        return error

def run(mini_batch):
    one = guarded if _CATCHES else score
    return [one(path) for path in mini_batch]
"""

_RUN = """
import json, os, sys
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import StateEntered
folder, mode, tries = sys.argv[1:4]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(
    entry_script=os.path.join(folder, "score.py"), mini_batch_size=50,
    run_max_try=int(tries), error_threshold=-1)
run = submit(config, inputs=os.path.join(folder, "in"), arguments=[mode])
run.wait_for_completion(show_output=False)
events = list(run.events(follow=False))
began = next(e.at_ms for e in events if isinstance(e, StateEntered))
snapshot = run.snapshot()
print(json.dumps([(events[-1].at_ms - began) / 1000, snapshot["items_succeeded"],
                  snapshot["items_failed"]]))
"""


def _run(folder: Path, mode: str, tries: int) -> float:
    seconds, succeeded, failed = json.loads(run_program(_RUN, folder, mode, tries))
    poison = ITEMS // 100
    if (succeeded, failed) != (ITEMS - poison, poison):
        msg = f"{succeeded:,} items succeeded and {failed:,} failed, not {poison:,}"
        raise RuntimeError(msg)
    return float(seconds)


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Measure runs with one percent of poison, isolated and caught."""
    place = folder / "items"
    (place / "in").mkdir(parents=True)
    (place / "score.py").write_text(_SCRIPT)
    for number in range(ITEMS):
        (place / "in" / f"{number:06d}").write_bytes(b"%d" % number)
    times = interleave(
        rounds,
        isolated=lambda: _run(place, "raise", 3),
        caught=lambda: _run(place, "catch", 3),
    )
    return [
        Figure(
            "1 % of 100,000 items fail",
            times["isolated"],
            "caught in the script",
            times["caught"],
            "s",
            BOUND,
        )
    ]
