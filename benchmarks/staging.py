"""Small blobs from Azurite: how much of the fetching is hidden behind the work of ``run()``."""

from __future__ import annotations

import os
from pathlib import Path

from .measure import Figure, interleave, run_program

FILES = 10_000
BYTES = 2_000

_WORK = """
import time

def run(mini_batch):
    for path in mini_batch:
        with open(path, "rb") as file:
            assert len(file.read()) == 2000
        time.sleep(0.005)
    return mini_batch
"""

_FETCHING = """
import os, time
import fsspec

def init():
    global store
    store = fsspec.filesystem("az", connection_string=os.environ["STORE"])

def run(mini_batch):
    for path in mini_batch:
        url = os.environ["CONTAINER"] + "/" + "/".join(path.split(os.sep)[-3:])
        assert len(store.cat_file(url)) == 2000
        time.sleep(0.005)
    return mini_batch
"""

_RUN = """
import os, sys
from parallelrun_jupyter import FileDataset, ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, StateEntered
folder, script, inputs, home = sys.argv[1:5]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, home)
config = ParallelRunConfig(entry_script=os.path.join(folder, script), mini_batch_size=5,
                           process_count_per_node=2)
options = {"connection_string": os.environ["STORE"]} if "://" in inputs else None
run = submit(config, inputs=FileDataset(inputs, storage_options=options))
run.wait_for_completion(show_output=False)
assert len(run.to_pandas()) == 10_000
events = list(run.events(follow=False))
began = next(e.at_ms for e in events if isinstance(e, StateEntered))
print((max(e.at_ms for e in events if isinstance(e, AttemptSucceeded)) - began) / 1000)
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figure of staging; the store is on the same machine, and takes its share of it."""
    from tests.azurite_process import Azurite

    names = [f"in/{number // 1000:02d}/{number:05d}.bin" for number in range(FILES)]
    data = os.urandom(BYTES)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "work.py").write_text(_WORK)
    (folder / "fetching.py").write_text(_FETCHING)
    store = Azurite(folder)
    rounds = min(rounds, 3)  # each takes two minutes
    homes = iter(range(1000))
    try:
        container = store.make_container(dict.fromkeys(names, data))
        os.environ["STORE"] = store.connection_string
        os.environ["CONTAINER"] = container.container_name
        url = f"az://{container.container_name}/in"

        def seconds(script: str, inputs: object) -> float:
            return float(run_program(_RUN, folder, script, inputs, f"staging-{next(homes)}"))

        print(f"{FILES:,} blobs of {BYTES:,} bytes, 5 ms of work each, 2 workers")
        found = interleave(
            rounds,
            local=lambda: seconds("work.py", folder / "in"),
            staged=lambda: seconds("work.py", url),
            fetched=lambda: seconds("fetching.py", folder / "in"),
        )
    finally:
        store.close()
    pairs = list(zip(found["local"], found["staged"], found["fetched"], strict=True))
    return [
        Figure(
            f"{FILES:,} blobs: seconds more than on local files, staged ahead",
            [staged - local for local, staged, _ in pairs], "fetched in run()",
            [fetched - local for local, _, fetched in pairs], "s", 0.2,
        )
    ]  # fmt: skip
