"""Runs of pipelines: ``PipelineRun``, and ``Run``, which finds a run by its id."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import RunNotFoundError
from ...pipelines import start
from ...pipelines.cancellation import cancel_pipeline
from ...pipelines.folder import PipelineFolder, every_pipeline, find_pipeline
from ...pipelines.rendering import html_table, text_lines
from ...pipelines.views import wait_until_ended
from ...runs.journal.pipelines import PipelineState
from ...worker.azureml import core
from ..core.workspace import Workspace
from ..exceptions import ActivityFailedException, ExperimentException, UserErrorException
from ..loader.name_table import Partial
from ..statuses import Status, run_status
from .pipelines import Experiment, PublishedPipeline
from .step_runs import PortDataReference, StepRun


class PipelineRun(Partial):
    """A run of a pipeline.

    Parameters
    ----------
    experiment
        The experiment of the run.
    run_id
        The id of the run.

    Raises
    ------
    ExperimentException
        The run does not exist; the message suggests a similar id.
    UserErrorException
        ``experiment`` is not an `Experiment`.
    """

    def __init__(
        self, experiment: Any, run_id: str, _service_endpoint: Any = None, **_: Any
    ) -> None:
        if not isinstance(experiment, Experiment):
            msg = f"experiment is {experiment!r}; expected an Experiment, such as ws.experiments[name]."
            raise UserErrorException(msg)
        self.experiment = experiment
        self._folder = _find_folder(run_id)
        self._record = self._folder.read_record()
        self.id = run_id
        self.type = "azureml.PipelineRun"

    def __repr__(self) -> str:
        return (
            f"Run(Experiment: {self.experiment.name},\nId: {self.id},\nType: {self.type},\n"
            f"Status: {self.status})"
        )

    def _repr_html_(self) -> str:
        return html_table(self._folder, self._record, self.state())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(
            "PipelineRun(...)" if cycle else "\n".join(text_lines(self._record, self.state()))
        )

    @property
    def folder(self) -> PipelineFolder:
        """The run's folder."""
        return self._folder

    def state(self) -> PipelineState:
        """Return the current state of the pipeline."""
        return self._folder.read_state(self._record.created_at)

    @property
    def run_id(self) -> str:
        """The id."""
        return self.id

    @property
    def name(self) -> str:
        """The id, which is also the name in Azure."""
        return self.id

    @property
    def status(self) -> str:
        """``NotStarted``, ``Running``, ``Completed``, ``Failed``, ``Canceled`` or ``Interrupted``."""
        return self.get_status()

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the run."""
        return dict(self._record.tags)

    def get_tags(self) -> dict[str, str]:
        """Return the tags of the run."""
        return self.tags

    @staticmethod
    def get(workspace: Workspace, run_id: str, **_: Any) -> PipelineRun:
        """Return a run by its id."""
        record = _find_folder(run_id).read_record()
        return PipelineRun(Experiment(workspace, record.experiment), run_id)

    @staticmethod
    def get_pipeline_runs(workspace: Workspace, pipeline_id: str, **_: Any) -> list[PipelineRun]:
        """Return the runs of a published pipeline, newest first."""
        return [
            PipelineRun.get(workspace, folder.run_id)
            for folder in every_pipeline()
            if folder.read_record().tags.get("published_id") == pipeline_id
        ]

    def get_status(self) -> Status:
        """Return the state; ``Finished`` and ``Completed`` are equal."""
        return run_status(self.state().state)

    def wait_for_completion(
        self,
        show_output: bool = True,
        timeout_seconds: float = sys.maxsize,
        raise_on_error: bool = True,
    ) -> Status:
        """Wait until the pipeline has ended; return its state.

        Ctrl-C stops the waiting, not the run.

        Parameters
        ----------
        show_output
            Print the progress: steps, mini-batches, failures.
        timeout_seconds
            Maximum waiting time in seconds.
        raise_on_error
            Raise an exception if the pipeline failed or was interrupted.

        Raises
        ------
        ActivityFailedException
            The pipeline failed; the message starts with the script's own exception.
        TimeoutError
            The pipeline has not ended after ``timeout_seconds``.
        """
        if show_output:
            print(f"PipelineRunId: {self.id}\nLink to the run: {self._folder.path}")
        state = wait_until_ended(
            self._folder, self._record, show_output=show_output, timeout_s=timeout_seconds
        )
        if show_output:
            status = run_status(state.state)
            print(f"\nPipelineRun Execution Summary\n{'=' * 30}\nPipelineRun Status: {status}")
        if raise_on_error and state.state in {"Failed", "Interrupted"}:
            msg = f"{state.reason}\npipeline run {self.id} {state.state.lower()}"
            raise ActivityFailedException(msg)
        return run_status(state.state)

    def cancel(self) -> None:
        """Request that the pipeline and its running step be canceled."""
        cancel_pipeline(self._folder)

    def resume(self) -> PipelineRun:
        """Continue a run whose driver died; not part of Azure's SDK.

        Raises
        ------
        RunFolderError
            The run is still driven, or has ended.
        """
        start.resume_pipeline(self._folder)
        return self

    def get_steps(self) -> list[StepRun]:
        """Return the runs of the steps, in order."""
        return [StepRun(self, step.key) for step in self._record.steps]

    def find_step_run(self, name: str) -> list[StepRun]:
        """Return the runs of the steps with this name: an empty list or a list of one."""
        return [step for step in self.get_steps() if step.name == name]

    def get_children(
        self,
        recursive: bool = False,
        tags: Any = None,
        properties: Any = None,
        type: str | None = None,
        status: str | None = None,
        **_: Any,
    ) -> Iterator[StepRun]:
        """Yield the runs of the steps, last step first, as Azure does."""
        for step in reversed(self.get_steps()):
            if status is None or step.get_status() == status:
                yield step

    def get_pipeline_output(self, pipeline_output_name: str) -> PortDataReference:
        """Return an output of any step by its name.

        Raises
        ------
        UserErrorException
            No step has an output with this name.
        """
        for step in self.get_steps():
            if pipeline_output_name in step.output_names:
                return step.get_output_data(pipeline_output_name)
        msg = f"no step of pipeline run {self.id} has an output {pipeline_output_name!r}."
        raise UserErrorException(msg)

    def get_details(self) -> dict[str, Any]:
        """Return the details of the run, as in Azure."""
        state = self.state()
        return {
            "runId": self.id,
            "status": state.state,
            "startTimeUtc": state.started_at,
            "endTimeUtc": state.ended_at,
            "properties": {
                "azureml.runsource": "azureml.PipelineRun",
                "azureml.parameters": dict(self._record.parameters),
            },
            "error": {"message": state.reason} if state.reason else None,
            "inputDatasets": [],
            "outputDatasets": [],
            "logFiles": {"driver.log": str(self._folder.driver_log)},
        }

    def get_metrics(
        self, name: str | None = None, recursive: bool = False, **_: Any
    ) -> dict[str, Any]:
        """Return the logged metrics by step run id if ``recursive``, else an empty dict."""
        if not recursive:
            return {}
        return {step.id: step.get_metrics(name) for step in self.get_steps()}

    def get_portal_url(self) -> str:
        """Return the URL of the run's folder."""
        return f"file://{self._folder.path}"

    def publish_pipeline(
        self,
        name: str,
        description: str | None = None,
        version: str | None = None,
        continue_on_step_failure: bool | None = None,
        **_: Any,
    ) -> PublishedPipeline:
        """Publish the pipeline with the scripts of this run."""
        record = replace(
            self._record,
            run_id=start.new_id(),
            name=name,
            tags={},
            continue_on_step_failure=bool(continue_on_step_failure),
        )

        def copy_scripts(steps: Path) -> None:
            for step in record.steps:
                shutil.copytree(self._folder.step(step.key) / "script", steps / step.key / "script")

        return PublishedPipeline.create(
            self.experiment.workspace, record, description, version, copy_scripts
        )


def _find_folder(run_id: str) -> PipelineFolder:
    try:
        return find_pipeline(run_id)
    except RunNotFoundError as error:
        raise ExperimentException(str(error)) from error


class Run(core.Run):
    """The run that this process belongs to; an offline run outside of a step."""

    @staticmethod
    def get(workspace: Workspace, run_id: str, **_: Any) -> Any:
        """Return a pipeline run or a step run by its id.

        Raises
        ------
        ExperimentException
            The run does not exist.
        """
        for folder in every_pipeline():
            if folder.run_id == run_id:
                return PipelineRun.get(workspace, run_id)
            state = folder.read_state(folder.read_record().created_at)
            for key, step in state.steps.items():
                if run_id in {step.step_run_id, step.run_id}:
                    return StepRun(PipelineRun.get(workspace, folder.run_id), key)
        msg = f"run {run_id!r} does not exist in this home."
        raise ExperimentException(msg)
