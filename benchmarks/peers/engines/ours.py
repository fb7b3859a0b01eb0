"""This project, as a notebook would use it: ``submit`` and wait, everything else at its default."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from parallelrun_jupyter import FileDataset, ParallelRunConfig, TabularDataset, submit
from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded

from ..results import Results
from ..workload import CSV, JSON_LINES, PARQUET, Workload

_TABLES = {
    CSV: TabularDataset.from_delimited_files,
    JSON_LINES: TabularDataset.from_json_lines_files,
    PARQUET: TabularDataset.from_parquet_files,
}
_KINDS = {"exception": "exception", "timeout": "timeout", "worker_lost": "crash"}


def run(workload: Workload, results: Results) -> None:
    """Run the script; the clock stops when the waiting is over, and the output file is there."""
    os.environ["PARALLELRUN_HOME"] = str(results.folder / "home")
    settings: dict[str, Any] = {}
    if not workload.is_table:
        settings["mini_batch_size"] = workload.size
    if workload.timeout_s:
        settings |= {"run_invocation_timeout": workload.timeout_s, "error_threshold": -1,
                     "run_max_try": 1 + workload.retries}  # fmt: skip
    config = ParallelRunConfig(
        entry_script=workload.path, process_count_per_node=workload.workers, **settings
    )
    make = _TABLES[workload.format] if workload.is_table else FileDataset
    began = time.time()
    handle = submit(config, inputs=make(workload.source), output=results.folder / "output")
    handle.wait_for_completion(show_output=False)
    results.finish()
    first_ms = None
    for event in handle.events(follow=False):
        if isinstance(event, AttemptSucceeded) and first_ms is None:
            first_ms = event.at_ms
        elif isinstance(event, AttemptFailed) and event.is_last:
            results.failed(event.mini_batch, _KINDS.get(event.kind, event.kind))
    lag = handle.folder.read_record().created_at - began
    first_s = None if first_ms is None else lag + first_ms / 1000
    results.adopt(Path(str(handle.snapshot()["output"])), first_s)
