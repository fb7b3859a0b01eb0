"""Attaches to a job of Azure ML of others: a run of this home follows it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..config.azureml_compute import PREFIX, AzureMLCompute
from ..errors import ConfigError, RunFolderError, RunNotFoundError
from ..files import write_atomically
from ..formatting import nearest_hint
from ..machine import require_posix
from ..runs import run_folder
from ..runs.driver_lock import driver_is_alive, wait_for_release
from ..runs.journal.events import FINAL_STATES
from ..runs.resume_request import one_at_a_time
from ..runs.run_folder import RunFolder
from ..runs.run_record import (
    FOLLOWED,
    EntryScript,
    Placement,
    RunInputs,
    RunLimits,
    RunOutput,
    RunRecord,
)
from ..runs.snapshot.follower import Follower
from ..version import __version__
from .launcher import launch

if TYPE_CHECKING:
    from ..backends.azureml.foreign.history import JobHistory

OWN_RUN = "parallelrun_run"
"""The tag of a job that a run of ours has submitted: the id of the run."""

_FORM = "azureml:NAME, or azureml:NAME/STEP for one step of a pipeline"
_ROWS_FILE = "rows.txt"
_RELEASE_S = 10.0
_START_S = 20.0
_POLL_S = 0.02


def attach_job(name: str, compute: object = None) -> RunFolder:
    """Return the run that shows a job: it is made if there is none, and followed unless it has ended.

    Parameters
    ----------
    name
        ``azureml:NAME``, or ``azureml:NAME/STEP``.
    compute
        An `AzureMLCompute`, for its workspace and credential. Default: the ``config.json`` of the current
        directory or one above it.

    Raises
    ------
    ConfigError
        The name, the compute, or the choice of the step is wrong.
    MissingExtraError
        Azure's client is not installed.
    RunNotFoundError
        The workspace has no such job.
    RunFolderError
        Azure ML does not answer, or refuses.
    LaunchError
        The driver did not start.
    """
    require_posix()
    job, step = _parts_of(name)
    target = _target_of(compute)
    target.check(is_dry=False)
    secrets = target.secrets()
    folder = _find_or_make(_history_of(target, secrets), target, job, step)
    follow(folder, secrets)
    return folder


def follow(folder: RunFolder, secrets: Mapping[str, str]) -> None:
    """Start a driver for a run that shows a job, unless it has one or the job has ended."""
    if not folder.read_record().is_followed:
        return  # the run that has submitted the job
    with one_at_a_time(folder):
        follower = Follower(folder)
        follower.refresh()
        state = follower.state
        if state.state in FINAL_STATES:
            return
        if state.is_final:  # interrupted, and the process may still be about to end
            wait_for_release(folder, _RELEASE_S)
        elif folder.driver.exists() and driver_is_alive(folder, 0.0, time.time()):
            return
        drivers, is_first = state.drivers, not folder.driver.exists()
        launch(folder, folder.read_record().driver_python, secrets)
        until = time.monotonic() + _START_S
        # Until the new driver has started, the run is shown as that of the one before, which is dead.
        while not is_first and follower.state.drivers == drivers and time.monotonic() < until:
            time.sleep(_POLL_S)
            follower.refresh()


def _parts_of(name: str) -> tuple[str, str]:
    """Return the job and the step that a name has."""
    job, slash, step = name.removeprefix(PREFIX).strip().partition("/")
    if not re.fullmatch(r"[\w.-]+", job) or (slash and not step) or "/" in step:
        msg = f"{name!r} names no job of Azure ML; expected {_FORM}."
        raise ConfigError(msg)
    return job, step


def _target_of(compute: object) -> AzureMLCompute:
    if compute is None:
        return AzureMLCompute()
    if isinstance(compute, AzureMLCompute):
        return compute
    msg = (
        f"compute is {compute!r:.80}; expected an AzureMLCompute with the workspace of the job, or none "
        "for the config.json here."
    )
    raise ConfigError(msg)


def _history_of(target: AzureMLCompute, secrets: Mapping[str, str]) -> JobHistory:
    from ..backends.azureml.workspace import connect_history

    return connect_history(target.spec(), {**os.environ, **secrets})


def _find_or_make(history: JobHistory, target: AzureMLCompute, job: str, step: str) -> RunFolder:
    """Return the folder of the run of a job."""
    from ..backends.azureml.service import (
        CredentialError,
        JobNotFoundError,
        ServiceError,
        TransientError,
    )

    workspace = (target.workspace or {}).get("workspace_name", "")
    try:
        run = history.read_run(job)
        own = _own_run(run)
        if own is not None:
            return own
        step = step if run.get("parentRunId") else _checked_step(history, job, step)
    except JobNotFoundError as error:
        msg = f"the workspace {workspace!r} has no job {job!r} ({error}). Its page in the studio shows its name."
        raise RunNotFoundError(msg) from error
    except (TransientError, CredentialError, ServiceError) as error:
        msg = f"Azure ML did not show the job {job!r} of the workspace {workspace!r}: {error}. Try again."
        raise RunFolderError(msg) from error
    record = _record_of(run, target, job, step)
    folder = RunFolder(run_folder.runs_folder() / record.run_id)
    if folder.record.is_file():
        return folder
    try:
        folder = run_folder.create(record.run_id)
    except RunFolderError:
        if folder.path.exists():  # made at the same time by another process
            return _made_meanwhile(folder)
        raise
    with folder.removed_unless_driven():
        from ..runs.logs.remote_logs import mark_remote

        mark_remote(folder)
        write_atomically(folder.record, record.to_json())
    return folder


def _made_meanwhile(folder: RunFolder, limit_s: float = 5.0) -> RunFolder:
    until = time.monotonic() + limit_s
    while not folder.record.is_file() and time.monotonic() < until:
        time.sleep(0.02)
    return run_folder.find(folder.run_id)


def _own_run(run: Mapping[str, Any]) -> RunFolder | None:
    """Return the run that has submitted a job, if this home still has it."""
    tags = run.get("tags")
    own = tags.get(OWN_RUN) if isinstance(tags, Mapping) else None
    if not isinstance(own, str) or not re.fullmatch(r"[\w.-]+", own):
        return None
    folder = RunFolder(run_folder.runs_folder() / own)
    return folder if folder.record.is_file() else None


def _checked_step(history: JobHistory, job: str, step: str) -> str:
    """Return the parallel step of a job; empty if only its runs will tell which it is."""
    from ..backends.azureml.foreign import words

    steps = history.parallel_steps(job)
    if steps is None:
        return step
    parallel = [name for name, is_parallel in steps.items() if is_parallel]
    shown = ", ".join(f'"{PREFIX}{job}/{name}"' for name in parallel) or "none"
    if step and step not in steps:
        msg = f"the job {job} has no step {step!r}.{nearest_hint(step, parallel)} Its parallel steps: {shown}."
        raise ConfigError(msg)
    if step and step not in parallel:
        msg = f"the step {step!r} of the job {job} is not a parallel one. Its parallel steps: {shown}."
        raise ConfigError(msg)
    if step:
        return step
    if not parallel:
        msg = (
            f"the job {job} has no parallel step (its steps: {', '.join(steps) or 'none'}), and only those "
            "have mini-batches to show."
        )
        raise ConfigError(msg)
    if len(parallel) > 1:
        raise ConfigError(words.many_steps(job, parallel))
    return parallel[0]


def _record_of(run: Mapping[str, Any], target: AzureMLCompute, job: str, step: str) -> RunRecord:
    shown = str(run.get("displayName") or job)
    return RunRecord(
        run_id=_run_id_of(run, target, job, step),
        name=f"{shown} / {step}" if step else shown,
        created_at=time.time(),
        version=__version__,
        driver_python=sys.executable,
        description=f"job {job} of Azure ML, submitted by others",
        script=EntryScript(path="", source_directory=None, cwd=os.getcwd(), python=sys.executable),
        inputs=RunInputs(),
        output=RunOutput(file_name=_ROWS_FILE),
        placement=Placement(
            backend=FOLLOWED, compute={"of": target.spec(), "job": job, "step": step}
        ),
        limits=RunLimits(error_threshold=-1),
    )


def _run_id_of(run: Mapping[str, Any], target: AzureMLCompute, job: str, step: str) -> str:
    """Return the id of the run of a job: always the same, so that two notebooks make one run."""
    facts = json.dumps([target.workspace, job, step], sort_keys=True)
    tail = hashlib.sha256(facts.encode()).hexdigest()[:6]
    try:
        text = re.sub(r"(\.\d{1,6})\d*", r"\1", str(run["createdUtc"]).rstrip("Z"))
        created = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    except (KeyError, ValueError):
        return f"00000000-000000000-{tail}"
    return f"{created:%Y%m%d-%H%M%S}{created.microsecond // 1000:03d}-{tail}"
