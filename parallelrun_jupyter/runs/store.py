"""The folders of runs: the only place that makes, names and finds them."""

from __future__ import annotations

import os
import random
import shutil
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunFolderError, RunNotFoundError
from ..parsing import nearest_hint
from ..settings import home
from .record import RunRecord


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder and the places in it."""

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def record(self) -> Path:
        """What was asked for."""
        return self.path / "run.json"

    @property
    def script(self) -> Path:
        """The snapshot of the entry script, or of its source directory."""
        return self.path / "script"

    @property
    def plan(self) -> Path:
        """The mini-batches, a line each."""
        return self.path / "plan.jsonl"

    @property
    def journal(self) -> Path:
        """The events."""
        return self.path / "events.jsonl"

    @property
    def state(self) -> Path:
        """The fold of the journal up to some byte: a cache."""
        return self.path / "state.json"

    @property
    def output(self) -> Path:
        """Parts while running; the final file, where no other place was asked for."""
        return self.path / "output"

    def script_output(self, record: RunRecord) -> str:
        """Return the folder that a script may write its own files to.

        It is the output folder; where the output is in a store, a folder of the run's whose files
        are put there when the run completes.
        """
        if record.output_storage:
            return str(self.output / "files")
        return record.output or str(self.output)

    @property
    def reports(self) -> Path:
        """Summaries in Azure's shapes, at the end."""
        return self.path / "reports"

    @property
    def user_logs(self) -> Path:
        """The log of each worker."""
        return self.path / "logs" / "user"

    @property
    def driver_log(self) -> Path:
        """What the driver itself has to say."""
        return self.path / "logs" / "driver.log"

    @property
    def control(self) -> Path:
        """Requests to the driver."""
        return self.path / "control"

    @property
    def driver(self) -> Path:
        """Which process drives the run."""
        return self.path / "driver.json"

    def read_record(self) -> RunRecord:
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
        return RunRecord.from_json(text, str(self.record))

    def request(self, name: str) -> None:
        """Leave a request for the driver, such as ``cancel``."""
        write_atomically(self.control / name, "")


def new_run_id(now: float, rng: random.Random) -> str:
    """Return a run id that sorts by time, such as ``20261123-062040381-k3f9``."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    tail = "".join(rng.choices(string.ascii_lowercase + string.digits, k=4))
    return f"{stamp}{int(now * 1000) % 1000:03d}-{tail}"


def runs_folder() -> Path:
    """Return the folder of all runs of this home."""
    return home() / "runs"


def create(run_id: str) -> RunFolder:
    """Make the folder of a new run, readable by its owner only.

    Raises
    ------
    RunFolderError
        The home cannot be written.
    """
    folder = RunFolder(runs_folder() / run_id)
    try:
        folder.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.path.mkdir(mode=0o700)
        for place in (folder.script, folder.output, folder.user_logs, folder.control):
            place.mkdir(mode=0o700, parents=True)
    except OSError as error:
        msg = (
            f"the run folder {folder.path} could not be made ({error.strerror}). "
            "Set PARALLELRUN_HOME to a folder that you can write."
        )
        raise RunFolderError(msg) from error
    return folder


def find(run_id: str) -> RunFolder:
    """Return the folder of a run, by its id or the path of its folder.

    Raises
    ------
    RunNotFoundError
        There is none; the message says which home was searched, and the nearest id.
    """
    given = os.fspath(run_id)
    path = Path(given).absolute() if os.sep in given else runs_folder() / given
    if given in {"", ".", ".."} or not (path / "run.json").is_file():
        ids = [folder.run_id for folder in every()]
        msg = (
            f"there is no run {given!r} in {runs_folder()}.{nearest_hint(given, ids)} "
            "Run.list() and 'parallelrun list' show the runs."
        )
        raise RunNotFoundError(msg)
    return RunFolder(path)


def every() -> list[RunFolder]:
    """Return the folders of all runs, newest first."""
    try:
        names = sorted(os.listdir(runs_folder()), reverse=True)
    except FileNotFoundError:
        return []
    folders = (RunFolder(runs_folder() / name) for name in names)
    return [folder for folder in folders if folder.record.is_file()]


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that readers see the old text or the new, never a half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        remove_quietly(temporary)


def remove_quietly(path: Path) -> None:
    """Remove a temporary file where it is; what kept it from being written stays the error."""
    try:
        path.unlink()
    except OSError:
        pass  # never made, renamed by now, or on a disk that has troubles of its own


def copy_source(source: Path, target: Path, ignore: Callable[[str], bool]) -> None:
    """Copy a source directory into a run, without the names that ``ignore`` says."""

    def ignored(_folder: str, names: list[str]) -> list[str]:
        return [name for name in names if ignore(name)]

    shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
