"""``PipelineRun``: a pipeline that was submitted, by its folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...errors import RunNotFoundError
from ...pipelines import start
from ...pipelines.folder import PipelineFolder, every_pipeline, find_pipeline
from ...pipelines.journal import PipelineState
from ..core.workspace import Workspace
from ..exceptions import ActivityFailedException, ExperimentException, UserErrorException
from ..loader.missing import Partial
from ..statuses import Status, run_status
from .console import watch_pipeline
from .experiments import Experiment
from .pipeline_views import html_table, text_lines
from .pipelines import PublishedPipeline
from .step_runs import PortDataReference, StepRun


class PipelineRun(Partial):
    """A run of a pipeline.

    Parameters
    ----------
    experiment
        The experiment that it belongs to.
    run_id
        Its id.

    Raises
    ------
    ExperimentException
        There is no such run; the message names the nearest id.
    """

    def __init__(
        self, experiment: Any, run_id: str, _service_endpoint: Any = None, **_: Any
    ) -> None:
        if not isinstance(experiment, Experiment):
            msg = f"experiment is {experiment!r}; expected an Experiment, such as ws.experiments[name]."
            raise UserErrorException(msg)
        self.experiment = experiment
        try:
            self._folder = find_pipeline(run_id)
        except RunNotFoundError as error:
            raise ExperimentException(str(error)) from error
        self._record = self._folder.read_record()
        self.id = run_id
        self.type = "azureml.PipelineRun"

    def __repr__(self) -> str:
        return (
            f"Run(Experiment: {self.experiment.name},\nId: {self.id},\nType: {self.type},\n"
            f"Status: {self.status})"
        )

    def _repr_html_(self) -> str:
        return html_table(self._record, self.state())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(
            "PipelineRun(...)" if cycle else "\n".join(text_lines(self._record, self.state()))
        )

    @property
    def folder(self) -> PipelineFolder:
        """The folder of the run."""
        return self._folder

    def state(self) -> PipelineState:
        """Return where the pipeline stands now."""
        return self._folder.read_state(self._record.created_at)

    @property
    def run_id(self) -> str:
        """The id."""
        return self.id

    @property
    def name(self) -> str:
        """The id, as Azure calls runs."""
        return self.id

    @property
    def status(self) -> str:
        """``NotStarted``, ``Running``, ``Completed``, ``Failed``, ``Canceled`` or ``Interrupted``."""
        return self.get_status()

    @property
    def tags(self) -> dict[str, str]:
        """The tags that the run was submitted with."""
        return dict(self._record.tags)

    def get_tags(self) -> dict[str, str]:
        """Return the tags that the run was submitted with."""
        return self.tags

    @staticmethod
    def get(workspace: Workspace, run_id: str, **_: Any) -> PipelineRun:
        """Return a run by its id."""
        record = _found(run_id).read_record()
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
        """Return the state; ``Finished`` and ``Completed`` are the same."""
        return run_status(self.state().state)

    def wait_for_completion(
        self,
        show_output: bool = True,
        timeout_seconds: float = sys.maxsize,
        raise_on_error: bool = True,
    ) -> Status:
        """Wait until the pipeline has ended, and return its state.

        Ctrl-C ends the watching, not the run.

        Parameters
        ----------
        show_output
            Print the progress meanwhile: steps, mini-batches, failures.
        timeout_seconds
            Seconds to wait at most.
        raise_on_error
            Raise when the pipeline did not complete.

        Raises
        ------
        ActivityFailedException
            It failed; the user's own exception comes first.
        TimeoutError
            It is still going after ``timeout_seconds``.
        """
        state = watch_pipeline(self._folder, self._record, show_output, timeout_seconds)
        if raise_on_error and state.state in {"Failed", "Interrupted"}:
            msg = f"{state.reason}\npipeline run {self.id} {state.state.lower()}"
            raise ActivityFailedException(msg)
        return run_status(state.state)

    def cancel(self) -> None:
        """Ask the pipeline to end, with the step that runs now."""
        self._folder.request("cancel")

    def resume(self) -> PipelineRun:
        """Go on with a run whose driver is gone, where it stopped; Azure has nothing like it.

        Raises
        ------
        RunFolderError
            The run is going, or has ended.
        """
        start.resume_pipeline(self._folder)
        return self

    def get_steps(self) -> list[StepRun]:
        """Return the runs of the steps, in order."""
        return [StepRun(self, step.key) for step in self._record.steps]

    def find_step_run(self, name: str) -> list[StepRun]:
        """Return the runs of the step with a name: a list of one, or of none."""
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
        """Yield the runs of the steps, the last one first, as Azure does."""
        for step in reversed(self.get_steps()):
            if status is None or step.get_status() == status:
                yield step

    def get_pipeline_output(self, pipeline_output_name: str) -> PortDataReference:
        """Return an output of any step by its name.

        Raises
        ------
        UserErrorException
            No step has an output of that name.
        """
        for step in self.get_steps():
            if pipeline_output_name in step.output_names:
                return step.get_output_data(pipeline_output_name)
        msg = f"no step of pipeline run {self.id} has an output {pipeline_output_name!r}."
        raise UserErrorException(msg)

    def get_details(self) -> dict[str, Any]:
        """Return what is known of the run."""
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
        """Return what the steps' scripts have logged; with ``recursive``, by the step's run."""
        if not recursive:
            return {}
        return {step.id: step.get_metrics(name) for step in self.get_steps()}

    def get_portal_url(self) -> str:
        """Return where the run is: its folder."""
        return f"file://{self._folder.path}"

    def publish_pipeline(
        self,
        name: str,
        description: str | None = None,
        version: str | None = None,
        continue_on_step_failure: bool | None = None,
        **_: Any,
    ) -> PublishedPipeline:
        """Keep this pipeline, with the scripts it ran with, to be started again."""
        record = replace(
            self._record,
            run_id=start.new_id(),
            name=name,
            tags={},
            continue_on_step_failure=bool(continue_on_step_failure),
        )
        facts = {
            "name": name,
            "description": description,
            "version": version,
            "workspace": self._record.workspace,
        }
        published = start.publish(record, facts, self._copy_scripts)
        return PublishedPipeline(self.experiment.workspace, published)

    def _copy_scripts(self, steps: Any) -> None:
        for step in self._record.steps:
            shutil.copytree(self._folder.step(step.key) / "script", steps / step.key / "script")


def _found(run_id: str) -> PipelineFolder:
    try:
        return find_pipeline(run_id)
    except RunNotFoundError as error:
        raise ExperimentException(str(error)) from error
