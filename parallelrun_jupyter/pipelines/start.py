"""Starting, resuming and publishing pipelines."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..client.launcher import launch
from ..data.storage.credentials import variables_for_driver
from ..data.storage.storage import StorageSpec
from ..errors import ConfigError, LaunchError, RunFolderError, RunNotFoundError
from ..files import write_atomically
from ..formatting import nearest_hint
from ..home import home
from ..runs.logs.reader import text_from
from ..runs.run_folder import new_run_id
from .concurrency import steps_limit
from .folder import PipelineFolder, PipelineRecord, StepRecord, create_pipeline
from .registered_datasets import check_name

_START_LIMIT_S = 20.0
_POLL_S = 0.05


def new_id() -> str:
    """Return the id of a new pipeline run."""
    return new_run_id(time.time(), random.Random())  # noqa: S311 - a name, not a secret


def start_pipeline(
    record: PipelineRecord,
    snapshot: Callable[[PipelineFolder], None],
    secrets: Mapping[str, str],
) -> PipelineFolder:
    """Create the folder of a pipeline run and launch its driver.

    Parameters
    ----------
    record
        The pipeline.
    snapshot
        Copies the scripts of the steps into the folder.
    secrets
        Environment variables for the driver that are not stored on disk.

    Raises
    ------
    RunFolderError, LaunchError
        The folder cannot be written, or the driver did not start; the folder is removed, and only
        the experiment's name is kept.
    ConfigError
        A credential that was typed in another session is missing, or ``PARALLELRUN_STEPS`` is wrong.
    """
    record = replace(record, steps_at_a_time=steps_limit())
    folder = create_pipeline(record.run_id)
    with folder.removed_unless_driven():
        snapshot(folder)
        write_atomically(folder.record, record.to_json())
        _register_experiment(record)
        launch(folder, record.driver_python, {**secrets, **held_credentials(record)})
    return folder


def resume_pipeline(folder: PipelineFolder) -> None:
    """Launch a new driver for a pipeline that lost its driver; steps that have ended are kept.

    A step over mini-batches has its own driver and kept running; the pipeline's new driver attaches
    to it. A plain script that was running starts again.

    Raises
    ------
    RunFolderError
        The pipeline is running, or has ended.
    ConfigError
        An environment variable with a secret is not set; the message names it.
    LaunchError
        The driver did not start.
    """
    record = folder.read_record()
    state = folder.read_state(record.created_at)
    if state.state != "Interrupted":
        again = (
            "Submit the pipeline again: steps with allow_reuse are not run again."
            if record.api == "v1"
            else "Run its file again: unchanged steps that completed are not run again."
        )
        msg = (
            f"{record.noun} {folder.run_id} is {state.state}; only one that lost its driver can be "
            f"resumed. {again}"
        )
        raise RunFolderError(msg)
    secrets = {
        name for step in record.steps for name, value in step.variables.items() if value is None
    }
    missing = sorted(secrets - os.environ.keys())
    if missing:
        msg = (
            f"{record.noun} {folder.run_id} was submitted with the environment variable "
            f"{missing[0]}, whose value is not stored on disk. Set it first: "
            f"os.environ[{missing[0]!r}] = ..."
        )
        raise ConfigError(msg)
    launch(folder, record.driver_python, held_credentials(record))
    until = time.monotonic() + _START_LIMIT_S
    while folder.read_state(record.created_at).state == "Interrupted":
        if time.monotonic() > until:
            log = text_from(folder.driver_log, 0)[-1000:].strip()
            msg = f"the driver did not resume {record.noun} {folder.run_id}: {log}"
            raise LaunchError(msg)
        time.sleep(_POLL_S)


def held_credentials(record: PipelineRecord) -> dict[str, str]:
    """Return the environment variables with the store credentials that were typed in this process.

    Raises
    ------
    ConfigError
        A credential is missing; the message names its variable.
    """
    storages = [StorageSpec.of_spec(spec) for spec in _storage_specs(asdict(record))]
    references = (pair for storage in storages for pair in storage.references())
    return variables_for_driver(references, os.environ)


def held_variables(record: PipelineRecord) -> set[str]:
    """Return the names of the environment variables with those credentials."""
    storages = [StorageSpec.of_spec(spec) for spec in _storage_specs(asdict(record))]
    return {name for storage in storages for name in storage.held_variables()}


def _storage_specs(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the storage specs in a record, at any depth."""
    if isinstance(value, dict):
        if {"protocol", "secrets"} <= value.keys():
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _storage_specs(item)


def _register_experiment(record: PipelineRecord) -> None:
    """Register the experiment's name in the workspace."""
    check_name(record.experiment, "experiment")  # may be from an HTTP request
    path = Path(record.workspace) / "experiments" / f"{record.experiment}.json"
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({"name": record.experiment, "created_at": record.created_at})
        write_atomically(path, text)


