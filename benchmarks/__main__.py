"""``python -m benchmarks``: measure, then print the table; ``peers`` and ``gpu`` have options of their own."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
from pathlib import Path

from parallelrun_jupyter.version import __version__

from .gpu import command as gpu
from .measure import HEAD
from .peers import command as peers

_ALL = (
    "overhead",
    "items",
    "starts",
    "seed",
    "work",
    "scale",
    "staging",
    "window",
    "growth",
    "tables",
    "cluster",
    "crowd",
    "parts",
    "update",
)
"""The benchmark modules; each is imported, with its dependencies, when it is selected."""

_NAMED = ("large",)
"""Those that need many minutes, and run only when they are named."""


def main() -> None:
    """Run the selected benchmarks, interleaved, in one run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        help=f"of {', '.join(_ALL)} (default: all of these), {', '.join(_NAMED)}, or only: peers, gpu",
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--small", action="store_true", help="fewer files; only of update")
    given = parser.parse_args()
    unknown = set(given.what).difference(_ALL, _NAMED)
    if unknown:
        parser.error(f"{unknown.pop()!r} is none of {', '.join((*_ALL, *_NAMED))}")
    if given.small and given.what != ["update"]:
        parser.error("--small is for update only")
    options = {"is_small": True} if given.small else {}
    figures = []
    with tempfile.TemporaryDirectory(prefix="parallelrun-bench-") as folder:
        for name in given.what or _ALL:
            measure = importlib.import_module(f"benchmarks.{name}").measure
            figures += measure(Path(folder), given.rounds, **options)
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
    for name, command in (("peers", peers), ("gpu", gpu)):
        if sys.argv[1:2] == [name]:
            sys.exit(command.main(sys.argv[2:]))
    main()
