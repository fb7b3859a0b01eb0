"""``ParallelRunStep``, with the signatures of the GA package and of the preview."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from ..core.computes import say_where
from ..core.parameters import PipelineParameter, default_of
from ..core.references import DataReference
from ..data.consumption import DatasetConsumptionConfig
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
"""Names of arguments that Azure gives to the script itself."""


TUNING = ("task_overhead_timeout", "progress_update_timeout", "first_task_creation_timeout")
"""Arguments that Azure reads itself, and that are settings here."""


class ParallelRunStep(PipelineStep):
    """Runs an entry script over mini-batches.

    Parameters
    ----------
    name
        Its name in the pipeline.
    parallel_run_config
        How to run.
    inputs
        Datasets with names; each is split on its own.
    output
        What receives the rows; may be missing for ``summary_only``.
    side_inputs
        What the script reads whole.
    arguments
        The script's command line, after the settings that Azure puts before it.
    allow_reuse
        Take the outputs of an earlier run of the same script, settings and inputs.

    Raises
    ------
    ValueError
        An argument has a reserved name, or is no option.
    UserErrorException
        An input or an output is of a wrong kind.
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
        self.tuning = tuning_of(arguments or ())
        super().__init__(
            name,
            [_as_input(one) for one in _listed(inputs)],
            [] if output is None else [_single(output)],
            arguments,
            allow_reuse,
        )
        self.side_inputs = [_as_side_input(one) for one in side_inputs or ()]
        _check_inputs(self.inputs)
        nodes = default_of(parallel_run_config.node_count)
        if str(nodes) != "1":
            say_where(parallel_run_config.compute_target, nodes)

    def reads(self) -> list[Any]:
        """Return everything that the step reads."""
        return [*super().reads(), *self.side_inputs]

    def parameters(self) -> list[PipelineParameter]:
        """Return the parameters that the step uses."""
        sides = (getattr(one, "dataset", one) for one in self.side_inputs)
        more = [one for one in sides if isinstance(one, PipelineParameter)]
        return [*super().parameters(), *more, *self.config.parameters()]


def tuning_of(arguments: Sequence[Any]) -> dict[str, int]:
    """Return the settings that Azure takes from a script's arguments: three of its timeouts.

    Raises
    ------
    ValueError
        One is no whole number from 1.
    """
    found = {}
    for position, value in enumerate(arguments):
        name, _, given = str(value).removeprefix("--").partition("=")
        if not str(value).startswith("--") or name not in TUNING:
            continue
        if not given and position + 1 < len(arguments):
            given = str(arguments[position + 1])
        if not given.isdigit() or not int(given):
            msg = f"argument --{name} is {given!r}; expected a whole number of seconds from 1."
            raise ValueError(msg)
        found[name] = int(given)
    return found


def _listed(inputs: Any) -> list[Any]:
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
    """Return something that is split as an input with a name."""
    if isinstance(value, DatasetConsumptionConfig):
        return value
    if isinstance(value, PipelineOutputAbstractDataset | OutputFileDatasetConfig):
        return DatasetConsumptionConfig(value.name, value, "mount")
    advice = "dataset.as_named_input('name')"
    if hasattr(value, "native"):
        msg = f"inputs holds a {type(value).__name__} without a name; give {advice}."
    elif isinstance(value, _Output):
        msg = f"inputs holds {value!r}; give {value.name}.as_dataset()."
    else:
        msg = f"inputs holds {value!r}, a {type(value).__name__}; expected {advice}."
    raise UserErrorException(msg)


def _as_side_input(value: Any) -> Any:
    if isinstance(value, PipelineOutputAbstractDataset | OutputFileDatasetConfig):
        return DatasetConsumptionConfig(value.name, value, "mount")
    if isinstance(value, DatasetConsumptionConfig | DataReference | _Output):
        return value
    msg = (
        f"side_inputs holds {value!r}, a {type(value).__name__}; expected what "
        "dataset.as_named_input('name').as_mount() returns, a DataReference or a PipelineData."
    )
    raise UserErrorException(msg)


def _check_inputs(inputs: list[DatasetConsumptionConfig]) -> None:
    if len({one.is_tabular for one in inputs}) > 1:
        msg = "inputs mixes files and tables; all inputs of a ParallelRunStep are of one kind."
        raise UserErrorException(msg)
    names = [one.name for one in inputs]
    if len(set(names)) < len(names):
        msg = f"inputs has two inputs of one name: {', '.join(names)}."
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
                    "ParallelRunConfig, and rename an option of the script."
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

    ``models`` are noted; scripts find them by ``Model.get_model_path``.

    Raises
    ------
    ValueError
        As `ParallelRunStep`; the name is not of 3 to 32 small letters, digits and ``-``.
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
                f"Step name is {name!r}; it must be of 3 to 32 characters: small letters, digits "
                "and -, the first one a letter, the last one no -."
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
                msg = f"models holds {model!r}; expected what Model.register returned."
                raise UserErrorException(msg)
        super().__init__(
            name, parallel_run_config, inputs, output, side_inputs, arguments, allow_reuse
        )
        self.models = list(models or ())
        self.tags, self.properties = dict(tags or {}), dict(properties or {})
