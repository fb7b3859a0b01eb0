"""Pipelines, published pipelines, and the experiments that group their runs."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...files import write_atomically
from ...pipelines import start
from ...pipelines.folder import PipelineFolder, PipelineRecord, every_pipeline
from ..core.workspace import Workspace, as_workspace
from ..data.step_inputs import plain_value
from ..exceptions import PipelineNotFoundException, UserErrorException
from ..loader.name_table import Partial, load
from .recorder import Recorder, in_order
from .steps import PipelineStep


class Pipeline(Partial):
    """Steps that run together.

    Parameters
    ----------
    workspace
        The workspace.
    steps
        Steps or lists of steps, in any order; the steps whose outputs they read are added.
    description
        A short description.
    default_datastore
        The datastore of outputs without one. Default: the workspace's default datastore.
    default_source_directory, resolve_closure
        Ignored.

    Raises
    ------
    UserErrorException
        An element is not a step, or steps depend on each other in a circle.
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
        """Return the problems of the pipeline; an empty list if it is valid."""
        problems = self._recorder.problems()
        if not problems:
            for step in self._steps:
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
        """Start the pipeline and return its run.

        Parameters
        ----------
        experiment_name
            The experiment of the run.
        pipeline_parameters
            Values that replace the defaults of parameters.
        continue_on_step_failure
            Run the steps that do not depend on a failed step.
        regenerate_outputs
            Run every step, without reuse of earlier outputs.
        tags
            Tags of the run.

        Returns
        -------
        PipelineRun
            The run, which continues when this process ends.

        Raises
        ------
        UserErrorException
            The pipeline is invalid, or has no parameter with a given name.
        """
        experiment = Experiment(self.workspace, experiment_name)
        record = self.record(
            experiment.name,
            name=self.description or experiment.name,
            tags={str(k): str(v) for k, v in (tags or {}).items()},
            continue_on_step_failure=continue_on_step_failure,
            regenerate_outputs=regenerate_outputs,
        )
        record = _with_parameters(record, pipeline_parameters)
        recorder = self._recorder

        def snapshot(folder: PipelineFolder) -> None:
            recorder.snapshot(folder.step)

        folder = start.start_pipeline(record, snapshot, recorder.secrets())
        for step in record.steps:
            print(f"Created step {step.name} [{step.key}][{folder.run_id}]")
        return _submitted_run(experiment, folder)

    def record(self, experiment: str, **facts: Any) -> PipelineRecord:
        """Return the record of a run with default parameters.

        Raises
        ------
        UserErrorException
            The pipeline is invalid.
        """
        problems = self._recorder.problems()
        if problems:
            msg = f"the pipeline is invalid: {'; '.join(problems)}."
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
        """Publish the pipeline; it is started over HTTP by the Jupyter server, or by `submit`."""
        title = name or self.description or "pipeline"
        record = self.record(
            title, name=title, continue_on_step_failure=bool(continue_on_step_failure)
        )
        recorder = self._recorder

        def snapshot(steps: Path) -> None:
            recorder.snapshot(lambda key: steps / key)

        return PublishedPipeline.create(self.workspace, record, description, version, snapshot)


def _submitted_run(experiment: Experiment, folder: PipelineFolder) -> Any:
    print(f"Submitted PipelineRun {folder.run_id}")
    return load("pipeline.pipeline_runs:PipelineRun")(experiment, folder.run_id)


def _plain_values(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: plain_value(value) for name, value in (parameters or {}).items()}


def _with_parameters(
    record: PipelineRecord, parameters: Mapping[str, Any] | None
) -> PipelineRecord:
    values = _plain_values(parameters)
    try:
        start.check_parameters(record, values)
    except ConfigError as error:
        raise UserErrorException(str(error)) from error
    return replace(record, parameters={**record.parameters, **values})


