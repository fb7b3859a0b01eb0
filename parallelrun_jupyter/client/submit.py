"""Starts a run: checks it, writes its folder, launches its driver."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.call_form import form_of_source
from ..config.compute import Compute, as_compute, node_counts
from ..config.entry_function import is_entry
from ..config.entry_script import check_script
from ..config.notify_setting import check_notify, checked_receivers
from ..config.run_config import ParallelRunConfig
from ..config.step import Inputs, Output, ParallelRunStep
from ..config.telemetry import check_telemetry
from ..data.datasets.memory_dataset import MemoryDataset
from ..data.storage.credentials import variables_for_driver
from ..data.storage.object_store import ObjectStore
from ..data.storage.storage import StorageSpec
from ..environment import as_environment
from ..errors import ConfigError, EntryScriptError, MissingExtraError, RunFolderError
from ..files import write_atomically
from ..formatting import looks_secret, nearest_hint
from ..machine import require_posix, usable_cores
from ..runs import run_folder
from ..runs.run_record import (
    EntryScript,
    Placement,
    RunCalls,
    RunInputs,
    RunLimits,
    RunOutput,
    RunRecord,
)
from ..runs.source_copy import copy_source
from ..version import __version__
from ..worker.failures import BadSettings
from ..worker.function_script import ITEM, KEYWORDS
from ..worker.output.formats import OBJECTS, PARQUET, TEXT
from ..worker.output.results import SETTINGS_FILE, read_frame_options
from .calls import calls_of, cut_of
from .launcher import launch
from .preload import has_other_python, preload_of
from .pruning import keep_under_limit
from .run import Run
from .run_names import default_name
from .script import Script, script_of_entry
from .updates import check_duplicates, check_update, modules_in, with_update

if TYPE_CHECKING:
    from .by_value import Packed

RESULTS_FILE = "results.objects"
"""The file in the run's own folder with results of any type."""

_BOUND = (
    "inputs, output, arguments and side_inputs are bound in the step; "
    "give them to ParallelRunStep(...), or submit a ParallelRunConfig."
)


def submit(
    config_or_step: ParallelRunConfig | ParallelRunStep,
    *,
    inputs: Inputs | None = None,
    output: Output | None = None,
    arguments: Sequence[Any] = (),
    side_inputs: Sequence[Any] = (),
    compute: object = None,
    name: str | None = None,
    update: bool | str = False,
    use: Mapping[str, Any] | None = None,
    run_duplicates_once: bool = False,
    notify: str | Sequence[str] | None = None,
) -> Run:
    """Start a run and return without waiting for it.

    Nothing is started if a setting, an input or the script is wrong. The run has its own processes,
    and continues when this process ends.

    Parameters
    ----------
    config_or_step
        A configuration, or a step: a configuration with its inputs, output and arguments.
    inputs
        Datasets, paths, globs or URLs to run over, one or a list; or a DataFrame, array, Arrow table
        or `MemoryDataset`. Required with a configuration.
    output
        Folder or URL that receives the output file. Default: the run's own folder.
    arguments
        Command-line arguments of the script.
    side_inputs
        Paths or datasets that every worker reads whole, such as a model.
    compute
        Where to run: ``"local"``, the address of a Dask scheduler, a `DaskCompute`, or a name given
        by `name_compute`. Overrides the configuration's ``compute_target``, with a warning.
    name
        The run's name. Default: the step's name, or one such as ``score on digits``.
    update
        Take the rows of unchanged items from the newest run of the same script with the same
        settings and arguments, and run only the other items. Files are unchanged if their size and
        time are, or in a store their ETag; with ``"digest"`` also if only the time of a local file
        has changed, but not its SHA-256.
    use
        Values for the script, by name: they are global variables before its first line runs, in every
        worker. Functions and classes of a notebook may be among them.
    run_duplicates_once
        Run only the first of several local files with the same content (SHA-256). The others get a
        copy of its rows at the end, so rows should depend on the content alone.
    notify
        Who is told that the run has ended, as the setting of that name, which it replaces.

    Returns
    -------
    Run
        The handle of the run.

    Raises
    ------
    ConfigError
        A setting is wrong, ``inputs``, ``output`` and so on are given together with a step, or a value
        of ``use`` cannot be pickled.
    InputError
        An input is missing or cannot be read.
    EntryScriptError
        The script is missing, has a syntax error, or does not define ``run``.
    MissingExtraError
        The output format or the compute needs a package that is not installed.
    RunFolderError
        The run's folder could not be written; it has been removed.
    LaunchError
        The driver did not start.

    Examples
    --------
    ::

        config = ParallelRunConfig(entry_script="score.py", mini_batch_size=5)
        run = submit(config, inputs="digits/*.png", output="predictions/")
        run.wait_for_completion(show_output=True)
    """
    if not isinstance(config_or_step, ParallelRunStep):
        step = ParallelRunStep(
            name or "",
            config_or_step,
            inputs if inputs is not None else [],
            output,
            side_inputs=side_inputs,
            arguments=arguments,
        )
    elif inputs is not None or output is not None or arguments or side_inputs:
        raise ConfigError(_BOUND)
    else:
        step = config_or_step
    return submit_script(
        step,
        _script_of(step.config),
        compute=compute,
        name=name,
        update=update,
        run_duplicates_once=run_duplicates_once,
        use=use,
        notify=notify,
    )


