"""Dask on this machine: ``client.map``, its bag of items in partitions, its dataframe."""

from __future__ import annotations

import time
from typing import Any

import dask.bag
import dask.dataframe
from distributed import Client, LocalCluster

from ...results import Results
from ...scripts.functions import score, spin
from ...values import PARTS, frame_of, rows_of
from ...workload import FIRST, FRAME, Workload


def run(workload: Workload, results: Results, *, in_bag: bool = False) -> None:
    """Start a cluster of processes, and gather the values."""
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
        items = range(workload.count)
        if workload.kind == FRAME:
            frame = frame_of(workload.count, has_text=workload.has_text)
            from_pandas: Any = dask.dataframe.from_pandas
            parts = from_pandas(frame, npartitions=PARTS)
            results.returned(rows_of(parts.map_partitions(score, meta=(None, "f8")).compute()))
        elif workload.kind == FIRST:
            for _ in range(workload.samples + 1):
                values = _first(client, items, results)
            results.returned(map(str, values))
        elif in_bag:
            from_sequence: Any = dask.bag.from_sequence
            bag = from_sequence(items)  # about a hundred partitions
            results.returned(map(str, bag.map(spin).compute()))
        else:
            results.returned(map(str, client.gather(client.map(spin, items))))


def _first(client: Any, items: range, results: Results) -> list[int]:
    """Note the seconds to the first result; return all of them."""
    began = time.perf_counter()
    futures = client.map(spin, items, pure=False)
    futures[0].result()
    results.samples.append(time.perf_counter() - began)
    values: list[int] = client.gather(futures)
    return values
