"""A new run before its driver starts: all checks, and then its folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..config.azureml_compute import AzureMLCompute
from ..config.compute import Compute, as_compute
from ..config.entry_script import check_script
from ..config.notify_setting import check_notify
from ..config.run_config import ParallelRunConfig
from ..config.step import ParallelRunStep
from ..config.telemetry import check_telemetry
from ..data.datasets.memory_dataset import MemoryDataset
from ..data.storage.object_store import ObjectStore
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
from .new_record import make_record
from .preload import has_other_python
from .script import Script
from .updates import check_duplicates, check_update, with_update

if TYPE_CHECKING:
    from .by_value import Packed


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
    check_notify(step.config.notify or [])
    check_telemetry()
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
