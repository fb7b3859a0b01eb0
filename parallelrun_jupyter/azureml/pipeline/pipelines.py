"""``Pipeline``, ``PublishedPipeline`` and their kin."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...errors import ConfigError
from ...pipelines import start
from ...pipelines.folder import PipelineFolder, PipelineRecord
from ..core.parameters import plain_value
from ..core.workspace import Workspace, as_workspace
from ..exceptions import PipelineNotFoundException, UserErrorException
from ..loader.missing import Partial
from ..loader.name_table import load
from .recorder import Recorder, in_order


class Pipeline(Partial):
    """Steps that are run together.

    Parameters
    ----------
    workspace
        The workspace.
    steps
        Steps, in any order, or lists of them; steps that they read from come along.
    description
        A line for people.
    default_datastore
        Where outputs go that name no datastore. Default: the workspace's.
    default_source_directory, resolve_closure
        Taken and not used.

    Raises
    ------
    UserErrorException
        Something is no step, or steps wait for each other in a circle.
    """

    def __init__(
        self,
        workspace: Workspace,
        steps: Any,
        description: str | None = None,
        default_datastore: Any = None,
        default_source_directory: str | None = None,
        resolve_closure: bool = True,
        **_: Any,
    ) -> None:
        self.workspace = as_workspace(workspace)
        self.description = description
        self._steps = in_order(steps)
        if isinstance(default_datastore, str):
            default_datastore = self.workspace.datastores[default_datastore]
        self._datastore = default_datastore or self.workspace.get_default_datastore()
        self._recorder = Recorder(self.workspace, self._steps, self._datastore)
        self._default_parameters = self._recorder.defaults()

    def __repr__(self) -> str:
        return f"Pipeline(steps={[step.name for step in self._steps]})"

    def validate(self) -> list[str]:
        """Return what is wrong, in words; nothing where all is well."""
        problems = self._recorder.problems()
        for step in self._steps:
            if not problems:
                print(f"Step {step.name} is ready to be created [{id(step):x}]")
        return problems

    def submit(
        self,
        experiment_name: str,
        pipeline_parameters: Mapping[str, Any] | None = None,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
        parent_run_id: str | None = None,
        credential_passthrough: Any = None,
        tags: dict[str, str] | None = None,
        **_: Any,
    ) -> Any:
        """Start the pipeline and return at once.

        Parameters
        ----------
        experiment_name
            The experiment that the run belongs to.
        pipeline_parameters
            Values in place of the parameters' defaults.
        continue_on_step_failure
            Run the steps that do not need a failed one.
        regenerate_outputs
            Run every step anew, whatever could be reused.

        Returns
        -------
        PipelineRun
            The run, which goes on without this process.

        Raises
        ------
        UserErrorException
            The pipeline is not valid, or has no parameter of a given name.
        """
        return self.submit_to(
            load("pipeline.experiments:Experiment")(self.workspace, experiment_name),
            pipeline_parameters,
            continue_on_step_failure=continue_on_step_failure,
            regenerate_outputs=regenerate_outputs,
            tags=tags,
        )

    def submit_to(
        self,
        experiment: Any,
        pipeline_parameters: Mapping[str, Any] | None,
        *,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
        tags: dict[str, str] | None = None,
    ) -> Any:
        """Start the pipeline as a run of an experiment."""
        record = self.record(
            experiment.name,
            name=self.description or experiment.name,
            tags={str(k): str(v) for k, v in (tags or {}).items()},
            continue_on_step_failure=continue_on_step_failure,
            regenerate_outputs=regenerate_outputs,
        )
        record = with_parameters(record, pipeline_parameters)
        recorder = self._recorder

        def snapshot(folder: PipelineFolder) -> None:
            recorder.snapshot(folder.step)

        folder = start.start_pipeline(record, snapshot, recorder.secrets())
        for step in record.steps:
            print(f"Created step {step.name} [{step.key}][{folder.run_id}]")
        print(f"Submitted PipelineRun {folder.run_id}")
        return load("pipeline.pipeline_runs:PipelineRun")(experiment, folder.run_id)

    def record(self, experiment: str, **facts: Any) -> PipelineRecord:
        """Return the record of a run with the default parameters.

        Raises
        ------
        UserErrorException
            The pipeline is not valid.
        """
        problems = self._recorder.problems()
        if problems:
            msg = f"the pipeline is not valid: {'; '.join(problems)}."
            raise UserErrorException(msg)
        return self._recorder.record(
            start.new_id(),
            time.time(),
            experiment=experiment,
            parameters=self._default_parameters,
            **facts,
        )

    def publish(
        self,
        name: str | None = None,
        description: str | None = None,
        version: str | None = None,
        continue_on_step_failure: bool | None = None,
        **_: Any,
    ) -> PublishedPipeline:
        """Keep the pipeline, to be started over HTTP through the Jupyter server, or by `submit`."""
        title = name or self.description or "pipeline"
        record = self.record(
            title, name=title, continue_on_step_failure=bool(continue_on_step_failure)
        )
        facts = {
            "name": title,
            "description": description,
            "version": version,
            "workspace": str(self.workspace.folder),
        }
        recorder = self._recorder
        published = start.publish(
            record, facts, lambda steps: recorder.snapshot(lambda key: steps / key)
        )
        return PublishedPipeline(self.workspace, published)


def with_parameters(record: PipelineRecord, given: Mapping[str, Any] | None) -> PipelineRecord:
    """Return a record with other values of its parameters.

    Raises
    ------
    UserErrorException
        It has no parameter of a given name.
    """
    values = {name: plain_value(value) for name, value in (given or {}).items()}
    try:
        start.check_parameters(record, values)
    except ConfigError as error:
        raise UserErrorException(str(error)) from error
    return replace(record, parameters={**record.parameters, **values})


class PublishedPipeline(Partial):
    """A pipeline that was published: it can be started again, with other parameters.

    `Pipeline.publish` and `PipelineRun.publish_pipeline` make them.
    """

    def __init__(self, workspace: Workspace, id: str) -> None:
        self.workspace = workspace
        self.id = id
        try:
            self._record, self._facts = start.read_published(id)
        except LookupError as error:
            raise PipelineNotFoundException(str(error)) from error
        self.name = self._facts.get("name")
        self.description = self._facts.get("description")
        self.version = self._facts.get("version")

    def __repr__(self) -> str:
        return f"Pipeline(Name: {self.name},\nId: {self.id},\nStatus: {self.status})"

    @property
    def status(self) -> str:
        """``Active`` or ``Disabled``."""
        return str(start.read_published(self.id)[1]["status"])

    @property
    def endpoint(self) -> str:
        """The URL to post to: a handler of the Jupyter server that this kernel belongs to.

        Raises
        ------
        UserErrorException
            No Jupyter server is running.
        """
        url, _ = load("core.authentication:server_of_this_kernel")()
        return f"{url}parallelrun/published/{self.id}"

    @staticmethod
    def get(workspace: Workspace, id: str, **_: Any) -> PublishedPipeline:
        """Return a published pipeline by its id.

        Raises
        ------
        PipelineNotFoundException
            There is none.
        """
        return PublishedPipeline(as_workspace(workspace), id)

    @staticmethod
    def list(workspace: Workspace, active_only: bool = True, **_: Any) -> Any:
        """Return the published pipelines of a workspace, newest first."""
        found = []
        for published_id in start.published_ids():
            one = PublishedPipeline(as_workspace(workspace), published_id)
            here = one._facts.get("workspace") == str(workspace.folder)
            if here and (one.status == "Active" or not active_only):
                found.append(one)
        return found

    def submit(
        self,
        workspace: Workspace,
        experiment_name: str,
        pipeline_parameters: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> Any:
        """Start the pipeline and return its run.

        Raises
        ------
        UserErrorException
            It has no parameter of a given name, or it is disabled.
        """
        values = {name: plain_value(value) for name, value in (pipeline_parameters or {}).items()}
        try:
            folder = start.start_published(self.id, values, experiment_name)
        except ConfigError as error:
            raise UserErrorException(str(error)) from error
        print(f"Submitted PipelineRun {folder.run_id}")
        experiment = load("pipeline.experiments:Experiment")(workspace, experiment_name)
        return load("pipeline.pipeline_runs:PipelineRun")(experiment, folder.run_id)

    def disable(self) -> None:
        """Let it not be started any more."""
        start.change_published(self.id, {"status": "Disabled"})

    def enable(self) -> None:
        """Let it be started again."""
        start.change_published(self.id, {"status": "Active"})
