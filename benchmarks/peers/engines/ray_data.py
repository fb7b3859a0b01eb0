"""Ray Data: ``map_batches`` with a pool of actors. It has no timeouts."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import ray
import ray.data
from pyarrow import csv

from ..results import Results
from ..workload import FRAME_ROWS, JSON_LINES, PARQUET, Workload
from .calls import call


class Predict:
    """An actor, which keeps the state of ``init()``."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Return the rows of a batch: paths by the column ``path``, or a DataFrame."""
        given = [str(path) for path in batch["path"]] if isinstance(batch, dict) else batch
        return {"row": np.array(call(self._module, given), dtype=object)}


def run(workload: Workload, results: Results) -> None:
    """Start Ray on this machine, and take the blocks of rows as they come."""
    ray.init(
        num_cpus=workload.workers, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR,
    )  # fmt: skip
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    if workload.timeout_s:
        context.max_errored_blocks = -1  # a batch that raises does not end it all
    data, options = _read(workload)
    data = data.map_batches(
        Predict, fn_constructor_args=[workload.module],
        compute=ray.data.ActorPoolStrategy(size=workload.workers), **options,
    )  # fmt: skip
    for batch in data.iter_batches(batch_size=None):
        results.done(map(str, batch["row"]))
    results.finish()
    ray.shutdown()


def _read(workload: Workload) -> tuple[Any, dict[str, Any]]:
    """Return the dataset, and how it is to be cut into batches."""
    if workload.is_table:
        # Every core has its actor: the reading tasks must not wait for one.
        if workload.format == JSON_LINES:
            data = ray.data.read_json(workload.source, lines=True, num_cpus=0)
        elif workload.format == PARQUET:
            data = ray.data.read_parquet(workload.source, num_cpus=0)
        else:
            parse = csv.ParseOptions(newlines_in_values=workload.is_quoted)
            data = ray.data.read_csv(workload.source, parse_options=parse, num_cpus=0)
        return data, {"batch_format": "pandas", "batch_size": FRAME_ROWS}
    batches = workload.mini_batches()
    rows = [{"path": path} for batch in batches for path in batch]
    # Whole mini-batches in every block; few blocks if they are short, as its documentation advises.
    blocks = min(len(batches), 32 * workload.workers)
    if workload.script in {"sleeps", "faults"}:
        blocks = len(batches)
    each = -(-len(batches) // blocks) * workload.size
    data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // each))
    return data, {"batch_size": workload.size}
