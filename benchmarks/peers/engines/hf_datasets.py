"""Hugging Face datasets: ``map`` in batches, with processes. It has no timeouts, and the first exception ends it."""

from __future__ import annotations

from typing import Any

import datasets

from ..results import Results
from ..workload import FRAME_ROWS, JSON_LINES, Workload
from .calls import call

_BUILDERS = {JSON_LINES: "json"}


def run(workload: Workload, results: Results) -> None:
    """Map the script over paths or over a table, whose file becomes Arrow first."""
    datasets.disable_progress_bars()
    if workload.is_table:
        read = datasets.load_dataset(
            _BUILDERS.get(workload.format, workload.format),
            data_files=workload.source,
            split="train",
            cache_dir=str(results.folder),
        )
        data, size = read.with_format("pandas"), FRAME_ROWS
    else:
        paths = [path for batch in workload.mini_batches() for path in batch]
        data, size = datasets.Dataset.from_dict({"path": paths}), workload.size
    rows = data.map(
        _rows_of_frame if workload.is_table else _rows_of_paths, batched=True, batch_size=size,
        num_proc=workload.workers, fn_kwargs={"module": workload.module},
        remove_columns=data.column_names,
    )  # fmt: skip
    for batch in rows.with_format(None).iter(10_000):
        results.done(batch["row"])
    results.finish()


def _rows_of_frame(frame: Any, module: str) -> dict[str, Any]:
    return {"row": call(module, frame)}


def _rows_of_paths(columns: Any, module: str) -> dict[str, Any]:
    return {"row": call(module, columns["path"])}
