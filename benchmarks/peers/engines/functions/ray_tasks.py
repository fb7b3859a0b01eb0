"""Ray: a task an item, its pool, which makes chunks, and Ray Data for a DataFrame."""

from __future__ import annotations

import logging
import time
from typing import Any

import pandas as pd
import ray
import ray.data
from ray.util.multiprocessing import Pool

from ...results import Results
from ...scripts.functions import score, spin
from ...values import frame_of, rows_of, slices
from ...workload import FIRST, FRAME, Workload


def run(workload: Workload, results: Results, *, in_pool: bool = False) -> None:
    """Start Ray on this machine, and get the values."""
    ray.init(
        num_cpus=workload.workers, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR,
    )  # fmt: skip
    items = range(workload.count)
    if workload.kind == FRAME:
        _score(workload, results)
    elif in_pool:
        with Pool(workload.workers) as pool:
            results.returned(map(str, pool.map(spin, items)))
    else:
        task: Any = ray.remote(spin)
        if workload.kind == FIRST:
            for _ in range(workload.samples + 1):
                values = _first(task, items, results)
        else:
            values = ray.get([task.remote(item) for item in items])
        results.returned(map(str, values))
    ray.shutdown()


def _first(task: Any, items: range, results: Results) -> list[int]:
    """Note the seconds to the first result; return all of them."""
    began = time.perf_counter()
    references = [task.remote(item) for item in items]
    ray.get(references[0])
    results.samples.append(time.perf_counter() - began)
    values: list[int] = ray.get(references)
    return values


def _score(workload: Workload, results: Results) -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    frame = frame_of(workload.count, has_text=workload.has_text)
    data = ray.data.from_pandas([frame.iloc[part] for part in slices(workload.count)])
    found = data.map_batches(_score_batch, batch_format="pandas", batch_size=None).to_pandas()
    results.returned(rows_of(found["score"]))


def _score_batch(frame: Any) -> Any:
    return pd.DataFrame({"score": score(frame)})
