"""``ParallelRunConfig`` of ``azureml.pipeline.steps`` and of its preview."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from ...config.run_config import OUTPUT_ACTIONS
from ...config.settings import FORBIDDEN_IN_FILE_NAME
from ..core.computes import AmlCompute
from ..core.environments import Environment
from ..core.workspace import Workspace, as_workspace
from ..data.step_inputs import PipelineParameter, PromotedParameter, bound, default_of

DEFAULT_OUTPUT_FILE = "parallel_run_step.txt"
_SIZE = re.compile(r"\d+\s*([kKmMgG][bB])?", re.ASCII)
PARAMETERS = (
    "mini_batch_size", "node_count", "process_count_per_node", "logging_level",
    "run_invocation_timeout", "run_max_try", "partition_keys",
)  # fmt: skip
"""Settings that may be a `PipelineParameter`."""


class ParallelRunConfig:
    """The settings of a run over mini-batches, with Azure's signature and checks.

    Parameters
    ----------
    environment
        The environment of the workers.
    entry_script
        The script with ``init()`` and ``run(mini_batch)``, relative to ``source_directory``.
    error_threshold
        Maximum number of failed items; -1 for any number.
    output_action
        ``append_row`` or ``summary_only``.
    compute_target, node_count
        The compute target, and the number of its nodes to use.
    process_count_per_node, mini_batch_size, source_directory, description, logging_level
        As in Azure.
    run_invocation_timeout
        Timeout of one ``run()`` call in seconds.
    run_max_try
        Maximum number of attempts for each mini-batch.
    append_row_file_name, allowed_failed_count, allowed_failed_percent, partition_keys
        As in Azure.
    environment_variables
        Environment variables of the script.

    Raises
    ------
    ValueError
        A value is missing, out of range or of the wrong type.
    """

    def __init__(
        self,
        environment: Any,
        entry_script: Any,
        error_threshold: int,
        output_action: str,
        compute_target: Any,
        node_count: Any,
        process_count_per_node: Any = None,
        mini_batch_size: Any = None,
        source_directory: str | None = None,
        description: str | None = None,
        logging_level: Any = "INFO",
        run_invocation_timeout: Any = 60,
        run_max_try: Any = 3,
        append_row_file_name: str | None = None,
        allowed_failed_count: int | None = None,
        allowed_failed_percent: float | None = None,
        partition_keys: Any = None,
        environment_variables: dict[str, str] | None = None,
    ) -> None:
        self.environment = environment
        self.entry_script = entry_script.strip() if isinstance(entry_script, str) else entry_script
        self.error_threshold = error_threshold
        self.output_action = output_action
        self.compute_target = compute_target
        self.node_count = node_count
        self.process_count_per_node = process_count_per_node
        self.mini_batch_size = mini_batch_size
        self.source_directory = source_directory
        self.description = description
        self.logging_level = logging_level
        self.run_invocation_timeout = run_invocation_timeout
        self.run_max_try = run_max_try
        self.append_row_file_name = append_row_file_name
        self.allowed_failed_count = allowed_failed_count
        self.allowed_failed_percent = allowed_failed_percent
        self.partition_keys = partition_keys
        self.environment_variables = environment_variables or {}
        self._check()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({json.dumps(self._summary())})"

    def _target_name(self) -> str | None:
        target = self.compute_target
        return target if isinstance(target, str) else getattr(target, "name", None)

    def _summary(self) -> dict[str, Any]:
        return {
            "entry_script": self.entry_script,
            "mini_batch_size": default_of(self.mini_batch_size),
            "error_threshold": self.error_threshold,
            "output_action": self.output_action,
            "compute_target": self._target_name(),
            "node_count": default_of(self.node_count),
            "process_count_per_node": default_of(self.process_count_per_node),
            "append_row_file_name": self.append_row_file_name,
        }

    def _check(self) -> None:
        if self.environment is None:
            msg = "Parameter environment is required; pass an Environment(name=...)."
            raise ValueError(msg)
        if not isinstance(self.environment, Environment):
            msg = (
                "Parameter environment must be an instance of azureml.core.Environment. "
                f"The actual value is {self.environment!r}."
            )
            raise ValueError(msg)
        if not self.entry_script or not isinstance(self.entry_script, str):
            msg = f"Parameter entry_script is {self.entry_script!r}; expected the path of a script."
            raise ValueError(msg)
        self._check_output()
        self._check_thresholds()
        self._check_counts()
        self._check_size()

    def _check_output(self) -> None:
        action = self.output_action
        if not isinstance(action, str) or action.lower() not in OUTPUT_ACTIONS:
            msg = (
                "Parameter output_action must be either summary_only or append_row; "
                f"it is {action!r}."
            )
            raise ValueError(msg)
        self.output_action = action.lower()
        name = self.append_row_file_name
        if self.output_action != "append_row" or name is None:
            return
        if not isinstance(name, str) or FORBIDDEN_IN_FILE_NAME.search(name):
            msg = (
                f"Parameter append_row_file_name is {name!r}; it must be a valid UNIX file "
                'name, with none of ~ " # % & * : < > ? / \\ { | }.'
            )
            raise ValueError(msg)

    def _check_thresholds(self) -> None:
        for name in ("error_threshold", "allowed_failed_count"):
            value = getattr(self, name)
            if value is None and name != "error_threshold":
                continue
            if not isinstance(value, int) or value < -1:
                msg = (
                    f"Parameter {name} must be an int value greater than or equal to -1; "
                    f"it is {value!r}."
                )
                raise ValueError(msg)
        percent = self.allowed_failed_percent
        if percent is not None and (
            not isinstance(percent, int | float) or not 0 <= percent <= 100
        ):
            msg = f"Parameter allowed_failed_percent must be from 0 to 100; it is {percent!r}."
            raise ValueError(msg)

    def _check_counts(self) -> None:
        processes = self.process_count_per_node
        is_deferred = processes is None or isinstance(processes, PipelineParameter)
        if not is_deferred and (not isinstance(processes, int) or processes < 1):
            msg = (
                "Parameter process_count_per_node must be an integer greater than 0; "
                f"it is {processes!r}."
            )
            raise ValueError(msg)
        for name in ("run_invocation_timeout", "run_max_try"):
            value = getattr(self, name)
            if isinstance(value, PipelineParameter):
                continue
            if not isinstance(value, int) or value <= 0:
                msg = f"Parameter {name} must be an int value greater than 0; it is {value!r}."
                raise ValueError(msg)
        nodes, target = self.node_count, self.compute_target
        if not isinstance(target, AmlCompute) or isinstance(nodes, PipelineParameter):
            return
        if not isinstance(nodes, int) or not 1 <= nodes <= target.max_nodes:
            msg = (
                f"Parameter node_count must be an int from 1 to max_nodes ({target.max_nodes}) "
                f"of compute target {target.name!r}; it is {nodes!r}."
            )
            raise ValueError(msg)

    def _check_size(self) -> None:
        size, keys = default_of(self.mini_batch_size), default_of(self.partition_keys)
        if size is not None and keys is not None:
            msg = (
                "Parameter mini_batch_size and partition_keys are mutually exclusive: with "
                "partition_keys, every combination of the keys is one mini-batch."
            )
            raise ValueError(msg)
        if size is not None:
            check_size(size)
        if isinstance(keys, str):  # a parameter's default is JSON
            try:
                keys = json.loads(keys)
            except ValueError:
                keys = [None]
        if keys is not None and not (
            isinstance(keys, list) and keys and all(isinstance(key, str) for key in keys)
        ):
            msg = f"Parameter partition_keys must be a list of str; it is {self.partition_keys!r}."
            raise ValueError(msg)

    def settings(self) -> dict[str, Any]:
        """Return the settings for the record of a step, with references to parameters."""
        return {
            "mini_batch_size": bound(self.mini_batch_size),
            "partition_keys": bound(self.partition_keys),
            "output_action": self.output_action,
            "append_row_file_name": self.append_row_file_name,
            "error_threshold": int(self.error_threshold),
            "allowed_failed_count": self.allowed_failed_count,
            "allowed_failed_percent": self.allowed_failed_percent,
            "node_count": bound(self.node_count),
            "process_count_per_node": bound(self.process_count_per_node),
            "run_invocation_timeout": bound(self.run_invocation_timeout),
            "run_max_try": bound(self.run_max_try),
            "logging_level": bound(self.logging_level),
            "description": self.description,
        }

    def parameters(self) -> list[PipelineParameter]:
        """Return the parameters among the settings."""
        values = (getattr(self, name) for name in PARAMETERS)
        return [value for value in values if isinstance(value, PipelineParameter)]

    def save_to_yaml(self, path: str) -> None:
        """Write the configuration to a YAML file; parameters are replaced by their defaults."""
        import yaml

        fields = {name: default_of(value) for name, value in vars(self).items()}
        del fields["compute_target"]
        fields["environment"] = self.environment.record()
        fields = {name: value for name, value in fields.items() if value not in (None, {})}
        fields["compute_target_name"] = self._target_name()
        text = yaml.safe_dump({"parallel_run_config": fields}, sort_keys=False)
        Path(path).write_text(text, encoding="utf-8")

    @staticmethod
    def load_yaml(workspace: Workspace, path: str) -> ParallelRunConfig:
        """Read a configuration that ``save_to_yaml`` wrote.

        Raises
        ------
        ValueError
            The file has no ``parallel_run_config``.
        """
        import yaml

        as_workspace(workspace)
        record = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        fields = record.get("parallel_run_config") if isinstance(record, dict) else None
        if not isinstance(fields, dict):
            msg = f"{os.fspath(path)!r} has no mapping under the key 'parallel_run_config'."
            raise ValueError(msg)
        settings = dict(fields)
        settings["compute_target"] = settings.pop("compute_target_name", None)
        environment = settings.pop("environment", None)
        if isinstance(environment, str):
            environment = yaml.safe_load(Path(environment).read_text(encoding="utf-8"))
        return ParallelRunConfig(environment=_environment(environment), **settings)


def _environment(record: Any) -> Environment:
    """Return the environment of a YAML file, in this layer's format or in Azure's."""
    fields = dict(record or {})
    fields["name"] = fields.get("name") or "environment"
    packages = (fields.get("python") or {}).get("condaDependencies")
    if packages is not None:
        fields["conda_dependencies"] = packages
        fields["python_version"] = "from conda_dependencies"
    return Environment._of(fields)


def check_size(size: Any) -> None:
    """Check a mini-batch size.

    Raises
    ------
    ValueError
        It is not a positive whole number, with or without KB, MB or GB.
    """
    text = str(size).strip()
    is_size = isinstance(size, int | str) and not isinstance(size, bool) and _SIZE.fullmatch(text)
    if not is_size or not int(re.sub(r"\D", "", text)):
        msg = (
            f"Parameter mini_batch_size is {size!r}; it must be a whole number from 1, with KB, MB or "
            "GB for tables: 5 (files), '10KB' or '1MB'."
        )
        raise ValueError(msg)


class PreviewParallelRunConfig(ParallelRunConfig):
    """The settings of a run, as in the preview ``azureml.contrib.pipeline.steps``.

    ``mini_batch_size`` is text. Six settings are always parameters of the pipeline:
    ``aml_mini_batch_size``, ``aml_error_threshold``, ``aml_logging_level``,
    ``aml_run_invocation_timeout``, ``aml_node_count`` and ``aml_process_count_per_node``.

    Raises
    ------
    ValueError
        As `ParallelRunConfig`.
    TypeError
        ``mini_batch_size`` is not text.
    """

    def __init__(
        self,
        environment: Any,
        entry_script: Any,
        error_threshold: int,
        output_action: str,
        compute_target: Any,
        node_count: Any,
        process_count_per_node: Any = None,
        mini_batch_size: Any = None,
        source_directory: str | None = None,
        description: str | None = None,
        logging_level: Any = "INFO",
        run_invocation_timeout: Any = 60,
        input_format: str | None = None,
        append_row_file_name: str | None = None,
    ) -> None:
        if mini_batch_size is not None and not isinstance(mini_batch_size, str | PipelineParameter):
            msg = f"mini_batch_size is {mini_batch_size!r}; the preview takes text, such as '5'."
            raise TypeError(msg)
        super().__init__(
            environment, entry_script, error_threshold, output_action, compute_target, node_count,
            process_count_per_node, mini_batch_size, source_directory, description, logging_level,
            run_invocation_timeout, append_row_file_name=append_row_file_name,
        )  # fmt: skip
        self.input_format = input_format

    def settings(self) -> dict[str, Any]:
        """Return the settings for the record of a step, six of them always as parameters."""
        settings = super().settings()
        for parameter in self.parameters():
            field = parameter.name.removeprefix("aml_")
            if parameter.name.startswith("aml_") and field in settings:
                settings[field] = {"parameter": parameter.name}
        return settings

    def parameters(self) -> list[PipelineParameter]:
        """Return the parameters among the settings, including the six promoted settings."""
        return super().parameters() + [
            PromotedParameter(f"aml_{name}", getattr(self, name))
            for name in (*PARAMETERS[:5], "error_threshold")
            if not isinstance(getattr(self, name), PipelineParameter)
        ]
