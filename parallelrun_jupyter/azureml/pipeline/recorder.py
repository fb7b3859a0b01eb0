"""Writes a pipeline as the record that its driver reads, and copies the scripts of its steps."""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ...data.datasets.file_dataset import FileDataset
from ...environment.build import as_policy, policy
from ...formatting import looks_secret
from ...pipelines.folder import InputRecord, OutputRecord, PipelineRecord, StepRecord
from ...runs.source_copy import NOT_COPIED, copy_source, ignored_in
from ...version import __version__
from ...worker.output.results import SETTINGS_FILE
from ..core.computes import compute_setting
from ..core.references import DataReference, in_datastore
from ..data.step_inputs import (
    DatasetConsumptionConfig,
    PipelineParameter,
    PromotedParameter,
    default_of,
    plain_value,
)
from ..exceptions import UserErrorException
from .outputs import PipelineOutputAbstractDataset, _Output
from .parallel_run_step import ParallelRunStep
from .steps import PipelineStep, PythonScriptStep, output_of

_NOT_COPIED = NOT_COPIED | {"azureml-models"}


def in_order(steps: Iterable[Any]) -> list[PipelineStep]:
    """Return steps and the steps that they depend on, in an order in which they can run.

    Raises
    ------
    UserErrorException
        An element is not a step, steps depend on each other in a circle, or the list is empty.
    """
    ordered: list[PipelineStep] = []
    above: list[PipelineStep] = []

    def visit(step: Any) -> None:
        if isinstance(step, list | tuple) or hasattr(step, "steps"):
            for member in getattr(step, "steps", step):
                visit(member)
            return
        if not isinstance(step, PipelineStep):
            msg = f"steps contains {step!r}; expected a ParallelRunStep or a PythonScriptStep."
            raise UserErrorException(msg)
        if step in above:
            names = " -> ".join(member.name for member in (*above, step))
            msg = f"the steps depend on each other in a circle: {names}."
            raise UserErrorException(msg)
        if step in ordered:
            return
        above.append(step)
        for producer in step.producers():
            visit(producer)
        above.pop()
        ordered.append(step)

    visit(list(steps) if isinstance(steps, list | tuple) else [steps])
    if not ordered:
        msg = "steps is empty; pass the steps of the pipeline."
        raise UserErrorException(msg)
    return ordered


