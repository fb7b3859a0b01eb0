"""Record a run for the first page of the site: digits, two of which cannot be read.

``python docs/recorded_run.py FOLDER`` runs it in a home of its own. It writes its report ``run.html``, and the
recording ``run.json`` with the player beside it.
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

ANGLES = range(-12, 13, 4)


def init():
    global weights
    weights = np.load(sys.argv[1])
    print("model loaded")


def run(mini_batch):
    return [f"{os.path.basename(path)}: {classify(Image.open(path))}" for path in mini_batch]


def classify(image):
    # The mean over turned and shifted copies is right more often than the picture alone.
    scores = sum(score(image.rotate(angle, translate=(x, 0))) for angle in ANGLES for x in (-1, 0, 1))
    return scores.argmax()


def score(image):
    pixels = np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.float32).ravel() / 255
    hidden = np.maximum(pixels @ weights["w0"] + weights["b0"], 0)
    logits = hidden @ weights["w1"] + weights["b1"]
    likely = np.exp(logits - logits.max())
    return likely / likely.sum()
"""


def record(target: Path, folder: Path) -> None:
    """Run the script over digits in ``folder``; write the report and the recording into ``target``."""
    from parallelrun_jupyter import ParallelRunConfig, submit
    from parallelrun_jupyter.commands.demo import write_digits

    os.chdir(folder)
    write_digits(Path())
    for name in ("digit_00042.png", "digit_00731.png"):
        Path("digits", name).write_bytes(b"this is not a picture")
    Path("classify.py").write_text(SCRIPT, encoding="utf-8")
    config = ParallelRunConfig(
        entry_script="classify.py", mini_batch_size=5, process_count_per_node=4, error_threshold=10
    )
    run = submit(config, inputs="digits/*.png", arguments=["model.npz"], name="digits")
    run.wait_for_completion(show_output=False)
    run.report(target / "run.html")
    run.recording().save(target / "run.json")


if __name__ == "__main__":
    site = Path(sys.argv[1]).absolute()
    site.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="digits-") as home:
        os.environ["PARALLELRUN_HOME"] = home
        record(site, Path(home))
