"""The benchmark of starts: its worker is started by hand, with the settings that a node sends."""

from __future__ import annotations

from pathlib import Path

from benchmarks.starts import measure


def test_the_benchmark_of_starts_runs(tmp_path: Path) -> None:
    figures = measure(tmp_path, 1)
    assert figures
