"""The tutorial's job beside two independent copies of its script, each over half of the digits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.digits import Digits, write_digits

from .measure import Figure, environ, interleave, run_program

_SCRIPT = Path(__file__).parents[1] / "tests" / "entry_scripts" / "mnist_tf.py"

_OURS = """
import json, os, sys
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded
folder, script, files, model = sys.argv[1:5]
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
config = ParallelRunConfig(entry_script=script, mini_batch_size=5, error_threshold=10,
                           process_count_per_node=2)
run = submit(config, inputs=files, arguments=["--model", model])
run.wait_for_completion(show_output=False)
done = [e.at_ms / 1000 for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)]
print(json.dumps([min(done), max(done), len(run.to_pandas())]))
"""

_COPY = """
import importlib.util, json, os, sys, time
script, files, model, part = sys.argv[1:5]
spec = importlib.util.spec_from_file_location("script", script)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.argv[1:] = ["--model", model]
module.init()
names = sorted(os.listdir(files))
half = names[: len(names) // 2] if part == "0" else names[len(names) // 2 :]
paths = [os.path.join(files, name) for name in half]
rows, first = [], None
for start in range(0, len(paths), 5):
    rows += module.run(paths[start : start + 5])
    first = first or time.time()
print(json.dumps([first, time.time(), len(rows)]))
"""


def _ours(folder: Path, digits: Digits) -> float:
    words = (folder, _SCRIPT, digits.folder, digits.model)
    first, last, rows = json.loads(run_program(_OURS, *words, cwd=_SCRIPT.parents[2]))
    _check(rows)
    return float(last - first)


def _copies(digits: Digits) -> float:
    caps = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _COPY, _SCRIPT, digits.folder, digits.model, str(part)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**environ(), **caps},
        )
        for part in (0, 1)
    ]  # fmt: skip
    answers = [json.loads(process.communicate()[0]) for process in processes]
    _check(sum(rows for _, _, rows in answers))
    return float(max(last for _, last, _ in answers) - min(first for first, _, _ in answers))


def _check(rows: int) -> None:
    if rows != 10_000:
        msg = f"{rows:,} rows instead of 10,000"
        raise RuntimeError(msg)


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figure of the tutorial's job."""
    target = folder / "seed"
    target.mkdir()
    digits = write_digits(target)
    print("10,000 digits by TensorFlow, from the first completed mini-batch to the last")
    found = interleave(rounds, ours=lambda: _ours(folder, digits), copies=lambda: _copies(digits))
    return [
        Figure(
            "the tutorial's job, first to last mini-batch", found["ours"],
            "two copies of the script", found["copies"], "s", 0.95, at_least=True,
        )
    ]  # fmt: skip
