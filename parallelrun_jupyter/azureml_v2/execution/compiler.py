"""Compiles a pipeline job to the record that the driver of pipelines runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...config.compute import named_compute
from ...data.storage.storage import protocol_of
from ...formatting import looks_secret, nearest_hint
from ...pipelines.folder import STEP_RUN_ID, InputRecord, OutputRecord, StepRecord
from ..model.expressions import Binding, Text
from ..model.jobs import (
    CommandStep,
    ParallelStep,
    PipelineJob,
    PipelineStep,
    Step,
)
from ..model.places import Place
from ..model.problems import JobFileError, Problem
from ..model.values import Input, Output
from .arguments import Arguments
from .assets import Assets
from .parallel import settings_of
from .scope import Produced, Scope, Value, in_order, number, output_type, values_of_step

COMPUTE_VARIABLE = "PARALLELRUN_COMPUTE"
_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/(?P<name>[^/]+)/paths/(?P<path>.*)")


@dataclass(slots=True)
class Compiled:
    """The steps of a pipeline, ready to run.

    Parameters
    ----------
    steps
        Their records, in order.
    sources
        The folder of each step's scripts, or the script itself, by key; "" for none.
    outputs
        The step and the output that each output of the pipeline comes from.
    notes
        Sentences about what is different on this machine.
    secrets
        Environment variables that must not be written to disk.
    """

    steps: list[StepRecord] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
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
    """
    compiler = _Compiler(job, assets, run_id, compute)
    inputs: dict[str, Value] = {
        name: item if item.is_data else item.value for name, item in job.inputs.items()
    }
    for name, port in (job.declared.inputs if job.declared else {}).items():
        inputs.setdefault(name, port.default)
    compiler.pipeline(job.jobs, Scope(inputs, job.outputs))
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
        outputs = {name: self._merged_output(step, name, scope) for name in names}
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
            "the component, such as component: ./component.yml"
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
                outputs=[self._output(step, name, scope) for name in names],
                variables={**environment.pop("variables", {}), **variables},
                allow_reuse=step.declared.is_deterministic if step.declared else True,
                after=list(dict.fromkeys(needed)),
                compute=self._compute_of(step),
                **fields,
            )
        )
        self.compiled.sources[key] = self._source(step)

    def _command(
        self, step: CommandStep, values: dict[str, Value], scope: Scope, arguments: Arguments
    ) -> dict[str, Any]:
        limit = number(step.timeout, values, scope, self._problems)
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
        settings = settings_of(step, values, scope, arguments, self._problems)
        return {
            "kind": "parallel",
            "script": task.entry_script,
            "settings": settings,
            "arguments": arguments.words(task.program_arguments),
            "inputs": self._split_input(step, values),
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
        if isinstance(value, Produced):
            return InputRecord(name, {"output": [value.key, value.output]})
        assert isinstance(value, Input)  # only data is used by its path
        spec = self._assets.dataset(value, name, self._place(value, step, name), is_split=False)
        return None if spec is None else InputRecord(name, spec)

    @staticmethod
    def _place(value: Input, step: Step, name: str) -> Place:
        return (
            value.places.of("path") if value.places.own.line else step.places.of(f"inputs.{name}")
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

    @staticmethod
    def _merged_output(step: Step, name: str, scope: Scope) -> Output:
        """Return an output with the type, path and name of the pipeline's output that it is bound to."""
        own = step.outputs.get(name, Output())
        above = scope.outputs.get(own.binding.name, Output()) if own.binding else Output()
        type_ = output_type(step, name, scope)
        return replace(own, type=type_, path=own.path or above.path, name=own.name or above.name)

    def _output(self, step: Step, name: str, scope: Scope) -> OutputRecord:
        output = self._merged_output(step, name, scope)
        place = output.path.place if output.path else step.places.of(f"outputs.{name}")
        store, root, relative = self._target(output.path, name, place)
        is_file = output.type == "uri_file"
        return OutputRecord(
            name, store, root, relative.rstrip("/"), register_as=output.name, is_file=is_file
        )

    def _target(self, path: Text | None, name: str, place: Place) -> tuple[str, str, str]:
        """Return the datastore, its folder, and the path in it, of an output."""
        default = self._job.settings.default_datastore.removeprefix("azureml:")
        if path is None:
            text = f"azureml://datastores/{default or '_'}/paths/azureml/{STEP_RUN_ID}/{name}"
        else:
            facts = {"name": self._run_id, "default_datastore": default or "_", "output_name": name}
            text = path.filled(lambda binding: facts.get(binding.name, ""))
        if match := _DATASTORE.fullmatch(text):
            wanted = "" if match["name"] == "_" else match["name"]
            datastore = self._assets.datastore(wanted, place)
            if datastore is None:
                return "", "", ""
            if datastore.storage is None:
                return datastore.name, datastore.url, match["path"].strip("/")
            text = f"{datastore.name}: {datastore.url}"
        if protocol_of(text) or text.startswith("azureml:"):
            message = f"the output {name!r} goes to {text}; here outputs are written to folders of this machine."
            self._problems.append(Problem(place, message))
            return "", "", ""
        folder = os.path.dirname(os.path.abspath(place.file)) if place.line else os.getcwd()
        target = os.path.normpath(os.path.join(folder, os.path.expanduser(text)))
        return "", os.path.dirname(target), os.path.basename(target)

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
        note = f"compute {name} is a compute of Azure; its steps run on this machine"
        if note not in self._assets.notes:
            self._assets.notes.append(note)
        return ""

    def _source(self, step: CommandStep | ParallelStep) -> str:
        """Return the folder of a step's scripts; a script alone where it has no ``code``."""
        task = step.task if isinstance(step, ParallelStep) else None
        code = task.code if task else step.code if isinstance(step, CommandStep) else ""
        name, place = (
            ("task.code", step.places.of("task.code")) if task else ("code", step.places.of("code"))
        )
        if code and not os.path.isdir(code):
            message = f"{name} is {code}, which is not a folder of this machine; give the folder of the scripts."
            self._problems.append(Problem(place, message))
            return ""
        if task is None:
            return code
        file = place.file if place.line else self._job.file
        script = Path(code or os.path.dirname(os.path.abspath(file or "job"))) / task.entry_script
        if not script.is_file():
            names = [item.name for item in script.parent.glob("*.py")]
            hint = nearest_hint(script.name, names)
            message = f"entry_script is {task.entry_script!r}, but there is no file {script}.{hint}"
            self._problems.append(Problem(step.places.of("task.entry_script"), message))
        return code or str(script)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40] or "step"
