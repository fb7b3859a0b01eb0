"""Resumes a run that has ended: the same run and folder, a new driver."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..config.azureml_compute import AzureMLCompute
from ..config.compute import Compute, as_compute, node_counts
from ..config.notify_setting import check_notify
from ..config.run_config import ParallelRunConfig
from ..data.storage.credentials import variables_for_driver
from ..data.storage.storage import StorageSpec
from ..errors import (
    ConfigError,
    InputError,
    LaunchError,
    Remedy,
    RunFolderError,
)
from ..formatting import nearest_hint, plural
from ..machine import usable_cores
from ..runs.driver_lock import driver_is_alive
from ..runs.journal.state import RunState
from ..runs.logs.reader import text_from
from ..runs.notices import is_untold
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
from .call_changes import NAMES, changed_calls, check_budget
from .corrections import Corrected, correction
from .foreign_jobs import follow
from .function_calls import Functions
from .launcher import end_leftovers, launch

if TYPE_CHECKING:
    pass

_START_LIMIT_S = 20.0
_POLL_S = 0.02
_SHOWN_GROUPS = 5
_START_ANEW = "Start a new run, with a run() that returns one element for each item"
_RUN_SHORT_AGAIN = (
    "run.resume(failed_only=True, entry_script=...), with a run() that returns one element for each "
    "item, runs those mini-batches again"
)


def resume_run(
    follower: Follower,
    *,
    failed_only: bool,
    entry_script: str | os.PathLike[str] | None,
    compute: object = None,
    group: str | None = None,
    functions: Functions | None = None,
    error_threshold: int | None = None,
    call_settings: Sequence[Any] = (),
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Launch a new driver for a run that has ended, and wait until it runs.

    Parameters
    ----------
    follower
        The run.
    failed_only
        Run only the items that failed, and the mini-batches with short results.
    entry_script
        A corrected script; its file name may differ.
    compute
        Where to continue; None for the compute used before.
    group
        Run only the items that failed in this group, named as in a snapshot; None for all.
    functions
        The corrected functions of a run of `map` or `map_batches`.
    error_threshold
        Number of failed items to tolerate from now on, -1 for any number; None for no change.
    call_settings
        New values of `call_changes.NAMES`, in this order; None for no change.
    environ
        Environment variables. Secrets are read from here: the run's folder holds only their names.

    Raises
    ------
    RunFolderError
        The run is still active, has nothing left to run, or has spent its budget.
    RunNotFoundError
        The run has been removed.
    ConfigError
        A new setting is wrong; a secret variable, or the credential of a store, is missing; the compute
        cannot be used; no failed item is in the group; the output folder cannot be created.
    EntryScriptError
        The corrected script cannot be used.
    InputError
        An input has changed whose rows are kept, or which has not run yet. The run is unchanged.
    LaunchError
        The driver did not start.
    """
    if follower.record.is_followed:
        _follow_again(follower, compute, environ)
        return
    limits = {}
    if error_threshold is not None:
        config = ParallelRunConfig(error_threshold=error_threshold)
        limits = {"error_threshold": config.error_threshold}
    calls = changed_calls(dict(zip(NAMES, call_settings, strict=False)), follower.record)
    follower.refresh()
    drivers = follower.state.drivers
    with one_at_a_time(follower.folder):
        snapshot = follower.refresh()
        is_under_way = not snapshot["is_final"] or follower.state.is_all_done
        if follower.state.drivers > drivers and is_under_way:
            return  # another process has resumed the run meanwhile
        _resume(
            follower,
            snapshot,
            failed_only=failed_only,
            correct=correction(follower.record, entry_script, functions),
            compute=compute,
            group=group,
            changes=ResumeRequest(limits=limits, calls=calls),
            environ=environ,
        )


def _follow_again(follower: Follower, compute: object, environ: Mapping[str, str]) -> None:
    """Follow a job of others again, if this was interrupted; what has failed in it cannot run here."""
    from ..backends.azureml.foreign import words

    snapshot = follower.refresh()
    run_id, job = follower.folder.run_id, str(follower.record.placement.compute["job"])
    if snapshot["state"] != "Interrupted":
        raise RunFolderError(words.not_resumed(run_id, job))
    target = None if compute is None else as_compute(compute, environ)
    follow(follower.folder, {} if target is None else target.secrets())
    follower.refresh()


