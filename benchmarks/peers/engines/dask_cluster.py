"""Dask on this machine: ``client.map`` for files, its dataframe for tables. It has no timeouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed import Client, LocalCluster, as_completed
from distributed.scheduler import KilledWorker

from ..results import Results
from ..workload import CSV, JSON_LINES, PARQUET, Workload
from .calls import call


def run(workload: Workload, results: Results) -> None:
    """Start a cluster of processes, and take the results as they come."""
    with (
        LocalCluster(
            n_workers=workload.workers,
            threads_per_worker=1,
            dashboard_address=None,
            local_directory=str(results.folder),
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        futures = _submit(client, workload)
        numbers = {future.key: number for number, future in enumerate(futures)}
        for future, found in as_completed(futures, with_results=True, raise_errors=False):
            if future.status == "finished":
                results.done(found)
            else:
                how = "crash" if isinstance(found[1], KilledWorker) else "exception"
                results.failed(numbers[future.key], how)
                results.note = str(found[1])
            future.release()
        results.finish()


def _submit(client: Any, workload: Workload) -> list[Any]:
    """Return a future for each mini-batch."""
    if not workload.is_table:
        batches = workload.mini_batches()
        scripts = [workload.module] * len(batches)
        return list(
            client.map(call, scripts, batches, pure=False, retries=workload.retries or None)
        )
    import dask.dataframe as dd

    # For quoted strings with line terminators, its documentation wants blocksize=None.
    read: dict[str, Callable[[], Any]] = {
        CSV: lambda: dd.read_csv(workload.source, blocksize=None if workload.is_quoted else "1MB"),
        JSON_LINES: lambda: dd.read_json(workload.source, lines=True, blocksize=1 << 20),
        PARQUET: lambda: dd.read_parquet(workload.source, split_row_groups=True),
    }
    frame = read[workload.format]()
    rows = frame.map_partitions(_predict, workload.module, meta=("row", "str"))
    return list(client.compute(rows.to_delayed()))


def _predict(frame: Any, module: str) -> Any:
    """Return the rows of a partition as the column that travels best."""
    import pandas as pd

    return pd.Series(call(module, frame), name="row", dtype="str")
