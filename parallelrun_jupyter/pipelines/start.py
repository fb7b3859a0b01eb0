"""Starts pipelines: lays down the folder and launches the driver; publishes, and starts published ones."""

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
from .folder import PipelineFolder, create_pipeline
from .record import PipelineRecord, StepRecord
from .registered_datasets import check_name

_START_LIMIT_S = 20.0
_LOOK_S = 0.05


def new_id() -> str:
    """Return the id of a new pipeline run."""
    return new_run_id(time.time(), random.Random())  # noqa: S311 - a name, not a secret


def start_pipeline(
    record: PipelineRecord,
    snapshot: Callable[[PipelineFolder], None],
    secrets: Mapping[str, str],
) -> PipelineFolder:
    """Lay down a pipeline and launch its driver.

    Parameters
    ----------
    record
        What it is.
    snapshot
        Puts the scripts of the steps into the folder.
    secrets
        Variables that go to the driver in memory only.

    Raises
    ------
    RunFolderError, LaunchError
        The folder cannot be written, or the driver did not start; nothing is left but the
        experiment's name.
    ConfigError
        A credential that was typed in another session is not here.
    """
    folder = create_pipeline(record.run_id)
    with folder.removed_unless_driven():
        snapshot(folder)
        write_atomically(folder.record, record.to_json())
        _note_experiment(record)
        launch(folder, record.driver_python, {**secrets, **held_credentials(record)})
    return folder


def resume_pipeline(folder: PipelineFolder) -> None:
    """Launch another driver for a pipeline that lost its own; steps that have ended are kept.

    A step over mini-batches that was running has gone on meanwhile, and is taken up; a plain script
    starts anew.

    Raises
    ------
    RunFolderError
        The pipeline is going, or has ended.
    ConfigError
        A variable with a secret is not set here; the message names it.
    LaunchError
        The driver did not start.
    """
    record = folder.read_record()
    state = folder.read_state(record.created_at)
    if state.state != "Interrupted":
        msg = (
            f"pipeline run {folder.run_id} is {state.state}; only one that lost its driver can be "
            "resumed. Submit the pipeline anew: steps with allow_reuse are not run again."
        )
        raise RunFolderError(msg)
    wanted = {
        name for step in record.steps for name, value in step.variables.items() if value is None
    }
    missing = sorted(name for name in wanted if name not in os.environ)
    if missing:
        msg = (
            f"pipeline run {folder.run_id} was given the environment variable {missing[0]}, whose "
            f"value is not kept on disk. Set it first: os.environ[{missing[0]!r}] = ..."
        )
        raise ConfigError(msg)
    launch(folder, record.driver_python, held_credentials(record))
    until = time.monotonic() + _START_LIMIT_S
    while folder.read_state(record.created_at).state == "Interrupted":
        if time.monotonic() > until:
            said = text_from(folder.driver_log, 0)[-1000:].strip()
            msg = f"the driver did not take up pipeline run {folder.run_id}: {said}"
            raise LaunchError(msg)
        time.sleep(_LOOK_S)


def held_credentials(record: PipelineRecord) -> dict[str, str]:
    """Return the variables with the credentials of stores that were typed in this process.

    Raises
    ------
    ConfigError
        One is not here any more; the message names its variable.
    """
    storages = [StorageSpec.of_spec(spec) for spec in _storages(asdict(record))]
    found = (pair for storage in storages for pair in storage.references())
    return variables_for_driver(found, os.environ)


