"""Compiles a pipeline job to the record that the driver of pipelines runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...config.compute import as_compute, named_compute
from ...formatting import looks_secret, nearest_hint
from ...pipelines.folder import InputRecord, StepRecord
from ..model.expressions import Binding
from ..model.jobs import (
    CommandStep,
    ParallelStep,
    PipelineJob,
    PipelineStep,
    Step,
)
from ..model.places import NOWHERE, Place
from ..model.problems import JobFileError, Problem
from ..model.values import Input, Output
from .arguments import Arguments
from .assets import Assets
from .parallel import check_keys, check_settings, settings_of
from .scope import (
    Produced,
    Scope,
    Value,
    check_literal,
    in_order,
    number,
    output_type,
    values_of_step,
)
from .sources import includes_of, source_of
from .targets import Targets, merged_output
from .unused import unused_fields

COMPUTE_VARIABLE = "PARALLELRUN_COMPUTE"


@dataclass(slots=True)
class Compiled:
    """The steps of a pipeline, ready to run.

    Parameters
    ----------
    steps
        Their records, in order.
    sources
        The folder of each step's scripts, or the script itself, by key; "" for none.
    includes
        Files and folders to copy beside the scripts, by key.
    outputs
        The step and the output that each output of the pipeline comes from.
    notes
        Sentences about what is different on this machine.
    secrets
        Environment variables that must not be written to disk.
    """

    steps: list[StepRecord] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    includes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    outputs: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)


def compile_job(job: PipelineJob, assets: Assets, run_id: str, compute: str = "") -> Compiled:
    """Compile a job.

    Parameters
    ----------
    job
        The job.
    assets
        What this machine has under the names of a workspace.
    run_id
        The id of the pipeline's run: its name.
    compute
        The compute of all steps. Default: as the job says.

    Raises
    ------
    JobFileError
        A binding leads nowhere, an input or a script is missing, or a step is of a type that does
        not run here. The message has file, line and column of each.
    ConfigError
        There is no compute of this name.
    """
    if compute:
        as_compute(compute, name="compute")
    compiler = _Compiler(job, assets, run_id, compute)
    inputs: dict[str, Value] = {
        name: item if item.is_data else item.value for name, item in job.inputs.items()
    }
    outputs = dict(job.outputs)
    if job.declared is not None:
        for name, port in job.declared.inputs.items():
            inputs.setdefault(name, port.default)
        for name, port in job.declared.outputs.items():
            own = outputs.get(name, Output())
            outputs[name] = replace(own, type=own.type or port.type)
        for name, port in job.declared.inputs.items():
            own_places = job.inputs[name].places.own if name in job.inputs else NOWHERE
            check_literal(f"the input {name!r}", inputs[name], port, own_places, assets.problems)
    compiler.pipeline(job.jobs, Scope(inputs, outputs))
    unused = unused_fields(job)
    if unused:
        assets.note(f"these fields have no effect on this machine: {', '.join(unused)}")
    if assets.problems:
        raise JobFileError(sorted(set(assets.problems)))
    compiler.compiled.notes = assets.notes
    return compiler.compiled


class _Compiler:
    def __init__(self, job: PipelineJob, assets: Assets, run_id: str, compute: str) -> None:
        self.compiled = Compiled()
        self._job = job
        self._assets = assets
        self._problems = assets.problems
        self._run_id = run_id
        self._targets = Targets(assets, run_id, job.settings.default_datastore)
        self._compute = compute or os.environ.get(COMPUTE_VARIABLE, "").strip()

    def pipeline(self, jobs: Mapping[str, Step], scope: Scope) -> None:
        """Compile the steps of one pipeline."""
        scope.steps = tuple(jobs)
        for step in in_order(jobs, self._problems):
            values = values_of_step(step, scope, self._problems)
            scope.step_inputs[step.name] = values
            if isinstance(step, PipelineStep):
                self._inner(step, values, scope)
            elif isinstance(step, CommandStep | ParallelStep):
                self._step(step, values, scope)
            else:
                message = (
                    f"the step {step.name!r} is of type {step.type!r}, which does not run on this "
                    "machine; steps of type command, parallel and pipeline do."
                )
                self._problems.append(Problem(step.places.own, message))
                scope.refused.add(step.name)

    def _inner(self, step: PipelineStep, values: dict[str, Value], scope: Scope) -> None:
        if not step.jobs:
            self._by_name(step)
        names = (*step.outputs, *(step.declared.outputs if step.declared else ()))
        outputs = {name: merged_output(step, name, scope) for name in names}
        inner = Scope(values, outputs, f"{scope.prefix}{step.name}.")
        self.pipeline(step.jobs, inner)
        scope.produced[step.name] = {
            item.binding.name: inner.produced[name][output]
            for name, inner_step in step.jobs.items()
            for output, item in inner_step.outputs.items()
            if item.binding is not None and output in inner.produced.get(name, {})
        }
        if not scope.prefix:
            self._publish(step, scope)

    def _by_name(self, step: Step) -> None:
        message = (
            f"the component {step.component} of step {step.name!r} is only a name; give the file of "
            "the component, such as component: ./component.yml, or register it: "
            "LocalClient().components.create_or_update(component)"
        )
        self._problems.append(Problem(step.places.of("component"), message))

    def _publish(self, step: Step, scope: Scope) -> None:
        """Note which outputs of the whole pipeline a step writes."""
        for name, item in step.outputs.items():
            if item.binding is None:
                continue
            if item.binding.name not in scope.outputs:
                hint = nearest_hint(item.binding.name, scope.outputs)
                names = ", ".join(scope.outputs) or "none"
                message = f"{item.binding}: the pipeline has no output of this name.{hint} Its outputs are: {names}."
                self._problems.append(Problem(item.binding.place, message))
            elif name in scope.produced[step.name]:
                made = scope.produced[step.name][name]
                self.compiled.outputs[item.binding.name] = [made.key, made.output]

    def _step(
        self, step: CommandStep | ParallelStep, values: dict[str, Value], scope: Scope
    ) -> None:
        key = f"{len(self.compiled.steps):02d}-{_slug(scope.prefix + step.name)}"
        names = list(
            dict.fromkeys((*step.outputs, *(step.declared.outputs if step.declared else ())))
        )
        scope.produced[step.name] = {
            name: Produced(key, name, output_type(step, name, scope)) for name in names
        }
        if not scope.prefix:
            self._publish(step, scope)
        if step.component and step.declared is None:
            self._by_name(step)
            return
        facts = {"name": self._run_id, "default_datastore": self._job.settings.default_datastore}
        arguments = Arguments(step, values, scope, facts, self._problems)
        if isinstance(step, CommandStep):
            fields = self._command(step, values, scope, arguments)
        else:
            fields = self._parallel(step, values, scope, arguments)
        variables = self._variables(step, arguments)
        environment = fields.pop("environment_of_step")
        inputs = fields.pop("inputs", [])
        sides = [self._side_input(step, name, values[name]) for name in sorted(arguments.used)]
        needed = [value.key for value in values.values() if isinstance(value, Produced)]
        self.compiled.steps.append(
            StepRecord(
                key=key,
                name=scope.prefix + step.name,
                environment=environment,
                inputs=inputs,
                side_inputs=[side for side in sides if side is not None],
                outputs=[self._targets.record(step, name, scope) for name in names],
                variables={**environment.pop("variables", {}), **variables},
                allow_reuse=step.declared.is_deterministic if step.declared else True,
                after=list(dict.fromkeys(needed)),
                compute=self._compute_of(step),
                **fields,
            )
        )
        self.compiled.sources[key] = source_of(step, self._job.file, self._problems)
        self.compiled.includes[key] = includes_of(step, self._problems)

    def _command(
        self, step: CommandStep, values: dict[str, Value], scope: Scope, arguments: Arguments
    ) -> dict[str, Any]:
        limit = number(step.timeout, values, scope, self._problems)
        resources = step.resources
        count = number(
            resources.instance_count if resources else None, values, scope, self._problems
        )
        if step.distribution or (count or 1) > 1:
            self._assets.note(
                f"step {step.name} is distributed in Azure; its command runs once here"
            )
        return {
            "kind": "command",
            "script": "",
            "settings": {},
            "arguments": arguments.parts(step.command),
            "environment_of_step": self._assets.environment(step.environment),
            "time_limit_s": limit or 0,
        }

    def _parallel(
        self, step: ParallelStep, values: dict[str, Value], scope: Scope, arguments: Arguments
    ) -> dict[str, Any]:
        task = step.task
        if task is None:
            return {
                "kind": "parallel",
                "environment_of_step": {},
                "script": "",
                "settings": {},
                "arguments": [],
            }
        settings = settings_of(step, values, scope, arguments, self._assets)
        inputs = self._split_input(step, values)
        is_files = any(
            isinstance(item.value, dict) and item.value.get("kind") == "files" for item in inputs
        )
        check_settings(settings, step, self._problems, is_files=is_files)
        for item in inputs:
            if isinstance(item.value, dict) and "kind" in item.value:
                check_keys(settings, step, item.value, self._problems)
        if settings["node_count"] > 1 and not self._compute_of(step):
            count = settings["node_count"]
            self._assets.note(
                f"the {count} instances of step {step.name} are groups of processes on this machine"
            )
        return {
            "kind": "parallel",
            "script": task.entry_script if task.code else os.path.basename(task.entry_script),
            "settings": settings,
            "arguments": arguments.words(task.program_arguments),
            "inputs": inputs,
            "rows_to": self._rows_to(step),
            "environment_of_step": self._assets.environment(task.environment),
        }

    def _split_input(self, step: ParallelStep, values: dict[str, Value]) -> list[InputRecord]:
        binding = step.input_data.binding if step.input_data else None
        place = step.places.of("input_data")
        if binding is None or binding.kind != "input" or binding.name not in values:
            names = ", ".join(values) or "none"
            hint = nearest_hint(binding.name, values) if binding else ""
            message = (
                f"input_data is {step.input_data}; expected ${{{{inputs.NAME}}}} with an input of the "
                f"step.{hint} Its inputs are: {names}."
            )
            self._problems.append(Problem(place, message))
            return []
        value = values[binding.name]
        if isinstance(value, Produced):
            reads = "mltable" if value.type == "mltable" else "files"
            return [InputRecord(binding.name, {"output": [value.key, value.output]}, reads=reads)]
        if isinstance(value, Input):
            spec = self._assets.dataset(
                value, binding.name, self._place(value, step, binding.name), is_split=True
            )
            return [] if spec is None else [InputRecord(binding.name, spec)]
        if value is not None:
            message = f"input_data is {binding}, whose value is {value!r}; expected data, such as a uri_folder."
            self._problems.append(Problem(place, message))
        return []

    def _side_input(self, step: Step, name: str, value: Value) -> InputRecord | None:
        assert isinstance(value, Input | Produced)  # only data is used by its path
        mode = step.inputs[name].mode if name in step.inputs else ""
        if not mode and step.declared is not None and name in step.declared.inputs:
            mode = step.declared.inputs[name].mode
        if not mode and isinstance(value, Input):
            mode = value.mode
        # In these modes a step gets the files that the MLTable lists, not the folder with the MLTable.
        is_listed = value.type == "mltable" and mode.startswith("eval_")
        reads = "mltable" if is_listed else "files"
        if isinstance(value, Produced):
            return InputRecord(name, {"output": [value.key, value.output]}, reads=reads)
        place = self._place(value, step, name)
        spec = self._assets.dataset(value, name, place, is_split=is_listed)
        return None if spec is None else InputRecord(name, spec, reads=reads)

    @staticmethod
    def _place(value: Input, step: Step, name: str) -> Place:
        return (
            step.places.of(f"inputs.{name}")
            if value.places.own == NOWHERE
            else value.places.of("path")
        )

    def _rows_to(self, step: ParallelStep) -> str:
        text = step.task.append_row_to if step.task else None
        if text is None:
            return ""
        binding = text.binding
        names = {*step.outputs, *(step.declared.outputs if step.declared else ())}
        if binding is None or binding.kind != "output" or binding.name not in names:
            hint = nearest_hint(binding.name, names) if binding else ""
            listed = ", ".join(sorted(names)) or "none"
            message = (
                f"append_row_to is {text}; expected ${{{{outputs.NAME}}}} with an output of the step."
                f"{hint} Its outputs are: {listed}."
            )
            self._problems.append(Problem(text.place, message))
            return ""
        return binding.name

    def _variables(self, step: CommandStep | ParallelStep, arguments: Arguments) -> dict[str, Any]:
        variables = step.environment_variables
        if isinstance(variables, Binding):
            message = f"environment_variables is {variables}; expected a mapping of names to texts."
            self._problems.append(Problem(variables.place, message))
            return {}
        values = {name: arguments.value(text) for name, text in variables.items()}
        secrets = {k: v for k, v in values.items() if looks_secret(k) and isinstance(v, str)}
        self.compiled.secrets.update(secrets)
        return {name: None if name in secrets else value for name, value in values.items()}

    def _compute_of(self, step: Step) -> str:
        if self._compute:
            return "" if self._compute == "local" else self._compute
        name = step.compute or self._job.settings.default_compute or self._job.compute
        name = name.removeprefix("azureml:")
        if name in {"", "local"}:
            return ""
        if named_compute(name) is not None:
            return name
        self._assets.note(f"compute {name} is a compute of Azure; its steps run on this machine")
        return ""


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40] or "step"
