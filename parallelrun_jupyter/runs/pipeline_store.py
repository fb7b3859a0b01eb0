"""The folders of pipelines: a run of runs, each with a small journal of its own."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunFolderError, RunNotFoundError
from ..parsing import nearest_hint
from ..settings import home
from .liveness import driver_is_alive
from .pipeline_journal import PipelineState, fold, read_events
from .pipeline_record import PipelineRecord
from .store import write_atomically

RECORD_NAME = "pipeline.json"


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """One pipeline's folder and the places in it."""

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def record(self) -> Path:
        """What was asked for."""
        return self.path / RECORD_NAME

    @property
    def journal(self) -> Path:
        """The events."""
        return self.path / "events.jsonl"

    @property
    def control(self) -> Path:
        """Requests to the driver."""
        return self.path / "control"

    @property
    def driver(self) -> Path:
        """Which process drives the pipeline."""
        return self.path / "driver.json"

    @property
    def driver_log(self) -> Path:
        """What the driver itself has to say."""
        return self.path / "logs" / "driver.log"

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
        try:
            text = self.record.read_text(encoding="utf-8")
        except OSError as error:
            msg = f"{self.record} could not be read ({error.strerror}); the folder is damaged."
            raise RunFolderError(msg) from error
        return PipelineRecord.from_json(text, str(self.record))

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

    def request(self, name: str) -> None:
        """Leave a request for the driver, such as ``cancel``."""
        write_atomically(self.control / name, "")


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
    try:
        folder.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700)
        for place in (folder.control, folder.driver_log.parent, folder.path / "steps"):
            place.mkdir(mode=0o700)
    except OSError as error:
        msg = (
            f"the pipeline folder {folder.path} could not be made ({error.strerror}). "
            "Set PARALLELRUN_HOME to a folder that you can write."
        )
        raise RunFolderError(msg) from error
    return folder


def every_pipeline() -> list[PipelineFolder]:
    """Return the folders of all pipelines, newest first."""
    try:
        names = sorted(os.listdir(pipelines_folder()), reverse=True)
    except FileNotFoundError:
        return []
    folders = (PipelineFolder(pipelines_folder() / name) for name in names)
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
