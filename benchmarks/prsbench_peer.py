"""This project as a peer of prsbench: copy the file to ``prsbench/peers/parallelrun.py``.

The other peers get Python lists; this one lists files on disk. For a workload without files, empty ones
are made before the clock starts, and listing them is inside the timing. A table is one file: finding the
ends of its rows is inside the timing, and so is what decides its column types, unless they are given
(``parallelrun-types``). ``parallelrun-warm`` is the second run of a notebook, with ``preload="auto"``: the
first, over one file or a thousand rows, is before the clock starts. Every mini-batch has its timeout,
its attempts and its line in the journal; rows come in input order. A mini-batch that
fails is not divided: the harness counts whole mini-batches, and the other peers do not look further.
"""

from __future__ import annotations

import os
import time
from typing import Any

from parallelrun_jupyter import FileDataset, ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded

from ..api import Result, Workload  # type: ignore[import-not-found]  # prsbench has it

VARIANTS = {
    "parallelrun": {},
    "parallelrun-warm": {"is_warm": True},
    "parallelrun-types": {"are_types_given": True},
    "parallelrun-types-warm": {"are_types_given": True, "is_warm": True},
}
KINDS = {"noop", "digits", "csv", "sleepy", "faults"}
ONLY = {"parallelrun-types": {"csv"}, "parallelrun-types-warm": {"csv"}}

_SETTLED_S = 2.0
"""Seconds until the driver of the first run waits for the second."""

_KINDS = {"exception": "exception", "timeout": "timeout", "worker_lost": "crash"}
_NAMED = """
import os
from {module} import init, run as run_named
START = {start}

def run(mini_batch):
    return run_named([path[START:] for path in mini_batch])
"""
_TABLE = """
from {module} import encode, init, run as predict

def run(frame):
    return encode(predict(frame)).decode("ascii").splitlines()
"""


def run(
    workload: Workload, workers: int, *, are_types_given: bool = False, is_warm: bool = False
) -> Result:
    """Run a workload; report when the first and the last mini-batch were over."""
    if workload.kind == "csv":
        inputs, script = _prepare_table(workload, are_types_given=are_types_given)
    else:
        inputs, script = _prepare(workload)
    os.environ["PARALLELRUN_HOME"] = os.path.join(workload.scratch, "home")
    os.environ["PYTHONPATH"] = os.getcwd()
    config = ParallelRunConfig(
        entry_script=script,
        mini_batch_size="1MB" if workload.kind == "csv" else workload.mini_batch_size,
        process_count_per_node=workers,
        run_invocation_timeout=int(workload.timeout_s or 60),
        run_max_try=1 + workload.max_retries,
        error_threshold=-1,
        isolate_failures=False,
        preload="auto" if is_warm else None,
    )
    if is_warm:
        submit(config, inputs=_first_of(inputs, workload.scratch)).wait_for_completion(
            show_output=False
        )
        time.sleep(_SETTLED_S)
    began = time.time()
    handle = submit(config, inputs=inputs, output=os.path.join(workload.scratch, "ours"))
    handle.wait_for_completion(show_output=False, raise_on_error=False)
    return _account(handle, workload, began)


def _first_of(inputs: Any, scratch: str) -> Any:
    """Return a small input of the same kind: the first file, or the first thousand rows of the table."""
    if not isinstance(inputs, TabularDataset):
        return next(FileDataset(inputs).listed())[0]
    path = os.path.join(scratch, "first.csv")
    inputs.take(1000).to_csv(path, index=False)
    return TabularDataset.from_delimited_files(path)


def _prepare_table(workload: Workload, *, are_types_given: bool) -> tuple[Any, str]:
    """Return the table and the script; its rows are the lines of the script's own encoding."""
    types = None
    if are_types_given:
        types = {"id": "int64", "text": "str", **{f"x{k}": "float64" for k in range(8)}}
    script = os.path.join(workload.scratch, "table.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(_TABLE.format(module=workload.script))
    return TabularDataset.from_delimited_files(workload.source, column_types=types), script


def _prepare(workload: Workload) -> tuple[str, str]:
    """Return the inputs and the script; other items become empty files."""
    if workload.kind == "digits":
        return os.path.dirname(workload.items[0]), workload.script_path
    root = os.path.join(workload.scratch, "items")
    for item in workload.items:
        path = os.path.join(root, item)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    script = os.path.join(workload.scratch, "named.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(_NAMED.format(module=workload.script, start=len(root) + 1))
    return root, script


def _account(handle: Run, workload: Workload, began: float) -> Result:
    """Tell the harness how every mini-batch ended."""
    created = handle.folder.read_record().created_at
    times: list[int] = []
    for event in handle.events(follow=False):
        if isinstance(event, AttemptSucceeded):
            workload.sink.outcomes[event.mini_batch] = ("ok", "")
            workload.sink.n_done += 1
        elif isinstance(event, AttemptFailed) and event.is_last:
            workload.sink.failed(event.mini_batch, _KINDS.get(event.kind, event.kind))
        else:
            continue
        times.append(event.at_ms)
    snapshot = handle.snapshot()
    lag = created - began
    start = time.perf_counter() - (time.time() - began)
    workload.sink.t_first = start + lag + times[0] / 1000
    workload.sink.t_last = start + lag + times[-1] / 1000
    return Result(
        output_path=snapshot["output"],
        first_s=lag + times[0] / 1000,
        total_s=lag + snapshot["elapsed_s"],
        extra={"state": snapshot["state"]},
    )
