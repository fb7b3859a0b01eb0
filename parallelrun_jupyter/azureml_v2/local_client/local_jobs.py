"""Jobs and their steps as MLClient returns them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from html import escape
from types import SimpleNamespace
from typing import Any

from ...pipelines.folder import PipelineRecord, StepRecord
from ...runs.run_folder import Folder, find
from ..execution.job_run import JobRun, StepRun

_AZURES_WORDS = {"NotStarted": "Preparing", "Interrupted": "Failed", "Skipped": "Canceled"}
FINAL = ("Completed", "Failed", "Canceled")


def azures_word(state: str) -> str:
    """Return a state as Azure names it: Preparing, Running, Completed, Failed or Canceled."""
    return _AZURES_WORDS.get(state, state)


@dataclass(frozen=True, slots=True)
class JobOutput:
    """An output of a job or of a step.

    Parameters
    ----------
    name, type
        Its name, and ``uri_file`` or ``uri_folder``.
    path
        The file or folder; empty before its step starts.
    """

    name: str
    type: str
    path: str

    def __str__(self) -> str:
        return self.path

    def __fspath__(self) -> str:
        return self.path


class LocalJob:
    """A job on this machine, with the attributes of Azure's `PipelineJob`.

    Parameters
    ----------
    run
        Its run.
    """

    type = "pipeline"

    def __init__(self, run: JobRun) -> None:
        self.run = run

    def __repr__(self) -> str:
        return f"LocalJob({self.name!r}: {self.display_name}, {self.status})"

    def _repr_mimebundle_(self, **arguments: Any) -> dict[str, Any]:
        return self.run._repr_mimebundle_(**arguments)

    def _repr_html_(self) -> str:
        html: str = self._repr_mimebundle_()["text/html"]
        return html

    @property
    def folder(self) -> Folder:
        """The folder of its run."""
        return self.run.folder

    @property
    def record(self) -> PipelineRecord:
        """The job as submitted."""
        return self.run.record

    @property
    def name(self) -> str:
        """Its id, for ``jobs.get(name)``."""
        return self.run.run_id

    @property
    def id(self) -> str:
        """As Azure writes it."""
        return f"azureml:{self.name}"

    @property
    def created_at(self) -> float:
        """When it was created, in seconds since the epoch."""
        return self.record.created_at

    @property
    def display_name(self) -> str:
        """The name to show."""
        return self.record.name

    @property
    def experiment_name(self) -> str:
        """The experiment."""
        return self.record.experiment

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return dict(self.record.tags)

    @property
    def status(self) -> str:
        """``Preparing``, ``Running``, ``Completed``, ``Failed`` or ``Canceled``, at this moment."""
        return azures_word(self.run.status)

    @property
    def reason(self) -> str:
        """Why it failed; empty otherwise."""
        return self.run.state().reason

    @property
    def studio_url(self) -> str:
        """A sentence in place of a link to Azure."""
        return f"job {self.name} runs on this machine; its folder is {self.folder.path}"

    @property
    def services(self) -> Mapping[str, Any]:
        """The sentence of `studio_url`, where notebooks look for the link."""
        return {"Studio": SimpleNamespace(endpoint=self.studio_url, type="Studio")}

    @property
    def creation_context(self) -> Any:
        """An object with ``created_at`` and ``last_modified_at``, in UTC."""
        return times(self.created_at, self.run.state().ended_at)

    @property
    def outputs(self) -> dict[str, JobOutput]:
        """The outputs by name; their paths are empty until their steps start."""
        paths = self.run.outputs
        return {
            name: JobOutput(name, _type_of(self.record.step(key), output), paths.get(name, ""))
            for name, (key, output) in self.record.outputs.items()
        }

    @property
    def jobs(self) -> dict[str, LocalStep]:
        """The steps by name."""
        records = self.record.steps
        pairs = zip(records, self.run.steps, strict=True)
        return {step.name: LocalStep(self, record, step) for record, step in pairs}

    def wait_for_completion(self, **arguments: Any) -> str:
        """Wait until it has ended; return its status. See `JobRun.wait_for_completion`."""
        return azures_word(self.run.wait_for_completion(**arguments))

    def cancel(self) -> None:
        """Request that the job and its running step end."""
        self.run.cancel()

    def show(self) -> None:
        """Show the job and its steps live under the cell; elsewhere print its state."""
        self.run.show()


class LocalStep:
    """A step of a job, as Azure's child jobs.

    Parameters
    ----------
    job
        The job.
    record
        The step as submitted; None if its outputs are those of the job.
    step
        Its state at the time of the call.
    """

    def __init__(self, job: LocalJob, record: StepRecord | None, step: StepRun) -> None:
        self.job = job
        self.record = record
        self.step = step
        self.name = f"{job.name}.{step.name}"
        self.display_name = step.name
        self.experiment_name = job.experiment_name
        self.parent_job_name = job.name
        self.type = step.type
        self.tags: dict[str, str] = {}
        self.studio_url = job.studio_url

    def __repr__(self) -> str:
        return f"LocalStep({self.name!r}: {self.type}, {self.status})"

    def _repr_html_(self) -> str:
        return f"<div><b>{escape(self.display_name)}</b> {escape(self.type)} {self.status}</div>"

    @property
    def status(self) -> str:
        """``Preparing``, ``Running``, ``Completed``, ``Failed`` or ``Canceled``."""
        return azures_word(self.step.status)

    @property
    def outputs(self) -> dict[str, JobOutput]:
        """The outputs by name; their paths are empty before it starts."""
        record, paths = self.record, self.step.outputs
        if record is None:
            return self.job.outputs
        return {
            item.name: JobOutput(item.name, _type_of(record, item.name), paths.get(item.name, ""))
            for item in record.outputs
        }

    @property
    def creation_context(self) -> Any:
        """An object with ``created_at`` and ``last_modified_at``, those of its job."""
        return self.job.creation_context

    @property
    def folder(self) -> Folder:
        """The folder of its run over mini-batches; that of the job for a command."""
        return find(self.step.run_id) if self.step.run_id else self.job.folder

    def show(self) -> None:
        """Show the job live under the cell; elsewhere print its state."""
        self.job.show()

    def _repr_mimebundle_(self, **arguments: Any) -> dict[str, Any]:
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}


def times(created_at: float, ended_at: float | None) -> SimpleNamespace:
    """Return an object with ``created_at`` and ``last_modified_at`` in UTC; the second is now until the end."""
    ended = time.time() if ended_at is None else ended_at
    return SimpleNamespace(
        created_at=datetime.fromtimestamp(created_at, timezone.utc),
        last_modified_at=datetime.fromtimestamp(ended, timezone.utc),
    )


def _type_of(step: StepRecord, name: str) -> str:
    is_file = any(item.is_file for item in step.outputs if item.name == name)
    return "uri_file" if is_file else "uri_folder"
