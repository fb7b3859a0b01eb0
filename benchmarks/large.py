"""A run of 10,000,000 mini-batches and 100,000,000 items, and a home with 2,000 runs.

``python -m benchmarks large`` takes ten minutes and 8 GB of disk. The nodes are simulated in the driver's
process; plan, scheduler, journal, rows, output and reports are those of every run.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

from .crowd import DRIVER, make_files
from .measure import Figure, run_program

ITEMS = 10
NODES = 50
_MESSAGE = 100
_TIMES = (100, 1000)
RUNS = 2000

_ATTACHED = """
import json, os, sys, time
from parallelrun_jupyter import Run, RunDetails
import pandas, pyarrow
os.environ["PARALLELRUN_HOME"], run_id = sys.argv[1:3]
began = time.monotonic()
run = Run.attach(run_id)
snapshot = run.snapshot()
attached = time.monotonic()
bundle = RunDetails(run)._repr_mimebundle_()
shown = time.monotonic()
assert snapshot["state"] == "Completed" and bundle["text/html"] and len(json.dumps(snapshot)) < 20_000
print(json.dumps([attached - began, shown - began]))
"""

_LISTED = """
import json, os, subprocess, sys, time
os.environ["PARALLELRUN_HOME"] = sys.argv[1]
from parallelrun_jupyter import Run
from parallelrun_jupyter.server.followers import Followers
began = time.monotonic()
runs = Run.list(20)
listed = time.monotonic()
rows = Followers().rows(50)
shown = time.monotonic()
text = subprocess.check_output([sys.executable, "-m", "parallelrun_jupyter", "list"], text=True)
printed = time.monotonic()
assert len(runs) == 20 and len(rows["runs"]) == 50 and rows["hidden"] == 1950 and "20 runs" in text
print(json.dumps([listed - began, shown - listed, printed - shown]))
"""

_SMALL = """
import os, sys
from parallelrun_jupyter import ParallelRunConfig, submit
folder, files, os.environ["PARALLELRUN_HOME"] = sys.argv[1:4]
config = ParallelRunConfig(entry_script=os.path.join(folder, "empty.py"), mini_batch_size=10,
                           process_count_per_node=2)
run = submit(config, inputs=[os.path.join(files, "000")])
assert run.wait_for_completion(show_output=False) == "Completed"
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of a very large run and of many runs; one round, since it is long."""
    del rounds
    files = make_files(folder)
    return [*_large_run(folder, files), *_many_runs(folder, files)]


def _large_run(folder: Path, files: Path) -> list[Figure]:
    each_us, sizes = [], []
    for times in _TIMES:
        words = folder, files, times, NODES, 0, _MESSAGE, ITEMS
        wall, cpu, _, peak, path = json.loads(run_program(DRIVER, *words))
        count = times * 100_000 // ITEMS
        journal = os.path.getsize(Path(path) / "events.jsonl")
        each_us.append(cpu / count * 1e6)
        sizes.append(journal / count)
        print(
            f"  {count:>10,} mini-batches: {wall:.0f} s, {cpu:.0f} s of CPU, driver at most "
            f"{peak / 1e6:.0f} MB, journal {journal / 1e6:.0f} MB",
            flush=True,
        )
    home, run_id = Path(path).parents[1], Path(path).name
    attach_s, shown_s = json.loads(run_program(_ATTACHED, home, run_id))
    return [
        Figure("CPU for each mini-batch, of 10,000,000 over 1,000,000", each_us[1:], "1,000,000",
               each_us[:1], "µs", 1.2),
        Figure("journal for each mini-batch, of 10,000,000 over 1,000,000", sizes[1:], "1,000,000",
               sizes[:1], "B", 1.1),
        Figure("10,000,000 mini-batches: peak memory of the driver", [peak / 1e6], "limit", [400.0],
               "MB", 1),
        Figure("attach to it and take a snapshot, in a new process", [attach_s], "limit", [1.0], "s", 1),
        Figure("the same, and its saved output with rows", [shown_s], "limit", [1.0], "s", 1),
    ]  # fmt: skip


def _many_runs(folder: Path, files: Path) -> list[Figure]:
    home = folder / "many-runs"
    run_program(_SMALL, folder, files, home)
    time.sleep(2.0)  # its driver writes the reports
    [first] = (home / "runs").iterdir()
    record = json.loads((first / "run.json").read_text())
    for number in range(1, RUNS):
        created_at = record["created_at"] - 3600 * number
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created_at))
        copy = first.with_name(f"{stamp}000-{number:04d}")
        shutil.copytree(first, copy)
        changed = {**record, "run_id": copy.name, "created_at": created_at}
        (copy / "run.json").write_text(json.dumps(changed))
    listed_s, panel_s, printed_s = json.loads(run_program(_LISTED, home))
    return [
        Figure("Run.list(20) of 2,000 runs", [listed_s], "limit", [0.3], "s", 1),
        Figure("the panel's first list of 50 of them", [panel_s], "limit", [0.3], "s", 1),
        Figure("'parallelrun list', with the start of Python", [printed_s], "limit", [0.3], "s", 1),
    ]  # fmt: skip
