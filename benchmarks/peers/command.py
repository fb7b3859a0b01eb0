"""``python -m benchmarks peers``: which engines and workloads, how often, and the tables."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from parallelrun_jupyter.formatting import plural
from parallelrun_jupyter.version import __version__

from ..names import names_of
from . import endpoint
from .data import NEEDED, WORKLOADS
from .engines import ENGINES, INLINE, NAMES, Engine
from .report import bound_of, table
from .rounds import Measured, measure
from .summary import Line, line_of, tables, versions
from .workload import ENDPOINT, Workload

INSTALL = "pip install -e '.[bench]'"


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and print the tables; exit status 0 if ours was right everywhere."""
    given = _parser().parse_args(words)
    if given.rounds is None:
        given.rounds = 0 if given.small else 3
    given.limit = given.limit or (30 if given.small else 120)
    print(
        f"parallelrun-jupyter {__version__}, Python {platform.python_version()}, "
        f"{platform.system()}, {os.cpu_count()} cores; {_rounds(given.rounds)}. From the "
        "call, with everything imported, to the last result in the output file. "
        f"{versions(given.engines)}.\n"
    )
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="parallelrun-peers-data-") as temporary:
        folder = Path(given.data or temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.workloads:
            lacking = [p for p in NEEDED.get(name, ()) if importlib.util.find_spec(p) is None]
            if lacking:
                print(f"Left out: {name}, which needs {', '.join(lacking)}: {INSTALL}\n")
                continue
            lines.append(_compare(WORKLOADS[name](folder, is_small=given.small), given))
    print(tables(lines), flush=True)
    return 1 if any(line.seconds.get("ours", 0) is None for line in lines) else 0


def _rounds(count: int) -> str:
    if not count:
        return "a round that does not count, while memory is sampled"
    return f"{plural(count, 'interleaved round')}, after one that does not count"


def _compare(workload: Workload, given: argparse.Namespace) -> Line:
    """Measure the engines on a workload and print its table; return its line of the summary."""
    known = ENGINES[workload.kind]
    left_out = {
        name: _why_not(engine, workload) for name, engine in known.items() if name in given.engines
    }
    taking_part = {name: known[name] for name, why in left_out.items() if not why}
    if workload.has_plain_loop:
        taking_part = {"inline": INLINE[workload.kind], **taking_part}

    def say(name: str, number: int, one: Measured) -> None:
        seconds = statistics.median(one.samples or [one.total_s])
        what = f"WRONG: {one.wrong}" if one.wrong else f"{seconds:8.3f} s"
        counts = "" if number or not given.rounds else "  (not counted)"
        print(f"  {workload.name:<18} {name:<16} {what}{counts}", file=sys.stderr, flush=True)

    left_out = {name: why for name, why in left_out.items() if why}
    if workload.kind == ENDPOINT:
        called = endpoint.measure(workload, taking_part, given.rounds, given.limit, say)
        print(endpoint.table(workload, called, left_out), flush=True)
        steady = {
            name: [one.measured for one in several if not one.is_killed]
            for name, several in called.items()
        }
        return line_of(workload, workload.bound_s(), steady)
    found = measure(workload, taking_part, given.rounds, given.limit, say)
    bound_s = bound_of(workload, found.get("inline", []))
    print(table(workload, found, left_out, bound_s), flush=True)
    return line_of(workload, bound_s, found)


def _why_not(engine: Engine, workload: Workload) -> str:
    """Return why an engine does not take part; empty if it does."""
    missing = engine.missing()
    return f"needs {', '.join(missing)}: {engine.install}" if missing else engine.why_not(workload)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks peers", description=__doc__)
    parser.add_argument("--workloads", type=names_of(WORKLOADS), default=list(WORKLOADS),
                        help=f"of {', '.join(WORKLOADS)}; separated by commas (default: all)")  # fmt: skip
    parser.add_argument("--engines", type=names_of(NAMES), default=NAMES,
                        help=f"of {', '.join(NAMES)} (default: all that are installed)")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=None,
                        help="counted rounds, after one that does not count (default: 3; small: none)")  # fmt: skip
    parser.add_argument("--small", action="store_true", help="little data, to see that it works")
    parser.add_argument("--limit", type=float, default=None,
                        help="seconds that one measurement may take (default: 120; small: 30)")  # fmt: skip
    parser.add_argument("--data", help="keep the data in this folder (default: a temporary one)")
    return parser
