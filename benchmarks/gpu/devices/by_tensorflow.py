"""TensorFlow: ``tf.data`` reads ahead in threads, as its documentation advises."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import WIDTH, Batches, setting

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf


class Device:
    """The model on the device, and a product of matrices as often as WORK says."""

    def __init__(self) -> None:
        is_gpu = setting("DEVICE") == "cuda"
        gpus = tf.config.list_physical_devices("GPU")
        if is_gpu and not gpus:
            msg = "tensorflow finds no GPU"
            raise RuntimeError(msg)
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, enable=True)  # two processes may share it
        products = int(setting("WORK"))
        with np.load(setting("MODEL")) as file, tf.device("/GPU:0" if is_gpu else "/CPU:0"):
            w0, w1 = tf.constant(file["w0"]), tf.constant(file["w1"])
            layer = tf.Variable(tf.eye(WIDTH))

        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float64)])  # type: ignore[untyped-decorator]
        def predict(pixels: Any) -> Any:
            state = layer.read_value()
            for _ in tf.range(products):
                state = tf.matmul(state, layer)
            digits = tf.argmax(tf.nn.relu(pixels @ w0) @ w1, 1)
            # The sum makes the digits wait for all products; it is the width.
            return digits + tf.cast(tf.reduce_sum(state) - WIDTH, tf.int64)

        self._predict = predict

    def predict(self, pixels: Any) -> list[int]:
        """Compute, and copy the digits to this process, which waits for the device."""
        digits: list[int] = self._predict(pixels).numpy().tolist()
        return digits

    def read_ahead(self, batches: Batches) -> Iterator[Any]:
        """Read several batches of files at once, a table as it comes."""
        kind = tf.TensorSpec((None, None), tf.float64)
        if batches.table is not None:
            data = tf.data.Dataset.from_generator(batches.table, output_signature=kind)
        else:
            read, files = batches.read, batches.files
            assert read is not None
            data = tf.data.Dataset.range(len(files)).map(
                lambda number: tf.numpy_function(lambda k: read(files[k]), [number], tf.float64),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        return iter(data.prefetch(tf.data.AUTOTUNE))
