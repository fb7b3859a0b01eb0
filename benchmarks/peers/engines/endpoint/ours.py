"""This project: ``map`` of an async function, and ``resume``."""

from __future__ import annotations

import os

import parallelrun_jupyter as parallelrun

from ...results import Results
from ...scripts.endpoint import ask
from ...workload import Workload


def run(workload: Workload, results: Results, *, is_again: bool = False) -> None:
    """Run the function, or resume the run that was killed."""
    os.environ["PARALLELRUN_HOME"] = str(results.folder / "home")
    if is_again:
        [killed] = parallelrun.Run.list()
        one = killed.resume()
    else:
        one = parallelrun.map(
            ask, range(workload.count), rate_limit=f"{workload.rate}/s", concurrency=100
        )
    results.returned(one.results())
