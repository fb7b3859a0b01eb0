"""Checks pipelines, steps and components."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping
from dataclasses import replace

from ..model.jobs import CommandStep, Component, ParallelStep, PipelineJob, PipelineStep, Step
from ..model.places import Place
from ..model.values import Input, Output, Port
from ..reader.fields import exists
from .bindings import check_bindings, check_circles
from .code import check_command_code, check_parallel_code
from .findings import Findings
from .parallel import check_parallel
from .ports import check_job_ports, check_ports
from .scopes import Scope, scope_of_component, scope_of_job, scope_of_step
from .tables import check_table

_NAME_HERE = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
"""Names that expressions can have."""

_IN_AZURE = {
    "step": re.compile(r"[a-z_][a-z0-9_]*", re.ASCII),
    "input": re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*", re.ASCII),
    "output": re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII),
    "input of a step": _NAME_HERE,
}
"""Names that Azure's client accepts."""


def check_job(job: PipelineJob, findings: Findings) -> None:
    """Check a pipeline job."""
    if job.declared is not None:
        check_job_ports(dict(job.inputs), job.declared, job.places.own, findings)
    _check_names(job.inputs, "input", findings)
    _check_names(job.outputs, "output", findings)
    _check_data(job.inputs, findings)
    check_steps(job.jobs, scope_of_job(job), findings)


def check_component(component: Component, findings: Findings) -> None:
    """Check a component by itself: the names in its expressions, its fields, and its code."""
    _check_names(component.inputs, "input", findings)
    _check_names(component.outputs, "output", findings)
    body = component.body
    if isinstance(body, PipelineStep):
        check_steps(body.jobs, scope_of_component(component, body.jobs), findings)
        return
    # A step of it, whose inputs are the declared ones; the rest depends on the pipeline.
    step = replace(body, declared=component, name=component.name or "component")
    scope = Scope(is_known=False)
    check_bindings(step, scope, findings)
    _check_body(step, scope, findings)


def check_steps(steps: Mapping[str, Step], scope: Scope, findings: Findings) -> None:
    """Check the steps of a pipeline."""
    for name, step in steps.items():
        _check_name(name, "step", step.places.own, findings)
        check_step(step, scope, findings)
    check_circles(steps, findings)


def check_step(step: Step, scope: Scope, findings: Findings) -> None:
    """Check a step of a pipeline."""
    _check_names(step.inputs, "input of a step", findings)
    _check_names(step.outputs, "output", findings)
    _check_data(step.inputs, findings)
    check_ports(step, scope, findings)
    check_bindings(step, scope, findings)
    _check_body(step, scope, findings)


def _check_body(step: Step, scope: Scope, findings: Findings) -> None:
    if isinstance(step, ParallelStep):
        check_parallel(step, scope, findings)
        check_parallel_code(step, scope, findings)
    elif isinstance(step, CommandStep):
        _check_command(step, findings)
        check_command_code(step, scope, findings)
    elif isinstance(step, PipelineStep):
        jobs = step.jobs
        check_steps(jobs, scope_of_step(step, jobs, scope), findings)


def _check_command(step: CommandStep, findings: Findings) -> None:
    count = step.resources.instance_count if step.resources else None
    numbers = {"resources.instance_count": count, "limits.timeout": step.timeout}
    for name, value in numbers.items():
        if isinstance(value, int) and value < 1:
            message = f"{name} is {value}; expected a whole number from 1."
            findings.error(step.places.of(name), message)


def _check_names(
    values: Mapping[str, Input | Output | Port], kind: str, findings: Findings
) -> None:
    for name, value in values.items():
        _check_name(name, kind, value.places.own, findings)


def _check_name(name: str, kind: str, place: Place, findings: Findings) -> None:
    rule = "Use lower-case letters, digits and '_', and begin with a letter."
    subject = f"the name {name!r} of this {kind}"
    if not _NAME_HERE.fullmatch(name) or (kind == "step" and "." in name):
        message = f"{subject} has a character that expressions do not allow. {rule}"
        findings.error(place, message)
    elif not _IN_AZURE[kind].fullmatch(name):
        findings.warn(place, f"{subject} can be used here, but Azure refuses it. {rule}")


def _check_data(inputs: Mapping[str, Input], findings: Findings) -> None:
    """Check that local data exists; absolute paths may be those of another machine."""
    for name, value in inputs.items():
        place = value.places.of("path")
        if not value.path or not _is_relative(place, value.path):
            continue
        if exists(value.path) or (
            any(c in value.path for c in "*?[") and glob.glob(value.path, recursive=True)
        ):
            if value.type == "mltable":
                check_table(value.path, findings, place)
            continue
        message = (
            f"the path of input {name!r} does not exist: {value.path}. Paths are relative to the file; "
            "correct it, or create the data."
        )
        findings.error(place, message)


def _is_relative(place: Place, path: str) -> bool:
    """Return whether a path is written relative to its file."""
    if not os.path.isabs(path) or not place.line:
        return False
    try:
        with open(place.file, encoding="utf-8-sig") as file:
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError):
        return False
    rest = lines[place.line - 1][place.column - 1 :] if place.line <= len(lines) else "/"
    return not rest.lstrip("\"'").removeprefix("file:").startswith(("/", "~", "*"))