class PublishedPipeline(Partial):
    """A published pipeline, which can be started with other parameters.

    `Pipeline.publish` and `PipelineRun.publish_pipeline` return one.

    Raises
    ------
    PipelineNotFoundException
        The published pipeline does not exist.
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

    @staticmethod
    def create(
        workspace: Workspace,
        record: PipelineRecord,
        description: str | None,
        version: str | None,
        copy_scripts: Callable[[Path], None],
    ) -> PublishedPipeline:
        """Publish the pipeline of a record; ``copy_scripts`` fills a folder with its scripts."""
        facts = {
            "name": record.name,
            "description": description,
            "version": version,
            "workspace": record.workspace,
        }
        return PublishedPipeline(workspace, start.publish(record, facts, copy_scripts))

    @property
    def status(self) -> str:
        """``Active`` or ``Disabled``."""
        return str(start.read_published(self.id)[1]["status"])

    @property
    def endpoint(self) -> str:
        """The URL that starts the pipeline by a POST, on this kernel's Jupyter server.

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
            It does not exist.
        """
        return PublishedPipeline(as_workspace(workspace), id)

    @staticmethod
    def list(workspace: Workspace, active_only: bool = True, **_: Any) -> Any:
        """Return the published pipelines of a workspace, newest first."""
        folder = str(as_workspace(workspace).folder)
        pipelines = (PublishedPipeline(workspace, id) for id in start.published_ids())
        return [
            pipeline
            for pipeline in pipelines
            if pipeline._facts.get("workspace") == folder
            and (pipeline.status == "Active" or not active_only)
        ]

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
            The pipeline has no parameter with a given name, or is disabled.
        """
        values = _plain_values(pipeline_parameters)
        try:
            folder = start.start_published(self.id, values, experiment_name)
        except ConfigError as error:
            raise UserErrorException(str(error)) from error
        return _submitted_run(Experiment(workspace, experiment_name), folder)

    def disable(self) -> None:
        """Refuse further starts."""
        start.change_published(self.id, {"status": "Disabled"})

    def enable(self) -> None:
        """Allow starts again."""
        start.change_published(self.id, {"status": "Active"})


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}", re.ASCII)


class Experiment(Partial):
    """An experiment of a workspace: a name that groups runs, created on first use.

    Parameters
    ----------
    workspace
        The workspace.
    name
        1 to 255 letters, digits, ``.``, ``_`` and ``-``, starting with a letter or a digit.

    Raises
    ------
    UserErrorException
        The name is invalid.
    """

    def __init__(
        self, workspace: Workspace, name: str, _skip_name_validation: bool = False, **_: Any
    ) -> None:
        self.workspace = as_workspace(workspace)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = (
                f"Experiment name is {name!r}; it must be 1 to 255 characters long, start with a "
                "letter or a number, and contain only letters, numbers, underscores and dashes."
            )
            raise UserErrorException(msg)
        self.name = name
        self._file = self.workspace.folder / "experiments" / f"{name}.json"
        if not self._file.exists():
            self._file.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._file, json.dumps({"name": name}))

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self.workspace.name})"

    @property
    def id(self) -> str:
        """The id: workspace and name."""
        return f"{self.workspace.folder.name}/{self.name}"

    @staticmethod
    def list(workspace: Workspace, **_: Any) -> Any:
        """Return the experiments of a workspace."""
        try:
            names = os.listdir(as_workspace(workspace).folder / "experiments")
        except FileNotFoundError:
            return []
        names = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
        return [Experiment(workspace, name) for name in names]

    def submit(
        self,
        config: Any,
        tags: dict[str, str] | None = None,
        pipeline_parameters: dict[str, Any] | None = None,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
        **_: Any,
    ) -> Any:
        """Start a pipeline and return its run, which continues when this process ends.

        Parameters
        ----------
        config
            A `Pipeline`, a `PublishedPipeline` or a step.
        tags, pipeline_parameters, continue_on_step_failure, regenerate_outputs
            As in `Pipeline.submit`.

        Raises
        ------
        UserErrorException
            ``config`` is of another kind, or the pipeline has no parameter with a given name.
        """
        if isinstance(config, PublishedPipeline):
            return config.submit(self.workspace, self.name, pipeline_parameters)
        if isinstance(config, PipelineStep):
            config = Pipeline(self.workspace, [config])
        if not isinstance(config, Pipeline):
            msg = (
                f"config is {config!r}, a {type(config).__name__}; expected a Pipeline. Other "
                "kinds of runs are not part of the local layer."
            )
            raise UserErrorException(msg)
        return config.submit(
            self.name,
            pipeline_parameters,
            continue_on_step_failure,
            regenerate_outputs,
            tags=tags,
        )

    def get_runs(self, type: str | None = None, **_: Any) -> Iterator[Any]:
        """Yield the runs of the experiment, newest first."""
        run_type = load("pipeline.pipeline_runs:PipelineRun")
        for folder in every_pipeline():
            record = folder.read_record()
            is_here = record.workspace == str(self.workspace.folder)
            if is_here and record.experiment == self.name:
                yield run_type(self, folder.run_id)

    def delete(self) -> None:
        """Delete the experiment; its runs are kept."""
        self._file.unlink(missing_ok=True)
