"""A run that goes on elsewhere: its job in Azure ML is canceled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...config.azureml_compute import require_azure_ai_ml
from ...errors import ParallelRunError
from ...runs.run_folder import RunFolder
from .job_file import JobFile
from .service import JobNotFoundError
from .workspace import connect


def leave_job(folder: RunFolder, spec: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Cancel the last job of a run, unless it is over; return a warning if that is not possible.

    Parameters
    ----------
    folder
        The run.
    spec
        The compute that the job was sent to.
    environ
        Environment variables, which may have access tokens.
    """
    jobs = JobFile(folder)
    note = jobs.last
    if note is None or note.is_over:
        return ""
    try:
        require_azure_ai_ml()
        connect(spec, environ).cancel(note.name)
    except JobNotFoundError:
        pass  # it was not submitted, or is there no more
    except ParallelRunError as error:
        reason = str(error).rstrip(".")
        return (
            f"the job {note.name} may still run in Azure ML, and could not be canceled ({reason}). "
            "Cancel it there, since the run goes on without it: az ml job cancel --name "
            f"{note.name}"
        )
    note.is_over = True
    jobs.save()
    return ""
