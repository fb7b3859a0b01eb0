"""Experiments: names under which runs are kept together."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from ...files import write_atomically
from ...pipelines.folder import every_pipeline
from ..core.workspace import Workspace, as_workspace
from ..exceptions import UserErrorException
from ..loader.missing import Partial
from ..loader.name_table import load
from .pipelines import Pipeline, PublishedPipeline
from .steps import PipelineStep

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}", re.ASCII)


class Experiment(Partial):
    """An experiment of a workspace, made when it is first used.

    Parameters
    ----------
    workspace
        The workspace.
    name
        1 to 255 letters, digits, ``_`` and ``-``, the first one a letter or a digit.

    Raises
    ------
    UserErrorException
        The name is none.
    """

    def __init__(
        self, workspace: Workspace, name: str, _skip_name_validation: bool = False, **_: Any
    ) -> None:
        self.workspace = as_workspace(workspace)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            msg = (
                f"Experiment name is {name!r}; it must be 1 to 255 characters long, start with a "
                "letter or a number, and hold only letters, numbers, underscores and dashes."
            )
            raise UserErrorException(msg)
        self.name = name
        place = self.workspace.folder / "experiments" / f"{name}.json"
        if not place.exists():
            place.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(place, json.dumps({"name": name}))

    def __repr__(self) -> str:
        return f"Experiment(Name: {self.name},\nWorkspace: {self.workspace.name})"

    @property
    def id(self) -> str:
        """The id."""
        return f"{self.workspace.folder.name}/{self.name}"

    @staticmethod
    def list(workspace: Workspace, **_: Any) -> Any:
        """Return the experiments of a workspace."""
        try:
            names = os.listdir(as_workspace(workspace).folder / "experiments")
        except FileNotFoundError:
            return []
        found = (name.removesuffix(".json") for name in names if name.endswith(".json"))
        return [Experiment(workspace, name) for name in sorted(found)]

    def submit(
        self,
        config: Any,
        tags: dict[str, str] | None = None,
        pipeline_parameters: dict[str, Any] | None = None,
        continue_on_step_failure: bool = False,
        regenerate_outputs: bool = False,
        **_: Any,
    ) -> Any:
        """Start a pipeline and return its run, which goes on without this process.

        Parameters
        ----------
        config
            A `Pipeline`, a `PublishedPipeline`, or one step.
        tags
            Tags of the run.
        pipeline_parameters
            Values in place of the parameters' defaults.
        continue_on_step_failure, regenerate_outputs
            As `Pipeline.submit`.

        Raises
        ------
        UserErrorException
            It is none of these, or has no parameter of a given name.
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
        return config.submit_to(
            self,
            pipeline_parameters,
            continue_on_step_failure=continue_on_step_failure,
            regenerate_outputs=regenerate_outputs,
            tags=tags,
        )

    def get_runs(self, type: str | None = None, **_: Any) -> Iterator[Any]:
        """Yield the runs of the experiment, newest first."""
        run = load("pipeline.pipeline_runs:PipelineRun")
        for folder in every_pipeline():
            record = folder.read_record()
            here = record.workspace == str(self.workspace.folder)
            if here and record.experiment == self.name:
                yield run(self, folder.run_id)

    def delete(self) -> None:
        """Forget the name; runs stay."""
        (self.workspace.folder / "experiments" / f"{self.name}.json").unlink(missing_ok=True)
