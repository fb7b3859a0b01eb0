"""Canceling a pipeline: by its driver, or without one if the driver was lost."""

from __future__ import annotations

import time
from contextlib import suppress

from ..errors import ParallelRunError
from ..runs.driver_lock import DriverLock
from ..runs.journal.pipelines import (
    FINAL_STEP_STATES,
    PipelineFinished,
    StepFinished,
    append_event,
    fold,
    read_events,
)
from ..runs.run_folder import find
from .folder import PipelineFolder

_REASON = "cancel was requested"


def cancel_pipeline(folder: PipelineFolder) -> None:
    """Request that a pipeline and its running steps be canceled.

    The driver of the pipeline does this. If the driver was lost, the request has no reader, while
    the runs of its steps go on with drivers of their own. Then they are canceled here, and the
    pipeline is Canceled.

    Parameters
    ----------
    folder
        The pipeline's folder.
    """
    folder.request("cancel")
    created_at = folder.read_record().created_at
    if folder.read_state(created_at).state == "Interrupted":
        with suppress(ParallelRunError):  # another process has just resumed it, and cancels it
            _cancel_without_driver(folder)


def _cancel_without_driver(folder: PipelineFolder) -> None:
    lock = DriverLock(folder)
    try:
        state = fold(read_events(folder.journal))
        if state.is_final:
            return
        for step in folder.read_record().steps:
            step_state = state.step(step.key)
            if step_state.state in FINAL_STEP_STATES:
                continue
            with suppress(ParallelRunError):  # not submitted yet, or removed
                if run_id := step_state.run_id or step_state.submitting:
                    find(run_id).request("cancel")
            append_event(folder.journal, StepFinished(time.time(), step.key, "Canceled", _REASON))
        append_event(folder.journal, PipelineFinished(time.time(), "Canceled", _REASON))
    finally:
        lock.release()
