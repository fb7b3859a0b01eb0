"""The error of a failed job, which is also a `JobException` of azure-ai-ml where that is loaded."""

from __future__ import annotations

import sys

from ...errors import RunFailedError

_AZURES = "azure.ai.ml.exceptions"


class JobException(RunFailedError):
    """A job failed, or its results are asked for before its end. The user's exception is first."""


def job_exception(text: str) -> JobException:
    """Return the error; a notebook's ``except JobException`` of azure-ai-ml catches it, too."""
    azures = getattr(sys.modules.get(_AZURES), "JobException", None)
    if azures is None:
        return JobException(text)

    def start(error: JobException) -> None:
        azures.__init__(error, text, text)
        JobException.__init__(error, text)

    both = type("JobException", (JobException, azures), {"__init__": start})
    made: JobException = both()
    return made