def _resume(
    follower: Follower,
    snapshot: Snapshot,
    *,
    failed_only: bool,
    correct: Callable[[RunFolder], Corrected] | None,
    compute: object,
    group: str | None,
    changes: ResumeRequest,
    environ: Mapping[str, str],
) -> None:
    """Check the request, and start a driver for it."""
    folder = follower.folder
    earlier = read_resume(folder)
    record = changes.after(earlier).applied_to(follower.record)
    if correct is not None and follower.state.is_all_done and not snapshot["items_failed"]:
        warnings.warn(
            f"run {folder.run_id} is Completed and nothing in it failed: the corrected script has "
            "nothing to run. Submit it as a new run to process all inputs with it.",
            stacklevel=4,
        )
        return
    failed_only = failed_only or group is not None
    is_whole = follower.state.is_all_done and not follower.state.items_failed
    if is_whole and _tells_of_end(folder, record, follower.state):
        return
    _check_resumable(snapshot, follower.state, failed_only=failed_only)
    group = "" if group is None else _failed_group(follower.state, group, folder.run_id)
    if not failed_only or group:
        _check_short_results(follower.state, record, group)
    _check_kept_rows(folder, record, follower.state)
    check_budget(record, follower.state.calls)
    _check_variables(record, folder.run_id, environ)
    target = None if compute is None else as_compute(compute, environ)
    if isinstance(target, AzureMLCompute):
        from ..backends.azureml.refusals import check_record

        check_record(record.on(**_place(target, record)))
    if target is not None:
        target.check()
    storages = map(StorageSpec.of_spec, record.storages())
    references = (pair for storage in storages for pair in storage.references())
    variables = variables_for_driver(references, environ)
    folder.make_script_output(record)
    end_leftovers(folder)
    script = correct(folder) if correct else None
    request = ResumeRequest(
        failed_only=failed_only,
        group=group,
        script=script.digest if script else "",
        place={} if target is None else _place(target, record),
        limits=changes.limits,
        calls=changes.calls,
    ).after(earlier)
    secrets = {} if target is None else target.secrets()
    _launch(follower, request, script, {**variables, **secrets})
    if target is not None:
        _leave_azureml(folder, record, target, environ)


def _leave_azureml(
    folder: RunFolder, record: RunRecord, target: Compute, environ: Mapping[str, str]
) -> None:
    """Cancel the job of a run that leaves Azure ML, or its workspace; warn if that is not possible."""
    before = record.placement
    is_left = before.backend == AzureMLCompute.backend and (
        target.backend != before.backend
        or target.spec().get("workspace") != before.compute.get("workspace")
    )
    if not is_left:
        return
    from ..backends.azureml.leaving import leave_job

    warning = leave_job(folder, before.compute, environ)
    if warning:
        warnings.warn(warning, stacklevel=5)


def _tells_of_end(folder: RunFolder, record: RunRecord, state: RunState) -> bool:
    """Start telling of the end of a completed run, if its driver was killed before it did."""
    if not is_untold(folder, record, state):
        return False
    from ..engine.notices.start import tell_of_end

    check_notify(record.notify)
    if not tell_of_end(folder, record, state):
        return False
    warnings.warn(
        f"run {folder.run_id} is Completed; its driver was killed before {', '.join(record.notify)} "
        "was notified of the end, which happens now.",
        stacklevel=5,
    )
    return True


def _launch(
    follower: Follower,
    request: ResumeRequest,
    script: Corrected | None,
    variables: Mapping[str, str],
) -> None:
    """Start a driver with a request; if it refuses, restore the previous request and script."""
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
            script.restore()
        raise


def _check_variables(record: RunRecord, run_id: str, environ: Mapping[str, str]) -> None:
    """Check that the variables whose values are not stored are set again."""
    missing = [
        k for k, v in record.script.environment_variables.items() if v is None and k not in environ
    ]
    if missing:
        msg = (
            f"run {run_id} was submitted with the environment variable {missing[0]}, whose value "
            "is "
            f"not stored on disk. Set it before you resume: os.environ[{missing[0]!r}] = ..."
        )
        raise ConfigError(msg)


