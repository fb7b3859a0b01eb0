"""Components by name in a job, replaced by those that are registered on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...errors import ConfigError
from ..model.jobs import Component, PipelineJob, PipelineStep, Step
from ..model.problems import Problem
from ..reader.jobs import load_component
from ..reader.steps import merged
from .assets import Assets, name_and_version
from .registry import Registry

_PREFIX = "azureml:"


def with_registered_components(job: PipelineJob, assets: Assets) -> PipelineJob:
    """Return a job whose components by name are in place.

    Names that are not registered here stay; the compiler reports them.

    Parameters
    ----------
    job
        The job.
    assets
        The workspace; it receives a sentence for each name, and problems.
    """
    if job.component.startswith(_PREFIX) and job.declared is None:
        component = _find(job.component, assets)
        if component is not None and isinstance(component.body, PipelineStep):
            job = replace(job, declared=component, jobs=component.body.jobs)
    return replace(job, jobs=_steps(job.jobs, assets))


def _steps(steps: Mapping[str, Step], assets: Assets) -> dict[str, Step]:
    return {name: _step(step, assets) for name, step in steps.items()}


def _step(step: Step, assets: Assets) -> Step:
    if step.component.startswith(_PREFIX) and step.declared is None:
        component = _find(step.component, assets)
        if component is not None and component.type != step.type:
            message = (
                f"the step {step.name!r} is of type {step.type!r}, its component of type "
                f"{component.type!r}; write 'type: {component.type}'."
            )
            assets.problems.append(Problem(step.places.own, message))
        elif component is not None:
            below = replace(component.body, inputs={}, outputs={})
            step = merged(replace(step, declared=component), below)
    if isinstance(step, PipelineStep):
        step = replace(step, jobs=_steps(step.jobs, assets))
    return step


def _find(reference: str, assets: Assets) -> Component | None:
    name, version = name_and_version(reference)
    try:
        row = Registry(assets.workspace).find("component", name, version)
    except ConfigError:
        return None
    assets.note(f"{reference} is version {row['label']} of the component {name!r} registered here")
    return load_component(row["file"])
