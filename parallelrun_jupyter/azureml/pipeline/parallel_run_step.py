"""``ParallelRunStep`` of ``azureml.pipeline.steps`` and of its preview."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from ..core.computes import print_placement
from ..core.references import DataReference
from ..data.step_inputs import DatasetConsumptionConfig, PipelineParameter, default_of
from ..exceptions import UserErrorException
from .outputs import OutputFileDatasetConfig, PipelineOutputAbstractDataset, _Output
from .parallel_run_config import ParallelRunConfig, PreviewParallelRunConfig
from .steps import PipelineStep

_PREVIEW_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
RESERVED = (
    "mini_batch_size", "error_threshold", "allowed_failed_count", "allowed_failed_percent",
    "output", "output_action", "logging_level", "process_count_per_node",
    "run_invocation_timeout", "run_max_try", "append_row_file_name", "partition_keys",
)  # fmt: skip
"""Arguments that Azure adds to the script's command line."""
TIMEOUTS = ("task_overhead_timeout", "progress_update_timeout", "first_task_creation_timeout")
"""Script arguments that set timeouts of the run."""


class ParallelRunStep(PipelineStep):
    """Runs an entry script over mini-batches.

    Parameters
    ----------
    name
        Its name in the pipeline.
    parallel_run_config
        The settings of the run.
    inputs
        Datasets with names; each is split into mini-batches on its own.
    output
        The output for the rows; optional for ``summary_only``.
    side_inputs
        Inputs that the script reads as a whole.
    arguments
        The script's command line, which follows the settings that Azure adds.
    allow_reuse
        Reuse the outputs of an earlier run of the same script, settings and inputs.

    Raises
    ------
    ValueError
        A value is invalid, an argument has a reserved name or is not an option, or the script does
        not exist.
    UserErrorException
        An input or output is of the wrong kind.
    AssertionError
        ``inputs`` is empty.
    """

    kind = "parallel"

    def __init__(
        self,
        name: str,
        parallel_run_config: Any,
        inputs: Sequence[Any],
        output: Any = None,
        side_inputs: Sequence[Any] | None = None,
        arguments: Sequence[Any] | None = None,
        allow_reuse: bool = True,
    ) -> None:
        if not isinstance(parallel_run_config, ParallelRunConfig):
            msg = (
                "Parameter parallel_run_config must be an instance of ParallelRunConfig; it is "
                f"{parallel_run_config!r}."
            )
            raise UserErrorException(msg)
        self.config = parallel_run_config
        _check_arguments(arguments or ())
        _check_source(parallel_run_config)
        if output is None and parallel_run_config.output_action != "summary_only":
            msg = "Please specify output parameter: output_action is 'append_row'."
            raise ValueError(msg)
        self.timeouts = timeouts_in(arguments or ())
        super().__init__(
            name,
            [_as_input(value) for value in _checked_list(inputs)],
            [] if output is None else [_single(output)],
            arguments,
            allow_reuse,
        )
        self.side_inputs = [_as_side_input(value) for value in side_inputs or ()]
        _check_inputs(self.inputs)
        nodes = default_of(parallel_run_config.node_count)
        if str(nodes) != "1":
            print_placement(parallel_run_config.compute_target, nodes)

    def reads(self) -> list[Any]:
        """Return everything that the step reads."""
        return [*super().reads(), *self.side_inputs]

    def parameters(self) -> list[PipelineParameter]:
        """Return the parameters that the step uses."""
        sources = (getattr(side, "dataset", side) for side in self.side_inputs)
        of_sides = [source for source in sources if isinstance(source, PipelineParameter)]
        return [*super().parameters(), *of_sides, *self.config.parameters()]


def timeouts_in(arguments: Sequence[Any]) -> dict[str, int]:
    """Return the timeouts that Azure reads from a script's arguments, in seconds.

    Raises
    ------
    ValueError
        A timeout is not a whole number from 1.
    """
    timeouts = {}
    for position, value in enumerate(arguments):
        name, _, seconds = str(value).removeprefix("--").partition("=")
        if not str(value).startswith("--") or name not in TIMEOUTS:
            continue
        if not seconds and position + 1 < len(arguments):
            seconds = str(arguments[position + 1])
        if not seconds.isdigit() or not int(seconds):
            msg = f"argument --{name} is {seconds!r}; expected a whole number of seconds from 1."
            raise ValueError(msg)
        timeouts[name] = int(seconds)
    return timeouts


def _checked_list(inputs: Any) -> list[Any]:
    if not isinstance(inputs, list | tuple) or not inputs:
        msg = "Parameter inputs must be a non-empty list, such as [dataset.as_named_input('data')]."
        raise AssertionError(msg)
    return list(inputs)


def _single(output: Any) -> Any:
    if isinstance(output, list | tuple):
        if len(output) != 1:
            msg = f"Parameter output is a list of {len(output)}; a ParallelRunStep has one output."
            raise UserErrorException(msg)
        return output[0]
    return output


