"""joblib on loky, with batches of the size that it finds for itself.

The first exception ends the whole call, so exceptions of the script are returned as values. joblib has no
retries, and its timeout is for the whole call.
"""

from __future__ import annotations

from joblib import Parallel, delayed

from ..results import Results
from ..workload import Workload
from .calls import attempt


def run(workload: Workload, results: Results) -> None:
    """Go through the results as they come, in any order."""
    parallel = Parallel(
        n_jobs=workload.workers, return_as="generator_unordered", timeout=workload.timeout_s
    )
    inputs = enumerate(workload.inputs())
    for number, rows in parallel(delayed(attempt)(workload.module, *given) for given in inputs):
        if rows is None:
            results.failed(number, "exception")
        else:
            results.done(rows)
    results.finish()
