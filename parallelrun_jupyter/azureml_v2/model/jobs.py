"""Pipeline jobs, their steps, and components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .expressions import Binding, Text
from .places import Places
from .values import (
    Environment,
    Identity,
    Input,
    Number,
    Output,
    Port,
    Resources,
    RetrySettings,
)

Variables: TypeAlias = Mapping[str, Text] | Binding
"""Environment variables by name, or a binding to an input that holds them."""

STEP_TYPES = ("command", "parallel", "pipeline")
"""The types of steps that are read in full."""

OTHER_TYPES = (
    "sweep", "automl", "spark", "import", "data_transfer", "do_while", "if_else", "parallel_for",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The common part of steps.

    The fields of a step with a component are those of the component, replaced by those of the step.

    Parameters
    ----------
    name
        Its key under ``jobs``; the component's name in the body of a component.
    inputs, outputs
        The values, by name. An output without a value (``rows:``) is an `Output` without fields.
    compute
        The compute, such as ``azureml:cpu-cluster``; empty for the pipeline's default.
    component
        The component as a name, such as ``azureml:prep:1``, or as the path of its file; empty for a
        step without one, or with one in place.
    declared
        The component itself; None without one, and where it has only a name.
    """

    name: str = ""
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    compute: str = ""
    component: str = ""
    declared: Component | None = None
    display_name: str = ""
    description: str = ""
    comment: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    places: Places = field(default_factory=Places, compare=False, repr=False)

    @property
    def type(self) -> str:
        """The type, as in the file."""
        return _TYPES[type(self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStep(Step):
    """A step that runs a command once.

    Parameters
    ----------
    command
        The command line, run by bash in a copy of ``code``.
    code
        The folder of the scripts: an absolute local path, or a URL; empty for none.
    timeout
        ``limits.timeout``: seconds until it is canceled; None for no limit.
    additional_includes
        Files and folders that are copied beside ``code``: absolute local paths.
    distribution, queue_settings, services
        Only recorded here.
    """

    command: Text | None = None
    code: str = ""
    environment: Environment | None = None
    environment_variables: Variables = field(default_factory=dict)
    resources: Resources | None = None
    timeout: Number | None = None
    additional_includes: tuple[str, ...] = ()
    distribution: Mapping[str, Any] = field(default_factory=dict)
    queue_settings: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The task of a parallel step.

    Parameters
    ----------
    type
        ``run_function`` (or ``function``, ``model``).
    code
        The folder of the scripts: an absolute local path, or a URL; empty for none.
    entry_script
        The script with ``init()`` and ``run(mini_batch)``, relative to ``code``.
    append_row_to
        The output that receives all rows; None to keep none.
    """

    type: str = ""
    code: str = ""
    entry_script: str = ""
    program_arguments: Text | None = None
    append_row_to: Text | None = None
    environment: Environment | None = None
    model: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelStep(Step):
    """A step over mini-batches. None is a field that is not in the file; see `DEFAULTS`.

    Parameters
    ----------
    input_data
        The input that is divided into mini-batches.
    mini_batch_size
        As written, such as ``5`` or ``10kb``; with expressions.
    """

    task: Task | None = None
    input_data: Text | None = None
    mini_batch_size: Text | None = None
    partition_keys: tuple[str, ...] | Binding | None = None
    max_concurrency_per_instance: Number | None = None
    mini_batch_error_threshold: Number | None = None
    error_threshold: Number | None = None
    logging_level: str = ""
    retry_settings: RetrySettings | None = None
    resources: Resources | None = None
    environment_variables: Variables = field(default_factory=dict)


DEFAULTS: Mapping[str, Any] = {
    "error_threshold": -1,
    "mini_batch_error_threshold": -1,
    "max_retries": 2,
    "timeout": 60,
    "instance_count": 1,
    "logging_level": "INFO",
}
"""Azure's defaults of the fields of parallel steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStep(Step):
    """A step that is a pipeline: the steps of a pipeline component."""

    jobs: Mapping[str, Step] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherStep(Step):
    """A step of another type of Azure's, such as ``sweep``; its fields are not read."""

    other_type: str = ""

    @property
    def type(self) -> str:
        """The type, as in the file."""
        return self.other_type


_TYPES = {CommandStep: "command", ParallelStep: "parallel", PipelineStep: "pipeline"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A component: a step with declared inputs and outputs, for use in pipelines.

    Parameters
    ----------
    file
        Path of its file; empty for a component in place.
    inputs, outputs
        The declarations, by name.
    body
        The fields of the step; `PipelineStep` for a pipeline component.
    """

    name: str = ""
    version: str = ""
    display_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_deterministic: bool = True
    inputs: Mapping[str, Port] = field(default_factory=dict)
    outputs: Mapping[str, Port] = field(default_factory=dict)
    body: Step
    file: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)

    @property
    def type(self) -> str:
        """``command``, ``parallel`` or ``pipeline``."""
        return self.body.type


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a pipeline. None is a field that is not in the file."""

    default_compute: str = ""
    default_datastore: str = ""
    continue_on_step_failure: bool | None = None
    force_rerun: bool | None = None
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineJob:
    """A pipeline job.

    Parameters
    ----------
    file
        Path of the file, as given; empty for a job that was built in Python.
    component
        A pipeline component by name or path, in place of ``jobs``; its steps are in ``jobs``.
    """

    name: str = ""
    display_name: str = ""
    experiment_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    compute: str = ""
    settings: Settings = field(default_factory=Settings)
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    jobs: Mapping[str, Step] = field(default_factory=dict)
    identity: Identity | None = None
    component: str = ""
    declared: Component | None = None
    file: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)
