"""Runs deployments of pipeline components: the pipeline, with the inputs and outputs of the call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...formatting import nearest_hint
from ..model.deployments import PipelineDeployment
from ..model.expressions import Text
from ..model.jobs import Component, PipelineJob, PipelineStep
from ..model.places import Place
from ..model.problems import JobFileError, Problem
from ..model.values import Output, Port
from .job_run import JobRun
from .start import start, with_inputs


def start_component(
    deployment: PipelineDeployment,
    data: Any,
    output: str | os.PathLike[str] | Mapping[str, str] | None,
    compute: str,
    *,
    workspace: Path | None = None,
    experiment: str = "",
) -> JobRun:
    """Start the pipeline of a deployment.

    Parameters
    ----------
    deployment
        The deployment.
    data
        The values of its inputs by name, or the path of the only one that it needs.
    output, compute, workspace, experiment
        As for `invoke_deployment`.

    Raises
    ------
    JobFileError
        The component is only a name, or an input is missing, unknown or of another type.
    """
    declared = deployment.declared
    if declared is None or not isinstance(declared.body, PipelineStep):
        message = (
            f"the component {deployment.component} is only a name; give its file, such as "
            "--set component=./component.yml, relative to the file of the deployment."
        )
        raise JobFileError([Problem(deployment.places.of("component"), message)])
    outputs = {
        name: Output(type=declared.outputs[name].type, path=_literal(path))
        for name, path in _targets(declared, output).items()
    }
    job = PipelineJob(
        name=deployment.name,
        experiment_name=experiment or deployment.endpoint_name,
        description=deployment.description,
        tags=deployment.tags,
        settings=deployment.settings,
        outputs=outputs,
        jobs=declared.body.jobs,
        component=deployment.component,
        declared=declared,
        file=deployment.file,
        places=deployment.places,
    )
    job = with_inputs(job, _named_inputs(declared, data))
    return start(job, compute=compute, workspace=workspace)


def _targets(
    component: Component, output: str | os.PathLike[str] | Mapping[str, str] | None
) -> dict[str, str]:
    """Return the paths of outputs by name.

    Raises
    ------
    JobFileError
        The pipeline has no output with a given name.
    """
    if output is None:
        return {}
    if not isinstance(output, Mapping):
        target = os.path.abspath(os.path.expanduser(os.fspath(output)))
        return {name: os.path.join(target, name) for name in component.outputs}
    for name in output:
        if name not in component.outputs:
            hint = nearest_hint(name, component.outputs)
            names = ", ".join(component.outputs) or "none"
            message = f"the pipeline has no output {name!r}.{hint} Its outputs are: {names}."
            raise JobFileError([Problem(Place("outputs"), message)])
    return dict(output)


def _literal(text: str) -> Text:
    return Text(text, (text,), Place("--output"))


def _named_inputs(component: Component, data: Any) -> dict[str, Any]:
    """Return the inputs of a pipeline by name.

    Raises
    ------
    JobFileError
        An input is missing or has a value of another type, or the name of a path is unclear.
    """
    ports = component.inputs
    required = [name for name, port in ports.items() if not port.optional and port.default is None]
    if data is None:
        values: dict[str, Any] = {}
    elif isinstance(data, Mapping):
        values = dict(data)
    else:
        folders = [name for name in required if not ports[name].is_literal]
        if len(folders) != 1:
            names = ", ".join(ports) or "none"
            message = (
                f"it has no name; write --input NAME=VALUE. The pipeline's inputs are: {names}."
                if ports
                else "the pipeline has no inputs; leave --input out."
            )
            raise JobFileError([Problem(Place("--input"), message)])
        values = {folders[0]: data}
    problems = [
        Problem(component.places.of(f"inputs.{name}"), f"{_missing(name, ports[name])}")
        for name in required
        if name not in values
    ]
    for name, value in values.items():
        expected = _expected(ports[name], value) if name in ports else ""
        if expected:
            place = Place(f"--input {name}")
            problems.append(Problem(place, f"it is {value!r}; expected {expected}."))
    if problems:
        raise JobFileError(problems)
    return values


def _missing(name: str, port: Port) -> str:
    example = "VALUE" if port.is_literal else "PATH"
    return (
        f"the pipeline needs the input {name!r}, a {port.type}; add --input {name}={example}, or "
        f"input={{{name!r}: ...}} in Python."
    )


def _expected(port: Port, value: Any) -> str:
    """Return what a literal should be, in words; empty if it is that."""
    text = str(value)
    try:
        if port.type == "integer":
            int(text)
        elif port.type == "number":
            float(text)
    except ValueError:
        return f"a value of type {port.type}"
    if port.type == "boolean" and text.lower() not in {"true", "false"}:
        return "true or false"
    return port.expected(value if isinstance(value, int | float) else text)
