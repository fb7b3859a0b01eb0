"""``parallelrun demo``: classifies real handwritten digits in several processes, in a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..client.submit import submit
from ..config.run_config import ParallelRunConfig
from ..errors import ConfigError, MissingExtraError
from ..formatting import plural
from ..machine import usable_cores

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..client.run import Run

SCALE = 4
"""The digits have 8x8 pixels; the files enlarge them by this factor, for people to read."""

_QUICKSTART = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"
_TRAINED_ON = 500
_COPIES = 4
_SCRIPT = '''\
"""Classifies the handwritten digits in PNG files."""
import os
import sys

import numpy as np
from PIL import Image


def init():
    global weights
    weights = np.load(sys.argv[1])
    print("loaded", sys.argv[1])


def run(mini_batch):
    rows = []
    for path in mini_batch:
        with Image.open(path) as image:
            pixels = np.asarray(image.resize((8, 8), Image.Resampling.BOX), np.float32).ravel()
        hidden = np.maximum(pixels / 255 @ weights["w0"] + weights["b0"], 0)
        digit = (hidden @ weights["w1"] + weights["b1"]).argmax()
        rows.append(f"{os.path.basename(path)}: {digit}")
    return rows
'''


def run_demo(folder: Path, *, opens: bool = False) -> int:
    """Write digits and a small model, run over them, and report the accuracy with a picture.

    Parameters
    ----------
    folder
        Folder for the digits, the model, the script, the predictions and the picture.
    opens
        Open the quickstart notebook in JupyterLab at the end.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    MissingExtraError
        scikit-learn or Pillow is not installed.
    ConfigError
        The folder is a file.
    """
    try:
        import PIL  # noqa: F401 - checked before any work starts
        import sklearn  # noqa: F401 - the same
    except ImportError as error:
        msg = (
            f"the demo needs {error.name}, which is not installed. "
            "Install it with: pip install 'parallelrun-jupyter[demo]'"
        )
        raise MissingExtraError(msg) from error
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        msg = f"the folder of the demo is {str(folder)!r}, which is a file; give the path of a folder."
        raise ConfigError(msg)
    print(f"Writing real handwritten digits and a small model to {folder} ...", flush=True)
    labels = write_digits(folder)
    print(f"{plural(len(labels), 'digit')} in {folder / 'digits'}\n", flush=True)
    run = submit(
        ParallelRunConfig(
            entry_script=str(folder / "classify.py"),
            mini_batch_size=5,
            process_count_per_node=max(2, usable_cores()),
            append_row_file_name="predictions.txt",
        ),
        inputs=str(folder / "digits" / "*.png"),
        output=folder / "predictions",
        arguments=[folder / "model.npz"],
        name="digits",
    )
    run.wait_for_completion(show_output=True)
    _show_results(folder, run, labels)
    if opens:
        subprocess.run([sys.executable, "-m", "jupyterlab", str(_QUICKSTART)], check=False)
    return 0


def write_digits(folder: Path) -> dict[str, int]:
    """Write real handwritten digits, a small model for them, and a script that reads both.

    Parameters
    ----------
    folder
        Receives ``digits/*.png``, ``model.npz`` (arrays w0, b0, w1, b1) and ``classify.py``.

    Returns
    -------
    dict
        The true digit of each file, by its name; the model was trained on other digits.
    """
    import numpy as np
    from PIL import Image as Images
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    images = images.astype("float32") * (255 / 16)
    weights = _train(images[:_TRAINED_ON] / 255, targets[:_TRAINED_ON])
    digits = folder / "digits"
    digits.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "model.npz", **weights)
    (folder / "classify.py").write_text(_SCRIPT, encoding="utf-8")
    labels = {}
    unseen = list(zip(images[_TRAINED_ON:], targets[_TRAINED_ON:], strict=True)) * _COPIES
    for number, (pixels, digit) in enumerate(unseen):
        name = f"digit_{number:05d}.png"
        small = np.repeat(np.repeat(pixels.reshape(8, 8), SCALE, 0), SCALE, 1)
        Images.fromarray(small.round().astype("uint8")).save(digits / name)
        labels[name] = int(digit)
    return labels


def _train(pixels: Any, targets: Any) -> dict[str, Any]:
    """Return the weights of a small network trained on these digits."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((48,), max_iter=300, tol=1e-3, random_state=0).fit(pixels, targets)
    (w0, w1), (b0, b1) = model.coefs_, model.intercepts_
    return {"w0": w0, "b0": b0, "w1": w1, "b1": b1}


def _show_results(folder: Path, run: Run, labels: dict[str, int]) -> None:
    rows = [row.split(": ") for row in run.to_pandas()["row"]]
    predicted = {name: int(digit) for name, digit in rows}
    right = sum(predicted[name] == digit for name, digit in labels.items())
    picture = folder / "predictions.png"
    command = "parallelrun" if shutil.which("parallelrun") else os.path.relpath(sys.argv[0])
    draw_digits(folder / "digits", labels, predicted).save(picture)
    print(
        f"\n{right:,} of {plural(len(labels), 'prediction')} are right "
        f"({right / len(labels):.1%}); the model had not seen these digits.\n"
        f"Predictions  {folder / 'predictions' / 'predictions.txt'}\n"
        f"A picture    {picture}\n\n"
        "Next:\n"
        f"  {command} logs    the output of the script\n"
        f"  {command} list    this and earlier runs\n"
        f"Change the script, {os.path.relpath(folder / 'classify.py')}, and run it again:\n"
        f"  {command} run {os.path.relpath(folder / 'classify.py')} "
        f"--input {os.path.relpath(folder / 'digits')} -- {folder / 'model.npz'}\n"
        f"In a notebook, live: {_how_to_open(command)}"
    )


def _how_to_open(command: str) -> str:
    """Return how to open a notebook that shows a run."""
    if not _QUICKSTART.exists():  # installed as a package, without the notebooks
        return "%load_ext parallelrun_jupyter, then %%parallelrun? for help"
    jupyter = os.path.join(os.path.dirname(command), "jupyter")
    return f"{jupyter} lab {os.path.relpath(_QUICKSTART)}   (or: {command} demo --open)"


def draw_digits(digits: Path, labels: dict[str, int], predicted: dict[str, int]) -> Image:
    """Return a picture of digits with their predictions; wrong ones come last, in red.

    Parameters
    ----------
    digits
        The folder of the files.
    labels, predicted
        The true and the predicted digit of each file, by its name.
    """
    from PIL import Image as Images
    from PIL import ImageDraw, ImageFont

    wrong = [name for name in labels if predicted[name] != labels[name]][:8]
    right = [name for name in labels if predicted[name] == labels[name]]
    names = [*right[: 32 - len(wrong)], *wrong]
    columns, cell, text_height, gap = 8, 64, 24, 12
    rows = -(-len(names) // columns)
    width = columns * (cell + gap) + gap
    sheet = Images.new("RGB", (width, rows * (cell + text_height + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=16)
    for number, name in enumerate(names):
        x = gap + number % columns * (cell + gap)
        y = gap + number // columns * (cell + text_height + gap)
        with Images.open(digits / name) as image:
            sheet.paste(image.resize((cell, cell), Images.Resampling.NEAREST), (x, y))
        is_right = predicted[name] == labels[name]
        text = str(predicted[name]) if is_right else f"{predicted[name]}, is {labels[name]}"
        color = "#1b1b1b" if is_right else "#b3261e"
        draw.text((x + cell / 2, y + cell + 3), text, fill=color, font=font, anchor="ma")
    return sheet
