"""Does nothing, which leaves the overhead of the engine."""

from __future__ import annotations


def init() -> None:
    """Nothing to load."""


def run(mini_batch: list[str]) -> list[str]:
    """Return the paths as they are."""
    return mini_batch
