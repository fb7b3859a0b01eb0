"""The folders of runs: the only place that creates, names and finds them."""

from __future__ import annotations

import os
import random
import shutil
import string
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, Remedy, RunFolderError, RunNotFoundError
from ..files import write_atomically
from ..formatting import nearest_hint
from ..home import home
from .run_record import RunRecord

REMOVED_PREFIX = ".removed-"
"""Begins the name of a folder that is being removed, and is no run any more."""

_ST_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the block size of the file system


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of a run or a pipeline, which a driver process writes to."""

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def record(self) -> Path:
        """The record of the submission."""
        raise NotImplementedError

    @property
    def journal(self) -> Path:
        """The events."""
        return self.path / "events.jsonl"

    @property
    def driver_log(self) -> Path:
        """The driver's own log."""
        return self.path / "logs" / "driver.log"

    @property
    def control(self) -> Path:
        """Requests to the driver."""
        return self.path / "control"

    @property
    def driver(self) -> Path:
        """The identity of the driver process."""
        return self.path / "driver.json"

    def request(self, name: str) -> None:
        """Write a request for the driver, such as ``cancel``."""
        write_atomically(self.control / name, "")

    def record_text(self) -> str:
        """Return the text of the record.

        Raises
        ------
        RunFolderError
            The record is missing.
        """
        try:
            return self.record.read_text(encoding="utf-8")
        except OSError as error:
            msg = f"{self.record} could not be read ({error.strerror}); the folder is damaged."
            raise RunFolderError(msg) from error

    def size_bytes(self) -> int:
        """Return the size of the folder on the disk."""
        return size_on_disk(self.path)

    def make(self, kind: str, subfolders: Sequence[Path]) -> None:
        """Create the folder of a ``kind`` and its subfolders, readable by their owner only.

        Raises
        ------
        RunFolderError
            The home cannot be written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700)
            with self.removed_unless_driven():
                for subfolder in subfolders:
                    subfolder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            msg = (
                f"the {kind} folder {self.path} could not be created ({error.strerror}). "
                "Set PARALLELRUN_HOME to a folder that you can write."
            )
            raise RunFolderError(msg) from error

    @contextmanager
    def removed_unless_driven(self) -> Iterator[None]:
        """Remove the new folder if the body fails before a driver has claimed it."""
        is_done = False
        try:
            yield
            is_done = True
        finally:
            if not is_done and not self.driver.exists():
                shutil.rmtree(self.path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class RunFolder(Folder):
    """The folder of a run."""

    @property
    def record(self) -> Path:
        """The `RunRecord`."""
        return self.path / "run.json"

    def check_exists(self) -> None:
        """Check that the run has not been removed.

        Raises
        ------
        RunNotFoundError
            It has been.
        """
        if not self.record.exists():
            raise self.gone()

    def gone(self) -> RunNotFoundError:
        """Return the error for a run that has been removed."""
        msg = f"run {self.run_id} is gone: its folder {self.path} has been removed."
        return RunNotFoundError(msg, remedy=[Remedy.LIST])

    @property
    def script(self) -> Path:
        """The snapshot of the entry script, or of its source directory."""
        return self.path / "script"

    @property
    def uses(self) -> Path:
        """The variables given to the script by value; missing if there are none."""
        return self.path / "uses"

    @property
    def plan(self) -> Path:
        """The mini-batches, one per line."""
        return self.path / "plan.jsonl"

    @property
    def data(self) -> Path:
        """The values of the notebook's variables that are inputs; missing if there are none."""
        return self.path / "data"

    @property
    def side_versions(self) -> Path:
        """A digest of the versions of the side inputs; empty if they changed before a resume."""
        return self.path / "side_versions"

    @property
    def state(self) -> Path:
        """A cache of the state folded from the journal."""
        return self.path / "state.json"

    @property
    def output(self) -> Path:
        """Part files while the run is active; the output file, if no other output was given."""
        return self.path / "output"

    @property
    def joined(self) -> Path:
        """The rows of a large output so far, in input order, while a driver joins them."""
        return self.path / "joined.tmp"

    @property
    def row_notes(self) -> Path:
        """Types and row ends that the output file cannot represent; missing if there are none."""
        return self.path / "row_notes.jsonl"

    @property
    def published(self) -> Path:
        """Checksums of the output file, by which an update recognizes that it is unchanged."""
        return self.path / "published.json"

    @property
    def row_places(self) -> Path:
        """Where the rows of each mini-batch end in the output file, for views of single rows."""
        return self.path / "row_places.bin"

    @property
    def spliced_parts(self) -> Path:
        """Parts of an output in a store that replace others; missing if there are none."""
        return self.path / "spliced_parts.json"

    @property
    def reports(self) -> Path:
        """Summaries in the formats of Azure's logs, written at the end."""
        return self.path / "reports"

    @property
    def user_logs(self) -> Path:
        """The logs of the workers."""
        return self.path / "logs" / "user"

    def parts(self) -> list[Path]:
        """Return the part files, which hold the rows as they were committed.

        They are removed when the run completes without failures. Otherwise they are kept for a
        resume, and the rows are on the disk twice until it completes.
        """
        return sorted(self.output.glob("part-*.rows"))

    def final_file(self, record: RunRecord) -> Path:
        """Return the path of the output file; output for an object store is uploaded from there."""
        destination = None if record.output.storage else record.output.destination
        return (Path(destination) if destination else self.output) / record.output.file_name

    def script_output(self, record: RunRecord) -> str:
        """Return the folder that a script may write its own files to.

        It is the output folder. If the output is in an object store, it is a subfolder of the run's
        folder, whose files are uploaded when the run completes.
        """
        if record.output.storage:
            return str(self.output / "files")
        return record.output.destination or str(self.output)

    def make_script_output(self, record: RunRecord) -> None:
        """Create the folder of `script_output`.

        Raises
        ------
        ConfigError
            It cannot be created, or is a file.
        """
        path = self.script_output(record)
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            msg = (
                f"the output folder {path!r} could not be created ({error.strerror}). Give output= "
                "a folder that you can write, or omit it for one in the run's folder."
            )
            raise ConfigError(msg) from error

    def read_record(self) -> RunRecord:
        """Read the run record.

        Raises
        ------
        RunFolderError
            The record is missing or damaged.
        """
        record = RunRecord.from_json(self.record_text(), str(self.record))
        return record.with_data_in(self.data)


