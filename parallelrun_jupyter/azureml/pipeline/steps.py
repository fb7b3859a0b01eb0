"""Steps of pipelines: their base class, ``PythonScriptStep`` and ``StepSequence``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ..data.step_inputs import DatasetConsumptionConfig, PipelineParameter
from ..exceptions import UserErrorException
from .outputs import OutputFileDatasetConfig, PipelineOutputAbstractDataset, _Output


class PipelineStep:
    """Base class of steps.

    Parameters
    ----------
    name
        The name of the step in the pipeline.
    inputs, outputs
        The inputs and outputs.
    arguments
        The script's command line.
    allow_reuse
        Reuse the outputs of an earlier run of the same script, arguments and inputs.

    Raises
    ------
    ValueError
        The name is invalid.
    UserErrorException
        An output is of the wrong kind.
    """

    kind = ""

    def __init__(
        self,
        name: str,
        inputs: Iterable[Any] | None = None,
        outputs: Iterable[Any] | None = None,
        arguments: Sequence[Any] | None = None,
        allow_reuse: bool = True,
        **_: Any,
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            msg = f"name is {name!r}; expected the name of a step, such as 'predict-digits'."
            raise ValueError(msg)
        self.name = name
        self.inputs = list(inputs or ())
        self.outputs = list(outputs or ())
        self.arguments = list(arguments or ())
        self.allow_reuse = bool(allow_reuse)
        self.before: list[PipelineStep] = []
        for output in self.outputs:
            _set_producer(output, self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    def run_after(self, step: PipelineStep) -> None:
        """Run this step after another one."""
        self.before.append(step)

    def reads(self) -> list[Any]:
        """Return everything that the step reads."""
        return [*self.inputs, *self.arguments]

    def producers(self) -> list[PipelineStep]:
        """Return the steps that must run before this one."""
        steps = list(self.before)
        for value in self.reads():
            output = output_of(value)
            if output is not None and output.producer not in {None, self}:
                steps.append(output.producer)
        return list(dict.fromkeys(steps))

    def parameters(self) -> list[PipelineParameter]:
        """Return the parameters that the step uses."""
        values = [*self.inputs, *self.arguments]
        values += [v.dataset for v in values if isinstance(v, DatasetConsumptionConfig)]
        return [value for value in values if isinstance(value, PipelineParameter)]


def _set_producer(output: Any, step: PipelineStep) -> None:
    if not isinstance(output, _Output):
        msg = (
            f"outputs of step {step.name!r} contains {output!r}; expected a PipelineData or an "
            "OutputFileDatasetConfig."
        )
        raise UserErrorException(msg)
    output.producer = step


def output_of(value: Any) -> Any:
    """Return the output behind an input or argument, None for other values."""
    if isinstance(value, DatasetConsumptionConfig):
        return output_of(value.dataset)
    if isinstance(value, PipelineOutputAbstractDataset):
        return value.pipeline_data
    return value if isinstance(value, _Output) else None


class PythonScriptStep(PipelineStep):
    """Runs a Python script once.

    Parameters
    ----------
    script_name
        The script, relative to ``source_directory``.
    name
        The name of the step. Default: the script's name.
    arguments
        The command line; inputs and outputs among the arguments are replaced by their paths.
    runconfig
        Provides the environment.
    inputs, outputs
        The inputs and outputs.
    source_directory
        The folder to copy into the run. Default: the current folder.
    allow_reuse
        Reuse the outputs of an earlier run of the same script, arguments and inputs.
    compute_target, runconfig_pipeline_params, params, version, hash_paths
        Ignored.

    Raises
    ------
    ValueError
        The script does not exist.
    UserErrorException
        An output is of the wrong kind.
    """

    kind = "script"

    def __init__(
        self,
        script_name: str,
        name: str | None = None,
        arguments: Sequence[Any] | None = None,
        compute_target: Any = None,
        runconfig: Any = None,
        runconfig_pipeline_params: dict[str, Any] | None = None,
        inputs: Sequence[Any] | None = None,
        outputs: Sequence[Any] | None = None,
        params: dict[str, Any] | None = None,
        source_directory: str | None = None,
        allow_reuse: bool = True,
        version: str | None = None,
        hash_paths: Any = None,
    ) -> None:
        if not isinstance(script_name, str) or not script_name.strip():
            msg = f"script_name is {script_name!r}; expected the name of a script."
            raise ValueError(msg)
        self.script_name = script_name
        self.source_directory = source_directory or "."
        self.runconfig = runconfig
        self.compute_target = compute_target
        self.params = dict(params or {})
        path = os.path.join(self.source_directory, script_name)
        if not os.path.isfile(path):
            msg = f"Step [{name or script_name}]: script not found at: {os.path.abspath(path)}."
            raise ValueError(msg)
        # An OutputFileDatasetConfig among the arguments is written as well.
        written = [
            value
            for value in (*(outputs or ()), *(arguments or ()))
            if isinstance(value, OutputFileDatasetConfig)
        ]
        written += [value for value in outputs or () if value not in written]
        super().__init__(
            name or os.path.splitext(os.path.basename(script_name))[0],
            inputs,
            list({id(output): output for output in written}.values()),
            arguments,
            allow_reuse,
        )


class StepSequence:
    """Steps that run one after another.

    Parameters
    ----------
    steps
        The steps, or lists of steps.
    """

    def __init__(self, steps: Iterable[Any] = ()) -> None:
        self.steps = list(steps)
        groups = [step if isinstance(step, list) else [step] for step in self.steps]
        for earlier, later in pairwise(groups):
            for step in later:
                for before in earlier:
                    step.run_after(before)

    def __iter__(self) -> Any:
        return iter(self.steps)
