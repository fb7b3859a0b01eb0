"""``concurrent.futures.ProcessPoolExecutor.map`` in chunks of a given size."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from ...results import Results
from ...scripts.functions import score, spin
from ...values import frame_of, rows_of, slices
from ...workload import FIRST, FRAME, Workload


def run(workload: Workload, results: Results, chunksize: int = 1) -> None:
    """Start a pool, and map."""
    with ProcessPoolExecutor(workload.workers) as pool:
        if workload.kind == FRAME:
            frame = frame_of(workload.count, has_text=workload.has_text)
            parts = (frame.iloc[part] for part in slices(workload.count))
            results.returned(rows_of(np.concatenate(list(pool.map(score, parts)))))
        elif workload.kind == FIRST:
            for _ in range(workload.samples + 1):
                began = time.perf_counter()
                found = pool.map(spin, range(workload.count), chunksize=chunksize)
                values = [next(found)]
                results.samples.append(time.perf_counter() - began)
                values += found
            results.returned(map(str, values))
        else:
            found = pool.map(spin, range(workload.count), chunksize=chunksize)
            results.returned(map(str, list(found)))
