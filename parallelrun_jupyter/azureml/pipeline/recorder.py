"""A pipeline of Azure's names, as the record that its driver reads."""

from __future__ import annotations

import fnmatch
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
from ...pipelines.folder import InputRecord, OutputRecord, PipelineRecord, StepRecord
from ...runs.source_copy import copy_source
from ...version import __version__
from ...worker.output.results import SETTINGS_FILE
from ..core.computes import compute_setting
from ..core.parameters import PipelineParameter, PromotedParameter, default_of, plain_value
from ..core.references import DataReference
from ..data.consumption import DatasetConsumptionConfig
from ..data.places import in_datastore
from ..exceptions import UserErrorException
from .outputs import PipelineOutputAbstractDataset, _Output
from .parallel_run_step import ParallelRunStep
from .steps import PipelineStep, PythonScriptStep, output_of

_SECRET = re.compile(
    r"key|secret|token|passw|credential|sas\b|connection_string|auth", re.IGNORECASE
)
_NOT_COPIED = {
    "__pycache__",
    ".git",
    ".ipynb_checkpoints",
    ".venv",
    "node_modules",
    "azureml-models",
}
_IGNORE_FILES = (".amlignore", ".gitignore")


def in_order(steps: Iterable[Any]) -> list[PipelineStep]:
    """Return steps and all that they need, each after what it needs.

    Raises
    ------
    UserErrorException
        Something is no step, steps wait for each other in a circle, or nothing is given.
    """
    ordered: list[PipelineStep] = []
    above: list[PipelineStep] = []

    def visit(step: Any) -> None:
        if isinstance(step, list | tuple) or hasattr(step, "steps"):
            for one in getattr(step, "steps", step):
                visit(one)
            return
        if not isinstance(step, PipelineStep):
            msg = f"steps holds {step!r}; expected a ParallelRunStep or a PythonScriptStep."
            raise UserErrorException(msg)
        if step in above:
            names = " -> ".join(one.name for one in (*above, step))
            msg = f"the steps wait for each other in a circle: {names}."
            raise UserErrorException(msg)
        if step in ordered:
            return
        above.append(step)
        for before in step.producers():
            visit(before)
        above.pop()
        ordered.append(step)

    visit(list(steps) if isinstance(steps, list | tuple) else [steps])
    if not ordered:
        msg = "steps is empty; give the steps of the pipeline."
        raise UserErrorException(msg)
    return ordered


