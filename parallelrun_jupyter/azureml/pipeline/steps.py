"""What steps of pipelines have in common, and ``PythonScriptStep``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from ..core.parameters import PipelineParameter
from ..data.consumption import DatasetConsumptionConfig
from ..exceptions import UserErrorException
from .outputs import OutputFileDatasetConfig, PipelineOutputAbstractDataset, _Output


class PipelineStep:
    """A step of a pipeline.

    Parameters
    ----------
    name
        Its name in the pipeline.
    inputs
        What it reads.
    outputs
        What it writes.
    arguments
        The script's command line.
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
            claim(output, self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"

    def run_after(self, step: PipelineStep) -> None:
        """Let this step wait for another one."""
        self.before.append(step)

    def reads(self) -> list[Any]:
        """Return everything that the step reads, inside of whatever wraps it."""
        return [*self.inputs, *self.arguments]

    def producers(self) -> list[PipelineStep]:
        """Return the steps whose outputs this one reads, and those it waits for."""
        found = list(self.before)
        for one in self.reads():
            output = output_of(one)
            if output is not None and output.producer not in {None, self}:
                found.append(output.producer)
        return list(dict.fromkeys(found))

    def parameters(self) -> list[PipelineParameter]:
        """Return the parameters that the step uses."""
        values = [*self.inputs, *self.arguments]
        values += [v.dataset for v in values if isinstance(v, DatasetConsumptionConfig)]
        return [value for value in values if isinstance(value, PipelineParameter)]


def claim(output: Any, step: PipelineStep) -> None:
    """Note that a step writes an output.

    Raises
    ------
    UserErrorException
        It is no output, or another step writes it.
    """
    if not isinstance(output, _Output):
        msg = (
            f"outputs of step {step.name!r} holds {output!r}; expected a PipelineData or an "
            "OutputFileDatasetConfig."
        )
        raise UserErrorException(msg)
    output.producer = step


def output_of(value: Any) -> Any:
    """Return the output that a value stands for, if it does."""
    if isinstance(value, DatasetConsumptionConfig):
        return output_of(value.dataset)
    if isinstance(value, PipelineOutputAbstractDataset):
        return value.pipeline_data
    return value if isinstance(value, _Output) else None


class PythonScriptStep(PipelineStep):
    """Runs a plain Python script.

    Parameters
    ----------
    script_name
        The script, relative to ``source_directory``.
    name
        The step's name. Default: the script's.
    arguments
        Its command line; inputs and outputs among them stand for their paths.
    compute_target, runconfig, hash_paths, version, params, runconfig_pipeline_params
        ``runconfig`` brings the environment; the others are taken and not used.
    inputs, outputs
        What it reads and writes.
    source_directory
        Its folder, which is copied into the run. Default: the current one.
    allow_reuse
        Take the outputs of an earlier run of the same script, arguments and inputs.

    Raises
    ------
    ValueError
        There is no such script.
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
        wraps = (DatasetConsumptionConfig, PipelineOutputAbstractDataset)
        given = [
            one for one in (*(outputs or ()), *(arguments or ())) if not isinstance(one, wraps)
        ]
        written = [one for one in given if isinstance(one, OutputFileDatasetConfig)]
        written += [one for one in outputs or () if not isinstance(one, OutputFileDatasetConfig)]
        super().__init__(
            name or os.path.splitext(os.path.basename(script_name))[0],
            inputs,
            list({id(one): one for one in written}.values()),
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
        groups = [one if isinstance(one, list) else [one] for one in self.steps]
        for earlier, later in pairwise(groups):
            for step in later:
                for before in earlier:
                    step.run_after(before)

    def __iter__(self) -> Any:
        return iter(self.steps)
