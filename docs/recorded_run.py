"""Record a run for the first page of the site: digits, two of which cannot be read.

``python docs/recorded_run.py run.html`` runs it in a home of its own, and writes its report.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

SCRIPT = """\
import os
import sys

import numpy as np
from PIL import Image


def init():
    global weights
    weights = np.load(sys.argv[1])
    print("model loaded")


def run(mini_batch):
    rows = []
    for path in mini_batch:
        image = Image.open(path).resize((8, 8), Image.Resampling.BOX)
        pixels = np.asarray(image, np.float32).ravel() / 255
        hidden = np.maximum(pixels @ weights["w0"] + weights["b0"], 0)
        rows.append(f"{os.path.basename(path)}: {(hidden @ weights['w1'] + weights['b1']).argmax()}")
    return rows
"""


def record(target: Path, folder: Path) -> None:
    """Run the script over digits in ``folder``, and write the report."""
    from parallelrun_jupyter import ParallelRunConfig, submit
    from parallelrun_jupyter.commands.demo import write_digits

    os.chdir(folder)
    write_digits(Path())
    for name in ("digit_00042.png", "digit_00731.png"):
        Path("digits", name).write_bytes(b"this is not a picture")
    Path("classify.py").write_text(SCRIPT, encoding="utf-8")
    config = ParallelRunConfig(
        entry_script="classify.py", mini_batch_size=5, process_count_per_node=2, error_threshold=10
    )
    run = submit(config, inputs="digits/*.png", arguments=["model.npz"], name="digits")
    run.wait_for_completion(show_output=False)
    run.report(target)


if __name__ == "__main__":
    report = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory(prefix="digits-") as home:
        os.environ["PARALLELRUN_HOME"] = home
        record(report, Path(home))