class Recorder:
    """Makes the record of one pipeline.

    Parameters
    ----------
    workspace
        The workspace.
    steps
        The steps, in order.
    default_datastore
        Where outputs go that name no datastore.
    """

    def __init__(self, workspace: Any, steps: list[PipelineStep], default_datastore: Any) -> None:
        self._workspace = workspace
        self._steps = steps
        self._datastore = default_datastore
        self._keys = {id(s): f"{n:02d}-{_slug(s.name)}" for n, s in enumerate(steps)}
        self._ambiguous = _ambiguous(steps)
        self._outputs = {
            id(output): (self._keys[id(step)], output.name)
            for step in steps
            for output in step.outputs
        }

    def problems(self) -> list[str]:
        """Return what is wrong with the pipeline, in words."""
        names = [step.name for step in self._steps]
        twice = sorted({name for name in names if names.count(name) > 1})
        found = [
            f"two steps have the name {name!r}; find_step_run could not tell them apart"
            for name in twice
        ]
        for step in self._steps:
            for value in step.reads():
                output = output_of(value)
                if output is not None and id(output) not in self._outputs:
                    found.append(f"step {step.name!r} reads {output.name!r}, which no step writes")
        return found

    def defaults(self) -> dict[str, Any]:
        """Return the parameters of the pipeline with their default values.

        Raises
        ------
        UserErrorException
            Two parameters of one name have different defaults.
        """
        found: dict[str, PipelineParameter] = {}
        for step in self._steps:
            for parameter in step.parameters():
                known = found.setdefault(parameter.name, parameter)
                if parameter.name in self._ambiguous:
                    continue
                same = known.default_value is parameter.default_value
                if not same and known.default_value != parameter.default_value:
                    msg = (
                        f"two parameters have the name {parameter.name!r} and different default "
                        "values; use one PipelineParameter in both places, or two names."
                    )
                    raise UserErrorException(msg)
        return {
            name: plain_value(one.default_value)
            for name, one in found.items()
            if name not in self._ambiguous
        }

    def record(self, run_id: str, created_at: float, **facts: Any) -> PipelineRecord:
        """Return the record; ``facts`` are further fields of `PipelineRecord`."""
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
        """Return the variables whose values are for the driver's memory only."""
        found: dict[str, str] = {}
        for step in self._steps:
            found.update({k: v for k, v in _variables(step).items() if _SECRET.search(k)})
        return found

    def snapshot(self, folder: Callable[[str], Path]) -> None:
        """Copy the scripts of all steps; ``folder`` gives a step's folder by its key."""
        for step in self._steps:
            target = folder(self._keys[id(step)])
            target.mkdir(mode=0o700, parents=True)
            _copy_script(step, target / "script")

    def _step(self, step: PipelineStep) -> StepRecord:
        inputs, sides, arguments = self._wiring(step)
        is_parallel = isinstance(step, ParallelRunStep)
        environment: dict[str, Any] = {}
        if isinstance(step, ParallelRunStep):
            environment = step.config.environment.record()
        elif isinstance(step, PythonScriptStep) and step.runconfig is not None:
            environment = step.runconfig.environment.record()
        outputs: list[OutputRecord] = [one.record(self._datastore) for one in step.outputs]
        variables = _variables(step)
        return StepRecord(
            key=self._keys[id(step)],
            name=step.name,
            kind=step.kind,
            script=_script(step)[1],
            settings=self._settings(step) if isinstance(step, ParallelRunStep) else {},
            environment={k: v for k, v in environment.items() if k != "variables"},
            arguments=[*(self._azures_own(step) if is_parallel else ()), *arguments],
            inputs=inputs,
            side_inputs=sides,
            outputs=outputs,
            variables={k: None if _SECRET.search(k) else v for k, v in variables.items()},
            allow_reuse=step.allow_reuse,
            after=[self._keys[id(before)] for before in step.producers()],
            compute=compute_setting(step.config.compute_target)
            if isinstance(step, ParallelRunStep)
            else "",
        )

    def _wiring(self, step: PipelineStep) -> tuple[list[InputRecord], list[InputRecord], list[Any]]:
        """Return what is split, what is read whole, and the arguments, which name both."""
        split = (
            [one.record(self._outputs) for one in step.inputs] if step.kind == "parallel" else []
        )
        whole: dict[str, InputRecord] = {}
        others = getattr(step, "side_inputs", ()) if step.kind == "parallel" else step.inputs
        for one in others:
            record = self._input(one)
            if record is not None:
                whole[record.name] = record
        arguments = []
        for value in step.arguments:
            bound = self._argument(step, value)
            record = self._input(value) if bound is None else None
            if record is not None:
                is_split = any(one.name == record.name for one in split)
                if not is_split:
                    whole.setdefault(record.name, record)
                bound = {"input": record.name}
            arguments.append(bound)
        return split, list(whole.values()), arguments

    def _argument(self, step: PipelineStep, value: Any) -> Any:
        """Return an argument as it is recorded; None for something that the step reads."""
        if isinstance(value, PipelineParameter):
            return {"parameter": value.name}
        if isinstance(value, _Output) and value.producer is step:
            return {"write": value.name}
        if self._is_read(value):
            return None
        if isinstance(value, str | int | float):
            return value
        return str(value)

    @staticmethod
    def _is_read(value: Any) -> bool:
        kinds = (DatasetConsumptionConfig, DataReference, PipelineOutputAbstractDataset, _Output)
        return isinstance(value, kinds) or hasattr(value, "native")

    def _input(self, value: Any) -> InputRecord | None:
        """Return what is recorded of something that a step reads whole."""
        if isinstance(value, DatasetConsumptionConfig):
            return value.record(self._outputs)
        if isinstance(value, DataReference):
            place = in_datastore(value.datastore, value.path_on_datastore)
            spec = FileDataset(place).spec()
            return InputRecord(
                value.data_reference_name, spec, path_on_compute=value.path_on_compute or ""
            )
        if isinstance(value, PipelineOutputAbstractDataset):
            return DatasetConsumptionConfig(value.name, value).record(self._outputs)
        if isinstance(value, _Output):
            return InputRecord(value.name, {"output": list(self._outputs[id(value)])})
        if hasattr(value, "native"):
            return InputRecord(f"input_{id(value)}", value.native.spec())
        return None

    def _settings(self, step: ParallelRunStep) -> dict[str, Any]:
        """Return the settings of a step; those that two previews would share are its own."""
        settings = {**step.config.settings(), **step.tuning}
        for name in self._ambiguous:
            field = name.removeprefix("aml_")
            if settings.get(field) == {"parameter": name}:
                settings[field] = getattr(step.config, field)
        return settings

    def _azures_own(self, step: Any) -> list[Any]:
        """Return the words that Azure puts before the script's own: settings it may look at."""
        settings = {
            name: value
            for name, value in self._settings(step).items()
            if default_of(getattr(step.config, name, value)) is not None
        }
        words: list[Any] = []
        for name in (
            "mini_batch_size", "error_threshold", "output_action", "logging_level",
            "run_invocation_timeout", "run_max_try", "allowed_failed_count",
            "allowed_failed_percent", "append_row_file_name",
        ):  # fmt: skip
            if settings.get(name) is not None:
                words += [f"--{name}", settings[name]]
        if step.outputs:
            words += ["--output", {"write": step.outputs[0].name}]
        for name in ("process_count_per_node", "partition_keys"):
            if settings.get(name) is not None:
                words += [f"--{name}", settings[name]]
        return words


