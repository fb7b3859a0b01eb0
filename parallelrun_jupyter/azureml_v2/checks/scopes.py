"""The names that expressions may use: the inputs, outputs and steps of a pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..model.expressions import Binding
from ..model.jobs import Component, OtherStep, PipelineJob, Step
from ..model.places import Places
from ..model.values import Input, Output, Port

Kind: TypeAlias = Literal["data", "literal", "unknown"]


@dataclass(frozen=True, slots=True)
class Known:
    """The part of a value that is known before a run.

    Parameters
    ----------
    kind
        Whether it is data or a literal.
    type
        Its type of data; empty if that is not known.
    literal
        The literal; None if that is not known.
    path
        The path of data; empty if that is not known.
    """

    kind: Kind = "unknown"
    type: str = ""
    literal: object = None
    path: str = ""


UNKNOWN = Known()


@dataclass(frozen=True, slots=True)
class Scope:
    """The inputs, outputs and steps of a pipeline or of a pipeline component.

    Parameters
    ----------
    inputs, outputs, steps
        By name.
    unread
        Steps of the file that could not be read; their own mistakes are named.
    is_known
        False for a component by itself, whose pipeline may have any names.
    """

    inputs: Mapping[str, Known] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset()
    steps: Mapping[str, Step] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    is_known: bool = True


def scope_of_job(job: PipelineJob) -> Scope:
    """Return the names of a pipeline job; inputs without a value count as well."""
    if job.declared is not None:
        return scope_of_component(job.declared, job.jobs)
    inputs = {name: _of_value(value) for name, value in job.inputs.items()}
    written = below(job.places, "inputs")
    return Scope(
        {**dict.fromkeys(written, UNKNOWN), **inputs},
        frozenset({*job.outputs, *below(job.places, "outputs")}),
        job.jobs,
        frozenset(below(job.places, "jobs")) - set(job.jobs),
    )


def scope_of_component(component: Component, jobs: Mapping[str, Step]) -> Scope:
    """Return the names of a pipeline component."""
    inputs = {name: of_port(port) for name, port in component.inputs.items()}
    unread = frozenset(below(component.places, "jobs")) - set(jobs)
    return Scope(inputs, frozenset(component.outputs), jobs, unread)


def scope_of_step(step: Step, jobs: Mapping[str, Step], outer: Scope) -> Scope:
    """Return the names inside of a step that is a pipeline."""
    if step.declared is not None:
        return scope_of_component(step.declared, jobs)
    inputs = {name: known_input(value, outer) for name, value in step.inputs.items()}
    unread = frozenset(below(step.places, "jobs")) - set(jobs)
    return Scope(inputs, frozenset(step.outputs), jobs, unread)


def of_port(port: Port) -> Known:
    """Return the known part of a declared input."""
    if port.is_literal:
        return Known("literal", literal=port.default)
    return Known("data", "uri_folder" if port.type == "path" else port.type)


def _of_value(value: Input) -> Known:
    if value.value is not None:
        return Known("literal", literal=value.value)
    return Known("data", value.type, path=value.path) if value.is_data else UNKNOWN


def known_input(value: Input, scope: Scope, depth: int = 0) -> Known:
    """Return the known part of a step's input; bindings are followed."""
    if value.binding is None:
        return _of_value(value)
    known = _followed(value.binding, scope, depth)
    if value.type:
        return Known("data", value.type, path=known.path)
    return known


def _followed(binding: Binding, scope: Scope, depth: int) -> Known:
    if binding.kind == "parent_input":
        return scope.inputs.get(binding.name, UNKNOWN)
    step = scope.steps.get(binding.step)
    if step is None or depth > len(scope.steps):
        return UNKNOWN
    if binding.kind == "step_output":
        return Known("data", _output_type(step, binding.name))
    if binding.kind == "step_input" and binding.name in step.inputs:
        return known_input(step.inputs[binding.name], scope, depth + 1)
    return UNKNOWN


def _output_type(step: Step, name: str) -> str:
    output = step.outputs.get(name, Output())
    if output.type:
        return output.type
    if step.declared is not None and name in step.declared.outputs:
        return step.declared.outputs[name].type
    return "" if step.component or output.binding else "uri_folder"


def below(places: Places, parent: str) -> list[str]:
    """Return the names that the file has below a field, also those whose values could not be read."""
    start = f"{parent}."
    names = (name.removeprefix(start) for name in places.fields if name.startswith(start))
    return [name for name in names if "." not in name]


def input_names(step: Step) -> set[str]:
    """Return the names of a step's inputs, given and declared."""
    declared = step.declared.inputs if step.declared else ()
    return {*step.inputs, *declared, *below(step.places, "inputs")}


def output_names(step: Step) -> set[str]:
    """Return the names of a step's outputs, given and declared."""
    declared = step.declared.outputs if step.declared else ()
    return {*step.outputs, *declared, *below(step.places, "outputs")}


def is_open(step: Step) -> bool:
    """Return whether a step may have inputs and outputs that are not in the file."""
    return isinstance(step, OtherStep) or bool(step.component and step.declared is None)


def has_name(name: str, names: Iterable[str]) -> bool:
    """Return whether a name is one of some names, or leads to or through a group of inputs."""
    return any(
        name == known or known.startswith(f"{name}.") or name.startswith(f"{known}.")
        for known in names
    )
