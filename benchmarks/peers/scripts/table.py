"""A prediction for each row of a DataFrame; the text's length counts, so it has to be read right."""

from __future__ import annotations

from typing import Any

FEATURES = [f"x{k}" for k in range(8)]
WEIGHTS = [0.5, -1.25, 2.0, 0.75, -0.5, 1.5, -2.25, 1.0]


def init() -> None:
    """Import the packages of ``run``."""
    global np
    import numpy as np


def run(frame: Any) -> list[str]:
    """Return a row with the number and the score of each row."""
    score = frame[FEATURES].to_numpy("float64") @ np.array(WEIGHTS) + frame["text"].str.len()
    score = (score * 256).to_numpy("int64")
    return [f"{k},{s}" for k, s in zip(frame["id"].tolist(), score.tolist(), strict=True)]