def check_parameters(record: PipelineRecord, values: Mapping[str, Any]) -> None:
    """Check that a pipeline has the parameters that are to be set.

    Raises
    ------
    ConfigError
        A parameter is unknown; the message names the nearest one.
    """
    for name in values:
        if name not in record.parameters:
            names = ", ".join(sorted(record.parameters)) or "none"
            msg = (
                f"the pipeline has no parameter {name!r}.{nearest_hint(name, record.parameters)} "
                f"Its parameters are: {names}."
            )
            raise ConfigError(msg)


# Published pipelines


def published_folder() -> Path:
    """Return the folder of the published pipelines of this home."""
    return home() / "published"


def publish(
    record: PipelineRecord, facts: Mapping[str, Any], snapshot: Callable[[Path], None]
) -> str:
    """Store a pipeline and its scripts, which can be started any number of times; return its id.

    Parameters
    ----------
    record
        The pipeline; its parameters are the default values.
    facts
        Name, description, version.
    snapshot
        Copies the steps' scripts into a folder.
    """
    folder = published_folder() / record.run_id
    folder.mkdir(mode=0o700, parents=True)
    is_complete = False
    try:
        snapshot(folder / "steps")
        (folder / "pipeline.json").write_text(record.to_json(), encoding="utf-8")
        text = json.dumps({"status": "Active", "published_at": time.time(), **facts})
        write_atomically(folder / "published.json", text)
        is_complete = True
    finally:
        if not is_complete:  # otherwise published_ids would list it
            shutil.rmtree(folder, ignore_errors=True)
    return record.run_id


def published_ids() -> list[str]:
    """Return the ids of the published pipelines, newest first."""
    try:
        return sorted(os.listdir(published_folder()), reverse=True)
    except FileNotFoundError:
        return []


def read_published(published_id: str) -> tuple[PipelineRecord, dict[str, Any]]:
    """Return the record of a published pipeline, and its facts: status, name, description, ...

    Raises
    ------
    RunNotFoundError
        No published pipeline has this id.
    """
    folder = published_folder() / published_id
    is_name = published_id not in {"", ".", ".."} and os.sep not in published_id
    if not is_name or not (folder / "published.json").is_file():
        msg = f"there is no published pipeline {published_id!r} in {published_folder()}."
        raise RunNotFoundError(msg)
    text = (folder / "pipeline.json").read_text(encoding="utf-8")
    facts: dict[str, Any] = json.loads((folder / "published.json").read_text(encoding="utf-8"))
    return PipelineRecord.from_json(text, str(folder)), facts


def change_published(published_id: str, changes: Mapping[str, Any]) -> None:
    """Change facts of a published pipeline, such as its status."""
    _, facts = read_published(published_id)
    path = published_folder() / published_id / "published.json"
    write_atomically(path, json.dumps({**facts, **changes}))


_SETTINGS = {
    "mini_batch_size", "node_count", "process_count_per_node", "logging_level",
    "run_invocation_timeout", "run_max_try", "error_threshold",
}  # fmt: skip
"""Settings of steps over mini-batches that a request may change without a pipeline parameter."""


def _split_settings(
    record: PipelineRecord, values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the values of a request into settings of steps and parameters of the pipeline."""
    names = _SETTINGS - record.parameters.keys()
    settings = {name: value for name, value in values.items() if name in names}
    return settings, {name: value for name, value in values.items() if name not in names}


def _with_settings(step: StepRecord, changes: Mapping[str, Any]) -> StepRecord:
    """Return a step with other settings, also among its script's arguments."""
    if not changes or step.kind != "parallel":
        return step
    arguments = list(step.arguments)
    for name, value in changes.items():
        if f"--{name}" in arguments:
            arguments[arguments.index(f"--{name}") + 1] = value
    return replace(step, settings={**step.settings, **changes}, arguments=arguments)


def start_published(
    published_id: str, parameters: Mapping[str, Any], experiment: str = "", **facts: Any
) -> PipelineFolder:
    """Start a published pipeline.

    Parameters
    ----------
    published_id
        Id of the published pipeline.
    parameters
        Values that replace the defaults.
    experiment
        The experiment of the run. Default: the pipeline's name.
    facts
        Further fields of the record.

    Raises
    ------
    RunNotFoundError
        No published pipeline has this id.
    ConfigError
        The pipeline is disabled, or a parameter is unknown.
    LaunchError
        The driver did not start.
    """
    published, published_facts = read_published(published_id)
    if published_facts["status"] != "Active":
        status = published_facts["status"]
        msg = f"the published pipeline {published_id} is {status}; enable it first."
        raise ConfigError(msg)
    settings, values = _split_settings(published, parameters)
    check_parameters(published, values)
    record = replace(
        published,
        steps=[_with_settings(step, settings) for step in published.steps],
        run_id=new_id(),
        created_at=time.time(),
        experiment=experiment or str(published_facts.get("name") or published.experiment),
        parameters={**published.parameters, **values},
        tags={**published.tags, "published_id": published_id},
        **facts,
    )
    scripts = published_folder() / published_id / "steps"

    def snapshot(folder: PipelineFolder) -> None:
        shutil.copytree(scripts, folder.path / "steps", dirs_exist_ok=True)

    return start_pipeline(record, snapshot, {})