class Recorder:
    """Builds the record of a pipeline.

    Parameters
    ----------
    workspace
        The workspace.
    steps
        The steps, in order.
    default_datastore
        The datastore of outputs without one.
    """

    def __init__(self, workspace: Any, steps: list[PipelineStep], default_datastore: Any) -> None:
        self._workspace = workspace
        self._steps = steps
        self._datastore = default_datastore
        self._keys = {
            id(step): f"{number:02d}-{_slug(step.name)}" for number, step in enumerate(steps)
        }
        self._conflicting = _conflicting_parameters(steps)
        self._outputs = {
            id(output): (self._keys[id(step)], output.name)
            for step in steps
            for output in step.outputs
        }

    def problems(self) -> list[str]:
        """Return the problems of the pipeline; an empty list if it is valid."""
        names = [step.name for step in self._steps]
        problems = [
            f"two steps have the name {name!r}, but find_step_run needs unique names"
            for name in sorted({name for name in names if names.count(name) > 1})
        ]
        for step in self._steps:
            for value in step.reads():
                output = output_of(value)
                if output is not None and id(output) not in self._outputs:
                    problems.append(
                        f"step {step.name!r} reads {output.name!r}, which no step writes"
                    )
        return problems

    def defaults(self) -> dict[str, Any]:
        """Return the parameters of the pipeline with their default values.

        Raises
        ------
        UserErrorException
            Two parameters with the same name have different defaults.
        """
        parameters: dict[str, PipelineParameter] = {}
        for step in self._steps:
            for parameter in step.parameters():
                if parameter.name in self._conflicting:
                    continue
                default = parameters.setdefault(parameter.name, parameter).default_value
                is_same = default is parameter.default_value
                if not is_same and default != parameter.default_value:
                    msg = (
                        f"two parameters have the name {parameter.name!r} and different default "
                        "values; use the same PipelineParameter in both places, or two names."
                    )
                    raise UserErrorException(msg)
        return {
            name: plain_value(parameter.default_value) for name, parameter in parameters.items()
        }

    def record(self, run_id: str, created_at: float, **facts: Any) -> PipelineRecord:
        """Return the record; ``facts`` are other fields of `PipelineRecord`."""
        workspace = self._workspace
        return PipelineRecord(
            run_id=run_id,
            workspace=str(workspace.folder),
            created_at=created_at,
            version=__version__,
            driver_python=sys.executable,
            steps=[self._step(step) for step in self._steps],
            environment_policy=as_policy(policy()),
            context={
                "workspace": workspace.name,
                "subscription_id": workspace.subscription_id,
                "resource_group": workspace.resource_group,
                "location": workspace.location,
            },
            **facts,
        )

    def secrets(self) -> dict[str, str]:
        """Return the environment variables that must not be written to disk."""
        secrets: dict[str, str] = {}
        for step in self._steps:
            secrets.update({k: v for k, v in _variables(step).items() if looks_secret(k)})
        return secrets

    def snapshot(self, folder: Callable[[str], Path]) -> None:
        """Copy the scripts of all steps; ``folder`` returns a step's folder by its key."""
        for step in self._steps:
            target = folder(self._keys[id(step)])
            target.mkdir(mode=0o700, parents=True)
            _copy_script(step, target / "script")

    def _step(self, step: PipelineStep) -> StepRecord:
        inputs, side_inputs, arguments = self._bindings(step)
        outputs: list[OutputRecord] = [output.record(self._datastore) for output in step.outputs]
        settings: dict[str, Any] = {}
        environment: dict[str, Any] = {}
        compute = ""
        if isinstance(step, ParallelRunStep):
            settings = self._settings(step)
            environment = step.config.environment.record()
            compute = compute_setting(step.config.compute_target)
            arguments = [*self._added_arguments(step, settings), *arguments]
        elif isinstance(step, PythonScriptStep) and step.runconfig is not None:
            environment = step.runconfig.environment.record()
        return StepRecord(
            key=self._keys[id(step)],
            name=step.name,
            kind=step.kind,
            script=_script(step)[1],
            settings=settings,
            environment={k: v for k, v in environment.items() if k != "variables"},
            arguments=arguments,
            inputs=inputs,
            side_inputs=side_inputs,
            outputs=outputs,
            variables={k: None if looks_secret(k) else v for k, v in _variables(step).items()},
            allow_reuse=step.allow_reuse,
            after=[self._keys[id(producer)] for producer in step.producers()],
            compute=compute,
        )

    def _bindings(
        self, step: PipelineStep
    ) -> tuple[list[InputRecord], list[InputRecord], list[Any]]:
        """Return the inputs, the side inputs, and the arguments, which refer to both."""
        inputs: list[InputRecord] = []
        sides = step.inputs
        if isinstance(step, ParallelRunStep):
            inputs = [input_.record(self._outputs) for input_ in step.inputs]
            sides = step.side_inputs
        records = (self._input(side) for side in sides)
        side_inputs = {record.name: record for record in records if record is not None}
        names = {record.name for record in inputs}
        arguments: list[Any] = []
        for value in step.arguments:
            if isinstance(value, PipelineParameter):
                arguments.append({"parameter": value.name})
            elif isinstance(value, _Output) and value.producer is step:
                arguments.append({"write": value.name})
            elif (record := self._input(value)) is not None:
                if record.name not in names:
                    side_inputs.setdefault(record.name, record)
                arguments.append({"input": record.name})
            else:
                arguments.append(value if isinstance(value, str | int | float) else str(value))
        return inputs, list(side_inputs.values()), arguments

    def _input(self, value: Any) -> InputRecord | None:
        """Return the record of an input that a step reads as a whole, None for other values."""
        if isinstance(value, DatasetConsumptionConfig):
            return value.record(self._outputs)
        if isinstance(value, DataReference):
            spec = FileDataset(in_datastore(value.datastore, value.path_on_datastore)).spec()
            path = value.path_on_compute or ""
            return InputRecord(value.data_reference_name, spec, path_on_compute=path)
        if isinstance(value, PipelineOutputAbstractDataset):
            return DatasetConsumptionConfig(value.name, value).record(self._outputs)
        if isinstance(value, _Output):
            return InputRecord(value.name, {"output": list(self._outputs[id(value)])})
        if hasattr(value, "native"):
            return InputRecord(f"input_{id(value)}", value.native.spec())
        return None

    def _settings(self, step: ParallelRunStep) -> dict[str, Any]:
        """Return the settings of a step; conflicting parameters become plain values."""
        settings = {**step.config.settings(), **step.timeouts}
        for name in self._conflicting:
            field = name.removeprefix("aml_")
            if settings.get(field) == {"parameter": name}:
                settings[field] = getattr(step.config, field)
        return settings

    @staticmethod
    def _added_arguments(step: ParallelRunStep, settings: dict[str, Any]) -> list[Any]:
        """Return the arguments that Azure adds before the script's own, in Azure's order."""
        arguments: list[Any] = []
        for name in (
            "mini_batch_size", "error_threshold", "output_action", "logging_level",
            "run_invocation_timeout", "run_max_try", "allowed_failed_count",
            "allowed_failed_percent", "append_row_file_name", "output", "process_count_per_node",
            "partition_keys",
        ):  # fmt: skip
            if name == "output" and step.outputs:
                arguments += ["--output", {"write": step.outputs[0].name}]
            value = settings.get(name)
            if value is not None and default_of(getattr(step.config, name)) is not None:
                arguments += [f"--{name}", value]
        return arguments


