"""Prints how many products of matrices keep the device busy for a number of seconds."""

from __future__ import annotations

import os
import sys
import time

import numpy as np

from .devices import PREFIX, open_device

_FEW, _MANY = 10, 60


def main(seconds: float) -> None:
    """Compare calls with few products and with many, each after one that warms up."""
    pixels = np.zeros((64, 64))
    few, many = (_shortest(count, pixels) for count in (_FEW, _MANY))
    each = max(1e-6, (many - few) / (_MANY - _FEW))
    print(max(1, round(seconds / each)))


def _shortest(products: int, pixels: object) -> float:
    os.environ[f"{PREFIX}WORK"] = str(products)
    device = open_device()
    device.predict(pixels)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        device.predict(pixels)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    main(float(sys.argv[1]))
