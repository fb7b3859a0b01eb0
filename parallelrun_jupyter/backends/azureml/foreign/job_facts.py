"""Values of the run history's JSON of a job and its steps. No input or output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..service import ENDED

_TRIES = {"maxretries": 1, "runmaxtry": 0}
"""Names of the setting, with the number that makes its value the number of tries."""

_APPENDED = re.compile(r"\$\{\{\s*outputs\.(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Facts:
    """A job as the run history shows it now.

    Parameters
    ----------
    state
        The state of the parallel step, once it exists; else that of its job.
    step
        The run of the step; empty until it exists.
    error
        Why it failed.
    tries
        How often Azure runs a mini-batch at most; 0 if the history does not tell.
    rows_output
        The name of the output that ``append_row_to`` is; empty if the history does not tell.
    """

    state: str
    step: str = ""
    error: str = ""
    tries: int = 0
    rows_output: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ENDED


def facts_of(
    job: Mapping[str, Any], step: Mapping[str, Any] | None, details: Mapping[str, Any]
) -> Facts:
    """Return the facts of a job.

    Parameters
    ----------
    job, step
        Their runs; no step if it does not exist yet, or the job is the step itself.
    details
        Of the step, with its definition.
    """
    run = job if step is None else step
    state = str(run.get("status") or "")
    if step is not None and state not in ENDED and job.get("status") in ENDED:
        state = str(job["status"])  # the step was never told
    error = _error_of(run) or _error_of(details) or (_error_of(job) if state == "Failed" else "")
    definition = details.get("runDefinition") or {}
    return Facts(
        state,
        str(run.get("runId") or "") if step is not None or is_step(job) else "",
        error,
        tries_in(definition),
        rows_output_in(definition),
    )


def is_step(run: Mapping[str, Any]) -> bool:
    """Return whether a run is a step of a pipeline."""
    return bool(run.get("parentRunId"))


def name_of_step(run: Mapping[str, Any]) -> str:
    """Return the name of a step in its pipeline."""
    properties = run.get("properties") or {}
    named = run.get("displayName") or properties.get("azureml.moduleName")
    return str(named or run.get("runId") or "")


def step_named(children: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Return the newest run of a step, by its name or its run id; the only step for an empty name."""
    if not name:
        return children[0] if len(children) == 1 else None
    found = [run for run in children if name in {name_of_step(run), run.get("runId")}]
    return max(found, key=lambda run: str(run.get("createdUtc") or ""), default=None)


def tries_in(definition: Any) -> int:
    """Return how often Azure runs a mini-batch at most, by the definition of a step; 0 if unknown."""
    for key, value in _pairs(definition):
        plain = re.sub(r"[^a-z]", "", str(key).lower())
        if plain in _TRIES and re.fullmatch(r"\d{1,4}", str(value)):
            return int(value) + _TRIES[plain]
    return 0


def rows_output_in(definition: Any) -> str:
    """Return the output that the rows are appended to, by the definition of a step."""
    for key, value in _pairs(definition):
        if re.sub(r"[^a-z]", "", str(key).lower()) == "appendrowto":
            named = _APPENDED.search(str(value))
            return named[1] if named else ""
    return ""


def outputs_of(run: Mapping[str, Any]) -> dict[str, str]:
    """Return the types of the outputs of a run, by name."""
    outputs = run.get("outputs")
    if not isinstance(outputs, Mapping):
        return {}
    return {
        str(name): str(one.get("type") or "") if isinstance(one, Mapping) else ""
        for name, one in outputs.items()
        if name != "default"
    }


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield all keys with their values, the outer ones first."""
    level = [value]
    while level:
        deeper: list[Any] = []
        for one in level:
            if isinstance(one, Mapping):
                yield from one.items()
                deeper += one.values()
            elif isinstance(one, list):
                deeper += one
        level = deeper


def _error_of(run: Mapping[str, Any]) -> str:
    error = run.get("error") or {}
    inner = error.get("error") or error if isinstance(error, Mapping) else {}
    return str(inner.get("message") or "") if isinstance(inner, Mapping) else ""


def is_parallel(definition: Any) -> bool:
    """Return whether a definition is that of a step over mini-batches."""
    names = {"minibatchsize", "appendrowto", "partitionkeys", "minibatcherrorthreshold"}
    return any(re.sub(r"[^a-z]", "", str(key).lower()) in names for key, _ in _pairs(definition))