def new_run_id(now: float, rng: random.Random) -> str:
    """Return a run id that sorts by time, such as ``20261123-062040381-k3f9``."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    tail = "".join(rng.choices(string.ascii_lowercase + string.digits, k=4))
    return f"{stamp}{int(now * 1000) % 1000:03d}-{tail}"


def runs_folder() -> Path:
    """Return the folder of all runs of this home."""
    return home() / "runs"


def pipelines_folder() -> Path:
    """Return the folder of all pipeline runs of this home."""
    return home() / "pipelines"


def create(run_id: str) -> RunFolder:
    """Create the folder of a new run, readable by its owner only.

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
        No such run exists; the message names the home and the most similar id.
    """
    text = os.fspath(run_id)
    path = Path(text).absolute() if os.sep in text else runs_folder() / text
    is_name = text not in {"", ".", ".."} and not path.name.startswith(REMOVED_PREFIX)
    if not is_name or not (path / "run.json").is_file():
        if is_name and (pipelines_folder() / path.name / "pipeline.json").is_file():
            msg = (
                f"{text} is a job with steps, not a run. 'parallelrun azureml watch {text}' shows its "
                f"steps and their runs; 'parallelrun azureml cancel {text}' ends it, 'parallelrun "
                f"azureml resume {text}' continues it if its driver was lost."
            )
            raise RunNotFoundError(msg)
        ids = [folder.run_id for folder in list_runs()]
        msg = f"there is no run {text!r} in {runs_folder()}.{nearest_hint(text, ids)}"
        raise RunNotFoundError(msg, remedy=[Remedy.LIST])
    return RunFolder(path)


def newest_runs() -> Iterator[RunFolder]:
    """Yield the folders of all runs, newest first."""
    parent = runs_folder()
    for name in names_in(parent):
        folder = RunFolder(parent / name)
        if not name.startswith(REMOVED_PREFIX) and folder.record.is_file():
            yield folder


def list_runs() -> list[RunFolder]:
    """Return the folders of all runs, newest first."""
    return list(newest_runs())


def names_in(parent: Path) -> list[str]:
    """Return the names in a folder, newest first; none if the folder is missing.

    Raises
    ------
    RunFolderError
        It is not a folder, or not readable.
    """
    try:
        return sorted(os.listdir(parent), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        msg = (
            f"{parent} could not be listed ({error.strerror}). Set PARALLELRUN_HOME to a folder "
            "that you can read and write."
        )
        raise RunFolderError(msg) from error


def size_on_disk(path: Path | str) -> int:
    """Return the bytes of a folder's blocks; files removed in the meantime do not count."""
    try:
        total = os.lstat(path).st_blocks * _ST_BLOCK_BYTES
        entries = os.scandir(path)
    except OSError:
        return 0
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += size_on_disk(entry.path)
                continue
            try:
                total += entry.stat(follow_symlinks=False).st_blocks * _ST_BLOCK_BYTES
            except OSError:
                pass  # a temporary file that was deleted
    return total
