"""``pipeline.json``: the steps of a pipeline, what they read and write, and in which order.

A value that is known only when its step starts is a *binding*, a JSON object with one key:
``{"parameter": name}``, ``{"output": [step, name]}`` (a folder that an earlier step wrote),
``{"input": name}`` (the local path of one of the step's own inputs) or ``{"write": name}`` (the
folder of one of its own outputs). Everything else is itself.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import RunFolderError

PIPELINE_SCHEMA = 1
STEP_RUN_ID = "{run-id}"
"""Stands in the path of an output for the id of the step's run."""


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """A folder that a step writes.

    Parameters
    ----------
    name
        Its name in the step.
    datastore
        Name of the datastore that it is on.
    root
        The datastore's folder, or its URL.
    path
        Where in the datastore, with ``{run-id}`` for the id of the step's run.
    storage
        What opens the URL, with credentials by reference; None for a folder.
    register_as
        Name under which the files are registered as a dataset when the step has completed.
    """

    name: str
    datastore: str
    root: str
    path: str
    storage: dict[str, Any] | None = None
    register_as: str = ""


@dataclass(frozen=True, slots=True)
class InputRecord:
    """Something that a step reads.

    Parameters
    ----------
    name
        Its name in the step.
    value
        A dataset's description, or a binding to a parameter or to an output of another step.
    reads
        How the output of another step is read: ``files``, ``delimited``, ``parquet``.
    options
        What the reading of a table takes.
    path_on_compute
        Where the script wants to find it; empty for anywhere.
    """

    name: str
    value: Any
    reads: str = "files"
    options: dict[str, Any] = field(default_factory=dict)
    path_on_compute: str = ""


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step. ``kind`` is ``parallel`` (over mini-batches) or ``script`` (a plain Python script).

    ``settings`` are fields of the native configuration, ``environment`` says which packages and
    which Python were asked for, ``variables`` of None have a value that looks like a secret,
    ``compute`` is where it runs (empty for this machine).
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


@dataclass(frozen=True, slots=True)
class PipelineRecord:
    """What a pipeline was asked to do.

    ``workspace`` is the folder of the workspace, ``parameters`` the values of this run, and
    ``context`` what scripts may know of their surroundings.
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

    def step(self, key: str) -> StepRecord:
        """Return the step with a key."""
        return next(step for step in self.steps if step.key == key)

    def to_json(self) -> str:
        """Return the text of ``pipeline.json``."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> PipelineRecord:
        """Read ``pipeline.json``; unknown keys of newer versions are ignored.

        Raises
        ------
        RunFolderError
            The text is not such a record.
        """
        try:
            given = _known(cls, json.loads(text))
            given["steps"] = [_step(step) for step in given["steps"]]
            return cls(**given)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            msg = f"{where} is not the record of a pipeline ({error}); the folder is damaged."
            raise RunFolderError(msg) from error


def _step(record: dict[str, Any]) -> StepRecord:
    given = _known(StepRecord, record)
    for name in ("inputs", "side_inputs"):
        given[name] = [InputRecord(**_known(InputRecord, one)) for one in given[name]]
    given["outputs"] = [OutputRecord(**_known(OutputRecord, one)) for one in given["outputs"]]
    return StepRecord(**given)


def _known(shape: Any, record: dict[str, Any]) -> dict[str, Any]:
    names = {f.name for f in fields(shape)}
    return {key: value for key, value in record.items() if key in names}
