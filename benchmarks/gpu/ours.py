"""This project: the script is submitted, with one worker for the device or with several."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from parallelrun_jupyter import FileDataset, ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.runs.journal.events import NodeSampled

from .work import Work

GPU_COLUMN = 6
"""Where the GPU's percentage is in a worker's sample."""


def main(words: Sequence[str]) -> None:
    """Run the script of a work; print the seconds, the output, and the GPU's percentage in the window."""
    work, folder, workers = Work(*json.loads(words[0])), words[1], int(words[2])
    os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    config = ParallelRunConfig(
        entry_script=work.script,
        process_count_per_node=workers,
        environment_variables={"CUDA_VISIBLE_DEVICES": ",".join([gpu] * workers)},
        mini_batch_size=work.mini_batch_size,
    )
    inputs: Any = FileDataset(work.source)
    if work.name == "table":
        inputs = TabularDataset.from_delimited_files(work.source)
    began = time.monotonic()
    run = submit(config, inputs=inputs, output=os.path.join(folder, "output"))
    run.wait_for_completion(show_output=False)
    seconds = time.monotonic() - began
    found = {"seconds": seconds, "output": run.snapshot()["output"], "window": window(run)}
    print(json.dumps(found))


def window(run: Run) -> float | None:
    """Return the median of the percentages that the window has shown; None without any."""
    sampled = [event for event in run.events(follow=False) if isinstance(event, NodeSampled)]
    rows = [row for event in sampled for row in event.workers if len(row) > GPU_COLUMN]
    shown = [float(row[GPU_COLUMN]) for row in rows if float(row[GPU_COLUMN]) >= 0]
    return statistics.median(shown) if shown else None


if __name__ == "__main__":
    main(sys.argv[1:])
