"""Azure ML v2 jobs on this machine: a reader of their files, checks, and what runs them.

``run("pipeline.yml")`` starts a pipeline with command and parallel steps. azure-ai-ml is not needed.
``check("pipeline.yml")`` returns the mistakes of a file before it runs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checks.files import check
    from .checks.findings import Finding
    from .execution.job_run import JobRun, StepRun
    from .execution.start import run
    from .model.problems import JobFileError, Problem

_HOMES = {
    "Finding": "checks.findings",
    "JobFileError": "model.problems",
    "JobRun": "execution.job_run",
    "Problem": "model.problems",
    "StepRun": "execution.job_run",
    "check": "checks.files",
    "run": "execution.start",
}

__all__ = ["Finding", "JobFileError", "JobRun", "Problem", "StepRun", "check", "run"]


def __getattr__(name: str) -> Any:
    # Reading a file needs none of what running it needs.
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
