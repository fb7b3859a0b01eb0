"""A million mini-batches: the cost of each for the driver, the journal and an attaching reader."""

from __future__ import annotations

import json
from pathlib import Path

from .measure import Figure, run_program

FILES = 100_000
_SMALL, _LARGE = 2, 10

_OURS = """
import json, os, sys, time
import psutil
from parallelrun_jupyter import ParallelRunConfig, Run, submit
folder, files, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=os.path.join(folder, "empty.py"), mini_batch_size=1,
                           process_count_per_node=2)
run = submit(config, inputs=[files] * times)
peak, driver = 0, None
while True:
    time.sleep(0.2)
    try:
        driver = driver or psutil.Process(json.loads(run.folder.driver.read_text())["pid"])
        peak = max(peak, driver.memory_info().rss)
        if run.folder.reports.exists():
            break
    except (psutil.Error, OSError):
        if driver is not None:
            break
began = time.monotonic()
status = Run.attach(run.run_id).status
listed = [r.status for r in Run.list()]
attach = time.monotonic() - began
snapshot = run.snapshot()
assert status == listed[0] == "Completed" and snapshot["mini_batches"] == times * 100_000
print(json.dumps([snapshot["elapsed_s"], peak, os.path.getsize(run.folder.journal), attach]))
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of scale; one round each, since they are long."""
    del rounds
    files = folder / "scale-files"
    for number in range(FILES):
        part = files / f"{number // 1000:03d}"
        if number % 1000 == 0:
            part.mkdir(parents=True)
        (part / f"{number:06d}.txt").touch()
    (folder / "empty.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    print("200,000 and 1,000,000 empty mini-batches")
    small, large = (
        json.loads(run_program(_OURS, folder, files, times)) for times in (_SMALL, _LARGE)
    )
    count = (_LARGE - _SMALL) * FILES
    growth = (large[1] - small[1]) / count
    print(f"  1,000,000 in {large[0]:.1f} s, driver at most {large[1] / 1e6:.0f} MB")
    return [
        Figure("1,000,000 mini-batches: peak memory of the driver", [large[1] / 1e6],
               "limit", [300.0], "MB", 1),
        Figure("growth of the driver for each mini-batch", [growth], "limit", [32.0], "B", 1),
        Figure("journal for each mini-batch", [large[2] / (_LARGE * FILES)],
               "limit", [150.0], "B", 1),
        Figure("attach, status and list at the end", [large[3]], "limit", [1.0], "s", 1),
    ]  # fmt: skip