def _as_input(value: Any) -> DatasetConsumptionConfig:
    """Return an input that is split into mini-batches, with its name."""
    if isinstance(value, DatasetConsumptionConfig):
        return value
    if isinstance(value, PipelineOutputAbstractDataset | OutputFileDatasetConfig):
        return DatasetConsumptionConfig(value.name, value, "mount")
    advice = "dataset.as_named_input('name')"
    if hasattr(value, "native"):
        msg = f"inputs contains a {type(value).__name__} without a name; pass {advice}."
    elif isinstance(value, _Output):
        msg = f"inputs contains {value!r}; pass {value.name}.as_dataset()."
    else:
        msg = f"inputs contains {value!r}, a {type(value).__name__}; expected {advice}."
    raise UserErrorException(msg)


def _as_side_input(value: Any) -> Any:
    if isinstance(value, PipelineOutputAbstractDataset | OutputFileDatasetConfig):
        return DatasetConsumptionConfig(value.name, value, "mount")
    if isinstance(value, DatasetConsumptionConfig | DataReference | _Output):
        return value
    msg = (
        f"side_inputs contains {value!r}, a {type(value).__name__}; expected "
        "dataset.as_named_input('name').as_mount(), a DataReference or a PipelineData."
    )
    raise UserErrorException(msg)


def _check_inputs(inputs: list[DatasetConsumptionConfig]) -> None:
    if len({input_.is_tabular for input_ in inputs}) > 1:
        msg = "inputs mixes files and tables; all inputs of a ParallelRunStep must be of one kind."
        raise UserErrorException(msg)
    names = [input_.name for input_ in inputs]
    if len(set(names)) < len(names):
        msg = f"inputs contains two inputs with the same name: {', '.join(names)}."
        raise UserErrorException(msg)


def _check_arguments(arguments: Any) -> None:
    if not isinstance(arguments, list | tuple):
        msg = f"Parameter arguments must be a list; it is {arguments!r}."
        raise TypeError(msg)
    if arguments and not str(arguments[0]).startswith("-"):
        msg = (
            f"Found invalid argument {arguments[0]!r}: only keyword arguments are supported, such "
            "as ['--model_name', 'mnist']."
        )
        raise ValueError(msg)
    for value in arguments:
        if isinstance(value, str) and value.startswith("--"):
            name = value[2:].partition("=")[0]
            if name in RESERVED:
                msg = (
                    f"Reserved argument {name!r} is found in arguments; set it in "
                    "ParallelRunConfig, or rename the option of the script."
                )
                raise ValueError(msg)


def _check_source(config: ParallelRunConfig) -> None:
    source = config.source_directory
    script = config.entry_script
    if source:
        if not os.path.exists(source):
            msg = f"The value '{source}' specified in source_directory doesn't exist."
            raise ValueError(msg)
        if not os.path.isdir(source):
            msg = f"The value '{source}' specified in source_directory is not a directory."
            raise ValueError(msg)
        path = os.path.join(source, script)
    else:
        path = script
    if not os.path.isfile(path):
        msg = f"The value '{script}' specified in entry_script doesn't exist: no file {path!r}."
        raise ValueError(msg)


class PreviewParallelRunStep(ParallelRunStep):
    """The step of ``azureml.contrib.pipeline.steps``, the preview of 2019 and 2020.

    ``models`` are only recorded; scripts open them by ``Model.get_model_path``.

    Raises
    ------
    ValueError
        As `ParallelRunStep`, or the name is not 3 to 32 lowercase letters, digits and ``-``.
    UserErrorException
        As `ParallelRunStep`, or the configuration is not of the preview.
    """

    def __init__(
        self,
        name: str,
        parallel_run_config: ParallelRunConfig,
        inputs: Sequence[Any],
        output: Any = None,
        side_inputs: Sequence[Any] | None = None,
        models: Sequence[Any] | None = None,
        arguments: Sequence[Any] | None = None,
        allow_reuse: bool = True,
        tags: dict[str, str] | None = None,
        properties: dict[str, str] | None = None,
        add_parallel_run_step_dependencies: bool = True,
    ) -> None:
        if not isinstance(name, str) or not (
            3 <= len(name) <= 32 and _PREVIEW_NAME.fullmatch(name)
        ):
            msg = (
                f"Step name is {name!r}; it must be of 3 to 32 characters: lowercase letters, digits "
                "and -, starting with a letter and not ending with -."
            )
            raise ValueError(msg)
        if not isinstance(parallel_run_config, PreviewParallelRunConfig):
            msg = (
                "parallel_run_config must be a ParallelRunConfig of "
                f"azureml.contrib.pipeline.steps; it is {parallel_run_config!r}."
            )
            raise UserErrorException(msg)
        for model in models or ():
            if not hasattr(model, "version"):
                msg = f"models contains {model!r}; expected the result of Model.register."
                raise UserErrorException(msg)
        super().__init__(
            name, parallel_run_config, inputs, output, side_inputs, arguments, allow_reuse
        )
        self.models = list(models or ())
        self.tags, self.properties = dict(tags or {}), dict(properties or {})
