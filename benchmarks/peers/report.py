"""The measurements as Markdown: a table for each workload."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from .rounds import Measured
from .workload import FIRST, Workload

HEAD = (
    "| engine | seconds, median (range) | times the bound | a second | a second, after the first result "
    "| first result, s | memory, MB | output |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)

_LATE = 0.98
"""The part of the time after which a first result tells nothing of a rate."""

HEAD_OF_FIRST = (
    "| engine | first result, ms, median (9 of 10 within) | measured | memory, MB | output |\n"
    "| --- | --- | --- | --- | --- |"
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
    about = f" {workload.about}" if workload.about else ""
    head = HEAD_OF_FIRST if workload.kind == FIRST else HEAD
    lines = [f"### {workload.name}\n", f"{amount}{bound}.{about}\n", head]
    lines += [_row(workload, name, several, bound_s) for name, several in found.items()]
    lines += [_unmeasured(head, name, f"not measured: {why}") for name, why in left_out.items()]
    return "\n".join(lines) + "\n"


def _unmeasured(head: str, name: str, why: str) -> str:
    columns = head.partition("\n")[0].count("|") - 3
    return f"| {name} {'| ' * columns}| {why.replace('|', '/')} |"


def _row(workload: Workload, name: str, several: Sequence[Measured], bound_s: float | None) -> str:
    wrong = next((one.wrong for one in several if one.wrong), "")
    if wrong:
        head = HEAD_OF_FIRST if workload.kind == FIRST else HEAD
        return _unmeasured(head, name, f"WRONG: {wrong}")
    counted = several[1:] or several
    if workload.kind == FIRST:
        return _row_of_first(name, counted, several[0].peak_mb or 0)
    totals = [one.total_s for one in counted]
    middle = statistics.median(totals)
    firsts = [one.first_s for one in counted if one.first_s is not None]
    first = statistics.median(firsts) if firsts else None
    order = "right, in order" if all(one.is_in_order for one in several) else "right"
    ratio = "" if bound_s is None else f"{middle / bound_s:.2f}"
    rate = f"{workload.amount / middle:,.0f} {workload.unit}"
    # An engine that hands out all results at its end has no rate after the first one.
    is_late = first is None or first > _LATE * middle
    after = "" if is_late else f"{workload.amount / (middle - (first or 0)):,.0f}"
    return (
        f"| {name} | {middle:.2f} ({min(totals):.2f}-{max(totals):.2f}) | {ratio} | {rate} | {after} "
        f"| {'' if first is None else f'{first:.2f}'} | {several[0].peak_mb or 0:.0f} | {order} |"
    )


def _row_of_first(name: str, counted: Sequence[Measured], peak_mb: float) -> str:
    """Return the row of times to the first result, without those of the first call of a process."""
    times = sorted(second * 1000 for one in counted for second in one.samples[1:])
    high = times[round(0.95 * (len(times) - 1))]
    low = times[round(0.05 * (len(times) - 1))]
    order = "right, in order" if all(one.is_in_order for one in counted) else "right"
    return (
        f"| {name} | {statistics.median(times):.1f} ({low:.1f}-{high:.1f}) | {len(times)} times "
        f"| {peak_mb:.0f} | {order} |"
    )
