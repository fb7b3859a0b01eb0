"""Checks expressions: names that exist, kinds that fit, optional parts, and circles of steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...formatting import nearest_hint
from ..model.expressions import Binding, OptionalPart, Text
from ..model.jobs import CommandStep, ParallelStep, PipelineStep, Step, Variables
from ..model.values import Number
from .findings import Findings
from .scopes import UNKNOWN, Scope, has_name, input_names, is_open, output_names


def check_bindings(step: Step, scope: Scope, findings: Findings) -> None:
    """Check all expressions of a step.

    Parameters
    ----------
    step
        The step.
    scope
        The pipeline that it is in.
    findings
        Receives the mistakes.
    """
    _check_values(step, scope, findings)
    whole: list[Text | None] = []  # texts that are one expression, which have checks of their own
    if isinstance(step, ParallelStep):
        whole = [step.input_data, step.task.append_row_to if step.task else None]
    for text in texts_of(step):
        for part in text.parts:
            if isinstance(part, OptionalPart):
                _check_optional(part, step, scope, findings)
            elif isinstance(part, Binding):
                _check_one(part, step, scope, findings)
                _check_required(part, step, findings)
                if text not in whole:
                    _check_literal(part, scope, findings)
    for number in _numbers_of(step):
        _check_one(number, step, scope, findings)


def _check_values(step: Step, scope: Scope, findings: Findings) -> None:
    """Check the bindings that the inputs and outputs of a step consist of."""
    for name, value in step.inputs.items():
        binding = value.binding
        if binding is None:
            continue
        if binding.kind in {"output", "parent_output"}:
            message = (
                f"the input {name!r} of step {step.name!r} is bound to an output of the pipeline, which "
                "has no data before the run. Write ${{parent.jobs.STEP.outputs.NAME}} for the output "
                "of a step, or ${{parent.inputs.NAME}}."
            )
            findings.error(binding.place, message)
        else:
            _check_one(binding, step, scope, findings)
    for name, output in step.outputs.items():
        binding = output.binding
        if binding is None:
            continue
        if binding.kind != "parent_output":
            message = (
                f"the output {name!r} of step {step.name!r} is bound to {binding}, which is not an "
                "output of the pipeline. Write ${{parent.outputs.NAME}}, or {type: uri_folder}."
            )
            findings.error(binding.place, message)
        else:
            _check_one(binding, step, scope, findings)


def texts_of(step: Step) -> Iterator[Text]:
    """Yield the texts of a step that may have expressions."""
    texts: list[Text | None] = []
    variables: Variables = {}
    if isinstance(step, ParallelStep):
        texts = [step.input_data, step.mini_batch_size]
        if step.task is not None:
            texts += [step.task.program_arguments, step.task.append_row_to]
        variables = step.environment_variables
    elif isinstance(step, CommandStep):
        texts = [step.command]
        variables = step.environment_variables
    yield from (text for text in texts if text is not None)
    if not isinstance(variables, Binding):
        yield from variables.values()


def _numbers_of(step: Step) -> Iterator[Binding]:
    values: list[Number | tuple[str, ...] | Variables | None] = []
    if isinstance(step, ParallelStep):
        values = [
            step.partition_keys, step.max_concurrency_per_instance, step.error_threshold,
            step.mini_batch_error_threshold, step.environment_variables,
        ]  # fmt: skip
        if step.retry_settings is not None:
            values += [step.retry_settings.max_retries, step.retry_settings.timeout]
    elif isinstance(step, CommandStep):
        values = [step.timeout, step.environment_variables]
    if isinstance(step, ParallelStep | CommandStep) and step.resources is not None:
        values.append(step.resources.instance_count)
    yield from (value for value in values if isinstance(value, Binding))


def _check_one(binding: Binding, step: Step, scope: Scope, findings: Findings) -> None:
    """Check that the name in an expression exists."""
    kind = "output" if binding.kind.endswith("output") else "input"
    if binding.kind in {"input", "output"}:
        if not is_open(step):
            _check_name(binding, kind, f"step {step.name!r}", _names(step, kind), findings)
    elif binding.kind == "fact" or not scope.is_known:
        return
    elif binding.kind in {"parent_input", "parent_output"}:
        names = scope.outputs if kind == "output" else scope.inputs
        _check_name(binding, kind, "the pipeline", names, findings)
    else:
        other = scope.steps.get(binding.step)
        if binding.step in scope.unread:
            return
        if other is None:
            hint = nearest_hint(binding.step, scope.steps)
            hint = hint or f" The steps are: {_listed(scope.steps)}."
            message = f"{binding} names the step {binding.step!r}, which does not exist.{hint}"
            findings.error(binding.place, message)
        elif not is_open(other):
            _check_name(binding, kind, f"step {other.name!r}", _names(other, kind), findings)


def _names(step: Step, kind: str) -> set[str]:
    return output_names(step) if kind == "output" else input_names(step)


def _check_name(
    binding: Binding, kind: str, owner: str, names: Iterable[str], findings: Findings
) -> None:
    if has_name(binding.name, names):
        return
    listed = _listed(names)
    hint = nearest_hint(binding.name, names)
    if not hint:
        hint = f" Its {kind}s are: {listed}." if listed else f" Add it under '{kind}s'."
    message = f"{binding} names the {kind} {binding.name!r}, which {owner} does not have.{hint}"
    findings.error(binding.place, message)


def _check_optional(part: OptionalPart, step: Step, scope: Scope, findings: Findings) -> None:
    """Check ``$[[...]]``: a declared input in it is optional; an undeclared one may be left out."""
    ports = step.declared.inputs if step.declared else None
    for binding in part.parts:
        if not isinstance(binding, Binding):
            continue
        if binding.kind != "input":
            _check_one(binding, step, scope, findings)
        elif ports is None:
            near = nearest_hint(binding.name, step.inputs)
            if near and not has_name(binding.name, step.inputs):
                _check_one(binding, step, scope, findings)
        elif binding.name not in ports:
            _check_one(binding, step, scope, findings)
        elif not ports[binding.name].optional:
            message = (
                f"{binding} is in $[[...]], but the component's input {binding.name!r} is required. "
                "Remove the brackets, or add 'optional: true' to the input."
            )
            findings.error(binding.place, message)


def _check_required(binding: Binding, step: Step, findings: Findings) -> None:
    """Check that an optional input is in ``$[[...]]``."""
    port = step.declared.inputs.get(binding.name) if step.declared else None
    if binding.kind == "input" and port is not None and port.optional and port.default is None:
        message = (
            f"{binding} is an optional input outside of $[[...]], and is empty where it has no value. "
            f"Write $[[--{binding.name} {binding}]]."
        )
        findings.warn(binding.place, message)


def _check_literal(binding: Binding, scope: Scope, findings: Findings) -> None:
    """Check that a text takes data only from the inputs of its step."""
    is_data = binding.kind == "step_output" or (
        binding.kind == "parent_input" and scope.inputs.get(binding.name, UNKNOWN).kind == "data"
    )
    if is_data:
        message = (
            f"{binding} is data; make it an input of the step, such as {binding.name}: {binding}, and "
            f"write ${{{{inputs.{binding.name}}}}} here."
        )
        findings.error(binding.place, message)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


# Circles


def check_circles(steps: Mapping[str, Step], findings: Findings) -> None:
    """Check that no step needs its own output, directly or through others."""
    needs = {name: dict(_needs(step, steps)) for name, step in steps.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        for other, binding in needs[name].items():
            if other in (*above, name):
                path = (*above, name)[(*above, name).index(other) :]
                circle = " -> ".join((*reversed(path), path[-1])) if len(path) > 1 else name
                message = (
                    f"the steps form a circle, so that none can start first: {circle}. Bind one of their "
                    "inputs to something else."
                )
                if len(path) == 1:
                    message = (
                        f"step {name!r} needs its own output. Bind the input to something else."
                    )
                findings.error(binding.place, message)
            elif other not in done:
                visit(other, (*above, name))
        done.add(name)

    for name in steps:
        if name not in done:
            visit(name, ())


def _needs(step: Step, steps: Mapping[str, Step]) -> Iterator[tuple[str, Binding]]:
    bindings = [value.binding for value in step.inputs.values() if value.binding is not None]
    for text in texts_of(step):
        bindings += text.bindings()
    if not isinstance(step, PipelineStep):
        bindings += _numbers_of(step)
    for binding in bindings:
        if binding.kind == "step_output" and binding.step in steps:
            yield binding.step, binding
