"""``python -m benchmarks``: measure, then print the table."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

from parallelrun_jupyter.version import __version__

from . import (
    cluster,
    crowd,
    growth,
    overhead,
    parts,
    scale,
    seed,
    staging,
    starts,
    tables,
    window,
    work,
)
from .measure import HEAD

_ALL = {
    "overhead": overhead.measure,
    "starts": starts.measure,
    "seed": seed.measure,
    "work": work.measure,
    "scale": scale.measure,
    "staging": staging.measure,
    "window": window.measure,
    "growth": growth.measure,
    "tables": tables.measure,
    "cluster": cluster.measure,
    "crowd": crowd.measure,
    "parts": parts.measure,
}


def main() -> None:
    """Measure what was asked for, interleaved, in one run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(_ALL)} (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    given = parser.parse_args()
    unknown = set(given.what) - set(_ALL)
    if unknown:
        parser.error(f"{unknown.pop()!r} is none of {', '.join(_ALL)}")
    figures = []
    with tempfile.TemporaryDirectory(prefix="parallelrun-bench-") as folder:
        for name in given.what or _ALL:
            figures += _ALL[name](Path(folder), given.rounds)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"\nparallelrun-jupyter {__version__}, Python {platform.python_version()}, "
        f"{platform.system()}, {cores} cores; medians of {given.rounds} interleaved rounds; "
        "ratios pair by pair\n"
    )
    print(HEAD)
    for figure in figures:
        print(figure.row())


if __name__ == "__main__":
    main()
