"""Which steps of a pipeline may run side by side: dependencies, and the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ..config.compute import LocalCompute, as_compute
from ..errors import ConfigError
from .folder import PipelineRecord, StepRecord

LIMIT_VARIABLE = "PARALLELRUN_STEPS"


def steps_limit(environ: Mapping[str, str] = os.environ) -> int:
    """Return the setting ``PARALLELRUN_STEPS``: the most steps that run at a time; 0 for no limit.

    Raises
    ------
    ConfigError
        It is not a whole number from 1.
    """
    text = environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return 0
    if not text.isdecimal() or int(text) < 1:
        msg = (
            f"{LIMIT_VARIABLE} is {text!r}; expected a whole number from 1, the most steps of a "
            "pipeline that run at a time. Unset it for as many as the cores allow."
        )
        raise ConfigError(msg)
    return int(text)


def needed_by(step: StepRecord) -> set[str]:
    """Return the keys of the steps that must complete before a step starts."""
    return {*step.after, *_producers(asdict(step))}


def _producers(value: Any) -> Iterator[str]:
    """Yield the keys of the steps whose outputs a record binds to, at any depth."""
    match value:
        case {"output": [str(key), str()]}:
            yield key
        case dict():
            for item in value.values():
                yield from _producers(item)
        case list():
            for item in value:
                yield from _producers(item)


def cores_of(step: StepRecord, record: PipelineRecord, cores: int) -> int:
    """Return the number of cores of this machine that a step keeps busy.

    It is the number of worker processes of a step over mini-batches (0 if its compute is elsewhere),
    and 1 for a script or a command.

    Parameters
    ----------
    step, record
        The step and its pipeline.
    cores
        The cores of this machine: the workers of a node, unless the step sets their number.
    """
    if step.kind != "parallel":
        return 1
    if not _is_here(step.compute):
        return 0
    nodes = _number(step.settings.get("node_count"), record) or 1
    return nodes * (_number(step.settings.get("process_count_per_node"), record) or cores)


def _is_here(compute: str) -> bool:
    try:
        return isinstance(as_compute(compute or None), LocalCompute)
    except ConfigError:
        return True  # the step itself reports the unknown name


def _number(value: Any, record: PipelineRecord) -> int:
    """Return a setting that is a number, or a parameter with one; 0 for any other value."""
    if isinstance(value, dict):
        value = record.parameters.get(str(value.get("parameter")))
    try:
        return max(0, int(value))
    except (TypeError, ValueError):
        return 0  # the step itself reports it
