"""Jobs of invoked deployments of a model: a run over files, with the attributes of Azure's jobs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...client.run import Run
from ...notebook.run_details import RunDetails
from ...runs.run_folder import Folder, RunFolder, find, list_runs
from ..execution.deployment_run import DeploymentRun
from ..execution.job_run import StepRun
from ..execution.origin import Origin
from .local_jobs import JobOutput, LocalJob, LocalStep, azures_word, times

STEP = "batchscoring"
"""The name of the only step of such jobs, as in Azure."""

SCORE = "score"
"""The name of its only output."""


class ScoringJob(LocalJob):
    """The job of a deployment that was invoked; ``batch_endpoints.invoke`` returns one.

    Parameters
    ----------
    run
        Its run over files.
    origin
        The endpoint and deployment.
    """

    def __init__(self, run: DeploymentRun, origin: Origin) -> None:
        self.scoring = run
        self.origin = origin

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return RunDetails(self.scoring)._repr_mimebundle_()

    @property
    def folder(self) -> Folder:
        """The folder of its run."""
        return self.scoring.folder

    @property
    def name(self) -> str:
        """Its id, for ``jobs.get(name)``."""
        return self.scoring.run_id

    @property
    def display_name(self) -> str:
        """The name of the deployment."""
        return self.origin.deployment

    @property
    def experiment_name(self) -> str:
        """The experiment: by default, the name of the endpoint."""
        return self.origin.experiment or self.origin.endpoint

    @property
    def tags(self) -> dict[str, str]:
        """None: those of a deployment are only recorded."""
        return {}

    @property
    def created_at(self) -> float:
        """When it was created, in seconds since the epoch."""
        return self.scoring.folder.read_record().created_at

    @property
    def creation_context(self) -> SimpleNamespace:
        """An object with ``created_at`` and ``last_modified_at``, in UTC."""
        elapsed_s = self.scoring.snapshot()["elapsed_s"]
        return times(self.created_at, self.created_at + elapsed_s)

    @property
    def status(self) -> str:
        """``Preparing``, ``Running``, ``Completed``, ``Failed`` or ``Canceled``, at this moment."""
        return azures_word(self.scoring.status)

    @property
    def reason(self) -> str:
        """Why it failed; empty otherwise."""
        return str(self.scoring.snapshot()["reason"] or "")

    @property
    def outputs(self) -> dict[str, JobOutput]:
        """``score``: the predictions, or the folder of the script with ``summary_only``."""
        path = self.scoring.output
        type_ = "uri_file" if Path(path).is_file() else "uri_folder"
        return {SCORE: JobOutput(SCORE, type_, path)}

    @property
    def jobs(self) -> dict[str, LocalStep]:
        """The one step, by name."""
        return {STEP: ScoringStep(self)}

    def wait_for_completion(self, **arguments: Any) -> str:
        """Wait until it has ended; return its status. See `DeploymentRun.wait_for_completion`."""
        return azures_word(self.scoring.wait_for_completion(**arguments))

    def cancel(self) -> None:
        """Request that the run be canceled."""
        self.scoring.cancel()

    def resume(self, **arguments: Any) -> Run:
        """Resume the run. See `Run.resume`."""
        return self.scoring.resume(**arguments)

    def show(self) -> None:
        """Show the run live under the cell; elsewhere print its state."""
        RunDetails(self.scoring).show()


class ScoringStep(LocalStep):
    """The step of a scoring job.

    Parameters
    ----------
    job
        The job.
    """

    def __init__(self, job: ScoringJob) -> None:
        paths = {name: output.path for name, output in job.outputs.items()}
        log = job.scoring.folder.driver_log
        step = StepRun(STEP, "parallel", job.scoring.status, job.name, job.reason, paths, log)
        super().__init__(job, None, step)


def scoring_job(folder: RunFolder) -> ScoringJob | None:
    """Return the job of a run; None if no deployment was invoked for it."""
    origin = Origin.of(folder.path)
    return None if origin is None else ScoringJob(DeploymentRun(folder), origin)


def find_scoring_job(name: str) -> ScoringJob | None:
    """Return the job with a name; None if there is none."""
    try:
        return scoring_job(find(name))
    except LookupError:
        return None


def scoring_jobs() -> list[ScoringJob]:
    """Return all of them, newest first."""
    return [job for folder in list_runs() if (job := scoring_job(folder)) is not None]
