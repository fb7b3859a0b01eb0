"""Starts a run: checks it, writes its folder, launches its driver."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ..config.azureml_compute import AzureMLCompute
from ..config.compute import Compute, as_compute
from ..config.entry_function import is_entry
from ..config.entry_script import check_script
from ..config.run_config import ParallelRunConfig
from ..config.step import Inputs, Output, ParallelRunStep
from ..data.datasets.memory_dataset import MemoryDataset
from ..data.storage.credentials import variables_for_driver
from ..data.storage.object_store import ObjectStore
from ..data.storage.storage import StorageSpec
from ..errors import ConfigError, EntryScriptError, MissingExtraError, RunFolderError
from ..files import write_atomically
from ..formatting import nearest_hint
from ..machine import require_posix
from ..runs import run_folder
from ..runs.run_record import RunRecord
from ..runs.source_copy import copy_source
from ..worker.failures import BadSettings
from ..worker.function_script import ITEM, KEYWORDS
from ..worker.output.formats import PARQUET
from ..worker.output.results import SETTINGS_FILE, read_frame_options
from .launcher import launch
from .new_record import make_record
from .preload import has_other_python
from .pruning import keep_under_limit
from .run import Run
from .script import Script, script_of_entry
from .updates import check_duplicates, check_update, with_update

if TYPE_CHECKING:
    from .by_value import Packed

_NOT_DRY = (
    "dry_run writes the job of all mini-batches, but with update and run_duplicates_once only some of them "
    "run; leave these out."
)
_BOUND = (
    "inputs, output, arguments and side_inputs are bound in the step; "
    "give them to ParallelRunStep(...), or submit a ParallelRunConfig."
)


@overload
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
    dry_run: str | os.PathLike[str],
) -> Path: ...


@overload
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
    dry_run: None = None,
) -> Run: ...


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
    dry_run: str | os.PathLike[str] | None = None,
) -> Run | Path:
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
        Where to run: ``"local"``, the address of a Dask scheduler, ``"azureml:cpu-cluster"``, a
        `DaskCompute` or `AzureMLCompute`, or a name given by `name_compute`. Overrides the
        configuration's ``compute_target``, with a warning.
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
    dry_run
        A new folder for the job of a compute of Azure ML: it is written and checked, and nothing is
        submitted.

    Returns
    -------
    Run or Path
        The handle of the run; with ``dry_run``, the path of the job's ``pipeline.yml``.

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
    if dry_run is not None:
        if update or run_duplicates_once:
            raise ConfigError(_NOT_DRY)
        from .dry_run import write_dry_run

        script = _script_of(step.config)
        return write_dry_run(step, script, dry_run, compute=compute, name=name, use=use)
    return submit_script(
        step,
        _script_of(step.config),
        compute=compute,
        name=name,
        update=update,
        run_duplicates_once=run_duplicates_once,
        use=use,
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
) -> Run:
    """Start a run of a script, which may be the text of a cell; ``run_id`` defaults to a new one.

    Raises
    ------
    ConfigError, InputError, EntryScriptError, RunFolderError, LaunchError
        As `submit`.
    """
    checked = check_run(
        step, script, compute=compute, name=name, run_id=run_id, update=update, use=use,
        run_duplicates_once=run_duplicates_once,
    )  # fmt: skip
    folder = run_folder.create(checked.record.run_id)
    with folder.removed_unless_driven():
        record = write_run(folder, checked, step, script, update=update)
        keep_under_limit({record.inputs.reuse_from})
        folder.make_script_output(record)
        variables = {**(step.config.environment_variables or {}), **_credentials(record)}
        launch(folder, record.driver_python, {**variables, **checked.target.secrets()})
    return Run(folder)


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A run that has passed all checks: its record, its compute, and the variables of its script."""

    record: RunRecord
    target: Compute
    packed: dict[str, Packed]


def check_run(
    step: ParallelRunStep,
    script: Script,
    *,
    compute: object = None,
    name: str | None = None,
    run_id: str = "",
    update: bool | str = False,
    use: Mapping[str, Any] | None = None,
    run_duplicates_once: bool = False,
    is_dry: bool = False,
) -> CheckedRun:
    """Check a run, before anything is written; with ``is_dry``, for a job that is not submitted.

    Raises
    ------
    ConfigError, InputError, EntryScriptError, MissingExtraError
        As `submit`.
    """
    target = _target(step.config, compute)
    if is_dry and not isinstance(target, AzureMLCompute):
        msg = (
            f"dry_run writes the job of a compute of Azure ML, but the compute is {target.setting()!r}. "
            "Give one, such as compute='azureml:cpu-cluster'."
        )
        raise ConfigError(msg)
    _check(step, script)
    _check_name(name or step.name)
    packed = _packed(script, step.config, use or {})
    record = make_record(step, script, target, name or step.name)
    if isinstance(target, AzureMLCompute):
        from ..backends.azureml.refusals import check_record

        check_record(record)
        target.check(is_dry=is_dry)
    else:
        target.check()  # remote checks come last
    uses = {name: one.python for name, one in packed.items()}
    record = replace(record, script=replace(record.script, uses=uses))
    if run_id:
        record = replace(record, run_id=run_id)
    check_update(record, update)
    if run_duplicates_once:
        check_duplicates(record)
        record = replace(record, inputs=replace(record.inputs, run_duplicates_once=True))
    return CheckedRun(record, target, packed)


def write_run(
    folder: run_folder.RunFolder,
    checked: CheckedRun,
    step: ParallelRunStep,
    script: Script,
    *,
    update: bool | str = False,
) -> RunRecord:
    """Write a run into its folder; return its record.

    Raises
    ------
    RunFolderError
        The folder cannot be written.
    """
    record = checked.record
    try:
        _snapshot(script, folder)
        record = _with_stored_values(record, step, folder)
        if checked.packed:
            from .by_value import write

            write(folder.uses, checked.packed)
        if update:
            record = with_update(record, folder, by_digest=update == "digest")
        write_atomically(folder.record, record.to_json())
    except OSError as error:
        msg = (
            f"the run folder {folder.path} could not be written ({error}); nothing was "
            "started. Fix this, or set PARALLELRUN_HOME to a folder with free space."
        )
        raise RunFolderError(msg) from error
    return record


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
        warnings.warn(text, stacklevel=5)
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


def _snapshot(script: Script, folder: run_folder.RunFolder) -> None:
    """Copy the script or its source directory into the run's folder."""
    if script.source_directory is not None:
        left_out = copy_source(script.source_directory, folder.script)
        if left_out:
            warnings.warn(left_out, stacklevel=5)
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
