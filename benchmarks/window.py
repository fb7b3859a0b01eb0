"""The window's cost: within one run, half seconds with a viewer beside half seconds without one.

Neighbors share whatever else the machine does, so their rates can be compared pair by pair,
while whole runs differ too much from each other. Which of a pair comes first changes from pair to pair.
"""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path

from .measure import Figure, run_program

FILES = 100_000
TIMES = 40

_OURS = """
import json, os, sys, time
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.views.mime_bundle import news, run_output
folder, files, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=os.path.join(folder, "empty.py"), mini_batch_size=1,
                           process_count_per_node=2)
run = submit(config, inputs=[files] * times)
created = json.loads(run.folder.record.read_text())["created_at"]
kernel, server = Follower(run.folder), Follower(run.folder)

def show_for(seconds):
    # What a live widget and the extension's page ask for, as often as they do.
    begun, number, last = time.time(), 0, None
    while time.time() < begun + seconds:
        last = kernel.refresh()
        news(last)
        assert len(json.dumps(run_output(last))) < 20_000
        if number % 2 == 0:
            json.dumps(run_output(server.refresh()))
        number += 1
        time.sleep(0.2)
    return begun, time.time(), last["is_final"]

def look_away_for(seconds):
    begun = time.time()
    time.sleep(seconds)
    return begun, time.time(), False

time.sleep(1.5)
marks, is_over = [], False
while not is_over:
    order = (show_for, look_away_for) if len(marks) % 2 else (look_away_for, show_for)
    pair = {part: part(0.5) for part in order}
    is_over = pair[show_for][2]
    marks.append((pair[show_for][:2], pair[look_away_for][:2]))
counts = {}
for event in run.events(follow=False):
    if isinstance(event, AttemptSucceeded):
        tick = event.at_ms // 10
        counts[tick] = counts.get(tick, 0) + 1
def rate(start, end):
    first, last = int((start - created) * 100), int((end - created) * 100)
    return sum(counts.get(tick, 0) for tick in range(first, last)) / (last - first)
pairs = [[rate(*shown), rate(*alone)] for shown, alone in marks[:-1]]
print(json.dumps([pair for pair in pairs if all(pair)]))
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figure of the window, and print the interval of the pairs."""
    files = folder / "window-files"
    for number in range(FILES):
        part = files / f"{number // 1000:03d}"
        if number % 1000 == 0:
            part.mkdir(parents=True)
        (part / f"{number:06d}.txt").touch()
    (folder / "empty.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    print("4,000,000 empty mini-batches: half seconds that are shown beside others that are not")
    pairs: list[list[float]] = []
    for _ in range(rounds):
        pairs += json.loads(run_program(_OURS, folder, files, TIMES))
    slowdown = [alone / shown for shown, alone in pairs]
    low, high = _interval(slowdown)
    print(
        f"  {len(slowdown)} pairs: a shown one takes {_trimmed_mean(slowdown):.3f} of the time, "
        f"95 % interval {low:.3f} to {high:.3f}"
    )
    return [
        Figure(
            "time for 1,000 empty mini-batches, shown", [10 / shown for shown, _ in pairs],
            "nobody looks", [10 / alone for _, alone in pairs], "s", 1.05,
        )
    ]  # fmt: skip


def _trimmed_mean(values: list[float]) -> float:
    """Return the mean of the middle sixty percent: seconds in which the machine paused are outliers."""
    cut = len(values) // 5
    return statistics.mean(sorted(values)[cut : len(values) - cut])


def _interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the trimmed mean, by resampling the pairs."""
    rng = random.Random(0)
    means = sorted(_trimmed_mean(rng.choices(values, k=len(values))) for _ in range(4000))
    return means[100], means[-101]
