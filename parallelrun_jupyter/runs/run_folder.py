"""The folders of runs: the only place that makes, names and finds them."""

from __future__ import annotations

import os
import random
import string
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, Remedy, RunNotFoundError
from ..formatting import nearest_hint
from ..home import home
from .folders import Folder, names_in
from .run_record import RunRecord


@dataclass(frozen=True, slots=True)
class RunFolder(Folder):
    """One run's folder and the places in it."""

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
    def state(self) -> Path:
        """The fold of the journal up to some byte: a cache."""
        return self.path / "state.json"

    @property
    def output(self) -> Path:
        """Parts while running; the final file, where no other place was asked for."""
        return self.path / "output"

    @property
    def row_notes(self) -> Path:
        """What the final file cannot say of its rows; not there where that is nothing."""
        return self.path / "row_notes.jsonl"

    def parts(self) -> list[Path]:
        """Return the part files: rows as they were committed, which the final file holds as well.

        They are gone once the run has completed, unless something had failed: then a resume wants
        them, and until it has completed every row is on the disk twice.
        """
        return sorted(self.output.glob("part-*.rows"))

    def parts_bytes(self) -> int:
        """Return the bytes of the part files."""
        size_bytes = 0
        for path in self.parts():
            try:
                size_bytes += path.stat().st_size
            except FileNotFoundError:
                pass  # the driver removes them just after the run has completed
        return size_bytes

    def final_file(self, record: RunRecord) -> Path:
        """Return the path of the output file; output for an object store is uploaded from there."""
        destination = None if record.output.storage else record.output.destination
        return (Path(destination) if destination else self.output) / record.output.file_name

    def script_output(self, record: RunRecord) -> str:
        """Return the folder that a script may write its own files to.

        It is the output folder; where the output is in a store, a folder of the run's whose files
        are put there when the run completes.
        """
        if record.output.storage:
            return str(self.output / "files")
        return record.output.destination or str(self.output)

    def make_script_output(self, record: RunRecord) -> None:
        """Make the folder of `script_output`, before a script writes there.

        Raises
        ------
        ConfigError
            It cannot be made, or is a file.
        """
        path = self.script_output(record)
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            msg = (
                f"the output folder {path!r} could not be made ({error.strerror}). Give output= a "
                "folder that you can write, or leave it out for one in the run's folder."
            )
            raise ConfigError(msg) from error

    @property
    def reports(self) -> Path:
        """Summaries in Azure's shapes, at the end."""
        return self.path / "reports"

    @property
    def user_logs(self) -> Path:
        """The log of each worker."""
        return self.path / "logs" / "user"

    def read_record(self) -> RunRecord:
        """Read what was asked for.

        Raises
        ------
        RunFolderError
            The record is missing or damaged.
        """
        return RunRecord.from_json(self.record_text(), str(self.record))


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
    folder.make("run", (folder.script, folder.output, folder.user_logs, folder.control))
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
        msg = f"there is no run {given!r} in {runs_folder()}.{nearest_hint(given, ids)}"
        raise RunNotFoundError(msg, remedy=[Remedy.LIST])
    return RunFolder(path)


def every() -> list[RunFolder]:
    """Return the folders of all runs, newest first."""
    folders = (RunFolder(runs_folder() / name) for name in names_in(runs_folder()))
    return [folder for folder in folders if folder.record.is_file()]
