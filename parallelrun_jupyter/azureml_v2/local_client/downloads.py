"""Copies of the logs and outputs of jobs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ...errors import ConfigError, ParallelRunError
from ...formatting import nearest_hint
from ...runs.run_folder import find
from .local_jobs import JobOutput, LocalJob, LocalStep


def download_outputs(job: LocalJob | LocalStep, name: str, folder: Path) -> None:
    """Copy outputs, each to a folder with its name.

    Parameters
    ----------
    job
        The job or step.
    name
        The only output to copy; empty for all that were written.
    folder
        The folder above.

    Raises
    ------
    ConfigError
        The job has no output of this name, has not written it, or it is in an object store.
    """
    outputs = job.outputs
    if name and name not in outputs:
        names = ", ".join(outputs) or "none"
        hint = nearest_hint(name, outputs)
        msg = f"job {job.name} has no output {name!r}.{hint} Its outputs: {names}."
        if isinstance(job, LocalJob):
            msg += " Outputs of steps: jobs.list(parent_job_name=...) has the steps."
        raise ConfigError(msg)
    for output in [outputs[name]] if name else outputs.values():
        if "://" in output.path:
            msg = f"the output {output.name!r} is in an object store: {output.path}; read it there."
            raise ConfigError(msg)
        if os.path.exists(output.path):
            _copy(output, folder / output.name)
        elif name:
            msg = f"job {job.name} has not written its output {name!r}; its state is {job.status}."
            raise ConfigError(msg)


def _copy(output: JobOutput, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(output.path):
        shutil.copytree(output.path, folder, dirs_exist_ok=True)
    else:
        shutil.copyfile(output.path, folder / os.path.basename(output.path))
    print(f"downloaded output {output.name} to {folder}")


def download_logs(job: LocalJob | LocalStep, folder: Path) -> None:
    """Copy the logs of steps, each into a folder with the step's name."""
    steps = [job] if isinstance(job, LocalStep) else list(job.jobs.values())
    for item in steps:
        target = folder if job is item else folder / item.display_name
        target.mkdir(parents=True, exist_ok=True)
        if item.step.log.is_file():
            shutil.copyfile(item.step.log, target / item.step.log.name)
        if item.step.run_id:
            try:
                run = find(item.step.run_id)
            except ParallelRunError:
                continue  # its folder was removed
            for source in (run.user_logs, run.reports):
                if source.is_dir():
                    shutil.copytree(source, target / source.name, dirs_exist_ok=True)
    print(f"downloaded logs to {folder}")
