"""Hugging Face datasets: ``map`` with processes, an item at a time or a batch of rows at a time."""

from __future__ import annotations

from typing import Any

import datasets

from ...results import Results
from ...scripts.functions import score, spin
from ...values import PARTS, frame_of, rows_of
from ...workload import FRAME, Workload


def run(workload: Workload, results: Results) -> None:
    """Make a dataset of the variable, and map."""
    datasets.disable_progress_bars()
    if workload.kind == FRAME:
        frame = frame_of(workload.count, has_text=workload.has_text)
        data = datasets.Dataset.from_pandas(frame, preserve_index=False)
        found = data.with_format("pandas").map(
            _score, batched=True, batch_size=-(-workload.count // PARTS),
            num_proc=workload.workers, remove_columns=data.column_names,
        )  # fmt: skip
        results.returned(rows_of(found[:]["score"]))
    else:
        data = datasets.Dataset.from_dict({"item": range(workload.count)})
        found = data.map(_spin, num_proc=workload.workers, remove_columns=["item"])
        results.returned(map(str, found[:]["value"]))


def _score(frame: Any) -> dict[str, Any]:
    return {"score": score(frame)}


def _spin(row: dict[str, int]) -> dict[str, int]:
    return {"value": spin(row["item"])}
