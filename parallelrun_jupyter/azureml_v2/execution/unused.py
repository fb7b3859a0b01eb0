"""Fields of a job that have an effect in Azure, and none on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..model.jobs import CommandStep, ParallelStep, PipelineJob, PipelineStep, Step
from ..model.values import Environment

_OF_STEPS = (
    "services",
    "queue_settings",
    "resources.docker_args",
    "resources.shm_size",
    "task.model",
)


def unused_fields(job: PipelineJob) -> list[str]:
    """Return the names of the fields that a job has, each once, such as ``settings.on_init``."""
    names = [
        f"settings.{name}" for name in ("on_init", "on_finalize") if job.settings.places.has(name)
    ]
    return list(dict.fromkeys([*names, *_of_steps(job.jobs)]))


def _of_steps(jobs: Mapping[str, Step]) -> Iterator[str]:
    for step in jobs.values():
        yield from (name for name in _OF_STEPS if step.places.has(name))
        if isinstance(step, PipelineStep):
            yield from _of_steps(step.jobs)
        elif isinstance(step, CommandStep):
            yield from _of_environment(step.environment)
        elif isinstance(step, ParallelStep) and step.task is not None:
            yield from _of_environment(step.task.environment)


def _of_environment(environment: Environment | None) -> Iterator[str]:
    if environment is not None and (environment.build_path or environment.dockerfile_path):
        yield "environment.build"
