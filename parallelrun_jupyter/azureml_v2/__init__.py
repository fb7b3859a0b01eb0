"""Azure ML v2 jobs on this machine: a reader of their files, and what runs them.

``run("pipeline.yml")`` starts a pipeline with command and parallel steps, ``invoke("deployment.yml",
input="data/")`` a batch deployment. azure-ai-ml is not needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .execution.deployment_run import DeploymentRun
    from .execution.invoke import invoke
    from .execution.job_run import JobRun, StepRun
    from .execution.start import run
    from .migration.migrate import Migrated, migrate
    from .model.problems import JobFileError, Problem

_HOMES = {
    "DeploymentRun": "execution.deployment_run",
    "JobFileError": "model.problems",
    "JobRun": "execution.job_run",
    "Migrated": "migration.migrate",
    "Problem": "model.problems",
    "StepRun": "execution.job_run",
    "invoke": "execution.invoke",
    "migrate": "migration.migrate",
    "run": "execution.start",
}

__all__ = [
    "DeploymentRun",
    "JobFileError",
    "JobRun",
    "Migrated",
    "Problem",
    "StepRun",
    "invoke",
    "migrate",
    "run",
]


def __getattr__(name: str) -> Any:
    # Reading a file needs none of what running it needs.
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