def submit_as(step: ParallelRunStep, run_id: str) -> Run:
    """Start a run of a step under an id that `runs.run_folder.new_run_id` returned earlier.

    Raises
    ------
    ConfigError, InputError, EntryScriptError, RunFolderError, LaunchError
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
    update: bool | str = False,
    use: Mapping[str, Any] | None = None,
    run_duplicates_once: bool = False,
    notify: str | Sequence[str] | None = None,
) -> Run:
    """Start a run of a script, which may be the text of a cell; ``run_id`` defaults to a new one.

    Raises
    ------
    ConfigError, InputError, EntryScriptError, RunFolderError, LaunchError
        As `submit`.
    """
    target = _target(step.config, compute)
    _check(step, script)
    _check_name(name or step.name)
    receivers = step.config.notify if notify is None else checked_receivers(notify)
    check_notify(receivers or [])
    check_telemetry()
    packed = _packed(script, step.config, use or {})
    target.check()  # remote checks come last
    record = _make_record(step, script, target, name or step.name)
    uses = {name: one.python for name, one in packed.items()}
    script_record = replace(record.script, uses=uses)
    record = replace(record, script=script_record, notify=list(receivers or ()))
    if run_id:
        record = replace(record, run_id=run_id)
    check_update(record, update)
    if run_duplicates_once:
        check_duplicates(record)
        record = replace(record, inputs=replace(record.inputs, run_duplicates_once=True))
    folder = run_folder.create(record.run_id)
    with folder.removed_unless_driven():
        try:
            _snapshot(script, folder)
            record = _with_stored_values(record, step, folder)
            if packed:
                from .by_value import write

                write(folder.uses, packed)
            if update:
                record = with_update(record, folder, by_digest=update == "digest")
            keep_under_limit({record.inputs.reuse_from})
            folder.make_script_output(record)
            write_atomically(folder.record, record.to_json())
        except OSError as error:
            msg = (
                f"the run folder {folder.path} could not be written ({error}); nothing was "
                "started. Fix this, or set PARALLELRUN_HOME to a folder with free space."
            )
            raise RunFolderError(msg) from error
        variables = {**(step.config.environment_variables or {}), **_credentials(record)}
        launch(folder, record.driver_python, {**variables, **target.secrets()})
    return Run(folder)


def _with_stored_values(
    record: RunRecord, step: ParallelRunStep, folder: run_folder.RunFolder
) -> RunRecord:
    """Write the values of the notebook's variables that are inputs; return the record with them."""
    datasets = [dataset for dataset in step.inputs if isinstance(dataset, MemoryDataset)]
    if not datasets:
        return record
    workers = record.placement.process_count_per_node or record.placement.cores
    is_batched = record.script.call not in {ITEM, KEYWORDS}
    for number, dataset in enumerate(datasets):
        dataset.store(
            folder.data, number, record.inputs.mini_batch_size, workers=workers, is_batched=is_batched,
            is_portable=record.script.python != sys.executable,
        )  # fmt: skip
    specs = [dataset.spec() for dataset in step.inputs]
    return replace(record, inputs=replace(record.inputs, datasets=specs))


