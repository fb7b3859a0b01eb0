"""Takes up a run that has ended: the same run, the same folder, a new driver."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.compute import Compute, as_compute, node_counts
from ..config.entry_script import check_script
from ..data.storage.credentials import variables_for_driver
from ..data.storage.storage import StorageSpec
from ..errors import ConfigError, EntryScriptError, InputError, LaunchError, RunFolderError
from ..formatting import nearest_hint, plural
from ..machine import usable_cores
from ..runs.driver_lock import driver_is_alive
from ..runs.journal.state import RunState
from ..runs.logs.reader import text_from
from ..runs.resume_request import (
    ResumeRequest,
    one_at_a_time,
    read_refusal,
    read_resume,
    write_resume,
)
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import Snapshot, is_shown_as, short_results_exceed
from .launcher import end_leftovers, launch

_START_LIMIT_S = 20.0
_LOOK_S = 0.02
_SHOWN_GROUPS = 5


def resume_run(
    follower: Follower,
    *,
    failed_only: bool,
    entry_script: str | os.PathLike[str] | None,
    compute: object = None,
    group: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Launch another driver for a run that has ended, and wait until it has taken over.

    Parameters
    ----------
    follower
        The run.
    failed_only
        Try again what failed, and nothing else.
    entry_script
        A corrected script; its file name may differ.
    compute
        Where to go on; None for where it was.
    group
        Of what failed, only the mini-batches whose last attempt failed in this group, by its name
        as a snapshot shows it; None for all.
    environ
        Where variables that look like secrets are looked for: the run's folder has only their names.

    Raises
    ------
    RunFolderError
        The run is still going, or there is nothing to do.
    ConfigError
        A secret variable is missing, or the credential of a store; the compute cannot be used; no
        failed mini-batch is in the group; the output folder is gone and cannot be made.
    EntryScriptError
        The corrected script cannot be used.
    InputError
        An input has changed whose rows are kept; a run that had ended stays as it was.
    LaunchError
        The driver did not start.
    """
    follower.refresh()
    drivers = follower.state.drivers
    with one_at_a_time(follower.folder):
        snapshot = follower.refresh()
        is_under_way = not snapshot["is_final"] or follower.state.is_all_done
        if follower.state.drivers > drivers and is_under_way:
            return  # another resume was quicker: there is nothing left to start
        _resume(
            follower,
            snapshot,
            failed_only=failed_only,
            entry_script=entry_script,
            compute=compute,
            group=group,
            environ=environ,
        )


def _resume(
    follower: Follower,
    snapshot: Snapshot,
    *,
    failed_only: bool,
    entry_script: str | os.PathLike[str] | None,
    compute: object,
    group: str | None,
    environ: Mapping[str, str],
) -> None:
    """Check what was asked for, and start a driver with it."""
    folder, record = follower.folder, follower.record
    if entry_script is not None and follower.state.is_all_done:
        warnings.warn(
            f"run {folder.run_id} is Completed and nothing in it failed: the corrected script has "
            "nothing to run. Submit it as a new run to have it run over all inputs.",
            stacklevel=4,
        )
        return
    _check_resumable(snapshot, follower.state, record, failed_only=failed_only or group is not None)
    group = "" if group is None else _failed_group(follower.state, group, folder.run_id)
    _check_variables(record, folder.run_id, environ)
    target = None if compute is None else as_compute(compute, environ)
    if target is not None:
        target.check()
    found = (pair for spec in record.storages() for pair in StorageSpec.of_spec(spec).references())
    variables = variables_for_driver(found, environ)
    folder.make_script_output(record)
    end_leftovers(folder)
    script = _replace_script(folder, record, Path(entry_script)) if entry_script else None
    request = ResumeRequest(
        failed_only=failed_only or bool(group),
        group=group,
        script=script.digest if script else "",
        place={} if target is None else _place(target, record),
    )
    secrets = {} if target is None else target.secrets()
    _ask(follower, request, script, {**variables, **secrets})


def _ask(
    follower: Follower,
    request: ResumeRequest,
    script: _CorrectedScript | None,
    variables: Mapping[str, str],
) -> None:
    """Start a driver with a request; where it refuses, leave everything as if nobody had asked."""
    folder = follower.folder
    log_start = folder.driver_log.stat().st_size if folder.driver_log.exists() else 0
    earlier = read_resume(folder)
    write_resume(folder, request)
    try:
        launch(folder, follower.record.driver_python, variables)
        _wait_for_driver(follower, log_start)
    except InputError:
        write_resume(folder, earlier)
        if script:
            script.take_back()
        raise


def _check_variables(record: RunRecord, run_id: str, environ: Mapping[str, str]) -> None:
    """See that what was not kept on disk is given again."""
    missing = [
        k for k, v in record.script.environment_variables.items() if v is None and k not in environ
    ]
    if missing:
        msg = (
            f"run {run_id} was given the environment variable {missing[0]}, whose value is "
            f"not kept on disk. Set it before you resume: os.environ[{missing[0]!r}] = ..."
        )
        raise ConfigError(msg)