def _conflicting_parameters(steps: list[PipelineStep]) -> set[str]:
    """Return the promoted parameters to which steps of the preview give different values."""
    values: dict[str, Any] = {}
    conflicting = set()
    for step in steps:
        for parameter in step.parameters():
            if isinstance(parameter, PromotedParameter):
                value = values.setdefault(parameter.name, parameter.default_value)
                if value != parameter.default_value:
                    conflicting.add(parameter.name)
    return conflicting


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40] or "step"


def _variables(step: PipelineStep) -> dict[str, str]:
    if isinstance(step, ParallelRunStep):
        variables = step.config.environment.environment_variables or {}
        return {**variables, **step.config.environment_variables}
    runconfig = getattr(step, "runconfig", None)
    if runconfig is None:
        return {}
    variables = runconfig.environment.environment_variables or {}
    return {k: str(v) for k, v in {**variables, **runconfig.environment_variables}.items()}


def _script(step: PipelineStep) -> tuple[str, str]:
    """Return the folder of a step's script, and the path of the script in it."""
    if isinstance(step, PythonScriptStep):
        return step.source_directory, step.script_name
    config = step.config  # type: ignore[attr-defined] # a ParallelRunStep
    if config.source_directory:
        return str(config.source_directory), config.entry_script
    folder, name = os.path.split(os.path.abspath(config.entry_script))
    return folder, name


def _copy_script(step: PipelineStep, target: Path) -> None:
    source, script = _script(step)
    if isinstance(step, ParallelRunStep) and not step.config.source_directory:
        target.mkdir()
        for name in (script, SETTINGS_FILE):
            if os.path.isfile(os.path.join(source, name)):
                shutil.copyfile(os.path.join(source, name), target / name)
        return
    warning = copy_source(Path(source), target, ignored_in(source, _NOT_COPIED))
    if warning:
        warnings.warn(warning, stacklevel=2)