def _script_of(config: ParallelRunConfig) -> Script:
    if config.entry_script is None:
        msg = (
            "entry_script is missing; expected the path of a script with run(mini_batch). "
            "Write, for example, ParallelRunConfig(entry_script='score.py')."
        )
        raise ConfigError(msg)
    if config.source_directory is None:
        if is_entry(config.entry_script):
            return script_of_entry(config.entry_script)
        return Script(Path(config.entry_script).expanduser().absolute())
    source = Path(config.source_directory).expanduser().absolute()
    if not source.is_dir():
        msg = f"source_directory is {config.source_directory!r}, which is not a folder."
        raise ConfigError(msg)
    if is_entry(config.entry_script):
        return script_of_entry(config.entry_script, source)
    path = source / config.entry_script
    if not path.resolve().is_relative_to(source.resolve()):
        msg = (
            f"entry_script is {config.entry_script!r}, which is outside source_directory "
            f"{config.source_directory!r}; give its path relative to that folder."
        )
        raise EntryScriptError(msg)
    return Script(path, source_directory=source)


def _target(config: ParallelRunConfig, compute: object) -> Compute:
    if compute is not None and config.compute_target is not None:
        text = f"compute={compute!r} is used, not compute_target={config.compute_target!r}"
        warnings.warn(text, stacklevel=4)
    return as_compute(compute if compute is not None else config.compute_target)


def _check(step: ParallelRunStep, script: Script) -> None:
    """Run every check that is possible before anything is written."""
    require_posix()
    step.config.check()
    _check_output_format(step.config)
    _check_syntax(script, step.config)
    _check_settings_file(script, step.config)
    for dataset in (*step.inputs, *step.side_inputs):
        dataset.check()
    _check_destination(step)


def _packed(script: Script, config: ParallelRunConfig, use: Mapping[str, Any]) -> dict[str, Packed]:
    """Return the variables that the script gets by value, as bytes."""
    values = {**script.uses, **use}
    if not values:
        return {}
    from .by_value import pack_all  # cloudpickle takes a while to import

    return pack_all(values, is_plain=has_other_python(config))


def _check_output_format(config: ParallelRunConfig) -> None:
    if config.output_format == PARQUET and importlib.util.find_spec("pyarrow") is None:
        msg = (
            "output_format is 'parquet', which needs pyarrow: "
            "pip install 'parallelrun-jupyter[parquet]'."
        )
        raise MissingExtraError(msg)


def _check_syntax(script: Script, config: ParallelRunConfig) -> None:
    text = _text_of(script, config)
    if not has_other_python(config):
        check_script(text, script.path.name)  # another Python version may have another syntax


def _text_of(script: Script, config: ParallelRunConfig) -> str:
    if script.text is not None:
        return script.text
    if not script.path.is_file():
        folder = script.path.parent
        names = os.listdir(folder) if folder.is_dir() else []
        start = "source_directory" if script.source_directory else "the current directory"
        msg = (
            f"entry_script is {config.entry_script!r}, but there is no file {script.path}."
            f"{nearest_hint(script.path.name, names)} Give a path relative to {start}."
        )
        raise EntryScriptError(msg)
    try:
        return script.path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the entry script {script.path} could not be read: {error}"
        raise EntryScriptError(msg) from error


def _check_settings_file(script: Script, config: ParallelRunConfig) -> None:
    if script.text is None and config.output_action == "append_row":
        try:
            read_frame_options(str(script.path.parent), [])
        except BadSettings as error:
            raise ConfigError(str(error)) from error


def _check_destination(step: ParallelRunStep) -> None:
    if step.output and step.output_storage:
        with ObjectStore(step.output_storage.with_short_timeouts()) as store:
            store.check_container(step.output)


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise ConfigError(f"name is {name!r:.80}; expected a text, such as name='embed'.")


