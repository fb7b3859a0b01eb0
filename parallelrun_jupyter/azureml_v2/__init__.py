"""Azure ML v2 jobs on this machine: a reader of their files, checks, and what runs them.

``run("pipeline.yml")`` starts a pipeline with command and parallel steps, ``invoke("deployment.yml",
input="data/")`` a batch deployment. azure-ai-ml is not
needed. ``check("pipeline.yml")`` returns the mistakes of a file before it runs, and ``migrate`` writes jobs of SDK v1 as v2
jobs.
`LocalClient` has the methods of Azure's `MLClient`, and also runs the objects of azure-ai-ml.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks.files import check
    from .checks.findings import Finding
    from .execution.deployment_run import DeploymentRun
    from .execution.invoke import invoke
    from .execution.job_run import JobRun, StepRun
    from .execution.start import run
    from .local_client.client import LocalClient
    from .local_client.loading import (
        load_batch_deployment,
        load_batch_endpoint,
        load_component,
        load_job,
    )
    from .migration.migrate import Migrated, migrate
    from .model.problems import JobFileError, Problem

_HOMES = {
    "DeploymentRun": "execution.deployment_run",
    "Finding": "checks.findings",
    "JobFileError": "model.problems",
    "JobRun": "execution.job_run",
    "LocalClient": "local_client.client",
    "Migrated": "migration.migrate",
    "Problem": "model.problems",
    "StepRun": "execution.job_run",
    "check": "checks.files",
    "invoke": "execution.invoke",
    "load_batch_deployment": "local_client.loading",
    "load_batch_endpoint": "local_client.loading",
    "load_component": "local_client.loading",
    "load_job": "local_client.loading",
    "migrate": "migration.migrate",
    "run": "execution.start",
}

__all__ = [
    "DeploymentRun",
    "Finding",
    "JobFileError",
    "JobRun",
    "LocalClient",
    "Migrated",
    "Problem",
    "StepRun",
    "check",
    "invoke",
    "load_batch_deployment",
    "load_batch_endpoint",
    "load_component",
    "load_job",
    "migrate",
    "run",
]


def __getattr__(name: str) -> Any:
    # Reading a file needs none of what running it needs.
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
