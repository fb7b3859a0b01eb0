"""Starts a run: checks it, writes its folder, launches its driver."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from ..config.entry_function import is_entry
from ..config.run_config import ParallelRunConfig
from ..config.step import Inputs, Output, ParallelRunStep
from ..data.storage.credentials import variables_for_driver
from ..data.storage.storage import StorageSpec
from ..errors import ConfigError, EntryScriptError
from ..runs import run_folder
from ..runs.run_record import RunRecord
from .launcher import launch
from .new_run import check_run, write_run
from .pruning import keep_under_limit
from .run import Run
from .script import Script, script_of_entry

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
        from .dry_run import write_dry_run

        return write_dry_run(
            step, _script_of(step.config), dry_run, compute=compute, name=name, use=use, update=update,
            run_duplicates_once=run_duplicates_once,
        )  # fmt: skip
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


def _credentials(record: RunRecord) -> dict[str, str]:
    """Return the environment variables that pass storage credentials to the driver."""
    storages = map(StorageSpec.of_spec, record.storages())
    references = (pair for storage in storages for pair in storage.references())
    return variables_for_driver(references, os.environ)
