"""What the folders of runs and of pipelines have in common: how one is made, found and read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunFolderError
from ..files import write_atomically

_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own is


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of something that a process drives, and the places that each one has."""

    path: Path

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def record(self) -> Path:
        """What was asked for."""
        raise NotImplementedError

    @property
    def journal(self) -> Path:
        """The events."""
        return self.path / "events.jsonl"

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
        """Which process is the driver."""
        return self.path / "driver.json"

    def request(self, name: str) -> None:
        """Leave a request for the driver, such as ``cancel``."""
        write_atomically(self.control / name, "")

    def record_text(self) -> str:
        """Return the text of the record.

        Raises
        ------
        RunFolderError
            It is missing.
        """
        try:
            return self.record.read_text(encoding="utf-8")
        except OSError as error:
            msg = f"{self.record} could not be read ({error.strerror}); the folder is damaged."
            raise RunFolderError(msg) from error

    def size_bytes(self) -> int:
        """Return what the folder takes on the disk; what is removed meanwhile does not count."""
        return _size_on_disk(self.path)

    def make(self, what: str, places: Sequence[Path]) -> None:
        """Make the folder and the places in it, readable by their owner only.

        Raises
        ------
        RunFolderError
            The home cannot be written; the message says ``what`` was to be made.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700)
            with self.removed_unless_driven():
                for place in places:
                    place.mkdir(mode=0o700, parents=True)
        except OSError as error:
            msg = (
                f"the {what} folder {self.path} could not be made ({error.strerror}). "
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


def _size_on_disk(path: Path | str) -> int:
    try:
        total = os.lstat(path).st_blocks * _BLOCK_BYTES
        entries = os.scandir(path)
    except OSError:
        return 0
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _size_on_disk(entry.path)
                continue
            try:
                total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
            except OSError:
                pass  # a temporary file that is gone
    return total


def names_in(parent: Path) -> list[str]:
    """Return the names of the folders in a folder, newest first; none where that is not there.

    Raises
    ------
    RunFolderError
        It is no folder, or may not be read.
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
