"""The record of a new run: its script, inputs, output, place and limits."""

from __future__ import annotations

import os
import random
import sys
import time
from dataclasses import fields
from pathlib import Path

from ..config.call_form import form_of_source
from ..config.compute import Compute, node_counts
from ..config.run_config import ParallelRunConfig
from ..config.step import ParallelRunStep
from ..environment import as_environment
from ..formatting import looks_secret
from ..machine import usable_cores
from ..runs import run_folder
from ..runs.run_record import (
    EntryScript,
    Placement,
    RunCalls,
    RunInputs,
    RunLimits,
    RunOutput,
    RunRecord,
)
from ..version import __version__
from ..worker.output.formats import OBJECTS, PARQUET, TEXT
from .calls import calls_of, cut_of
from .preload import preload_of
from .run_names import default_name
from .script import Script
from .updates import modules_in

RESULTS_FILE = "results.objects"
"""The file in the run's own folder with results of any type."""


def make_record(step: ParallelRunStep, script: Script, target: Compute, name: str) -> RunRecord:
    """Return the record of a run, with an id of its own."""
    config = step.config
    now = time.time()
    source = script.source_directory
    form = script.form or form_of_source(script.source())
    calls = calls_of(config, form, script.call)
    cut = cut_of(step, calls, script.call)
    variables = config.environment_variables or {}
    has_objects = bool(script.call) and config.output_format is None
    return RunRecord(
        run_id=run_folder.new_run_id(now, random.Random()),  # noqa: S311 - a name, not a secret
        name=name.strip() or default_name(script.title or script.path.stem, step.inputs),
        created_at=now,
        version=__version__,
        driver_python=sys.executable,
        description=config.description or "",
        script=EntryScript(
            path=str(script.path.relative_to(source)) if source else script.path.name,
            source_directory=str(source) if source else None,
            cwd=os.getcwd(),
            python=as_environment(config.environment).resolve(),
            is_python_named=config.environment is not None,
            arguments=step.arguments,
            environment_variables={k: None if looks_secret(k) else v for k, v in variables.items()},
            preload=preload_of(script, config, target, step.inputs),
            modules={} if source or script.call else modules_in(Path.cwd(), script.source()),
            logging_level=config.logging_level,
            call=script.call,
        ),
        inputs=RunInputs(
            datasets=[dataset.spec() for dataset in step.inputs],
            side_inputs=step.side_specs,
            mini_batch_size=cut.size,
            mini_batch_rows=cut.rows,
            partition_keys=list(config.partition_keys or ()),
        ),
        output=RunOutput(
            destination=step.output,
            storage=step.output_storage.spec() if step.output_storage else None,
            file_name=RESULTS_FILE if has_objects else config.output_file,
            format=OBJECTS if has_objects else config.output_format or TEXT,
            append_rows=config.output_action == "append_row",
            in_parts=_puts_parts(step, target),
        ),
        placement=_placement(config, target, calls),
        limits=_limits(config),
        calls=calls,
        notify=list(config.notify or ()),
    )


def _placement(config: ParallelRunConfig, target: Compute, calls: RunCalls) -> Placement:
    cores = usable_cores()
    processes = config.process_count_per_node
    if processes is None and calls.concurrency > 1:
        processes = 1  # its calls wait for a server, not for cores
    nodes, workers = node_counts(target, config.node_count, processes, cores)
    return Placement(
        backend=target.backend,
        compute=target.spec(),
        node_count=nodes,
        process_count_per_node=workers,
        cores=cores,
        requested_node_count=config.node_count,
        requested_process_count_per_node=config.process_count_per_node,
    )


def _limits(config: ParallelRunConfig) -> RunLimits:
    limits = {f.name: getattr(config, f.name) for f in fields(RunLimits)}
    limits["progress_update_timeout"] = config.progress_update_timeout or (
        config.run_invocation_timeout
        + config.task_overhead_timeout
        + config.first_task_creation_timeout
    )
    limits["retry_on"] = list(config.retry_on or ())
    limits["no_retry_on"] = list(config.no_retry_on or ())
    return RunLimits(**limits)


def _puts_parts(step: ParallelRunStep, target: Compute) -> bool:
    """Return whether nodes upload part files themselves; for other computes the driver uploads."""
    config = step.config
    in_store = step.output_storage is not None and config.output_action == "append_row"
    return in_store and config.output_format == PARQUET and target.backend == "dask"
