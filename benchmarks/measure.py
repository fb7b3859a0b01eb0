"""Interleaved measuring: A B A B ..., so that a machine that changes its speed is fair to both."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """A claim: ours against the other, and the bound that the ratio has to keep."""

    what: str
    ours: list[float]
    other_name: str
    other: list[float]
    unit: str
    bound: float
    at_least: bool = False

    @property
    def ratios(self) -> list[float]:
        """Ours over the other, pair by pair; inverted if more is better."""
        pairs = zip(self.ours, self.other, strict=True)
        return [b / a if self.at_least else a / b for a, b in pairs]

    def row(self) -> str:
        """Return the line of the table."""
        ratio = statistics.median(self.ratios)
        holds = ratio >= self.bound if self.at_least else ratio <= self.bound
        sign = "≥" if self.at_least else "≤"
        return (
            f"| {self.what} | {_spread(self.ours, self.unit)} | "
            f"{self.other_name}: {_spread(self.other, self.unit)} | "
            f"{ratio:.2f} ({min(self.ratios):.2f}-{max(self.ratios):.2f}) | "
            f"{sign} {self.bound:g} | {'yes' if holds else 'NO'} |"
        )


HEAD = (
    "| what | ours, median (range) | beside it | ratio | bound | holds |\n"
    "| --- | --- | --- | --- | --- | --- |"
)


def _spread(values: list[float], unit: str) -> str:
    scale = 1000 if unit == "ms" else 1
    low, high = min(values) * scale, max(values) * scale
    digits = 0 if unit == "ms" else 2
    middle = statistics.median(values) * scale
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}-{high:.{digits}f})"


def interleave(rounds: int, **measured: Callable[[], float]) -> Mapping[str, list[float]]:
    """Call each in turn, after a round that does not count; return the values of each."""
    found: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(rounds + 1):
        for name, measure in measured.items():
            value = measure()
            print(f"  {name:<12} {value:8.3f}{'' if number else '  (not counted)'}", flush=True)
            if number:
                found[name].append(value)
    return found


def environ() -> dict[str, str]:
    """Return the environment of measured processes: modules compiled once, as installed ones are."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "benchmark-pycache")}


def run_program(code: str, *words: object, cwd: Path | None = None) -> str:
    """Run a Python program to its end; return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, text=True, cwd=cwd, env=environ(), check=False,
    )  # fmt: skip
    if done.returncode:
        msg = f"the measured program failed:\n{done.stderr}"
        raise RuntimeError(msg)
    return done.stdout
