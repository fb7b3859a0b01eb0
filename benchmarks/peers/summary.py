"""All workloads in few tables: the medians of the engines side by side, as a page prints them."""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .engines import ENGINES
from .rounds import Measured
from .workload import ENDPOINT, FIRST, FRAME, ITEMS, SCRIPT, TABLE, Workload

_TITLES = {
    (SCRIPT, TABLE): "scripts over files and tables",
    (ITEMS, FRAME): "functions over items and DataFrames",
    (FIRST,): "the first result of a function",
    (ENDPOINT,): "calls of a server",
}


@dataclass(frozen=True)
class Line:
    """A workload, its bound, and the median seconds of each engine; None if an output was wrong."""

    workload: Workload
    bound_s: float | None
    seconds: Mapping[str, float | None]


def line_of(
    workload: Workload, bound_s: float | None, found: Mapping[str, Sequence[Measured]]
) -> Line:
    """Return the line of a workload; the plain loop is in its bound."""
    medians = {name: _median(several) for name, several in found.items() if name != "inline"}
    return Line(workload, bound_s, medians)


def tables(lines: Sequence[Line]) -> str:
    """Return a table for each kind of workload that was measured."""
    parts = []
    for kinds, title in _TITLES.items():
        chosen = [line for line in lines if line.workload.kind in kinds]
        if chosen:
            parts.append(f"### Summary: {title}\n\n{_table(chosen)}\n")
    return "\n".join(parts)


def versions(names: Iterable[str]) -> str:
    """Return the packages of engines with their versions, those that are installed."""
    modules = {
        module.partition(".")[0]
        for engines in ENGINES.values()
        for name, engine in engines.items()
        if name in names
        for module in engine.needs
    }
    owners = importlib.metadata.packages_distributions()
    packages = {owners[module][0] for module in modules | {"pandas", "numpy"} if module in owners}
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(packages))


def _median(several: Sequence[Measured]) -> float | None:
    if any(one.wrong for one in several):
        return None
    counted = several[1:] or several
    samples = [second for one in counted for second in one.samples[1:]]
    return statistics.median(samples or [one.total_s for one in counted])


def _table(lines: Sequence[Line]) -> str:
    names = list(dict.fromkeys(name for line in lines for name in line.seconds))
    head = ["seconds, medians", *names, "bound"]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        workload = line.workload
        title = (
            f"{workload.name}: {workload.amount:,.0f} {workload.unit}, {workload.workers} workers"
        )
        cells = ["" if name not in line.seconds else _cell(line.seconds[name]) for name in names]
        bound = "" if line.bound_s is None else _cell(line.bound_s)
        rows.append([title, *cells, bound])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(seconds: float | None) -> str:
    if seconds is None:
        return "wrong"
    return f"{seconds:.2f}" if seconds >= 0.1 else f"{seconds:.4f}"
