"""Removes the folders of runs that have ended.

A folder is renamed first, so that half of one is never listed as a run. If the process is killed
after that, the next removal of any run removes the rest.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import ParallelRunError, Remedy, RunFolderError
from ..files import try_lock
from .driver_lock import wait_for_release
from .journal.pipelines import fold, read_events
from .resume_request import one_at_a_time
from .run_folder import (
    REMOVED_PREFIX,
    RunFolder,
    list_runs,
    names_in,
    pipelines_folder,
    runs_folder,
    size_on_disk,
)
from .snapshot.follower import Follower

_DRIVER_LIMIT_S = 5.0
_TRIES = 3
_LATEST = 1000
"""The number of newest runs whose joined rows are looked for: each one is a request to a network's file system."""


def remove_run(folder: RunFolder, uses: Mapping[str, str] | None = None) -> int:
    """Remove a run that has ended, and what an earlier removal left behind.

    Links in the folder are removed, not followed. Readers that hold files open can finish.

    Parameters
    ----------
    folder
        The run.
    uses
        The result of `uses_of_runs`, for the removal of many runs. Default: it is called here.

    Returns
    -------
    int
        The bytes that were freed.

    Raises
    ------
    RunNotFoundError
        The folder is gone.
    RunFolderError
        The run is active or used by another one; the folder is not one of this home; or a file
        could not be removed.
    """
    _check_is_ours(folder)
    use = (uses_of_runs() if uses is None else uses).get(folder.run_id)
    if use:
        msg = f"run {folder.run_id} cannot be removed: {use}. Wait for its end, or cancel it."
        raise RunFolderError(msg)
    target = runs_folder() / f"{REMOVED_PREFIX}{folder.run_id}-{uuid.uuid4().hex[:8]}"
    try:
        with _without_driver(folder):
            size = folder.size_bytes()
            os.rename(folder.path, target)
    except OSError as error:
        msg = (
            f"run {folder.run_id} could not be removed ({error.strerror}); it is unchanged. Check "
            f"that you can write {folder.path} and {runs_folder()}."
        )
        raise RunFolderError(msg) from error
    remove_leftovers()
    return size


def remove_leftovers() -> int:
    """Remove what killed removals left behind, and return the bytes that were freed.

    Raises
    ------
    RunFolderError
        A file could not be removed.
    """
    freed = 0
    for name in names_in(runs_folder()):
        path = runs_folder() / name
        if name.startswith(REMOVED_PREFIX) and path.is_dir() and not path.is_symlink():
            freed += size_on_disk(path)
            try:
                _remove_tree(path)
            except OSError as error:
                msg = (
                    f"{error.filename or path} could not be removed ({error.strerror}). Its run is "
                    f"no longer listed, but uses disk space: delete the folder {path}."
                )
                raise RunFolderError(msg) from error
    return freed


def remove_joined() -> None:
    """Remove the joined rows of runs whose driver was killed: a resume joins them again."""
    for name in names_in(runs_folder())[:_LATEST]:
        folder = RunFolder(runs_folder() / name)
        if not folder.joined.exists():
            continue
        # The run is active, or has just been removed, or cannot be written.
        with suppress(ParallelRunError, OSError), _without_driver(folder):
            folder.joined.unlink(missing_ok=True)


def uses_of_runs() -> dict[str, str]:
    """Return why runs must stay although they may have ended, by run id.

    A pipeline uses the runs of its steps until it has ended. One that lost its driver has not
    ended: a resume continues with these runs. An update uses the run that it takes rows from while
    it is active.
    """
    uses: dict[str, str] = {}
    for name in names_in(pipelines_folder()):
        state = fold(read_events(pipelines_folder() / name / "events.jsonl"))
        if not state.is_final:
            ids = {run for step in state.steps.values() for run in (step.run_id, step.submitting)}
            uses |= dict.fromkeys(ids - {""}, f"pipeline run {name} uses it and has not ended")
    for folder in list_runs():
        try:
            earlier = folder.read_record().inputs.reuse_from
            if earlier and not Follower(folder).refresh()["is_final"]:
                uses[earlier] = f"run {folder.run_id} takes rows from it and is active"
        except (RunFolderError, OSError):
            continue  # removed meanwhile, or damaged
    return uses


def _check_is_ours(folder: RunFolder) -> None:
    """Check that a folder is that of a run of this home, so that nothing else is ever removed."""
    if not os.path.lexists(folder.path):
        raise folder.gone()
    remedy = "Only runs of this home can be removed; delete that folder yourself"
    if folder.path.is_symlink():
        msg = f"{folder.path} is a link to {os.path.realpath(folder.path)}. {remedy}, and the link."
        raise RunFolderError(msg)
    if not folder.record.is_file() or not _is_same(folder.path.parent, runs_folder()):
        msg = f"{folder.path} is not a run in {runs_folder()}. {remedy}, or set PARALLELRUN_HOME."
        raise RunFolderError(msg)


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


@contextmanager
def _without_driver(folder: RunFolder) -> Iterator[None]:
    """Hold the locks of a run that has ended: no driver and no resume can start meanwhile."""
    with one_at_a_time(folder):
        snapshot = Follower(folder).refresh()
        if not snapshot["is_final"]:
            msg = (
                f"run {folder.run_id} is {snapshot['state']}: it is still active, and cannot be "
                "removed."
            )
            raise RunFolderError(msg, folder.run_id, remedy=[Remedy.WAIT, Remedy.CANCEL])
        wait_for_release(folder, _DRIVER_LIMIT_S)
        try:
            descriptor = try_lock(folder.path / "driver.lock")
        except BlockingIOError as error:
            msg = (
                f"run {folder.run_id} has ended, but its driver has not finished yet: remove the "
                "run in a few seconds."
            )
            raise RunFolderError(msg) from error
        try:
            yield
        finally:
            os.close(descriptor)


def _remove_tree(path: Path) -> None:
    """Remove a folder, which another process may be removing too."""
    # Older versions list a folder with a record as a run.
    RunFolder(path).record.unlink(missing_ok=True)
    for _ in range(_TRIES):
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            continue
        except PermissionError:
            _make_writable(path)
            continue
        return
    if path.exists():
        shutil.rmtree(path)


def _make_writable(path: Path) -> None:
    """Make folders writable: a script may have been copied with folders that are not."""
    os.chmod(path, 0o700)
    for at, names, _ in os.walk(path):
        for name in names:
            folder = os.path.join(at, name)
            if not os.path.islink(folder):
                os.chmod(folder, 0o700)
