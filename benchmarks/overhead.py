"""Empty mini-batches: the overhead of the engine itself."""

from __future__ import annotations

from pathlib import Path

from .measure import Figure, interleave, run_program

BATCHES = 20_000
SIZE = 5

_SCRIPT = "def run(mini_batch):\n    return mini_batch\n"

_OURS = """
import os, sys, time
from parallelrun_jupyter import ParallelRunConfig, submit
folder, files = sys.argv[1:3]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=os.path.join(folder, "empty.py"), mini_batch_size=5,
                           process_count_per_node=2)
began = time.monotonic()
run = submit(config, inputs=files, output=os.path.join(folder, "ours"))
run.wait_for_completion(show_output=False)
print(time.monotonic() - began)
"""

_EXECUTOR = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
folder, files = sys.argv[1:3]
sys.path.insert(0, folder)
from empty import run
if __name__ == "__main__":
    began = time.monotonic()
    parts = sorted(entry.path for entry in os.scandir(files))
    paths = [os.path.join(part, name) for part in parts for name in sorted(os.listdir(part))]
    batches = [paths[start : start + 5] for start in range(0, len(paths), 5)]
    os.makedirs(os.path.join(folder, "executor"), exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        with open(os.path.join(folder, "executor", "parallel_run_step.txt"), "w") as out:
            for rows in pool.map(run, batches, chunksize=1):
                out.write("\\n".join(rows) + "\\n")
    print(time.monotonic() - began)
"""


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figure of the overhead."""
    files = folder / "empty-files"
    for number in range(BATCHES * SIZE):
        part = files / f"{number // 1000:03d}"
        if number % 1000 == 0:
            part.mkdir(parents=True)
        (part / f"{number:06d}.txt").touch()
    (folder / "empty.py").write_text(_SCRIPT)

    def checked(code: str, name: str) -> float:
        seconds = float(run_program(code, folder, files))
        rows = (folder / name / "parallel_run_step.txt").read_text().splitlines()
        numbers = [int(row[-10:-4]) for row in rows]
        if numbers != list(range(BATCHES * SIZE)):
            msg = f"{name}: the rows are not right"
            raise RuntimeError(msg)
        return seconds

    print(f"{BATCHES:,} empty mini-batches of {SIZE} files, listing and output included")
    found = interleave(
        rounds,
        ours=lambda: checked(_OURS, "ours"),
        executor=lambda: checked(_EXECUTOR, "executor"),
    )
    return [
        Figure(
            f"{BATCHES:,} empty mini-batches, all in", found["ours"],
            "ProcessPoolExecutor, chunksize 1", found["executor"], "s", 0.4,
        )
    ]  # fmt: skip
