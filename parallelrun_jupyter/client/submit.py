"""Checks a run, lays down its folder and launches its driver."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..config.compute import Compute, as_compute, node_counts
from ..config.entry_script import check_script, imported_modules
from ..config.run_config import ParallelRunConfig
from ..config.step import Inputs, Output, ParallelRunStep
from ..data.storage.credentials import variables_for_driver
from ..data.storage.object_store import ObjectStore
from ..data.storage.storage import StorageSpec
from ..engine.node.fork_server import CAN_FORK
from ..environment import as_environment
from ..errors import ConfigError, EntryScriptError, MissingExtraError, RunFolderError
from ..formatting import nearest_hint
from ..machine import require_posix, usable_cores
from ..runs import run_folder
from ..runs.folders import write_atomically
from ..runs.run_record import RunRecord
from ..runs.source_copy import copy_source
from ..version import __version__
from ..worker.failures import BadSettings
from ..worker.output.formats import PARQUET, TEXT
from ..worker.output.results import SETTINGS_FILE, read_frame_options
from .launcher import launch
from .run import Run
from .run_name import default_name

_SECRET = re.compile(
    r"key|secret|token|passw|credential|sas\b|connection_string|auth", re.IGNORECASE
)
_NOT_COPIED = {"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "node_modules"}


@dataclass(frozen=True, slots=True)
class Script:
    """An entry script to be run: a file, or the text of a cell under a file name."""

    path: Path
    text: str | None = None
    source_directory: Path | None = None


def submit(
    config_or_step: ParallelRunConfig | ParallelRunStep,
    *,
    inputs: Inputs | None = None,
    output: Output | None = None,
    arguments: Sequence[Any] = (),
    side_inputs: Sequence[Any] = (),
    compute: object = None,
    name: str | None = None,
) -> Run:
    """Start a run and return at once.

    Parameters
    ----------
    config_or_step
        How to run; a step has its inputs, output and arguments bound.
    inputs, output, arguments, side_inputs
        As in `ParallelRunStep`; for a configuration only.
    compute
        Where to run; wins over the configuration's ``compute_target``, and says so.
    name
        A name for people. Default: the step's, or the script and its input: ``score on digits``.

    Returns
    -------
    Run
        The handle of the run, which goes on without this process.

    Raises
    ------
    ConfigError, InputError, EntryScriptError
        Something is wrong with what was given; nothing was started.
    LaunchError
        The driver did not start.
    RunFolderError
        The run's folder could not be made or filled; nothing is left of it.
    """
    if isinstance(config_or_step, ParallelRunStep):
        step = config_or_step
        if inputs is not None or output is not None or arguments or side_inputs:
            msg = (
                "inputs, output, arguments and side_inputs are bound in the step; "
                "give them to ParallelRunStep(...), or submit a ParallelRunConfig."
            )
            raise ConfigError(msg)
    else:
        step = ParallelRunStep(
            name or "",
            config_or_step,
            inputs if inputs is not None else [],
            output,
            side_inputs=side_inputs,
            arguments=arguments,
        )
    return submit_script(step, _script_of(step.config), compute=compute, name=name)


def submit_as(step: ParallelRunStep, run_id: str) -> Run:
    """Start a run of a step under an id that was made, and noted elsewhere, before.

    Raises
    ------
    ConfigError, InputError, EntryScriptError, LaunchError
        As `submit`.
    """
    return submit_script(step, _script_of(step.config), run_id=run_id)


def submit_script(
    step: ParallelRunStep,
    script: Script,
    *,
    compute: object = None,
    name: str | None = None,
    run_id: str = "",
) -> Run:
    """Start a run of a script, which may be the text of a cell; ``run_id`` is a new one by default.

    Raises
    ------
    ConfigError, InputError, EntryScriptError, LaunchError
        As `submit`.
    """
    require_posix()
    step.config.check()
    _check_format(step.config)
    _check_entry(script, step.config)
    for dataset in (*step.inputs, *step.side_inputs):
        dataset.check()
    if step.output and step.output_storage:
        with ObjectStore(step.output_storage.with_short_timeouts()) as out:
            out.check_container(step.output)
    target = _target(step.config, compute)
    record = _make_record(step, script, target, name or step.name)
    if run_id:
        record = replace(record, run_id=run_id)
    variables = {**(step.config.environment_variables or {}), **_secrets(record)}
    folder = run_folder.create(record.run_id)
    with folder.removed_unless_driven():
        try:
            _snapshot(script, folder)
            folder.make_script_output(record)
            write_atomically(folder.record, record.to_json())
        except OSError as error:
            msg = (
                f"the run folder {folder.path} could not be filled ({error}); nothing was started. "
                "Put that right, or set PARALLELRUN_HOME to a folder with room."
            )
            raise RunFolderError(msg) from error
        launch(folder, record.driver_python, {**variables, **target.secrets()})
    return Run(folder)


def _secrets(record: RunRecord) -> dict[str, str]:
    """Return the variables that give the driver the credentials which were typed here."""
    storages = map(StorageSpec.of_spec, record.storages())
    found = (pair for storage in storages for pair in storage.references())
    return variables_for_driver(found, os.environ)


def _script_of(config: ParallelRunConfig) -> Script:
    if config.entry_script is None:
        msg = (
            "entry_script is missing; expected the path of a script with run(mini_batch). "
            "Write for example ParallelRunConfig(entry_script='score.py')."
        )
        raise ConfigError(msg)
    if config.source_directory is None:
        return Script(Path(config.entry_script).expanduser().absolute())
    source = Path(config.source_directory).expanduser().absolute()
    if not source.is_dir():
        msg = f"source_directory is {config.source_directory!r}, which is not a folder."
        raise ConfigError(msg)
    path = source / config.entry_script
    if not path.resolve().is_relative_to(source.resolve()):
        msg = (
            f"entry_script is {config.entry_script!r}, which is outside of source_directory "
            f"{config.source_directory!r}; give its path relative to that folder."
        )
        raise EntryScriptError(msg)
    return Script(path, source_directory=source)


def _check_entry(script: Script, config: ParallelRunConfig) -> None:
    text = script.text
    if text is None:
        if not script.path.is_file():
            folder = script.path.parent
            beside = os.listdir(folder) if folder.is_dir() else []
            start = "source_directory" if script.source_directory else "the current directory"
            msg = (
                f"entry_script is {config.entry_script!r}, but there is no file {script.path}."
                f"{nearest_hint(script.path.name, beside)} Give a path relative to {start}."
            )
            raise EntryScriptError(msg)
        try:
            text = script.path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            msg = f"the entry script {script.path} could not be read: {error}"
            raise EntryScriptError(msg) from error
    if as_environment(config.environment).python == sys.executable:
        check_script(text, script.path.name)  # another Python may know another syntax
    if script.text is None and config.output_action == "append_row":
        try:
            read_frame_options(str(script.path.parent), [])
        except BadSettings as error:
            raise ConfigError(str(error)) from error


def _check_format(config: ParallelRunConfig) -> None:
    if config.output_format == PARQUET and importlib.util.find_spec("pyarrow") is None:
        msg = (
            "output_format is 'parquet', which needs pyarrow: "
            "pip install 'parallelrun-jupyter[parquet]'."
        )
        raise MissingExtraError(msg)


def _target(config: ParallelRunConfig, compute: object) -> Compute:
    if compute is not None and config.compute_target is not None:
        text = f"compute={compute!r} is used, not compute_target={config.compute_target!r}"
        warnings.warn(text, stacklevel=4)
    target = as_compute(compute if compute is not None else config.compute_target)
    target.check()
    return target


def _make_record(step: ParallelRunStep, script: Script, target: Compute, name: str) -> RunRecord:
    config = step.config
    cores = usable_cores()
    counts = node_counts(target, config.node_count, config.process_count_per_node, cores)
    now = time.time()
    source = script.source_directory
    cut = step.cut
    variables = config.environment_variables or {}
    return RunRecord(
        run_id=run_folder.new_run_id(now, random.Random()),  # noqa: S311 - a name, not a secret
        name=name.strip() or default_name(script.path.stem, step.inputs),
        created_at=now,
        version=__version__,
        driver_python=sys.executable,
        python=as_environment(config.environment).resolve(),
        script=str(script.path.relative_to(source)) if source else script.path.name,
        source_directory=str(source) if source else None,
        cwd=os.getcwd(),
        inputs=[dataset.spec() for dataset in step.inputs],
        mini_batch_size=cut.size,
        mini_batch_rows=cut.rows,
        output=step.output,
        output_storage=step.output_storage.spec() if step.output_storage else None,
        side_inputs=step.side_specs,
        output_parts=_puts_parts(step, target),
        output_file=config.output_file,
        output_format=config.output_format or TEXT,
        arguments=step.arguments,
        config={k: v for k, v in config.to_dict().items() if k != "environment_variables"},
        backend=target.backend,
        node_count=counts[0],
        process_count_per_node=counts[1],
        compute=target.spec(),
        cores=cores,
        error_threshold=config.error_threshold,
        allowed_failed_count=config.allowed_failed_count,
        allowed_failed_percent=config.allowed_failed_percent,
        run_invocation_timeout_s=config.run_invocation_timeout,
        task_overhead_timeout_s=config.task_overhead_timeout,
        first_task_creation_timeout_s=config.first_task_creation_timeout,
        progress_update_timeout_s=config.progress_update_timeout
        or config.run_invocation_timeout
        + config.task_overhead_timeout
        + config.first_task_creation_timeout,
        run_max_try=config.run_max_try,
        append_rows=config.output_action == "append_row",
        logging_level=config.logging_level,
        environment_variables={k: None if _SECRET.search(k) else v for k, v in variables.items()},
        partition_keys=list(config.partition_keys or ()),
        preload=_preload(script, config, target),
    )


def _preload(script: Script, config: ParallelRunConfig, target: Compute) -> list[str]:
    """Return the modules that are imported once for all workers."""
    if config.preload and not (CAN_FORK and target.backend == "local"):
        text = f"preload={config.preload!r} has no effect: only on this machine, and on Linux"
        warnings.warn(f"{text}, workers are forked; here each imports for itself", stacklevel=5)
        return []
    if config.preload != "auto":
        return list(config.preload or ())
    text = script.text or script.path.read_text(encoding="utf-8-sig")
    folders = {script.path.parent, script.source_directory, Path.cwd()} - {None}
    return imported_modules(text, [name for at in folders if at for name in os.listdir(at)])


def _puts_parts(step: ParallelRunStep, target: Compute) -> bool:
    """Say whether the nodes put the output into its store: on this machine they are the driver's."""
    config = step.config
    in_store = step.output_storage is not None and config.output_action == "append_row"
    return in_store and config.output_format == PARQUET and target.backend != "local"


def _snapshot(script: Script, folder: run_folder.RunFolder) -> None:
    """Copy the script, or its source directory, into the run."""
    if script.text is not None:
        (folder.script / script.path.name).write_text(script.text, encoding="utf-8")
    elif script.source_directory is None:
        shutil.copyfile(script.path, folder.script / script.path.name)
        settings = script.path.with_name(SETTINGS_FILE)
        if settings.is_file():
            shutil.copyfile(settings, folder.script / SETTINGS_FILE)
    else:
        left_out = copy_source(script.source_directory, folder.script, _NOT_COPIED.__contains__)
        if left_out:
            warnings.warn(left_out, stacklevel=4)
