"""This project: ``map``, ``map_batches`` and ``stream``, everything else at its default."""

from __future__ import annotations

import os
import time

import parallelrun_jupyter as parallelrun

from ...results import Results
from ...scripts.functions import score, spin
from ...values import frame_of, rows_of
from ...workload import FIRST, FRAME, Workload


def run(workload: Workload, results: Results) -> None:
    """Run the function."""
    os.environ["PARALLELRUN_HOME"] = str(results.folder / "home")
    if workload.kind == FRAME:
        frame = frame_of(workload.count, has_text=workload.has_text)
        one = parallelrun.map_batches(score, frame, process_count_per_node=workload.workers)
        scores = one.results()
        results.returned(rows_of(scores))
        if not scores.index.equals(frame.index):
            msg = "the results do not have the index of the frame"
            raise ValueError(msg)
    elif workload.kind == FIRST:
        for _ in range(workload.samples + 1):
            values = _first(workload, results)
        results.returned(map(str, values))
    else:
        one = parallelrun.map(spin, range(workload.count), process_count_per_node=workload.workers)
        results.returned(map(str, one.results()))


def _first(workload: Workload, results: Results) -> list[int]:
    """Note the seconds to the first result; return all of them."""
    began = time.perf_counter()
    one = parallelrun.map(spin, range(workload.count), process_count_per_node=workload.workers)
    next(iter(one.stream()))
    results.samples.append(time.perf_counter() - began)
    values: list[int] = one.results()
    return values
