"""Starts jobs: reads, compiles and submits a pipeline file."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...environment.build import as_policy, policy
from ...formatting import nearest_hint
from ...pipelines.folder import PipelineFolder, PipelineRecord
from ...pipelines.start import new_id, start_pipeline
from ...pipelines.workspaces import read_facts, workspace_above
from ...runs.source_copy import copy_source, ignored_in
from ...version import __version__
from ...worker.output.results import SETTINGS_FILE
from ..model.jobs import PipelineJob
from ..model.places import Place, Places
from ..model.problems import JobFileError, Problem
from ..model.values import Input, Literal
from ..reader.jobs import load_job
from .assets import Assets
from .compiler import Compiled, compile_job
from .components import with_registered_components
from .job_run import JobRun

_FACTS = ("subscription_id", "resource_group", "location")


def run(
    path: str | os.PathLike[str],
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the option in Azure's CLI
    inputs: Mapping[str, Any] | None = None,
    compute: str = "",
) -> JobRun:
    """Start a pipeline job of Azure ML's SDK v2 on this machine; return its run.

    The job continues when this process ends.

    Parameters
    ----------
    path
        The YAML file of the job.
    set
        Values to set in it first, by dotted name: ``{"jobs.score.mini_batch_size": "5"}``.
    inputs
        Values of the pipeline's inputs: paths of files and folders, or literals.
    compute
        The compute of all steps: ``local``, a named compute, or ``tcp://SCHEDULER`` of Dask. Default:
        a named compute with the name in the file, or this machine.

    Raises
    ------
    JobFileError
        The file has mistakes, or needs something that is not on this machine. The message has file,
        line and column of each. It is a ``ConfigError``.
    LaunchError
        The driver did not start.

    Examples
    --------
    ::

        job = azureml_v2.run("pipeline.yml", inputs={"data": "digits/"})
        job.wait_for_completion()
        job.outputs["rows"]
    """
    return start(with_inputs(load_job(path, set), inputs or {}), compute=compute)


def start(
    job: PipelineJob, *, compute: str = "", workspace: Path | None = None, show: bool = True
) -> JobRun:
    """Start a job.

    Parameters
    ----------
    job
        The job.
    compute
        As for `run`.
    workspace
        The folder of the workspace whose names it uses. Default: that of the nearest ``config.json``
        above the job's file, or the workspace ``local``.
    show
        Print the sentences about what is different on this machine.

    Raises
    ------
    JobFileError, LaunchError
        As for `run`.
    """
    folder = os.path.dirname(os.path.abspath(job.file)) if job.file else os.getcwd()
    workspace = workspace or workspace_above(Path(folder))
    run_id = new_id()
    assets = Assets(workspace)
    job = with_registered_components(job, assets)
    compiled = compile_job(job, assets, run_id, compute)
    record = _record(job, compiled, workspace, run_id)
    warnings: list[str] = []

    def snapshot(target: PipelineFolder) -> None:
        for key, source in compiled.sources.items():
            step = target.step(key)
            step.mkdir(mode=0o700, parents=True)
            warnings.append(_copy(source, step / "script"))
            beside = (
                (path, step / "script" / os.path.basename(path)) for path in compiled.includes[key]
            )
            warnings.extend(_include(*paths) for paths in beside)

    started = start_pipeline(record, snapshot, compiled.secrets)
    job_run = JobRun(started.run_id, notes=(*compiled.notes, *filter(None, warnings)))
    for note in job_run.notes if show else ():
        print(f"note: {note}.")
    return job_run


def with_inputs(job: PipelineJob, values: Mapping[str, Any]) -> PipelineJob:
    """Return a job with other values of its inputs.

    Parameters
    ----------
    job
        The job.
    values
        Paths, relative to the current folder, or literals, by the names of the inputs.

    Raises
    ------
    JobFileError
        The job has no input with a given name.
    """
    inputs = dict(job.inputs)
    declared = job.declared.inputs if job.declared else {}
    for name, value in values.items():
        if name not in inputs and name not in declared:
            names = ", ".join((*inputs, *declared)) or "none"
            hint = nearest_hint(name, (*inputs, *declared))
            message = f"the pipeline has no input {name!r}.{hint} Its inputs are: {names}."
            raise JobFileError([Problem(Place(f"--input {name}"), message)])
        before = inputs.get(name, Input())
        is_data = before.is_data if name in inputs else not declared[name].is_literal
        inputs[name] = replace(
            _input(name, value, is_data=is_data), type=before.type, mode=before.mode
        )
    return replace(job, inputs=inputs)


def _input(name: str, value: Any, *, is_data: bool) -> Input:
    places = Places(Place(f"--input {name}"))
    if not is_data:
        literal: Literal = value if isinstance(value, str | int | float) else str(value)
        return Input(value=literal, places=places)
    text = os.fspath(value)
    is_local = "://" not in text and not text.startswith("azureml:")
    path = os.path.abspath(os.path.expanduser(text)) if is_local else text
    return Input(path=path, places=places)


def _record(job: PipelineJob, compiled: Compiled, workspace: Path, run_id: str) -> PipelineRecord:
    facts = read_facts(workspace) or {}
    name = job.display_name or job.name or (Path(job.file).stem if job.file else "pipeline")
    folder = Path(os.path.abspath(job.file)).parent.name if job.file else ""
    return PipelineRecord(
        run_id=run_id,
        name=name,
        experiment=(job.experiment_name or folder or name).replace("/", "-"),
        workspace=str(workspace),
        created_at=time.time(),
        version=__version__,
        driver_python=sys.executable,
        parameters={},
        steps=compiled.steps,
        tags=dict(job.tags),
        context={
            "workspace": facts.get("name", workspace.name),
            **{key: facts.get(key, "") for key in _FACTS},
        },
        environment_policy=as_policy(policy()),
        continue_on_step_failure=job.settings.continue_on_step_failure is not False,
        regenerate_outputs=bool(job.settings.force_rerun),
        api="v2",
        outputs=compiled.outputs,
    )


def _copy(source: str, target: Path) -> str:
    """Copy the scripts of a step; return a sentence about files that were skipped."""
    if source and os.path.isfile(source):
        target.mkdir()
        settings = os.path.join(os.path.dirname(source), SETTINGS_FILE)
        for file in filter(os.path.isfile, (source, settings)):
            shutil.copyfile(file, target / os.path.basename(file))
        return ""
    if source:
        return copy_source(Path(source), target, ignored_in(source))
    target.mkdir()
    return ""


def _include(source: str, target: Path) -> str:
    """Copy one file or folder beside the scripts of a step."""
    if os.path.isdir(source):
        return copy_source(Path(source), target, ignored_in(source))
    shutil.copyfile(source, target)
    return ""