def _storages(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of stores in a record, wherever they are."""
    if isinstance(value, dict):
        if {"protocol", "secrets"} <= value.keys():
            yield value
        for inside in value.values():
            yield from _storages(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _storages(inside)


def _note_experiment(record: PipelineRecord) -> None:
    """Let the workspace know the experiment."""
    check_name(record.experiment, "experiment")  # of a published pipeline, a request has brought it
    place = Path(record.workspace) / "experiments" / f"{record.experiment}.json"
    if not place.exists():
        place.parent.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({"name": record.experiment, "created_at": record.created_at})
        write_atomically(place, text)


def check_parameters(record: PipelineRecord, given: Mapping[str, Any]) -> None:
    """See that a pipeline has the parameters that are given.

    Raises
    ------
    ConfigError
        It has not; the message names the nearest one.
    """
    for name in given:
        if name not in record.parameters:
            known = ", ".join(sorted(record.parameters)) or "none"
            msg = (
                f"the pipeline has no parameter {name!r}.{nearest_hint(name, record.parameters)} "
                f"Its parameters are: {known}."
            )
            raise ConfigError(msg)


# Published pipelines


def published_folder() -> Path:
    """Return the folder of the published pipelines of this home."""
    return home() / "published"


def publish(
    record: PipelineRecord, facts: Mapping[str, Any], snapshot: Callable[[Path], None]
) -> str:
    """Keep a pipeline, with its scripts, to be started again and again; return its id.

    Parameters
    ----------
    record
        The pipeline; its parameters are the default values.
    facts
        Name, description, version.
    snapshot
        Puts the steps' scripts into a folder.
    """
    folder = published_folder() / record.run_id
    folder.mkdir(mode=0o700, parents=True)
    is_whole = False
    try:
        snapshot(folder / "steps")
        (folder / "pipeline.json").write_text(record.to_json(), encoding="utf-8")
        text = json.dumps({"status": "Active", "published_at": time.time(), **facts})
        write_atomically(folder / "published.json", text)
        is_whole = True
    finally:
        if not is_whole:  # else its id would be listed, and name nothing
            shutil.rmtree(folder, ignore_errors=True)
    return record.run_id


def published_ids() -> list[str]:
    """Return the ids of the published pipelines, newest first."""
    try:
        return sorted(os.listdir(published_folder()), reverse=True)
    except FileNotFoundError:
        return []


def read_published(published_id: str) -> tuple[PipelineRecord, dict[str, Any]]:
    """Return a published pipeline: its record, and what else is known of it.

    Raises
    ------
    RunNotFoundError
        There is none of that id.
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
    """Change what is known of a published pipeline, such as its status."""
    _, facts = read_published(published_id)
    path = published_folder() / published_id / "published.json"
    write_atomically(path, json.dumps({**facts, **changes}))


_SETTINGS = {
    "mini_batch_size", "node_count", "process_count_per_node", "logging_level",
    "run_invocation_timeout", "run_max_try", "error_threshold",
}  # fmt: skip
"""What a request may change of steps over mini-batches, though nobody made it a parameter."""


def _settings_among(
    record: PipelineRecord, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what of a request are settings of steps, and what are parameters."""
    own = {name for name in given if name in _SETTINGS and name not in record.parameters}
    settings = {name: given[name] for name in own}
    return settings, {name: value for name, value in given.items() if name not in own}


def _with_settings(step: StepRecord, changes: Mapping[str, Any]) -> StepRecord:
    """Return a step with other settings, which are among its script's arguments as well."""
    if not changes or step.kind != "parallel":
        return step
    words = list(step.arguments)
    for name, value in changes.items():
        if f"--{name}" in words:
            words[words.index(f"--{name}") + 1] = value
    return replace(step, settings={**step.settings, **changes}, arguments=words)


def start_published(
    published_id: str, parameters: Mapping[str, Any], experiment: str = "", **facts: Any
) -> PipelineFolder:
    """Start a published pipeline.

    Parameters
    ----------
    published_id
        Which one.
    parameters
        Values in place of the defaults.
    experiment
        The experiment of the run. Default: the pipeline's name.
    facts
        Further fields of the record.

    Raises
    ------
    RunNotFoundError
        There is none of that id.
    ConfigError
        It has no such parameter, or it is disabled.
    LaunchError
        The driver did not start.
    """
    kept, known = read_published(published_id)
    if known["status"] != "Active":
        msg = f"the published pipeline {published_id} is {known['status']}; enable it first."
        raise ConfigError(msg)
    settings, values = _settings_among(kept, parameters)
    check_parameters(kept, values)
    record = replace(
        kept,
        steps=[_with_settings(step, settings) for step in kept.steps],
        run_id=new_id(),
        created_at=time.time(),
        experiment=experiment or str(known.get("name") or kept.experiment),
        parameters={**kept.parameters, **values},
        tags={**kept.tags, "published_id": published_id},
        **facts,
    )
    source = published_folder() / published_id / "steps"

    def snapshot(folder: PipelineFolder) -> None:
        shutil.copytree(source, folder.path / "steps", dirs_exist_ok=True)

    return start_pipeline(record, snapshot, {})
