"""Reads the steps of pipelines, and components: in place, from files, or by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as fields_of_class
from typing import Any, TypeVar

from ...formatting import nearest_hint
from ..model.expressions import Binding
from ..model.jobs import (
    OTHER_TYPES,
    STEP_TYPES,
    CommandStep,
    Component,
    OtherStep,
    ParallelStep,
    PipelineStep,
    Step,
    Task,
)
from ..model.places import Places
from ..model.problems import JobFileError
from ..model.values import Resources, RetrySettings
from .fields import Fields, Source, scalar_text
from .tree import Node, read_tree
from .values import (
    read_environment,
    read_identity,
    read_inputs,
    read_outputs,
    read_ports,
    read_resources,
    read_retry_settings,
    read_variables,
)


@dataclass(frozen=True, slots=True)
class _Body:
    """Where the fields of a step are: all here, or a part here and the rest in a component."""

    is_complete: bool
    above: tuple[str, ...]
    """The files of the components that the step is in."""


LOGGING_LEVELS = ("WARNING", "INFO", "DEBUG")
TASK_TYPES = ("run_function", "function", "model")
T = TypeVar("T")


def read_steps(fields: Fields, above: tuple[str, ...] = ()) -> dict[str, Step]:
    """Read ``jobs``; ``above`` has the files of the components that these steps are in."""
    steps = {}
    entries = fields.entries("jobs")
    others = [name for name, node in entries.items() if not _is_set_outside(node)]
    for name, node in entries.items():
        step = read_step(name, node, fields.source, above, others)
        if step is not None:
            steps[name] = step
    return steps


def _is_set_outside(node: Node) -> bool:
    return node.place.file.startswith("--set ")


def read_step(
    name: str,
    node: Node,
    source: Source,
    above: tuple[str, ...] = (),
    others: Sequence[str] = (),
) -> Step | None:
    """Read a step of a pipeline; None if its type is unknown, which is noted.

    ``others`` are the names of the steps in the file.
    """
    fields = Fields(node, source, f"the step {name!r}")
    if not isinstance(node.value, dict):
        if node.value is None:
            source.add(node.place, f"the step {name!r} is empty; add its type and fields.")
        return None
    reference, declared = read_component_of_step(fields, name, above)
    type_ = _type_of(fields, name, declared, others)
    if type_ in OTHER_TYPES:
        return OtherStep(name=name, other_type=type_, places=Places(node.place))
    if type_ not in _BODIES:
        return None
    if declared is not None and declared.type != type_:
        place = fields.node.value["type"].place if "type" in fields else node.place
        message = (
            f"the step {name!r} is of type {type_!r}, its component of type {declared.type!r}; "
            f"write 'type: {declared.type}'."
        )
        source.add(place, message)
        return None
    fields.kind = f"the {type_} step {name!r}"
    own = {
        "name": name,
        "inputs": _legacy(read_inputs(fields), "parent_input"),
        "outputs": _legacy(read_outputs(fields), "parent_output"),
        "compute": fields.text("compute"),
        "component": reference,
        "declared": declared,
        **read_common(fields),
        "comment": fields.text("comment"),
    }
    is_complete = declared is None and not reference
    step = _BODIES[type_](fields, own, _Body(is_complete=is_complete, above=above))
    if declared is not None:
        step = merged(step, replace(declared.body, inputs={}, outputs={}))
    return step


def _type_of(
    fields: Fields, name: str, declared: Component | None, others: Sequence[str] = ()
) -> str:
    """Return the type of a step; without the field, that of its component or of its fields."""
    node = fields.get("type")
    if node is None:
        if declared is not None:
            return declared.type
        for key, type_ in (("task", "parallel"), ("command", "command"), ("jobs", "pipeline")):
            if key in fields:
                return type_
        types = ", ".join(STEP_TYPES)
        if _is_set_outside(fields.node):
            remedy = (
                f"Its steps are: {', '.join(others)}."
                if others
                else f"Set its type, one of {types}, too."
            )
            message = f"the file has no step {name!r}.{nearest_hint(name, others)} {remedy}"
            fields.source.add(fields.node.place, message)
            return ""
        fields.source.add(
            fields.node.place, f"the step {name!r} has no type; add 'type: ...', one of {types}."
        )
        return ""
    return fields.choice("type", (*STEP_TYPES, *OTHER_TYPES))


def _legacy(values: Mapping[str, T], kind: Any) -> dict[str, T]:
    """Read ``${{inputs.x}}`` in a step's inputs as the pipeline's, as older files mean it."""
    short = kind.removeprefix("parent_")

    def modern(value: Any) -> Any:
        if value.binding is not None and value.binding.kind == short:
            return replace(value, binding=replace(value.binding, kind=kind))
        return value

    return {name: modern(value) for name, value in values.items()}


def read_common(fields: Fields) -> dict[str, Any]:
    """Read the fields that jobs, steps and components have in common."""
    return {
        "display_name": fields.text("display_name"),
        "description": fields.text("description"),
        "tags": fields.names("tags"),
        "properties": fields.names("properties"),
        "identity": read_identity(fields),
    }


def _command(fields: Fields, own: dict[str, Any], body: _Body) -> CommandStep:
    if body.is_complete:
        fields.require("command")
    limits = fields.nested("limits", "limits")
    timeout = limits.number("timeout") if limits else None
    if limits:
        limits.end()
    step = CommandStep(
        **own,
        command=fields.template("command"),
        code=fields.path("code"),
        environment=read_environment(fields),
        environment_variables=read_variables(fields),
        resources=read_resources(fields),
        timeout=timeout,
        additional_includes=tuple(
            map(fields.source.path, fields.texts("additional_includes") or ())
        ),
        distribution=fields.plain("distribution"),
        queue_settings=fields.plain("queue_settings"),
        services=fields.plain("services"),
    )
    fields.ignore("name", "experiment_name")
    return replace(step, places=fields.end())


def _parallel(fields: Fields, own: dict[str, Any], body: _Body) -> ParallelStep:
    if body.is_complete:
        fields.require("task", "input_data")
    level = fields.choice("logging_level", LOGGING_LEVELS)
    step = ParallelStep(
        **own,
        task=_task(fields, body),
        input_data=fields.template("input_data"),
        mini_batch_size=fields.template("mini_batch_size"),
        partition_keys=_keys(fields),
        max_concurrency_per_instance=fields.number("max_concurrency_per_instance"),
        mini_batch_error_threshold=fields.number("mini_batch_error_threshold"),
        error_threshold=fields.number("error_threshold"),
        logging_level=level,
        retry_settings=read_retry_settings(fields),
        resources=read_resources(fields),
        environment_variables=read_variables(fields),
    )
    environment = read_environment(fields)  # older files have it beside the task
    if environment is not None and step.task is not None and step.task.environment is None:
        step = replace(step, task=replace(step.task, environment=environment))
    fields.ignore("name")
    return replace(step, places=fields.end())


def _keys(fields: Fields) -> tuple[str, ...] | Binding | None:
    node = fields.get("partition_keys")
    if node is not None and isinstance(node.value, str):
        text = fields.template("partition_keys")
        if text is not None and text.binding is not None:
            return text.binding
    return fields.texts("partition_keys")


def _task(fields: Fields, body: _Body) -> Task | None:
    inner = fields.nested("task", "task")
    if inner is None:
        return None
    if body.is_complete:
        inner.require("type", "entry_script")
    return Task(
        type=inner.choice("type", TASK_TYPES),
        code=inner.path("code"),
        entry_script=inner.text("entry_script"),
        program_arguments=inner.template("program_arguments"),
        append_row_to=inner.template("append_row_to"),
        environment=read_environment(inner),
        model=inner.text("model"),
        places=inner.end(),
    )


def _pipeline(fields: Fields, own: dict[str, Any], body: _Body) -> PipelineStep:
    if body.is_complete:
        fields.require("jobs")
    step = PipelineStep(**own, jobs=read_steps(fields, body.above))
    fields.ignore("settings", "name", "experiment_name")
    return replace(step, places=fields.end())


_BODIES: dict[str, Callable[[Fields, dict[str, Any], _Body], Step]] = {
    "command": _command,
    "parallel": _parallel,
    "pipeline": _pipeline,
}


# Components


def read_component_of_step(
    fields: Fields, name: str, above: tuple[str, ...]
) -> tuple[str, Component | None]:
    """Return the component of a step: its name or path, and its content where that is here."""
    node = fields.get("component")
    if node is None:
        return "", None
    if isinstance(node.value, dict):
        kind = f"the component of step {name!r}"
        return "", component_of(Fields(node, fields.source, kind), "", above)
    text = scalar_text(node)
    if text.startswith("azureml:"):
        return text, None
    path = fields.source.path(text)
    if not os.path.isfile(path):
        message = (
            f"component is {text!r}, but there is no file {path}; expected the path of a component, "
            "relative to this file, or a name such as azureml:prepare:1."
        )
        fields.source.add(node.place, message)
        return path, None
    if path in above:
        fields.source.add(node.place, f"component is {text!r}, which contains itself.")
        return path, None
    try:
        tree = read_tree(path)
    except JobFileError as error:
        fields.source.problems += error.problems
        return path, None
    inner = Source(path, fields.source.problems)
    return path, component_of(Fields(tree, inner, "the component"), path, (*above, path))


def component_of(fields: Fields, file: str, above: tuple[str, ...] = ()) -> Component | None:
    """Read a component; None if its type is unknown, which is noted.

    Parameters
    ----------
    fields
        Its fields.
    file
        Path of its file; empty for one in place.
    above
        The files of the components that it is in, itself included.
    """
    type_ = _type_of(fields, fields.text("name") or "component", None)
    if type_ not in _BODIES:
        if type_:
            place = fields.node.value["type"].place
            fields.source.add(place, f"a component of type {type_!r} cannot be used here.")
        return None
    name = fields.text("name")
    fields.kind = f"the {type_} component {name!r}" if name else f"a {type_} component"
    version = fields.text("version")
    inputs, outputs = read_ports(fields, "inputs"), read_ports(fields, "outputs")
    is_deterministic = fields.flag("is_deterministic")
    common = read_common(fields)
    fields.ignore("intellectual_property", "id")
    body = _BODIES[type_](fields, {"name": name, **common}, _Body(is_complete=True, above=above))
    return Component(
        name=name,
        version=version,
        inputs=inputs,
        outputs=outputs,
        display_name=common["display_name"],
        description=common["description"],
        tags=common["tags"],
        is_deterministic=is_deterministic is not False,
        body=body,
        file=file,
        places=body.places,
    )


def merged(step: T, below: Any) -> T:
    """Return an object with the fields of another one where its own are empty, at any depth."""
    changes: dict[str, Any] = {}
    for item in fields_of_class(step):  # type: ignore[arg-type] # a dataclass
        mine, theirs = getattr(step, item.name), getattr(below, item.name)
        if item.name == "places":
            changes["places"] = Places(mine.own, {**theirs.fields, **mine.fields})
        elif mine is None or mine in ("", (), {}):
            changes[item.name] = theirs
        elif isinstance(mine, Task | Resources | RetrySettings) and theirs is not None:
            changes[item.name] = merged(mine, theirs)
        elif isinstance(mine, dict) and isinstance(theirs, dict):
            changes[item.name] = {**theirs, **mine}
    return replace(step, **changes)  # type: ignore[type-var] # a dataclass
