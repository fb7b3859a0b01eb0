"""Functions of a notebook: one takes a millisecond of computing, one scores the rows of a DataFrame."""

from __future__ import annotations

import hashlib
import os
from typing import Any

ROUNDS = int(os.environ.get("BENCHMARK_SPIN", "0"))
"""How often a computation is done that takes a millisecond in all."""

FEATURES = [f"x{k}" for k in range(16)]


def spin(item: int) -> int:
    """Compute for a millisecond."""
    digest = b""
    for _ in range(ROUNDS):
        digest = hashlib.blake2b(digest).digest()
    return item * 2_654_435_761 % 2**32


def score(frame: Any) -> Any:
    """Return a score for each row: sums and products only, so that it is the same for any parts."""
    total = frame["x0"] * 0.5
    for number, name in enumerate(FEATURES[1:], 1):
        total = total + frame[name] * (number / 8 - 1)
    return total + frame["text"].str.len() if "text" in frame.columns else total
