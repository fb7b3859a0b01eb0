"""A Dask cluster: the cost of a mini-batch beside ``client.map``, and beside this machine alone."""

from __future__ import annotations

import json
from pathlib import Path

from tests.digits import write_digits
from tests.real.dask_processes import DaskProcesses

from .measure import Figure, interleave, run_program

MINI_BATCHES = 20_000
_TF_SCRIPT = Path(__file__).parents[1] / "tests" / "entry_scripts" / "mnist_tf.py"

_OURS = """
import os, sys, time
from parallelrun_jupyter import ParallelRunConfig, submit
folder, files, compute = sys.argv[1:4]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=os.path.join(folder, "empty.py"), mini_batch_size=1,
                           process_count_per_node=1)
began = time.monotonic()
run = submit(config, inputs=files, compute=compute)
run.wait_for_completion(show_output=False)
seconds = time.monotonic() - began
assert run.snapshot()["succeeded"] == 20_000
print(seconds)
"""

_MAP = """
import os, sys, time
from distributed import Client
files, address = sys.argv[1:3]
def run(mini_batch):
    return mini_batch
parts = sorted(entry.path for entry in os.scandir(files))
with Client(address) as client:
    began = time.monotonic()
    paths = [os.path.join(part, name) for part in parts for name in sorted(os.listdir(part))]
    rows = client.gather(client.map(run, [[path] for path in paths], pure=False))
    seconds = time.monotonic() - began
assert len(rows) == 20_000
print(seconds)
"""

_DIGITS = """
import json, os, sys, time
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, WorkerReady
folder, script, files, model, compute, workers = sys.argv[1:7]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=script, mini_batch_size=5, error_threshold=10,
                           process_count_per_node=int(workers))
began = time.monotonic()
run = submit(config, inputs=files, arguments=["--model", model], compute=compute)
run.wait_for_completion(show_output=False)
whole = time.monotonic() - began
events = list(run.events(follow=False))
done = [e.at_ms / 1000 for e in events if isinstance(e, AttemptSucceeded)]
both = max(e.at_ms / 1000 for e in events if isinstance(e, WorkerReady))
assert len(run.to_pandas()) == 10_000
print(json.dumps([whole, (max(done) - both) * len(done) / sum(at > both for at in done)]))
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of a cluster: two Dask workers of one thread each, on loopback."""
    cluster = DaskProcesses(folder / "dask")
    try:
        cluster.start_scheduler()
        cluster.add_worker("a")
        cluster.add_worker("b")
        cluster.wait_for_workers()
        return [*_empty(folder, rounds, cluster.address), *_digits(folder, rounds, cluster.address)]
    finally:
        cluster.close()


def _empty(folder: Path, rounds: int, address: str) -> list[Figure]:
    files = folder / "cluster-files"
    for number in range(MINI_BATCHES):
        part = files / f"{number // 1000:03d}"
        if number % 1000 == 0:
            part.mkdir(parents=True)
        (part / f"{number:06d}.txt").touch()
    (folder / "empty.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    print(f"{MINI_BATCHES:,} empty mini-batches on two Dask workers of one thread")
    found = interleave(
        rounds,
        ours=lambda: float(run_program(_OURS, folder, files, address)),
        client_map=lambda: float(run_program(_MAP, files, address)),
    )
    return [
        Figure(
            f"{MINI_BATCHES:,} empty mini-batches on two Dask workers, all in", found["ours"],
            "client.map", found["client_map"], "s", 5, at_least=True,
        )
    ]  # fmt: skip


def _digits(folder: Path, rounds: int, address: str) -> list[Figure]:
    target = folder / "cluster-digits"
    target.mkdir()
    digits = write_digits(target)
    words = (folder, _TF_SCRIPT, digits.folder, digits.model)
    whole: dict[str, list[float]] = {"dask": [], "local": []}

    def job(name: str, compute: str, workers: int) -> float:
        all_in, busy = json.loads(
            run_program(_DIGITS, *words, compute, workers, cwd=_TF_SCRIPT.parents[2])
        )
        whole[name].append(all_in)
        return float(busy)

    print("the tutorial's digits on two Dask workers, and on this machine alone")
    found = interleave(
        rounds,
        dask=lambda: job("dask", address, 1),
        local=lambda: job("local", "local", 2),
    )
    return [
        Figure(
            "the digits on two Dask workers, while both are ready", found["dask"],
            "this machine's own two workers", found["local"], "s", 1.1,
        ),
        Figure(
            "the same with everything: start, model, output", whole["dask"][1:],
            "this machine's own", whole["local"][1:], "s", 1.1,
        ),
    ]  # fmt: skip
