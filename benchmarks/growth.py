"""How time and memory grow: with the number of mini-batches, and with the number of workers.

``python -m benchmarks growth`` draws both into ``docs/images`` and prints the fitted exponents.
"""

from __future__ import annotations

import json
from pathlib import Path

from .measure import Figure, run_program
from .plot import Series, draw, exponent

FILES = 100_000
COUNTS = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (1, 2, 4, 8, 16)
_SLEEPS = 320
_SLEEP_S = 0.05
_IMAGES = Path(__file__).parents[1] / "docs" / "images"

_COUNTED = """
import json, os, sys, time
import psutil
from parallelrun_jupyter import ParallelRunConfig, submit
folder, count = sys.argv[1], int(sys.argv[2])
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
files = os.path.join(folder, "growth-files")
parts = sorted(os.listdir(files))
inputs = ([files] * (count // 100_000) if count >= 100_000
          else [os.path.join(files, part) for part in parts[: count // 1000]])
config = ParallelRunConfig(entry_script=os.path.join(folder, "empty.py"), mini_batch_size=1,
                           process_count_per_node=2)
run = submit(config, inputs=inputs)
peak, driver = 0, None
while not run.folder.reports.exists() or not run.snapshot()["is_final"]:
    try:
        driver = driver or psutil.Process(json.loads(run.folder.driver.read_text())["pid"])
        peak = max(peak, driver.memory_info().rss)
    except (psutil.Error, OSError):
        pass
    time.sleep(0.02)
assert run.status == "Completed" and run.snapshot()["mini_batches"] == count
print(json.dumps([run.snapshot()["elapsed_s"], peak]))
"""

_SLEEPING = """
import json, os, sys
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, WorkerReady
folder, workers, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
files = os.path.join(folder, "growth-files", "000")
inputs = [os.path.join(files, name) for name in sorted(os.listdir(files))[:count]]
config = ParallelRunConfig(entry_script=os.path.join(folder, "sleepy.py"), mini_batch_size=1,
                           process_count_per_node=workers)
run = submit(config, inputs=inputs)
assert run.wait_for_completion(show_output=False) == "Completed"
events = list(run.events(follow=False))
ready = min(e.at_ms for e in events if isinstance(e, WorkerReady))
last = max(e.at_ms for e in events if isinstance(e, AttemptSucceeded))
print((last - ready) / 1000)
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the growth, and draw it; one round of each, since they are long."""
    del rounds
    files = folder / "growth-files"
    for number in range(FILES):
        part = files / f"{number // 1000:03d}"
        if number % 1000 == 0:
            part.mkdir(parents=True)
        (part / f"{number:06d}.txt").touch()
    (folder / "empty.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    (folder / "sleepy.py").write_text(
        f"import time\n\n\ndef run(mini_batch):\n    time.sleep({_SLEEP_S})\n    return mini_batch\n"
    )
    return [*_by_count(folder), _by_workers(folder)]


def _by_count(folder: Path) -> list[Figure]:
    times, memory = [], []
    for count in COUNTS:
        elapsed_s, peak_bytes = json.loads(run_program(_COUNTED, folder, count))
        print(f"  {count:>9,} mini-batches: {elapsed_s:.2f} s, driver {peak_bytes / 1e6:.0f} MB")
        times.append((float(count), float(elapsed_s)))
        memory.append((float(count), peak_bytes / 1e6))
    slopes = exponent(times[1:]), exponent(memory)
    series = [
        Series(f"seconds, from 10,000 on growing as n^{slopes[0]:.2f}", times),
        Series(f"MB of the driver at most, growing as n^{slopes[1]:.2f}", memory),
    ]
    text = draw("Empty mini-batches of one file, two workers", "mini-batches", series)
    (_IMAGES / "growth-mini-batches.svg").write_text(text, encoding="utf-8")
    return [
        Figure("growth of time with mini-batches, exponent", [slopes[0]], "limit", [1.05], "", 1),
        Figure("growth of memory with mini-batches, exponent", [slopes[1]], "limit", [1.0], "", 1),
    ]


def _by_workers(folder: Path) -> Figure:
    rates = []
    for workers in WORKERS:
        seconds = float(run_program(_SLEEPING, folder, workers, _SLEEPS))
        rates.append((float(workers), _SLEEPS / seconds))
        print(f"  {workers:>2} workers: {_SLEEPS / seconds:.1f} mini-batches a second")
    slope = exponent(rates)
    ideal = [(float(workers), workers / _SLEEP_S) for workers in WORKERS]
    series = [
        Series(f"mini-batches a second, growing as n^{slope:.3f}", rates),
        Series("ideal", ideal),
    ]
    text = draw("Sleeping mini-batches of 50 ms", "workers", series)
    (_IMAGES / "growth-workers.svg").write_text(text, encoding="utf-8")
    return Figure(
        "growth of the rate with workers, ideal exponent over ours",
        [1.0],
        "ours",
        [slope],
        "",
        1.03,
    )
