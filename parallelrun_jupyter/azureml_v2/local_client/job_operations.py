"""``jobs`` of the client: submit, get, list, stream, cancel, download."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import RunFailedError, RunNotFoundError
from ...formatting import nearest_hint
from ...pipelines.folder import every_pipeline
from ..execution.job_run import JobRun
from ..execution.start import start
from ..model.jobs import PipelineJob
from .azure_objects import job_of_azure
from .done import Done
from .downloads import download_logs, download_outputs
from .job_errors import job_exception
from .local_jobs import FINAL, LocalJob, LocalStep
from .scoring_jobs import ScoringJob, find_scoring_job, scoring_jobs

_EXECUTION_SUMMARY = "\nExecution Summary\n================="


class JobOperations:
    """The jobs of this machine, with the methods of ``MLClient.jobs``.

    Parameters
    ----------
    workspace
        The folder of the workspace whose names jobs use.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    def create_or_update(
        self,
        job: Any,
        *,
        description: str | None = None,
        compute: str | None = None,
        tags: Mapping[str, str] | None = None,
        experiment_name: str | None = None,
        skip_validation: bool = False,
        **_: Any,
    ) -> LocalJob:
        """Start a job on this machine; return it. It continues when this process ends.

        Parameters
        ----------
        job
            A pipeline of azure-ai-ml (of ``@dsl.pipeline``, or of its ``load_job``), one of its
            commands, or what ``azureml_v2.load_job`` returns.
        description, tags, experiment_name
            Replace those of the job.
        compute
            The default compute: a named compute, or any name of Azure's for this machine.
        skip_validation
            Has no effect: a job is always checked.

        Raises
        ------
        JobFileError
            The job has mistakes, or needs something that is not on this machine; the message has all
            of them.
        LaunchError
            The driver did not start.
        """
        model = job if isinstance(job, PipelineJob) else job_of_azure(job)
        changes: dict[str, Any] = {
            "description": description, "tags": tags, "experiment_name": experiment_name,
        }  # fmt: skip
        if compute is not None:
            changes["settings"] = replace(model.settings, default_compute=compute)
        model = replace(model, **{k: v for k, v in changes.items() if v is not None})
        return LocalJob(start(model, workspace=self._workspace))

    def get(self, name: str) -> Any:
        """Return a job, or one of its steps.

        Parameters
        ----------
        name
            The name of the job; ``JOB.STEP`` for a step.

        Raises
        ------
        RunNotFoundError
            The job or the step does not exist; the message has the nearest one.
        """
        job_name, _, step = name.partition(".")
        job = find_scoring_job(job_name) or LocalJob(JobRun(job_name))
        if not step:
            return job
        steps = job.jobs
        if step not in steps:
            hint = nearest_hint(step, steps)
            msg = f"job {job_name} has no step {step!r}.{hint} Its steps: {', '.join(steps)}."
            raise RunNotFoundError(msg)
        return steps[step]

    def list(
        self, *, parent_job_name: str | None = None, max_results: int | None = None, **_: Any
    ) -> Iterator[Any]:
        """Yield jobs, newest first; or the steps of one.

        Parameters
        ----------
        parent_job_name
            The job whose steps to yield.
        max_results
            Maximum number of jobs. Default: all.
        """
        found = iter(self.get(parent_job_name).jobs.values()) if parent_job_name else every_job()
        yield from islice(found, max_results)

    def stream(self, name: str) -> None:
        """Print the steps of a job and their progress until it ends.

        Raises
        ------
        JobException
            It failed; the message starts with the script's own exception.
        """
        job = self.get(name)
        if isinstance(job, LocalStep):
            job = job.job
        print(f"RunId: {job.name}\nWeb View: {job.studio_url}")
        try:
            job.wait_for_completion()
        except RunFailedError as error:
            raise job_exception(_users_first(job, str(error))) from None
        print(f"{_EXECUTION_SUMMARY}\nRunId: {job.name}\nWeb View: {job.studio_url}\n", flush=True)

    def begin_cancel(self, name: str, **_: Any) -> Done[None]:
        """Request that a job and its running step end."""
        job = self.get(name)
        (job.job if isinstance(job, LocalStep) else job).cancel()
        return Done(None)

    def cancel(self, name: str, **_: Any) -> None:
        """Request that a job and its running step end."""
        self.begin_cancel(name)

    def download(
        self,
        name: str,
        *,
        download_path: str | os.PathLike[str] = ".",
        output_name: str | None = None,
        all: bool = False,  # noqa: A002 - MLClient's name
    ) -> None:
        """Copy the logs, or the outputs, of a job or a step into a folder.

        Parameters
        ----------
        name
            The job; ``JOB.STEP`` for a step.
        download_path
            The folder. Logs go to ``artifacts/`` in it, outputs to ``named-outputs/NAME/``.
        output_name
            The only output to copy.
        all
            Copy all outputs and the logs. Default: the logs.

        Raises
        ------
        JobException
            The job is not in a final state.
        ConfigError
            It has no output of this name, or one in an object store.
        """
        job = self.get(name)
        if job.status not in FINAL:
            msg = f"job {name} is {job.status}; it can be downloaded when it is {', '.join(FINAL)}."
            raise job_exception(msg)
        folder = Path(download_path)
        if output_name or all:
            download_outputs(job, output_name or "", folder / "named-outputs")
        if not output_name:
            download_logs(job, folder / "artifacts")

    def show_services(self, name: str, node_index: int = 0) -> Mapping[str, Any]:
        """Return the services of a job: the sentence that it runs here."""
        services: Mapping[str, Any] = self.get(name).services
        return services


def _users_first(job: LocalJob, text: str) -> str:
    """Return the message of a failed job, with the exception of its script first."""
    failed = [item.step for item in job.jobs.values() if item.step.status == "Failed"]
    if not failed or isinstance(job, ScoringJob):  # its error has the exception first
        return text
    return f"{failed[0].reason}\nstep {failed[0].name} of job {job.name} failed"


def every_job() -> Iterator[LocalJob]:
    """Yield all jobs, newest first: ids sort by time."""
    yield from merge(_pipelines(), scoring_jobs(), key=lambda job: job.name, reverse=True)


def _pipelines() -> Iterator[LocalJob]:
    for folder in every_pipeline():
        job = LocalJob(JobRun(folder.run_id))
        if job.record.api == "v2":
            yield job
