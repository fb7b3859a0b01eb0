"""The folders of pipelines: a run of runs, each with a small journal of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunNotFoundError
from ..formatting import nearest_hint
from ..home import home
from ..runs.driver_lock import driver_is_alive
from ..runs.run_folder import Folder, names_in
from .journal import PipelineState, fold, read_events
from .record import PipelineRecord

RECORD_NAME = "pipeline.json"


@dataclass(frozen=True, slots=True)
class PipelineFolder(Folder):
    """One pipeline's folder and the places in it."""

    @property
    def record(self) -> Path:
        """What was asked for."""
        return self.path / RECORD_NAME

    def step(self, key: str) -> Path:
        """Return the folder of a step: its script, its logs, what its script may know."""
        return self.path / "steps" / key

    def read_record(self) -> PipelineRecord:
        """Read what was asked for.

        Raises
        ------
        RunFolderError
            The record is missing or damaged.
        """
        return PipelineRecord.from_json(self.record_text(), str(self.record))

    def read_state(self, created_at: float, now: float | None = None) -> PipelineState:
        """Return where the pipeline stands; Interrupted when its driver is gone.

        Parameters
        ----------
        created_at
            When it was created, in seconds since the epoch.
        now
            The time. Default: the clock's.
        """
        state = fold(read_events(self.journal))
        if state.is_final:
            return state
        if not driver_is_alive(self, created_at, time.time() if now is None else now):
            state = fold(read_events(self.journal))  # its last events may have come meanwhile
            if not state.is_final:
                state.state = "Interrupted"
                state.reason = f"the process that drives it is gone; see {self.driver_log}"
        return state


def pipelines_folder() -> Path:
    """Return the folder of all pipelines of this home."""
    return home() / "pipelines"


def create_pipeline(run_id: str) -> PipelineFolder:
    """Make the folder of a new pipeline, readable by its owner only.

    Raises
    ------
    RunFolderError
        The home cannot be written.
    """
    folder = PipelineFolder(pipelines_folder() / run_id)
    folder.make("pipeline", (folder.control, folder.driver_log.parent, folder.path / "steps"))
    return folder


def every_pipeline() -> list[PipelineFolder]:
    """Return the folders of all pipelines, newest first."""
    folders = (PipelineFolder(pipelines_folder() / name) for name in names_in(pipelines_folder()))
    return [folder for folder in folders if folder.record.is_file()]


def find_pipeline(run_id: str) -> PipelineFolder:
    """Return the folder of a pipeline, by its id.

    Raises
    ------
    RunNotFoundError
        There is none; the message names the nearest id.
    """
    path = pipelines_folder() / run_id
    if os.sep in run_id or run_id in {"", ".", ".."} or not (path / RECORD_NAME).is_file():
        ids = [folder.run_id for folder in every_pipeline()]
        msg = f"there is no pipeline run {run_id!r} in {pipelines_folder()}.{nearest_hint(run_id, ids)}"
        raise RunNotFoundError(msg)
    return PipelineFolder(path)
