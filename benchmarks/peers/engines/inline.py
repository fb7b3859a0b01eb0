"""A plain loop in one process: the work without any engine."""

from __future__ import annotations

import time

from ..results import Results
from ..workload import Workload


def run(workload: Workload, results: Results) -> None:
    """Call ``init()``, then ``run`` for one mini-batch after the other."""
    began = time.perf_counter()
    script = workload.load()
    script.init()
    results.init_s = time.perf_counter() - began
    for mini_batch in workload.inputs():
        results.done(script.run(mini_batch))
    results.finish()
