"""A large CSV, a prediction a row: beside dask.dataframe and Ray Data, if they are installed.

``PARALLELRUN_BENCH_CSV_MB`` is the size of the file in megabytes (default 1024). The file with quoted
line ends holds the same numbers; there it is counted who has all rows right.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path

from .measure import Figure, interleave, run_program

SIZE_MB = int(os.environ.get("PARALLELRUN_BENCH_CSV_MB", "1024"))
FEATURES = 8
_BLOCK_ROWS = 100_000

_SCRIPT = """
import numpy as np
COLUMNS = ["x%d" % k for k in range(8)]
WEIGHTS = np.linspace(-1, 1, 8)
def run(mini_batch):
    return predict(mini_batch).tolist()
def predict(frame):
    return np.tanh(frame[COLUMNS].to_numpy("float64") @ WEIGHTS).round(6)
"""

_TYPES = """
types = {"id": "int64", "note": "str", **{f"x{k}": "float64" for k in range(8)}}
"""

_OURS = f"""
import json, os, sys, threading, time
from pathlib import Path
import psutil
from parallelrun_jupyter import ParallelRunConfig, TabularDataset, submit
from parallelrun_jupyter.runs.journal.events import WorkerStarted
folder, csv, mode = sys.argv[1:4]
{_TYPES}
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=os.path.join(folder, "predict.py"), mini_batch_size="1MB",
                           process_count_per_node=2, append_row_file_name="ours.txt")
table = TabularDataset.from_delimited_files(csv, column_types=types if mode == "given" else None)
began = time.monotonic()
run = submit(config, inputs=table, output=folder)
peak = 0
def watch():
    global peak
    driver = psutil.Process(json.loads((run.folder.path / "driver.json").read_text())["pid"])
    while driver.is_running():
        try:
            size = sum(p.memory_full_info().pss for p in [driver, *driver.children(recursive=True)])
        except psutil.Error:
            continue
        peak = max(peak, size)
        time.sleep(0.25)
watcher = threading.Thread(target=watch, daemon=True)
if mode == "memory":
    while not (run.folder.path / "driver.json").exists():
        time.sleep(0.01)
    watcher.start()
run.wait_for_completion(show_output=False)
print(peak / 2**20 if mode == "memory" else time.monotonic() - began)
"""

_DASK = f"""
import os, sys, time
folder, csv, mode = sys.argv[1:4]
sys.path.insert(0, folder)
import pandas as pd
from predict import predict
def rows(frame):
    return pd.DataFrame({{"result": predict(frame)}})
if __name__ == "__main__":
    {_TYPES.strip()}
    began = time.monotonic()
    import dask, dask.dataframe as dd
    with dask.config.set(scheduler="processes", num_workers=2):
        frame = dd.read_csv(csv, blocksize=2**20, dtype=types)
        found = frame.map_partitions(rows, meta={{"result": "float64"}})
        found.to_csv(os.path.join(folder, "dask.txt"), single_file=True, index=False, header=False)
    print(time.monotonic() - began)
"""

_RAY = f"""
import glob, os, shutil, sys, time
folder, csv, mode = sys.argv[1:4]
sys.path.insert(0, folder)
import pandas as pd
os.environ["PYTHONPATH"] = folder
{_TYPES}
def rows(frame):
    from predict import predict
    return pd.DataFrame({{"result": predict(frame)}})
if __name__ == "__main__":
    import ray
    began = time.monotonic()
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False,
             object_store_memory=2**29)
    ray.data.DataContext.get_current().enable_progress_bars = False
    target = os.path.join(folder, "ray")
    shutil.rmtree(target, ignore_errors=True)
    from pyarrow import csv as pacsv
    wanted = pacsv.ConvertOptions(column_types={{k: {{"str": "string", "float64": "double"}}.get(v, v)
                                                for k, v in types.items()}})
    frame = ray.data.read_csv(csv, convert_options=wanted)
    frame.map_batches(rows, batch_format="pandas", batch_size=10_000).write_csv(target)
    seconds = time.monotonic() - began
    with open(os.path.join(folder, "ray.txt"), "w") as out:
        for path in sorted(glob.glob(os.path.join(target, "*.csv"))):
            out.writelines(open(path).readlines()[1:])
    ray.shutdown()
    print(seconds)
"""


def _write(path: Path, size_mb: int, note: Callable[[int], str]) -> int:
    """Write a CSV of about ``size_mb`` megabytes; return its number of rows."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    names = [f"x{k}" for k in range(FEATURES)]
    block = pd.DataFrame(rng.random((_BLOCK_ROWS, FEATURES)).round(6), columns=names)
    block.insert(0, "id", range(_BLOCK_ROWS))
    block["note"] = [note(k) for k in range(_BLOCK_ROWS)]
    body = block.to_csv(index=False, header=False).encode()
    blocks = max(1, size_mb * 2**20 // len(body))
    with path.open("wb") as file:
        file.write(block.head(0).to_csv(index=False).encode())
        for _ in range(blocks):
            file.write(body)
    return blocks * _BLOCK_ROWS


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of tables."""
    (folder / "predict.py").write_text(_SCRIPT)
    plain, quoted = folder / "plain.csv", folder / "quoted.csv"
    rows = _write(plain, SIZE_MB, lambda k: f"note {k % 97}")
    peers = {"dask": _DASK, "ray": _RAY}
    peers = {name: code for name, code in peers.items() if importlib.util.find_spec(name)}

    def timed(code: str, name: str, mode: str = "given") -> Callable[[], float]:
        def once() -> float:
            seconds = float(run_program(code, folder, plain, mode).splitlines()[-1])
            found = sum(1 for _ in (folder / f"{name}.txt").open())
            if found != rows:
                msg = f"{name}: {found:,} rows instead of {rows:,}"
                raise RuntimeError(msg)
            return seconds

        return once

    print(f"{plain.stat().st_size / 1e6:,.0f} MB of CSV, {rows:,} rows, a prediction a row")
    found = interleave(
        rounds,
        ours=timed(_OURS, "ours"),
        inferred=timed(_OURS, "ours", "inferred"),
        **{name: timed(code, name) for name, code in peers.items()},
    )
    what = f"{SIZE_MB} MB of CSV, a prediction a row"
    figures = [
        Figure(f"{what}, {how}", found[key], name, found[name], "s", 1.0)
        for key, how in (("ours", "types given"), ("inferred", "our types inferred"))
        for name in peers
    ]
    peak = float(run_program(_OURS, folder, plain, "memory"))
    figures.append(Figure(f"{what}: memory", [peak], "allowed", [1536.0], "MB", 1.0))
    _compare_quoted(folder, quoted, {"ours": _OURS, **peers})
    return figures


def _compare_quoted(folder: Path, path: Path, codes: dict[str, str]) -> None:
    """Print which engines read all rows of the file with quoted line ends."""
    rows = _write(path, max(64, SIZE_MB // 8), lambda k: f'it said "{k}",\nand "left"')
    for name, code in codes.items():
        began = time.monotonic()
        try:
            run_program(code, folder, path, "given")
            found = sum(1 for _ in (folder / f"{name}.txt").open())
            said = "all rows" if found == rows else f"{found:,} of {rows:,} rows"
        except RuntimeError as error:
            said = f"failed: {str(error).strip().splitlines()[-1][:150]}"
        print(f"  quoted line ends, {name}: {said} ({time.monotonic() - began:.1f} s)", flush=True)
