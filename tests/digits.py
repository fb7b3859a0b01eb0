"""Real digits for the tests: MNIST if its files are present, else scikit-learn's bundled set."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MNIST = Path(
    os.environ.get("MNIST_FOLDER", Path(__file__).parents[2] / "shared" / "data" / "mnist")
)
"""The folder of the MNIST test set and its TensorFlow model: ``MNIST_FOLDER``, or beside the checkout."""

MNIST_RIGHT = 9_696
"""How many of the 10,000 digits the tutorial's model gets right on raw bytes."""

COUNT = 10_000


@dataclass(frozen=True)
class Digits:
    """A folder of PNG files, the true digits, the model's folder, and how many it gets right."""

    folder: Path
    labels: Any
    model: Path
    right: int


def write_digits(target: Path) -> Digits:
    """Write 10,000 digits as PNG files of 28 x 28 pixels."""
    folder = target / "digits"
    folder.mkdir()
    images, labels, model, right = _mnist() if MNIST.is_dir() else _bundled(target)
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(folder / f"{number:05d}.png")
    return Digits(folder, labels, model, right)


def _mnist() -> tuple[Any, Any, Path, int]:
    with gzip.open(MNIST / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(MNIST / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return images, labels, MNIST / "mnist-tf", MNIST_RIGHT


def _bundled(target: Path) -> tuple[Any, Any, Path, int]:
    """Return the bundled digits, enlarged and repeated, and a graph trained on them.

    The training happens in a process of its own: TensorFlow stays out of the tests' process.
    """
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    large = np.repeat(np.repeat(small.reshape(-1, 8, 8), 3, 1), 3, 2)
    images = np.zeros((len(large), 28, 28), np.uint8)
    images[:, 2:26, 2:26] = (large * (255 / 16)).round().astype(np.uint8)
    order = np.arange(COUNT) % len(images)
    images, labels = images[order], labels[order]
    model = target / "model"
    model.mkdir()
    np.savez(target / "train.npz", images=images, labels=labels)
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN, str(target / "train.npz"), str(model)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return images, labels, model, int(done.stdout.split()[-1])


_TRAIN = """
import os, sys
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_eager_execution()
data = np.load(sys.argv[1])
x, y = data["images"].reshape(-1, 784).astype("float32"), data["labels"]
with tf.name_scope("network"):
    X = tf.placeholder(tf.float32, (None, 784), name="X")
    with tf.name_scope("output"):
        W = tf.Variable(tf.zeros((784, 10)), name="W")
        logits = tf.matmul(X, W, name="MatMul")
labels = tf.placeholder(tf.int64, (None,))
loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=labels))
train = tf.train.GradientDescentOptimizer(1e-5).minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    for _ in range(150):
        session.run(train, {X: x[:1000], labels: y[:1000]})
    tf.train.Saver([W]).save(session, os.path.join(sys.argv[2], "mnist-tf.model"))
    print((session.run(logits, {X: x}).argmax(1) == y).sum())
"""
