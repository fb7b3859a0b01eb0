"""The folder of a pipeline, and ``pipeline.json`` in it: the steps, their inputs and outputs.

A value that is only known when its step starts is a *binding*, a JSON object with one key:
``{"parameter": name}``, ``{"output": [step, name]}`` (a folder that an earlier step wrote),
``{"input": name}`` (the local path of one of the step's own inputs) or ``{"write": name}`` (the
folder of one of its own outputs, or its file). ``{"join": [...]}`` is a text of several values. All
other values are literal.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import RunFolderError, RunNotFoundError
from ..formatting import nearest_hint
from ..runs.driver_lock import driver_is_alive
from ..runs.journal.pipelines import PipelineState, fold, read_events
from ..runs.run_folder import Folder, names_in, pipelines_folder

RECORD_NAME = "pipeline.json"
PIPELINE_SCHEMA = 1
STEP_RUN_ID = "{run-id}"
"""Placeholder in the path of an output for the id of the step's run."""


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """A folder that a step writes, or a file.

    Parameters
    ----------
    name
        Its name in the step.
    datastore
        Name of its datastore.
    root
        The datastore's folder or URL.
    path
        Path in the datastore, with ``{run-id}`` for the id of the step's run.
    storage
        Spec of the object store, with credentials by reference; None for a folder.
    register_as
        Name under which the files are registered as a dataset when the step has completed.
    version
        Their version; empty for the next number.
    is_file
        Whether ``path`` is that of a file.
    staged
        Whether a step over mini-batches, too, writes a folder of this machine that is uploaded to
        the store when it has completed. Scripts always do.
    """

    name: str
    datastore: str
    root: str
    path: str
    storage: dict[str, Any] | None = None
    register_as: str = ""
    is_file: bool = False
    version: str = ""
    staged: bool = False


