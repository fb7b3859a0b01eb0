"""The settings of a parallel step as the native configuration's, with Azure's defaults and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config.run_config import ParallelRunConfig
from ...data.datasets.inputs import dataset_of
from ...errors import ConfigError, ParallelRunError
from ...formatting import parse_mini_batch_size
from ..model.expressions import Binding
from ..model.jobs import DEFAULTS, ParallelStep
from ..model.problems import Problem
from ..model.values import Number
from ..reader.table_keys import missing_keys
from .arguments import Arguments
from .assets import Assets
from .scope import Scope, Value, number

_READ_FROM_ARGUMENTS = {
    "error_threshold": int,
    "allowed_failed_count": int,
    "allowed_failed_percent": float,
    "task_overhead_timeout": int,
    "progress_update_timeout": int,
    "first_task_creation_timeout": int,
}
"""Settings that have no field and are given among the script's arguments, as in Azure."""


def settings_of(
    step: ParallelStep,
    values: Mapping[str, Value],
    scope: Scope,
    arguments: Arguments,
    assets: Assets,
) -> dict[str, Any]:
    """Return the settings for the record of a step.

    Parameters
    ----------
    step, values, scope
        The step, the values of its inputs, and its pipeline.
    arguments
        Fills its texts.
    assets
        Receives wrong values as problems, and a note about settings that are given twice.
    """
    problems = assets.problems

    def whole(value: Number | None, name: str) -> int | None:
        found = number(value, values, scope, problems)
        return DEFAULTS.get(name) if found is None else found

    retry, resources = step.retry_settings, step.resources
    retries = whole(retry.max_retries if retry else None, "max_retries") or 0
    settings: dict[str, Any] = {
        "mini_batch_size": arguments.value(step.mini_batch_size) if step.mini_batch_size else None,
        "partition_keys": _keys(step.partition_keys, values, scope, problems),
        "output_action": "append_row" if step.task and step.task.append_row_to else "summary_only",
        "error_threshold": whole(step.error_threshold, "error_threshold"),
        "allowed_failed_count": whole(
            step.mini_batch_error_threshold, "mini_batch_error_threshold"
        ),
        "node_count": whole(resources.instance_count if resources else None, "instance_count"),
        "process_count_per_node": whole(step.max_concurrency_per_instance, ""),
        "run_invocation_timeout": whole(retry.timeout if retry else None, "timeout"),
        "run_max_try": retries + 1,
        "logging_level": step.logging_level or DEFAULTS["logging_level"],
        "description": step.description or None,
    }
    if settings["partition_keys"]:
        settings["mini_batch_size"] = None  # the keys win in Azure
    task = step.task
    words = arguments.words(task.program_arguments) if task else []
    place = task.places.of("program_arguments") if task else step.places.own
    try:
        given = settings_in(words)
    except ValueError as error:
        problems.append(Problem(place, str(error)))
        return settings
    for name, field in _TWICE.items():
        if step.places.has(field) and name in given and given[name] != settings[name]:
            assets.note(
                f"step {step.name} has {field}: {settings[name]} ({step.places.of(field)}) and --{name} "
                f"{given[name]} in program_arguments ({place}); the argument counts, as in Azure"
            )
    settings.update(given)
    return settings


_TWICE = {
    "error_threshold": "error_threshold",
    "allowed_failed_count": "mini_batch_error_threshold",
}
"""Settings that have a field and an argument: the field in the file."""


_FIELDS = {
    "mini_batch_size": "mini_batch_size",
    "allowed_failed_count": "mini_batch_error_threshold",
    "error_threshold": "error_threshold",
    "node_count": "resources.instance_count",
    "process_count_per_node": "max_concurrency_per_instance",
    "run_invocation_timeout": "retry_settings.timeout",
    "logging_level": "logging_level",
}
"""The fields in the file, by the settings that they become."""


def check_settings(
    settings: Mapping[str, Any], step: ParallelStep, problems: list[Problem], *, is_files: bool
) -> None:
    """Note the settings that are out of range, before any step has run.

    Parameters
    ----------
    settings
        As `settings_of` returns them.
    step
        The step, whose places are used.
    problems
        Receives the problems.
    is_files
        Whether the input is known to be files, which are counted.
    """
    if settings["run_max_try"] < 1:
        retries = settings["run_max_try"] - 1
        message = f"max_retries is {retries}; expected a whole number from 0."
        problems.append(Problem(step.places.of("retry_settings.max_retries"), message))
    for setting, name in _FIELDS.items():
        value = settings.get(setting)
        if value is None:
            continue
        try:
            ParallelRunConfig(**{setting: value})
        except ConfigError as error:
            message = str(error).replace(setting, name.rpartition(".")[2])
            problems.append(Problem(step.places.of(name), message))
            continue
        if setting == "mini_batch_size" and is_files and parse_mini_batch_size(value).has_unit:
            message = (
                f"mini_batch_size is {value!r}, a size in bytes, but the input is files, which are counted; "
                "write a number of files, such as 10, or give the input the type mltable."
            )
            problems.append(Problem(step.places.of(name), message))


def check_keys(
    settings: Mapping[str, Any],
    step: ParallelStep,
    spec: Mapping[str, Any],
    problems: list[Problem],
) -> None:
    """Note the partition keys that the data of a step does not have.

    Parameters
    ----------
    settings
        As `settings_of` returns them.
    step
        The step, whose places are used.
    spec
        The data, as a dataset's spec.
    problems
        Receives the problems.
    """
    keys = settings["partition_keys"] or []
    try:
        missing = missing_keys(dataset_of(dict(spec)), keys) if keys else {}
    except ParallelRunError:
        return  # the step itself reports data that is not valid
    for key, message in missing.items():
        problems.append(Problem(step.places.of(f"partition_keys.{keys.index(key)}"), message))


def _keys(
    keys: tuple[str, ...] | Binding | None,
    values: Mapping[str, Value],
    scope: Scope,
    problems: list[Problem],
) -> list[str] | None:
    if isinstance(keys, Binding):
        bound = values.get(keys.name) if keys.kind == "input" else scope.value(keys, problems)
        keys = tuple(key.strip(" []\"'") for key in str(bound or "").split(","))
    return [key for key in keys if key] if keys else None


def settings_in(words: Sequence[Any]) -> dict[str, Any]:
    """Return the settings among a script's arguments.

    Raises
    ------
    ValueError
        A value is not a number.
    """
    settings: dict[str, Any] = {}
    for position, word in enumerate(words):
        name, sign, text = str(word).removeprefix("--").partition("=")
        if not str(word).startswith("--") or name not in _READ_FROM_ARGUMENTS:
            continue
        if not sign:
            text = str(words[position + 1]) if position + 1 < len(words) else ""
        try:
            settings[name] = _READ_FROM_ARGUMENTS[name](text)
        except ValueError:
            msg = f"argument --{name} is {text!r}; expected a number."
            raise ValueError(msg) from None
    return settings