def _ambiguous(steps: list[PipelineStep]) -> set[str]:
    """Return the parameters that steps of the preview have by themselves, with different values."""
    seen: dict[str, Any] = {}
    found = set()
    for step in steps:
        for parameter in step.parameters():
            if isinstance(parameter, PromotedParameter):
                before = seen.setdefault(parameter.name, parameter.default_value)
                if before != parameter.default_value:
                    found.add(parameter.name)
    return found


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40] or "step"


def _variables(step: PipelineStep) -> dict[str, str]:
    if isinstance(step, ParallelRunStep):
        own = step.config.environment.environment_variables or {}
        return {**own, **step.config.environment_variables}
    runconfig = getattr(step, "runconfig", None)
    if runconfig is None:
        return {}
    own = runconfig.environment.environment_variables or {}
    return {k: str(v) for k, v in {**own, **runconfig.environment_variables}.items()}


def _script(step: PipelineStep) -> tuple[str, str]:
    """Return the folder of a step's script, and the script's path in it."""
    if isinstance(step, PythonScriptStep):
        return step.source_directory, step.script_name
    config = step.config  # type: ignore[attr-defined] # the other kind is a ParallelRunStep
    if config.source_directory:
        return str(config.source_directory), config.entry_script
    return os.path.dirname(os.path.abspath(config.entry_script)), os.path.basename(
        config.entry_script
    )


def _copy_script(step: PipelineStep, target: Path) -> None:
    source, script = _script(step)
    if isinstance(step, ParallelRunStep) and not step.config.source_directory:
        target.mkdir()
        for name in (script, SETTINGS_FILE):
            if os.path.isfile(os.path.join(source, name)):
                shutil.copyfile(os.path.join(source, name), target / name)
        return
    patterns = _ignored(source)

    def is_ignored(name: str) -> bool:
        return name in _NOT_COPIED or any(fnmatch.fnmatch(name, one) for one in patterns)

    left_out = copy_source(Path(source), target, is_ignored)
    if left_out:
        warnings.warn(left_out, stacklevel=2)


def _ignored(source: str) -> list[str]:
    """Return the name patterns of .amlignore, else of .gitignore; paths and exceptions are not read."""
    for name in _IGNORE_FILES:
        path = os.path.join(source, name)
        if os.path.isfile(path):
            lines = Path(path).read_text(encoding="utf-8").splitlines()
            words = (line.strip().rstrip("/").removeprefix("/") for line in lines)
            return [word for word in words if word and word[0] not in "#!" and "/" not in word]
    return []
