"""The values that the bindings of a pipeline's steps stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ...formatting import nearest_hint
from ..model.expressions import Binding, Text
from ..model.jobs import CommandStep, ParallelStep, Step
from ..model.places import NOWHERE, Place
from ..model.problems import Problem
from ..model.values import Input, Literal, Output, Port


@dataclass(frozen=True, slots=True)
class Produced:
    """An output of a step that runs earlier.

    Parameters
    ----------
    key
        The key of the step in the record.
    output
        The name of the output in that step.
    type
        The type of data.
    """

    key: str
    output: str
    type: str


Value: TypeAlias = Literal | Input | Produced | None
"""A literal, data by path, an output of an earlier step, or None for an optional input without one."""


@dataclass(slots=True)
class Scope:
    """The names that the steps of one pipeline can bind to.

    Parameters
    ----------
    inputs
        The values of the pipeline's inputs.
    outputs
        The pipeline's outputs.
    prefix
        The names of the steps that the pipeline is in, each with a dot.
    steps
        The names of all steps.
    refused
        Those that do not run here.
    step_inputs, produced
        The values of the inputs of the steps, and their outputs, by step and name.
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Output]
    prefix: str = ""
    steps: tuple[str, ...] = ()
    refused: set[str] = field(default_factory=set)
    step_inputs: dict[str, dict[str, Value]] = field(default_factory=dict)
    produced: dict[str, dict[str, Produced]] = field(default_factory=dict)

    def value(self, binding: Binding, problems: list[Problem]) -> Value:
        """Return the value of a binding in the inputs of a step; None, and a problem, if it is unknown."""
        match binding.kind:
            case "parent_input":
                return _get(self.inputs, binding, "input of the pipeline", problems)
            case "step_output":
                outputs = self._of_step(self.produced, binding, problems)
                return _get(outputs, binding, f"output of step {binding.step!r}", problems)
            case "step_input":
                inputs = self._of_step(self.step_inputs, binding, problems)
                return _get(inputs, binding, f"input of step {binding.step!r}", problems)
            case _:
                message = f"{binding} cannot be the value of an input; expected ${{{{parent.inputs.NAME}}}}."
                problems.append(Problem(binding.place, message))
                return None

    def _of_step(
        self, table: Mapping[str, Mapping[str, Value]], binding: Binding, problems: list[Problem]
    ) -> Mapping[str, Value] | None:
        if binding.step in self.refused:
            return None  # it has its own problem
        if binding.step not in table:
            hint = nearest_hint(binding.step, self.steps)
            message = f"{binding}: there is no step {binding.step!r}.{hint}"
            problems.append(Problem(binding.place, message))
            return None
        return table[binding.step]


def _get(
    values: Mapping[str, Value] | None, binding: Binding, kind: str, problems: list[Problem]
) -> Value:
    if values is None:
        return None
    if binding.name not in values:
        names = ", ".join(values) or "none"
        hint = nearest_hint(binding.name, values)
        message = f"{binding}: there is no {kind} of this name.{hint} The names are: {names}."
        problems.append(Problem(binding.place, message))
        return None
    return values[binding.name]


def values_of_step(step: Step, scope: Scope, problems: list[Problem]) -> dict[str, Value]:
    """Return the values of a step's inputs, with the defaults of its component."""
    values: dict[str, Value] = {}
    for name, item in step.inputs.items():
        values[name] = _value(item, scope, problems)
    if step.declared is not None:
        _check_names(step, "input", step.inputs, step.declared.inputs, problems)
        _check_names(step, "output", step.outputs, step.declared.outputs, problems)
    for name, port in (step.declared.inputs if step.declared else {}).items():
        if values.get(name) is None:
            values[name] = port.default
            if port.default is None and not port.optional and name not in step.inputs:
                message = (
                    f"the step {step.name!r} has no input {name!r}, which its component needs."
                )
                problems.append(Problem(step.places.of("inputs"), message))
        given = step.inputs.get(name)
        place = NOWHERE
        if given is not None:
            place = given.binding.place if given.binding else given.places.own
        check_literal(
            f"the input {name!r} of step {step.name!r}", values[name], port, place, problems
        )
    return values