def _make_record(step: ParallelRunStep, script: Script, target: Compute, name: str) -> RunRecord:
    config = step.config
    now = time.time()
    source = script.source_directory
    form = script.form or form_of_source(script.source())
    calls = calls_of(config, form, script.call)
    cut = cut_of(step, calls, script.call)
    variables = config.environment_variables or {}
    has_objects = bool(script.call) and config.output_format is None
    return RunRecord(
        run_id=run_folder.new_run_id(now, random.Random()),  # noqa: S311 - a name, not a secret
        name=name.strip() or default_name(script.title or script.path.stem, step.inputs),
        created_at=now,
        version=__version__,
        driver_python=sys.executable,
        description=config.description or "",
        script=EntryScript(
            path=str(script.path.relative_to(source)) if source else script.path.name,
            source_directory=str(source) if source else None,
            cwd=os.getcwd(),
            python=as_environment(config.environment).resolve(),
            is_python_named=config.environment is not None,
            arguments=step.arguments,
            environment_variables={k: None if looks_secret(k) else v for k, v in variables.items()},
            preload=preload_of(script, config, target, step.inputs),
            modules={} if source or script.call else modules_in(Path.cwd(), script.source()),
            logging_level=config.logging_level,
            call=script.call,
        ),
        inputs=RunInputs(
            datasets=[dataset.spec() for dataset in step.inputs],
            side_inputs=step.side_specs,
            mini_batch_size=cut.size,
            mini_batch_rows=cut.rows,
            partition_keys=list(config.partition_keys or ()),
        ),
        output=RunOutput(
            destination=step.output,
            storage=step.output_storage.spec() if step.output_storage else None,
            file_name=RESULTS_FILE if has_objects else config.output_file,
            format=OBJECTS if has_objects else config.output_format or TEXT,
            append_rows=config.output_action == "append_row",
            in_parts=_puts_parts(step, target),
        ),
        placement=_placement(config, target, calls),
        limits=_limits(config),
        calls=calls,
    )


def _placement(config: ParallelRunConfig, target: Compute, calls: RunCalls) -> Placement:
    cores = usable_cores()
    processes = config.process_count_per_node
    if processes is None and calls.concurrency > 1:
        processes = 1  # its calls wait for a server, not for cores
    nodes, workers = node_counts(target, config.node_count, processes, cores)
    return Placement(
        backend=target.backend,
        compute=target.spec(),
        node_count=nodes,
        process_count_per_node=workers,
        cores=cores,
        requested_node_count=config.node_count,
        requested_process_count_per_node=config.process_count_per_node,
    )


def _limits(config: ParallelRunConfig) -> RunLimits:
    limits = {f.name: getattr(config, f.name) for f in fields(RunLimits)}
    limits["progress_update_timeout"] = config.progress_update_timeout or (
        config.run_invocation_timeout
        + config.task_overhead_timeout
        + config.first_task_creation_timeout
    )
    limits["retry_on"] = list(config.retry_on or ())
    limits["no_retry_on"] = list(config.no_retry_on or ())
    return RunLimits(**limits)


def _puts_parts(step: ParallelRunStep, target: Compute) -> bool:
    """Return whether nodes upload part files themselves; on this machine the driver uploads."""
    config = step.config
    in_store = step.output_storage is not None and config.output_action == "append_row"
    return in_store and config.output_format == PARQUET and target.backend != "local"


def _snapshot(script: Script, folder: run_folder.RunFolder) -> None:
    """Copy the script or its source directory into the run's folder."""
    if script.source_directory is not None:
        left_out = copy_source(script.source_directory, folder.script)
        if left_out:
            warnings.warn(left_out, stacklevel=4)
    if script.text is not None:
        (folder.script / script.path.name).write_text(script.text, encoding="utf-8")
    elif script.source_directory is None:
        shutil.copyfile(script.path, folder.script / script.path.name)
        settings = script.path.with_name(SETTINGS_FILE)
        if settings.is_file():
            shutil.copyfile(settings, folder.script / SETTINGS_FILE)


def _credentials(record: RunRecord) -> dict[str, str]:
    """Return the environment variables that pass storage credentials to the driver."""
    storages = map(StorageSpec.of_spec, record.storages())
    references = (pair for storage in storages for pair in storage.references())
    return variables_for_driver(references, os.environ)
