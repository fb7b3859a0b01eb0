"""An update of a million files of which ten are new: its time, and its output byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

from .measure import Figure, run_program

FILES = 1_000_000
SMALL = 5_000
NEW = 10
LIMIT_S = 15.0

_PER_FOLDER = 10_000

_OURS = """
import json, os, sys, time
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.files import read_state
folder, files = sys.argv[1], sys.argv[2]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=os.path.join(folder, "named.py"), process_count_per_node=2,
                           environment_variables={"CALLED": os.path.join(folder, "called")})
def go(**options):
    began = time.monotonic()
    run = submit(config, inputs=files, **options)
    status = run.wait_for_completion(show_output=False)
    assert status == "Completed", run.snapshot()["reason"]
    seconds = time.monotonic() - began
    with open(run.snapshot()["output"], "rb") as file:
        return seconds, file.read(), run
before, _, _ = go()
for number in range(int(sys.argv[3])):
    subfolder = sorted(os.listdir(files))[number % len(os.listdir(files))]
    open(os.path.join(files, subfolder, f"{number * 977:06d}-new.txt"), "w").close()
time.sleep(0.1)
open(os.path.join(folder, "called"), "w").close()
seconds, output, run = go(update=True)
with open(os.path.join(folder, "called")) as file:
    called = len(file.read().split())
reused = next(json.loads(line) for line in open(run.folder.journal) if '"ResultsReused"' in line)
whole, from_nothing, _ = go()
assert output == from_nothing
print(json.dumps([seconds, before, whole, called, reused["items"], output.count(b"\\n")]))
"""

_SCRIPT = """
import os

def run(mini_batch):
    with open(os.environ["CALLED"], "a") as file:
        file.write("".join(path + "\\n" for path in mini_batch))
    return [os.path.basename(path) for path in mini_batch]
"""


def update_once(folder: Path, files: int) -> tuple[float, float, int, int, int]:
    """Run over new files, then update; return its time, that of a run, and counts of items.

    The counts are those that the update ran, those that it took, and all.
    """
    inputs = folder / "update-files"
    for number in range(files):
        part = inputs / f"{number // _PER_FOLDER:03d}"
        if number % _PER_FOLDER == 0:
            part.mkdir(parents=True)
        (part / f"{number:06d}.txt").touch()
    (folder / "named.py").write_text(_SCRIPT)
    measured = json.loads(run_program(_OURS, folder, inputs, NEW))
    seconds, _, whole, called, taken, rows = measured
    return seconds, whole, called, taken, rows


def measure(folder: Path, rounds: int, *, is_small: bool = False) -> list[Figure]:
    """Return the figure of an update; one round, since it is long."""
    del rounds
    files = SMALL if is_small else FILES
    print(f"{files:,} files, of which {NEW} are new")
    seconds, whole, called, taken, rows = update_once(folder, files)
    print(f"  update {seconds:.1f} s, a run from nothing {whole:.1f} s; the outputs are equal")
    print(f"  {taken:,} of {rows:,} items were taken, {called:,} ran")
    what = f"an update of {files:,} files of which {NEW} are new"
    return [Figure(what, [seconds], "limit", [LIMIT_S], "s", 1.0)]