def check_literal(
    subject: str, value: Value, port: Port, place: Place, problems: list[Problem]
) -> None:
    """Note a literal that is not one of the values that its component allows.

    Parameters
    ----------
    subject
        The input, in words.
    value, port
        Its value and its declaration.
    place
        The place of the value; `NOWHERE` for a default, whose place is in the declaration.
    problems
        Receives the problem.
    """
    if value is None or isinstance(value, Input | Produced):
        return
    expected = port.expected(value)
    if expected:
        where = port.places.of("default") if place == NOWHERE else place
        message = f"{subject} is {value!r}; its component expects {expected} ({port.places.own})."
        problems.append(Problem(where, message))


def _check_names(
    step: Step,
    kind: str,
    given: Iterable[str],
    declared: Mapping[str, Port],
    problems: list[Problem],
) -> None:
    for name in given:
        if name not in declared:
            names = ", ".join(declared) or "none"
            message = (
                f"the component of step {step.name!r} has no {kind} {name!r}."
                f"{nearest_hint(name, declared)} Its {kind}s are: {names}."
            )
            problems.append(Problem(step.places.of(f"{kind}s.{name}"), message))


def _value(item: Input, scope: Scope, problems: list[Problem]) -> Value:
    if item.binding is None:
        return item if item.is_data else item.value
    value = scope.value(item.binding, problems)
    if isinstance(value, Input):
        return replace(value, type=item.type or value.type, mode=item.mode or value.mode)
    if isinstance(value, Produced):
        return replace(value, type=item.type or value.type)
    return value


def output_type(step: Step, name: str, scope: Scope) -> str:
    """Return the type of a step's output: its own, its component's, or that of the pipeline's output."""
    output = step.outputs.get(name, Output())
    bound = output.binding
    above = scope.outputs.get(bound.name) if bound is not None else None
    declared = step.declared.outputs.get(name) if step.declared else None
    of_job = above.type if above else ""
    of_component = declared.type if declared else ""
    # A job says what its own outputs are; a pipeline component's types are those of its steps.
    later = (of_component, of_job) if scope.prefix else (of_job, of_component)
    types = (output.type, *later)
    return next(filter(None, types), "uri_folder")


def in_order(jobs: Mapping[str, Step], problems: list[Problem]) -> list[Step]:
    """Return steps in an order in which they can run: as in the file, as far as bindings allow."""
    ordered: list[Step] = []
    above: list[str] = []

    def visit(step: Step) -> None:
        if step in ordered:
            return
        if step.name in above:
            circle = " -> ".join([*above[above.index(step.name) :], step.name])
            message = f"the steps depend on each other in a circle: {circle}."
            problems.append(Problem(step.places.own, message))
            return
        above.append(step.name)
        for binding in bindings_of(step):
            if binding.kind in {"step_output", "step_input"} and binding.step in jobs:
                visit(jobs[binding.step])
        above.pop()
        ordered.append(step)

    for step in jobs.values():
        visit(step)
    return ordered


def bindings_of(step: Step) -> Iterable[Binding]:
    """Yield the bindings of a step's inputs and of its texts, without those of its inner steps."""
    yield from (item.binding for item in step.inputs.values() if item.binding is not None)
    for text in texts_of(step):
        yield from text.bindings()


def texts_of(step: Step) -> Iterable[Text]:
    """Yield the texts of a step in which its inputs and outputs may be bound."""
    texts: list[Text | None] = []
    if isinstance(step, CommandStep):
        texts = [step.command]
    elif isinstance(step, ParallelStep):
        task = step.task
        texts = [step.input_data, step.mini_batch_size]
        texts += [task.program_arguments, task.append_row_to] if task else []
    if isinstance(step, CommandStep | ParallelStep) and isinstance(
        step.environment_variables, Mapping
    ):
        texts += step.environment_variables.values()
    yield from (text for text in texts if text is not None)


def number(
    value: int | Binding | None, values: Mapping[str, Value], scope: Scope, problems: list[Problem]
) -> int | None:
    """Return a whole number, also if it is bound; None if it is missing."""
    if not isinstance(value, Binding):
        return value
    bound = values.get(value.name) if value.kind == "input" else scope.value(value, problems)
    try:
        return int(bound)  # type: ignore[arg-type] # a failure is reported
    except (TypeError, ValueError):
        if bound is not None:
            message = f"{value} is {bound!r}; expected a whole number."
            problems.append(Problem(value.place, message))
        return None
