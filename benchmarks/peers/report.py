"""The measurements as Markdown: a table for each workload."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from .rounds import Measured
from .workload import Workload

HEAD = (
    "| engine | seconds, median (range) | times the bound | a second | a second, after the first result "
    "| first result, s | memory, MB | output |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def bound_of(workload: Workload, inline: Sequence[Measured]) -> float | None:
    """Return the least seconds: of sleeping, or of a plain loop divided among the workers."""
    slept = workload.bound_s()
    counted = inline[1:] or inline
    if slept is not None or not counted or any(one.wrong for one in inline):
        return slept
    init_s = statistics.median(one.init_s for one in counted)
    total_s = statistics.median(one.total_s for one in counted)
    return init_s + (total_s - init_s) / workload.workers


def table(
    workload: Workload,
    found: Mapping[str, Sequence[Measured]],
    left_out: Mapping[str, str],
    bound_s: float | None,
) -> str:
    """Return the table of a workload."""
    amount = f"{workload.amount:,.0f} {workload.unit}, {workload.workers} workers"
    bound = "" if bound_s is None else f"; the bound is {bound_s:.2f} s"
    lines = [f"### {workload.name}\n", f"{amount}{bound}.\n", HEAD]
    lines += [_row(workload, name, several, bound_s) for name, several in found.items()]
    lines += [f"| {name} | | | | | | | not measured: {why} |" for name, why in left_out.items()]
    return "\n".join(lines) + "\n"


def _row(workload: Workload, name: str, several: Sequence[Measured], bound_s: float | None) -> str:
    wrong = next((one.wrong for one in several if one.wrong), "")
    if wrong:
        return f"| {name} | | | | | | | WRONG: {wrong.replace('|', '/')} |"
    counted = several[1:] or several
    totals = [one.total_s for one in counted]
    middle = statistics.median(totals)
    firsts = [one.first_s for one in counted if one.first_s is not None]
    first = statistics.median(firsts) if firsts else None
    order = "right, in order" if all(one.is_in_order for one in several) else "right"
    ratio = "" if bound_s is None else f"{middle / bound_s:.2f}"
    rate = f"{workload.amount / middle:,.0f} {workload.unit}"
    after = "" if first is None or first >= middle else f"{workload.amount / (middle - first):,.0f}"
    return (
        f"| {name} | {middle:.2f} ({min(totals):.2f}-{max(totals):.2f}) | {ratio} | {rate} | {after} "
        f"| {'' if first is None else f'{first:.2f}'} | {several[0].peak_mb or 0:.0f} | {order} |"
    )
