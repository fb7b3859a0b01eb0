"""Reads pipeline jobs and components from files.

The entries for other modules: `load_job` and `load_component` raise an error with all problems,
`read_job` and `read_component` return the problems beside as much of the object as could be read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from ..model.jobs import Component, PipelineJob, PipelineStep, Settings
from ..model.places import Place
from ..model.problems import JobFileError, Problem
from .fields import Fields, Source
from .steps import component_of, read_common, read_component_of_step, read_steps
from .tree import Node, read_overridden, tree_of
from .values import read_inputs, read_outputs

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What a file contains.

    Parameters
    ----------
    found
        The object; None if the file is no YAML, or of another type.
    problems
        The mistakes, in the order of their places.
    """

    found: T | None
    problems: tuple[Problem, ...]

    def checked(self) -> T:
        """Return the object.

        Raises
        ------
        JobFileError
            There are problems.
        """
        if self.problems or self.found is None:
            raise JobFileError(self.problems)
        return self.found


def load_job(
    path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> PipelineJob:
    """Read a pipeline job.

    Parameters
    ----------
    path
        The YAML file. Paths in it are relative to its folder.
    overrides
        Values to set first, by dotted name: ``{"jobs.score.mini_batch_size": "5"}``.

    Raises
    ------
    JobFileError
        The file has mistakes; the message has file, line and column of each.
    """
    return read_job(path, overrides).checked()


def read_job(
    path: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    text: str | None = None,
) -> Reading[PipelineJob]:
    """Read a pipeline job, with all of its problems; ``text`` replaces the file's content."""
    file = os.fspath(path)
    try:
        tree = read_overridden(file, overrides, text)
    except JobFileError as error:
        return Reading(None, error.problems)
    return _job(tree, file)


def job_of(record: Mapping[str, Any], folder: str | os.PathLike[str] = ".") -> Reading[PipelineJob]:
    """Read a pipeline job from plain values, as a YAML file would give them.

    Parameters
    ----------
    record
        The fields of the job.
    folder
        The folder that paths are relative to.
    """
    file = os.path.join(os.fspath(folder), "job")
    reading = _job(tree_of(record, Place("the job")), file)
    return replace(reading, found=reading.found and replace(reading.found, file=""))


def _job(tree: Node, file: str) -> Reading[PipelineJob]:
    problems: list[Problem] = []
    source = Source(file, problems)
    fields = Fields(tree, source, "a pipeline job")
    if "endpoint_name" in fields:
        message = (
            "this is the file of a batch deployment; start it by 'parallelrun azureml invoke FILE "
            "--input FOLDER'."
        )
        return Reading(None, (Problem(tree.place, message),))
    schema = fields.get("$schema")
    is_component = schema is not None and "component" in str(schema.value).lower()
    if is_component and _declares_inputs(tree):
        message = (
            "this is the file of a component; start a job that has it: a file with 'type: pipeline', "
            "'component: ./FILE', and its 'inputs'."
        )
        return Reading(None, (Problem(tree.place, message),))
    type_ = fields.text("type") or ("pipeline" if "jobs" in fields else "command")
    if type_ != "pipeline":
        node = fields.get("type")
        message = (
            f"type is {type_!r}; expected a job of 'type: pipeline'. A step of another type runs as "
            "part of one: put it under 'jobs'."
        )
        return Reading(None, (Problem(node.place if node else tree.place, message),))
    reference, declared = read_component_of_step(fields, "pipeline", (os.path.abspath(file),))
    jobs = read_steps(fields, (os.path.abspath(file),))
    if declared is not None and isinstance(declared.body, PipelineStep):
        jobs = dict(declared.body.jobs)
    elif not jobs and not reference and not problems:
        source.add(tree.place, "the pipeline has no steps; add them under 'jobs'.")
    fields.ignore("services", "id", "creation_context", "status")
    job = PipelineJob(
        name=fields.text("name"),
        experiment_name=fields.text("experiment_name"),
        compute=fields.text("compute"),
        settings=read_settings(fields),
        inputs=read_inputs(fields),
        outputs=read_outputs(fields),
        jobs=jobs,
        component=reference,
        declared=declared,
        file=file,
        **read_common(fields),
    )
    job = replace(job, places=fields.end())
    return Reading(job, tuple(sorted(set(problems))))


def _declares_inputs(tree: Node) -> bool:
    """Return whether the inputs of a file have types alone, as those of a component."""
    inputs = tree.value.get("inputs")
    values = inputs.value.values() if inputs is not None and isinstance(inputs.value, dict) else ()
    return any(
        isinstance(node.value, dict) and not {"path", "value"} & set(node.value) for node in values
    )


def read_settings(fields: Fields) -> Settings:
    """Read ``settings`` of a pipeline."""
    inner = fields.nested("settings", "settings")
    if inner is None:
        return Settings()
    inner.ignore("on_init", "on_finalize")
    return Settings(
        default_compute=inner.text("default_compute"),
        default_datastore=inner.text("default_datastore"),
        continue_on_step_failure=inner.flag("continue_on_step_failure"),
        force_rerun=inner.flag("force_rerun"),
        places=inner.end(),
    )


def load_component(
    path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> Component:
    """Read a component.

    Raises
    ------
    JobFileError
        The file has mistakes; the message has file, line and column of each.
    """
    return read_component(path, overrides).checked()


def read_component(
    path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> Reading[Component]:
    """Read a component, with all of its problems."""
    file = os.fspath(path)
    problems: list[Problem] = []
    try:
        tree = read_overridden(file, overrides)
    except JobFileError as error:
        return Reading(None, error.problems)
    fields = Fields(tree, Source(file, problems), "the component")
    found = component_of(fields, file, (os.path.abspath(file),))
    return Reading(found, tuple(sorted(set(problems))))
