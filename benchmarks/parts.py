"""Large rows on a cluster: put by the nodes in parts, and as one file through the driver."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.real.dask_processes import DaskProcesses

from .measure import Figure, interleave, run_program

MINI_BATCHES = 48

_SCRIPT = """
import random
import pandas as pd

TEXT = random.Random(1).randbytes(1 << 20).hex() * 5

def run(mini_batch):
    return pd.DataFrame({"path": mini_batch, "text": [TEXT] * len(mini_batch)})
"""

_RUN = """
import json, os, sys, time, psutil
from parallelrun_jupyter import Datastore, ParallelRunConfig, submit
folder, files, compute, output, container = sys.argv[1:6]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
if output == "store":
    store = Datastore.register_azure_blob_container(
        "parts", container, "unnamed", connection_string=os.environ["STORE"])
    output = store.path("out")
config = ParallelRunConfig(entry_script=os.path.join(folder, "large.py"), mini_batch_size=1,
                           process_count_per_node=1, output_format="parquet")
began = time.monotonic()
run = submit(config, inputs=files, output=output, compute=compute)
most = 0
while not (snapshot := run.snapshot())["is_final"]:
    try:
        driver = psutil.Process(json.loads(run.folder.driver.read_text())["pid"])
        most = max(most, driver.memory_info().rss)
    except (OSError, ValueError, psutil.Error):
        pass
    time.sleep(0.05)
assert (snapshot["state"], snapshot["rows"]) == ("Completed", 48), snapshot
print(json.dumps([time.monotonic() - began, most / 2**20]))
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of 480 MB of rows, on two Dask workers; all is on the same machine."""
    from tests.azurite_process import Azurite

    (folder / "parts-store").mkdir()
    store = Azurite(folder / "parts-store")
    os.environ["STORE"] = store.connection_string
    cluster = DaskProcesses(folder / "parts-dask")
    try:
        cluster.start_scheduler()
        cluster.add_worker("a")
        cluster.add_worker("b")
        cluster.wait_for_workers()
        return _large(folder, rounds, cluster.address, store.make_container({}).container_name)
    finally:
        cluster.close()
        store.close()


def _large(folder: Path, rounds: int, address: str, container: str) -> list[Figure]:
    files = folder / "parts-files"
    files.mkdir()
    for number in range(MINI_BATCHES):
        (files / f"{number:02d}.txt").touch()
    (folder / "large.py").write_text(_SCRIPT)
    print("480 MB of rows on two Dask workers: parts in a store, and one file")
    memory: dict[str, list[float]] = {"parts": [], "file": []}

    def job(name: str, output: object) -> float:
        words = (folder, files, address, output, container)
        seconds, most = json.loads(run_program(_RUN, *words))
        memory[name].append(most)
        return float(seconds)

    found = interleave(
        rounds,
        parts=lambda: job("parts", "store"),
        file=lambda: job("file", folder / "parts-file"),
    )
    return [
        Figure(
            "480 MB of rows as parts in a store, the driver's most memory", memory["parts"][1:],
            "one Parquet file", memory["file"][1:], "MB", 0.5,
        ),
        Figure(
            "the same, everything in", found["parts"], "one Parquet file", found["file"], "s", 3,
        ),
    ]  # fmt: skip