def _wait_for_driver(follower: Follower, log_start: int) -> None:
    """Wait until the new driver has written its first event.

    Until then a live driver is comparing the inputs with the plan.

    Raises
    ------
    InputError
        The driver refused the resume.
    LaunchError
        The driver has died.
    """
    folder, drivers = follower.folder, follower.state.drivers
    until = time.monotonic() + _START_LIMIT_S
    while follower.state.drivers == drivers:
        reason = read_refusal(folder)
        follower.refresh()
        if reason and follower.state.drivers == drivers:  # else it answers a later resume
            msg = f"run {folder.run_id} was not resumed and is unchanged: {reason}"
            raise InputError(msg)
        if time.monotonic() > until and not driver_is_alive(folder, 0.0, time.time()):
            output = text_from(folder.driver_log, log_start).strip()[-1000:]
            msg = f"the driver did not resume run {folder.run_id}: {output or 'it printed nothing'}"
            raise LaunchError(msg)
        time.sleep(_POLL_S)
        follower.refresh()


def _place(target: Compute, record: RunRecord) -> dict[str, Any]:
    """Return the placement for another compute, which replaces the one in the run's record."""
    placement = record.placement
    nodes, workers = node_counts(
        target,
        placement.requested_node_count,
        placement.requested_process_count_per_node,
        usable_cores(),
    )
    return {
        "backend": target.backend,
        "compute": target.spec(),
        "node_count": nodes,
        "process_count_per_node": workers,
    }


def _check_resumable(snapshot: Snapshot, state: RunState, *, failed_only: bool) -> None:
    """Check that the run has ended, and that the resume has something to run."""
    run_id = snapshot["run_id"]
    if not snapshot["is_final"]:
        msg = f"run {run_id} is {snapshot['state']}: it is still active, and cannot be resumed."
        raise RunFolderError(msg, run_id, remedy=[Remedy.WAIT, Remedy.CANCEL])
    if state.is_all_done and not snapshot["items_failed"]:
        msg = f"run {run_id} is Completed and nothing in it failed: there is nothing to resume."
        raise RunFolderError(msg)
    if state.is_all_done and not failed_only:
        msg = (
            f"run {run_id} is Completed, and a resume keeps mini-batches that succeeded, although "
            f"run() returned nothing for {plural(snapshot['items_failed'], 'item')}. "
            f"{_RUN_SHORT_AGAIN}."
        )
        raise RunFolderError(msg)
    if failed_only and not snapshot["items_failed"] and not snapshot["retrying"]:
        msg = f"no item of run {run_id} has failed."
        raise RunFolderError(msg, run_id, remedy=[Remedy.RESUME])


def _check_short_results(state: RunState, record: RunRecord, group: str) -> None:
    """Refuse a resume that would fail immediately because missing results stay missing."""
    missing = short_results_exceed(state, record, group)
    if missing:
        scope = f"a resume of the group {group!r}" if group else "a resume"
        msg = (
            f"run {record.run_id} cannot be resumed: {plural(missing, 'item')} without a result in "
            f"mini-batches that succeeded, error_threshold allows {record.limits.error_threshold:,}, and "
            f"{scope} keeps these mini-batches. {_RUN_SHORT_AGAIN}. Or start a new run with a larger "
            "error_threshold (-1 for any number)."
        )
        raise RunFolderError(msg)


def _check_kept_rows(folder: RunFolder, record: RunRecord, state: RunState) -> None:
    """Check that the rows of a completed run are still in their part files.

    They are removed after a run whose failed items, if any, are those of short results, unless items
    fail one by one.
    """
    has_parts = record.output.append_rows and not record.output.in_parts
    if state.state == "Completed" and has_parts and state.rows and not folder.parts():
        msg = (
            f"run {folder.run_id} is Completed, and its rows are only in its output, to which a "
            f"resume cannot add. {_START_ANEW}."
        )
        raise RunFolderError(msg)


def _failed_group(state: RunState, name: str, run_id: str) -> str:
    """Return the full name of a group that has failed items."""
    of_items = {group for answers in state.answers.values() for _, _, group in answers.failed}
    of_short_results = {name for name, group in state.groups.items() if group.items_missing}
    groups = sorted({*filter(None, state.failed_in.values()), *of_items, *of_short_results})
    matches = [name] if name in groups else [group for group in groups if is_shown_as(group, name)]
    if len(matches) == 1:
        return matches[0]
    listed = ", ".join(map(repr, groups[:_SHOWN_GROUPS]))
    more = f" and {len(groups) - _SHOWN_GROUPS:,} more" if len(groups) > _SHOWN_GROUPS else ""
    msg = (
        f"no failed item of run {run_id} is in the group {name!r}."
        f"{nearest_hint(name, groups)} The groups are: {listed}{more}."
    )
    raise ConfigError(msg, run_id, remedy=[Remedy.FAILURE_GROUPS])
