"""Writes the job of a run in Azure ML to a folder, and submits nothing."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backends.azureml.job_folder import write_job
from ..config.step import ParallelRunStep
from ..engine.planning.plan_file import write_plan
from ..errors import ConfigError
from ..runs.run_folder import RunFolder
from .new_run import check_run, write_run
from .script import Script

_NOT_DRY = (
    "dry_run writes the job of all mini-batches, but with update and run_duplicates_once only some of them "
    "run; leave these out."
)


def write_dry_run(
    step: ParallelRunStep,
    script: Script,
    target: str | os.PathLike[str],
    *,
    compute: object = None,
    name: str | None = None,
    use: Mapping[str, Any] | None = None,
    update: bool | str = False,
    run_duplicates_once: bool = False,
) -> Path:
    """Write the folder of the job that a run would submit; the inputs are listed now.

    Parameters
    ----------
    step, script, compute, name, use, update, run_duplicates_once
        The run, as for `submit.submit_script`.
    target
        The folder, which is created; an empty one is used.

    Returns
    -------
    Path
        Its ``pipeline.yml``.

    Raises
    ------
    ConfigError
        As `submit`; or the compute is not one of Azure ML, only some mini-batches would run, or the
        folder is not empty.
    InputError, EntryScriptError, RunFolderError
        As `submit`.
    """
    if update or run_duplicates_once:
        raise ConfigError(_NOT_DRY)
    folder = Path(target).expanduser().absolute()
    checked = check_run(step, script, compute=compute, name=name, use=use, is_dry=True)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        msg = f"dry_run is {os.fspath(target)!r}, which exists and is not an empty folder; give a new one."
        raise ConfigError(msg)
    with tempfile.TemporaryDirectory(prefix="parallelrun-dry-") as home:
        run = RunFolder(Path(home) / checked.record.run_id)
        run.make("run", (run.script, run.output, run.user_logs, run.control))
        record = write_run(run, checked, step, script)
        write_plan(record, run.plan, lambda *_: None, warn=warnings.warn)
        try:
            write_job(run, record, None, folder)
        except OSError as error:
            msg = f"the folder {folder} could not be written ({error}); give another one."
            raise ConfigError(msg) from error
    return folder / "pipeline.yml"