def _wait_for_driver(follower: Follower, log_start: int) -> None:
    """Wait until one more driver than before has taken up the run.

    A living driver that has not is still comparing the inputs with the plan.

    Raises
    ------
    InputError
        It refused.
    LaunchError
        There is no driver.
    """
    folder, drivers = follower.folder, follower.state.drivers
    until = time.monotonic() + _START_LIMIT_S
    while follower.state.drivers == drivers:
        reason = read_refusal(folder)
        follower.refresh()
        if reason and follower.state.drivers == drivers:  # else it is another resume's, a later one
            msg = f"run {folder.run_id} was not resumed, and is as it was: {reason}"
            raise InputError(msg)
        if time.monotonic() > until and not driver_is_alive(folder, 0.0, time.time()):
            said = text_from(folder.driver_log, log_start).strip()[-1000:]
            msg = f"the driver did not take up run {folder.run_id}: {said or 'it said nothing'}"
            raise LaunchError(msg)
        time.sleep(_LOOK_S)
        follower.refresh()


def _place(target: Compute, record: RunRecord) -> dict[str, Any]:
    """Return what of a run's record is different on another compute."""
    asked = record.placement
    nodes, workers = node_counts(
        target,
        asked.requested_node_count,
        asked.requested_process_count_per_node,
        usable_cores(),
    )
    return {
        "backend": target.backend,
        "compute": target.spec(),
        "node_count": nodes,
        "process_count_per_node": workers,
    }


def _check_resumable(
    snapshot: Snapshot, state: RunState, record: RunRecord, *, failed_only: bool
) -> None:
    run_id = snapshot["run_id"]
    if not snapshot["is_final"]:
        msg = (
            f"run {run_id} is {snapshot['state']}: it is still going. Wait for its end, or end it "
            "with run.cancel()."
        )
        raise RunFolderError(msg)
    if state.is_all_done:
        if snapshot["items_failed"]:
            msg = (
                f"run {run_id} is Completed, and a resume keeps what succeeded: also mini-batches in "
                f"which run() returned nothing for {plural(snapshot['items_failed'], 'item')}. Start "
                "a new run, with a run() that returns one element for each item."
            )
            raise RunFolderError(msg)
        msg = f"run {run_id} is Completed and nothing in it failed: there is nothing to resume."
        raise RunFolderError(msg)
    _check_short_results(state, record)
    if failed_only and not snapshot["failed"] and not snapshot["retrying"]:
        msg = f"no mini-batch of run {run_id} has failed; run.resume() runs those that are left."
        raise RunFolderError(msg)


def _check_short_results(state: RunState, record: RunRecord) -> None:
    """Refuse a resume that would end at once: what succeeded is kept, its missing results too."""
    missing = short_results_exceed(state, record)
    if missing:
        msg = (
            f"run {record.run_id} cannot be resumed: {plural(missing, 'item')} without a result in "
            f"mini-batches that succeeded, error_threshold allows {record.limits.error_threshold:,}, and a "
            "resume keeps what succeeded. Start a new run, with a run() that returns one element "
            "for each item, or with a larger error_threshold (-1 for any number)."
        )
        raise RunFolderError(msg)


def _failed_group(state: RunState, name: str, run_id: str) -> str:
    """Return the whole name of a group that has failed mini-batches."""
    known = sorted(set(state.failed_in.values()))
    found = [name] if name in known else [one for one in known if is_shown_as(one, name)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(map(repr, known[:_SHOWN_GROUPS]))
    more = f" and {len(known) - _SHOWN_GROUPS:,} more" if len(known) > _SHOWN_GROUPS else ""
    msg = (
        f"no failed mini-batch of run {run_id} is in the group {name!r}.{nearest_hint(name, known)} "
        f"The groups are: {listed}{more}. run.failure_groups() shows them."
    )
    raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class _CorrectedScript:
    """A corrected entry script in the place of the run's, and the earlier one beside it."""

    target: Path
    before: Path
    digest: str

    def take_back(self) -> None:
        """Put the earlier script back."""
        os.replace(self.before, self.target)


def _replace_script(folder: RunFolder, record: RunRecord, path: Path) -> _CorrectedScript:
    """Put a corrected script in the place of the run's; keep the earlier one beside it."""
    path = path.expanduser().absolute()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the corrected entry script {path} could not be read: {error}"
        raise EntryScriptError(msg) from error
    if record.script.python == record.driver_python:
        check_script(text, path.name)
    target = folder.script / record.script.path
    number = 1 + len(list(target.parent.glob(f"{target.name}.*.before")))
    before = target.with_name(f"{target.name}.{number}.before")
    shutil.copyfile(target, before)
    shutil.copyfile(path, target)
    return _CorrectedScript(target, before, hashlib.sha256(target.read_bytes()).hexdigest())
