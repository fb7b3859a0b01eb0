"""Sleeps for the milliseconds in the name of each file: ``0001-250.txt``."""

from __future__ import annotations

import os
import time


def init() -> None:
    """Nothing to load."""


def run(mini_batch: list[str]) -> list[str]:
    """Return the names."""
    for path in mini_batch:
        time.sleep(int(path[-7:-4]) / 1000)
    return [os.path.basename(path) for path in mini_batch]
