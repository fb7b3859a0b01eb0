"""Checks the fields of parallel steps: sizes, thresholds, counts, and the data that is divided."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

from ..model.expressions import Binding, Text
from ..model.jobs import ParallelStep
from ..model.places import Place
from ..reader.table_keys import missing_keys_at
from .findings import Findings
from .scopes import UNKNOWN, Known, Scope, input_names, known_input, of_port, output_names

_SIZE = re.compile(r"(\d+)([kKmMgG][bB])?", re.ASCII)
_LOWEST = {
    "error_threshold": (-1, "-1 tolerates any number of failed items"),
    "mini_batch_error_threshold": (-1, "-1 tolerates any number of failed mini-batches"),
    "max_concurrency_per_instance": (1, "it is the number of worker processes of a node"),
    "retry_settings.max_retries": (0, "0 is for no retry"),
    "retry_settings.timeout": (1, "it is in seconds"),
    "resources.instance_count": (1, "it is the number of nodes"),
}
"""The lowest value of each number, and why."""

_ARGUMENTS = {
    "--error_threshold": (-1, None),
    "--allowed_failed_count": (-1, None),
    "--allowed_failed_percent": (0, 100),
    "--task_overhead_timeout": (1, 259_200),
    "--progress_update_timeout": (1, 259_200),
    "--first_task_creation_timeout": (1, 259_200),
}
"""Program arguments that Azure itself reads: the lowest and the highest value."""


def check_parallel(step: ParallelStep, scope: Scope, findings: Findings) -> None:
    """Check the fields of a parallel step."""
    for name in _LOWEST:
        _check_number(name, step, scope, findings)
    data = _check_input_data(step, scope, findings)
    _check_size(step, data, findings)
    _check_keys(step, data, findings)
    if step.task is None:
        return
    if step.task.type == "model":
        message = "task.type is 'model', which Azure does not run. Write 'type: run_function'."
        findings.error(step.places.of("task.type"), message)
    _check_rows(step, findings)
    if step.task.program_arguments is not None:
        _check_arguments(step.task.program_arguments, findings)


def _check_number(name: str, step: ParallelStep, scope: Scope, findings: Findings) -> None:
    """Check that a number is not below its lowest value, also one that an input has."""
    parent, _, field = name.rpartition(".")
    value = getattr(getattr(step, parent) if parent else step, field, None)
    place, subject = step.places.of(name), name
    if isinstance(value, Binding):
        place, subject = value.place, f"{name} is bound to {value}, which"
        literal = _literal_of(value, step, scope)
        value = None
        if literal is not None:
            try:
                value = int(str(literal))
            except ValueError:
                message = f"{subject} is {literal!r}; expected a whole number."
                findings.error(place, message)
    lowest, why = _LOWEST[name]
    if isinstance(value, int) and value < lowest:
        message = f"{subject} is {value}; expected a whole number from {lowest}: {why}."
        findings.error(place, message)


def _literal_of(binding: Binding, step: ParallelStep, scope: Scope) -> object:
    """Return the literal that an expression stands for; None if it is not known."""
    if binding.kind == "parent_input":
        return scope.inputs.get(binding.name, UNKNOWN).literal
    if binding.kind == "input" and binding.name in step.inputs:
        return known_input(step.inputs[binding.name], scope).literal
    return None


def check_size_text(text: str, place: Place, findings: Findings) -> bool:
    """Check the form of a mini-batch size; return whether it has a unit."""
    match = _SIZE.fullmatch(text)
    if match is not None and int(match[1]) > 0:
        return match[2] is not None
    compact = text.replace(" ", "")
    fixed = _SIZE.fullmatch(compact)
    remedy = "Write 5 for files, or 10kb, 1mb or 1gb for the rows of a table."
    if fixed is not None and int(fixed[1]) > 0:
        remedy = f"Write {compact}, without a space."
    message = f"mini_batch_size is {text!r}; expected a whole number from 1, with kb, mb or gb for bytes. {remedy}"
    findings.error(place, message)
    return False


def _check_input_data(step: ParallelStep, scope: Scope, findings: Findings) -> Known:
    """Check ``input_data``; return what is known about that input."""
    text = step.input_data
    if text is None:
        return UNKNOWN
    binding = text.binding
    if binding is None or binding.kind != "input":
        message = (
            f"input_data is {text.raw!r}; expected one input of the step: ${{{{inputs.NAME}}}}."
            f"{_choices(input_names(step), 'inputs')}"
        )
        findings.error(text.place, message)
        return UNKNOWN
    known = UNKNOWN
    if binding.name in step.inputs:
        known = known_input(step.inputs[binding.name], scope)
    if step.declared is not None and binding.name in step.declared.inputs:
        port = of_port(step.declared.inputs[binding.name])
        known = known if known.type else replace(port, path=known.path)
    if known.kind == "literal":
        message = (
            f"input_data is {binding}, a literal; mini-batches are made of data. Write in 'inputs': "
            f"{binding.name}: {{type: uri_folder, path: ./data}}"
        )
        findings.error(text.place, message)
    return known


def _check_size(step: ParallelStep, data: Known, findings: Findings) -> None:
    size = step.mini_batch_size
    if size is None or any(True for _ in size.bindings()):
        return
    has_unit = check_size_text(size.raw, size.place, findings)
    if has_unit and data.type in {"uri_folder", "uri_file"}:
        message = (
            f"mini_batch_size is {size.raw!r}, but the data are files ({data.type}): Azure takes "
            "the number of bytes as a number of files. Write a number of files, such as 5, or read "
            "a table with 'type: mltable'."
        )
        findings.error(size.place, message)


def _check_keys(step: ParallelStep, data: Known, findings: Findings) -> None:
    if not isinstance(step.partition_keys, tuple):
        return
    place = step.places.of("partition_keys")
    if data.type in {"uri_folder", "uri_file"}:
        message = (
            f"partition_keys needs keys, which data of type {data.type} does not have. Write 'type: mltable', "
            "with the keys in the paths (extract_columns_from_partition_format)."
        )
        findings.error(place, message)
    if len(set(step.partition_keys)) < len(step.partition_keys):
        findings.error(place, "partition_keys has a key twice; keep one of them.")
    if data.type == "mltable":
        for key, message in missing_keys_at(data.path, step.partition_keys).items():
            position = step.partition_keys.index(key)
            findings.error(step.places.of(f"partition_keys.{position}"), message)


def _check_rows(step: ParallelStep, findings: Findings) -> None:
    text = step.task.append_row_to if step.task else None
    if text is None:
        return
    binding = text.binding
    if binding is None or binding.kind != "output":
        message = (
            f"append_row_to is {text.raw!r}; expected one output of the step: ${{{{outputs.NAME}}}}."
            f"{_choices(output_names(step), 'outputs')}"
        )
        findings.error(text.place, message)


def _choices(names: set[str], kind: str) -> str:
    listed = ", ".join(f"${{{{{kind}.{name}}}}}" for name in sorted(names))
    return (
        f" Write {listed}." if len(names) == 1 else f" The {kind} are: {listed}." if names else ""
    )


def _check_arguments(text: Text, findings: Findings) -> None:
    """Check the values of arguments that Azure reads; expressions are not known yet."""
    try:
        words = shlex.split(text.raw)
    except ValueError as error:
        message = f"program_arguments cannot be split into words: {error}. Close every quote."
        findings.error(text.place, message)
        return
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in _ARGUMENTS:
            continue
        if not equals:
            value = words[number + 1] if number + 1 < len(words) else ""
        if "$" in value:
            continue
        low, high = _ARGUMENTS[name]
        expected = f"a number from {low}" + (f" to {high}" if high is not None else "")
        try:
            is_fine = low <= float(value) and (high is None or float(value) <= high)
        except ValueError:
            is_fine = False
        if not is_fine:
            message = f"{name} in program_arguments is {value!r}; expected {expected}."
            findings.error(text.place, message)