@dataclass(frozen=True, slots=True)
class InputRecord:
    """An input of a step.

    Parameters
    ----------
    name
        Its name in the step.
    value
        A dataset's spec, or a binding to a parameter or to an output of another step.
    reads
        How the output of another step is read: ``files``, ``delimited``, ``parquet``, ``mltable``.
    options
        Keyword arguments of the dataset.
    path_on_compute
        Path at which the script expects it; empty for any path.
    """

    name: str
    value: Any
    reads: str = "files"
    options: dict[str, Any] = field(default_factory=dict)
    path_on_compute: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step.

    ``kind`` is ``parallel`` (over mini-batches), ``script`` (a plain Python script) or ``command``
    (a command line for bash, whose parts are the arguments).

    ``settings`` are fields of the native configuration, ``environment`` lists the requested
    packages and the Python version, ``variables`` that are None have values that look like secrets,
    ``compute`` is the compute target (empty for this machine). ``rows_to`` is the output that
    receives the rows of a parallel step: empty for none, None for the first. ``time_limit_s`` ends
    a command; 0 for no limit.
    """

    key: str
    name: str
    kind: str
    script: str
    settings: dict[str, Any]
    environment: dict[str, Any]
    arguments: list[Any]
    inputs: list[InputRecord]
    side_inputs: list[InputRecord]
    outputs: list[OutputRecord]
    variables: dict[str, str | None]
    allow_reuse: bool
    after: list[str]
    compute: str = ""
    rows_to: str | None = None
    time_limit_s: float = 0


def is_staged(step: StepRecord, output: OutputRecord) -> bool:
    """Return whether a step writes an output to a folder of this machine, which is uploaded then."""
    return output.storage is not None and (output.staged or step.kind != "parallel")


@dataclass(frozen=True, slots=True)
class PipelineRecord:
    """A pipeline as submitted.

    ``workspace`` is the folder of the workspace, ``parameters`` the values of this run, and
    ``context`` the facts about the workspace and run that scripts can read. ``api`` is the version of
    Azure's SDK whose words views use; ``outputs`` names outputs of steps, as ``[step, output]``.
    ``steps_at_a_time`` limits the steps that run side by side; 0 for as many as the cores allow.
    """

    run_id: str
    name: str
    experiment: str
    workspace: str
    created_at: float
    version: str
    driver_python: str
    parameters: dict[str, Any]
    steps: list[StepRecord]
    tags: dict[str, str] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    environment_policy: str = "current"
    continue_on_step_failure: bool = False
    regenerate_outputs: bool = False
    schema: int = PIPELINE_SCHEMA
    api: str = "v1"
    outputs: dict[str, list[str]] = field(default_factory=dict)
    steps_at_a_time: int = 0

    @property
    def noun(self) -> str:
        """What the user's API calls a pipeline that was submitted."""
        return "pipeline run" if self.api == "v1" else "job"

    def step(self, key: str) -> StepRecord:
        """Return the step with a key."""
        return next(step for step in self.steps if step.key == key)

    def to_json(self) -> str:
        """Return the text of ``pipeline.json``."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, source: str) -> PipelineRecord:
        """Read ``pipeline.json``; unknown keys of newer versions are ignored.

        Parameters
        ----------
        text
            The JSON.
        source
            Path of the file, for the error.

        Raises
        ------
        RunFolderError
            The text is not a pipeline record.
        """
        try:
            values = _fields_of(cls, json.loads(text))
            values["steps"] = [_step_of(step) for step in values["steps"]]
            return cls(**values)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            msg = f"{source} is not the record of a pipeline ({error}); the folder is damaged."
            raise RunFolderError(msg) from error


def _step_of(record: dict[str, Any]) -> StepRecord:
    values = _fields_of(StepRecord, record)
    for name in ("inputs", "side_inputs"):
        values[name] = [InputRecord(**_fields_of(InputRecord, item)) for item in values[name]]
    values["outputs"] = [
        OutputRecord(**_fields_of(OutputRecord, item)) for item in values["outputs"]
    ]
    return StepRecord(**values)


def _fields_of(record_class: Any, record: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(record_class)}
    return {key: value for key, value in record.items() if key in names}


@dataclass(frozen=True, slots=True)
class PipelineFolder(Folder):
    """The folder of a pipeline run, with the paths of its files."""

    @property
    def record(self) -> Path:
        """Path of ``pipeline.json``."""
        return self.path / RECORD_NAME

    def step(self, key: str) -> Path:
        """Return the folder of a step, with its script, logs and context."""
        return self.path / "steps" / key

    def read_record(self) -> PipelineRecord:
        """Read ``pipeline.json``.

        Raises
        ------
        RunFolderError
            The record is missing or damaged.
        """
        return PipelineRecord.from_json(self.record_text(), str(self.record))

    def read_state(self, created_at: float, now: float | None = None) -> PipelineState:
        """Return the pipeline's state; Interrupted when its driver is gone.

        Parameters
        ----------
        created_at
            Creation time of the pipeline, in seconds since the epoch.
        now
            Current time, in seconds since the epoch. Default: the clock's.
        """
        state = fold(read_events(self.journal))
        if state.is_final:
            return state
        if not driver_is_alive(self, created_at, time.time() if now is None else now):
            state = fold(read_events(self.journal))  # the driver may have just written its last
            if not state.is_final:
                state.state = "Interrupted"
                state.reason = f"its driver process has ended; see {self.driver_log}"
        return state


def create_pipeline(run_id: str) -> PipelineFolder:
    """Create the folder of a pipeline run, readable by its owner only.

    Raises
    ------
    RunFolderError
        The home is not writable.
    """
    folder = PipelineFolder(pipelines_folder() / run_id)
    folder.make("pipeline", (folder.control, folder.driver_log.parent, folder.path / "steps"))
    return folder


def every_pipeline() -> list[PipelineFolder]:
    """Return the folders of all pipeline runs, newest first."""
    folders = (PipelineFolder(pipelines_folder() / name) for name in names_in(pipelines_folder()))
    return [folder for folder in folders if folder.record.is_file()]


def find_pipeline(run_id: str) -> PipelineFolder:
    """Return the folder of a pipeline run, by its id.

    Raises
    ------
    RunNotFoundError
        No pipeline run has this id; the message names the nearest id.
    """
    path = pipelines_folder() / run_id
    if os.sep in run_id or run_id in {"", ".", ".."} or not (path / RECORD_NAME).is_file():
        ids = [folder.run_id for folder in every_pipeline()]
        msg = f"there is no pipeline run {run_id!r} in {pipelines_folder()}.{nearest_hint(run_id, ids)}"
        raise RunNotFoundError(msg)
    return PipelineFolder(path)
