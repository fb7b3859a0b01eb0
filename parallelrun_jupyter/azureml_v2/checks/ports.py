"""Checks the inputs of a step against its component: required, unknown, and of another kind."""

from __future__ import annotations

from ...formatting import nearest_hint
from ..model.jobs import Component, Step
from ..model.places import Place
from ..model.values import Input, Port
from .findings import Findings
from .scopes import Known, Scope, has_name, known_input


def check_ports(step: Step, scope: Scope, findings: Findings) -> None:
    """Check the inputs and outputs of a step against its component's declarations."""
    if step.declared is None:
        return
    component = step.declared
    own = step.places.own
    _check_missing(f"step {step.name!r}", set(step.inputs), component, own, findings)
    for name, value in step.inputs.items():
        if not has_name(name, component.inputs):
            _unknown("input", name, component, value.places.own, findings)
        elif name in component.inputs:
            _check_kind(name, value, component.inputs[name], known_input(value, scope), findings)
    for name, output in step.outputs.items():
        if name not in component.outputs:
            place = output.places.own if output.places.own.line else own
            _unknown("output", name, component, place, findings)


def check_job_ports(
    inputs: dict[str, Input], component: Component, place: Place, findings: Findings
) -> None:
    """Check the inputs of a job that is a pipeline component."""
    _check_missing("the job", set(inputs), component, place, findings)
    for name, value in inputs.items():
        if not has_name(name, component.inputs):
            _unknown("input", name, component, value.places.own, findings)
        elif name in component.inputs:
            _check_range(name, value.value, component.inputs[name], value.places.own, findings)


def _shown(component: Component) -> str:
    return f"the component {component.name!r}" if component.name else "its component"


def _check_missing(
    owner: str, given: set[str], component: Component, place: Place, findings: Findings
) -> None:
    for name, port in component.inputs.items():
        is_given = any(key == name or key.startswith(f"{name}.") for key in given)
        if is_given or port.optional or port.default is not None or not port.type:
            continue
        example = "5" if port.is_literal else f"{{type: {port.type}, path: ./data}}"
        message = (
            f"{owner} has no input {name!r}, which {_shown(component)} requires. Add under 'inputs': "
            f"{name}: {example}"
        )
        findings.error(place, message)


def _unknown(kind: str, name: str, component: Component, place: Place, findings: Findings) -> None:
    names = sorted(component.inputs if kind == "input" else component.outputs)
    listed = f" Its {kind}s are: {', '.join(names)}." if names else f" It has no {kind}s."
    hint = nearest_hint(name, names) or listed
    findings.error(place, f"{name!r} is not an {kind} of {_shown(component)}.{hint}")


def _check_kind(name: str, value: Input, port: Port, known: Known, findings: Findings) -> None:
    place = value.binding.place if value.binding else value.places.own
    if not port.type or known.kind == "unknown":
        return
    if port.is_literal and known.kind == "data":
        message = (
            f"the input {name!r} is data, but the component expects a literal of type {port.type}. "
            "Write a value, such as 5, or bind it to an input that has one."
        )
        findings.error(place, message)
    elif not port.is_literal and known.kind == "literal":
        message = (
            f"the input {name!r} is a literal, but the component expects data of type {port.type}. "
            f"Write {{type: {port.type}, path: ./data}}, or bind it to data."
        )
        findings.error(place, message)
    elif known.literal is not None and not _fits(known.literal, port.type):
        findings.error(
            place,
            f"the input {name!r} is {known.literal!r}; the component expects a value of type {port.type}.",
        )
    else:
        _check_range(name, known.literal, port, place, findings)


def _check_range(name: str, literal: object, port: Port, place: Place, findings: Findings) -> None:
    """Check a known literal by the ``enum``, ``min`` and ``max`` of its component."""
    if not isinstance(literal, str | int | float) or "${{" in str(literal):
        return
    expected = port.expected(literal)
    if expected:
        message = f"the input {name!r} is {literal!r}; its component expects {expected} ({port.places.own})."
        findings.error(place, message)


def _fits(literal: object, type_: str) -> bool:
    """Return whether a literal is a number where one is expected."""
    if type_ not in {"integer", "number"} or "${{" in str(literal):
        return True
    if isinstance(literal, bool):
        return False
    try:
        number = float(str(literal))
    except ValueError:
        return False
    return type_ == "number" or number.is_integer()
