"""The configuration of a run, with the field names, ranges and meanings of Azure."""

from __future__ import annotations

import inspect
import os
import textwrap
from pathlib import Path
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import HasTraits

from ..environment import Environment, as_environment
from ..errors import ConfigError
from ..formatting import nearest_hint
from .call_settings import BudgetSetting, PricesSetting, RateSetting
from .compute import as_compute
from .entry_function import is_entry
from .notify_setting import NotifySetting
from .settings import (
    ExceptionsSetting,
    FileNameSetting,
    FlagSetting,
    ModulesSetting,
    NamesSetting,
    NumberSetting,
    OneOfSetting,
    PathSetting,
    ScriptSetting,
    SizeSetting,
    TextSetting,
    VariablesSetting,
)

OUTPUT_FORMATS = ("csv", "parquet", "jsonl")
OUTPUT_ACTIONS = ("append_row", "summary_only")
LOGGING_LEVELS = ("WARNING", "INFO", "DEBUG")
DEFAULT_OUTPUT_FILE = "parallel_run_step.txt"


class ParallelRunConfig(HasTraits):
    """The settings of a run: its script, mini-batches, workers, limits and output.

    The fields are those of Azure's ``ParallelRunConfig``; most have a default, including fields
    that Azure requires. All are keyword arguments, attributes, options of ``%%parallelrun`` and
    ``parallelrun run`` (with dashes), and keys of the YAML form. A value is checked when it is
    assigned.

    Raises
    ------
    ConfigError
        A value is out of range, or a name is not a field. It is a ``ValueError``.

    Examples
    --------
    >>> config = ParallelRunConfig(entry_script="score.py", mini_batch_size=5, error_threshold=10)
    >>> config.run_max_try
    3
    """

    # Not settings: what starts a run knows whether an item may give several rows, and the user's API.
    warns_of_extra_rows = True
    api = ""

    entry_script = ScriptSetting(
        None,
        "Path of the script that defines init() and run(mini_batch), or a function marked with @entry.",
    )
    source_directory = PathSetting(
        None,
        "Folder to copy into the run. entry_script is relative to it, and the copy is the script's "
        "working directory.",
    )
    environment = AnyTrait(
        None,
        help="Path of the Python interpreter that runs the script. Default: the current one.",
    )
    compute_target = AnyTrait(
        None,
        help="Where to run: local, tcp://SCHEDULER of Dask, azureml:NAME of Azure ML, or a named "
        "compute. Default: local, this machine.",
    )
    node_count = NumberSetting(
        None, "Number of nodes. Default: 1; on a cluster, one for each of its workers.", low=1
    )
    process_count_per_node = NumberSetting(
        None, "Worker processes per node. Default: the number of cores available to it.", low=1
    )
    mini_batch_size = SizeSetting(
        None, "Files per mini-batch (default: 10), or approximate bytes of a table (default: 1MB)."
    )
    mini_batch_rows = NumberSetting(
        None, "Rows per mini-batch of a table, in place of mini_batch_size.", low=1
    )
    partition_keys = NamesSetting(None, "Make one mini-batch for each combination of these keys.")
    output_action = OneOfSetting(
        OUTPUT_ACTIONS,
        "append_row",
        "append_row writes all rows to one file; summary_only writes no file.",
    )
    append_row_file_name = FileNameSetting(
        None, f"Name of the output file. Default: {DEFAULT_OUTPUT_FILE}."
    )
    output_format = OneOfSetting(
        OUTPUT_FORMATS, None, "Format of the output file. Default: text, as Azure writes it."
    )
    error_threshold = NumberSetting(
        0, "Number of failed items to tolerate; -1 for any number.", low=-1
    )
    allowed_failed_count = NumberSetting(
        None,
        "Number of failed mini-batches to tolerate; -1 for any number. Default: not checked.",
        low=-1,
    )
    allowed_failed_percent = NumberSetting(
        None,
        "Percentage of failed mini-batches to tolerate; 100 for any number. Default: not checked.",
        low=0,
        high=100,
        whole=False,
    )
    run_invocation_timeout = NumberSetting(
        60, "Time limit for one call of run(), in seconds.", low=1
    )
    task_overhead_timeout = NumberSetting(
        600, "Time limit for loading a mini-batch, in seconds.", low=1, high=259_200
    )
    first_task_creation_timeout = NumberSetting(
        600, "Time limit for listing the first mini-batch, and for init(), in seconds.", low=1
    )
    progress_update_timeout = NumberSetting(
        None,
        "Time without progress that ends the run, in seconds. Default: the sum of the other timeouts.",
        low=1,
        high=259_200,
    )
    run_max_try = NumberSetting(3, "Maximum number of attempts for each mini-batch.", low=1)
    isolate_failures = FlagSetting(
        "Let items fail one by one: an exception in a result fails its item, and a mini-batch that "
        "has failed in its last attempt, or does not fit into memory, is divided until the failing "
        "items are alone. Mini-batches of partition_keys are never divided.",
        default=True,
    )
    retry_delay = NumberSetting(
        0.5,
        "Seconds before the first retry of a mini-batch; 0 for none. The delay doubles with each "
        "retry, to at most a minute (or retry_delay, if that is longer), and varies at random.",
        low=0,
        high=3600,
        whole=False,
    )
    retry_on = ExceptionsSetting(
        None,
        "Names of the exceptions after which a mini-batch is tried again, such as ConnectionError; "
        "all other errors are final. Default: all errors are tried again.",
    )
    no_retry_on = ExceptionsSetting(
        None,
        "Names of exceptions that are final, such as ValueError, also if retry_on allows them. "
        "Default: none.",
    )
    concurrency = NumberSetting(
        None,
        "Calls of run() in flight at once in each worker, for calls that wait for a server. One worker "
        "is then the default. Default: 50 if run() is async; otherwise 1. Above 1, a plain run() is "
        "called in threads.",
        low=1,
        high=10_000,
    )
    rate_limit = RateSetting(
        "calls",
        'Most calls of run() that start in a time, over all workers and nodes, such as "300/min", '
        '"5/s" or "10000/h". Default: no limit; the calls then slow down when a server asks for it.',
    )
    token_limit = RateSetting(
        "tokens",
        'Most tokens that calls spend in a time, such as "90000/min"; the script tells how many with '
        "context.spend(tokens=...). Default: no limit.",
    )
    token_prices = PricesSetting(
        None,
        'US dollars for a million tokens: a number, or input and output apart, such as "input=2.5, '
        'output=10". Default: tokens cost nothing.',
    )
    budget = BudgetSetting(
        None,
        'US dollars that the run may spend, such as "20 USD". It then finishes the calls in flight and '
        "ends; a resume with a larger budget continues. Default: no limit.",
    )
    preload = ModulesSetting(
        None,
        "Modules to import once, in a fork server that starts the workers (Linux, this machine "
        "only): auto for the modules that the script imports at its top level and in init(), and "
        "pandas for tables. Default: none.",
    )
    logging_level = OneOfSetting(
        LOGGING_LEVELS, "INFO", "Minimum level of the script's log messages to keep."
    )
    environment_variables = VariablesSetting(None, "Environment variables for the script.")
    description = TextSetting(None, "A description of the run.")
    notify = NotifySetting(
        None,
        "Who is told that the run has ended: desktop, mailto:NAME@HOST, env:VARIABLE (with the URL of "
        "a webhook) or the URL. Default: no one.",
    )

    def __init__(self, **settings: Any) -> None:
        unknown = [name for name in settings if not self.has_trait(name)]
        if unknown:
            names = field_names()
            msg = (
                f"ParallelRunConfig has no field {unknown[0]!r}."
                f"{nearest_hint(unknown[0], names)} The fields are: {', '.join(names)}."
            )
            raise ConfigError(msg)
        super().__init__()
        for name, value in settings.items():
            setattr(self, name, value)
        self.check()

    def check(self) -> None:
        """Check the fields against each other.

        Raises
        ------
        ConfigError
            More than one of ``mini_batch_size``, ``mini_batch_rows`` and ``partition_keys`` is
            set, a name is in both ``retry_on`` and ``no_retry_on``, or the environment or the
            compute target is invalid.
        """
        names = ("mini_batch_size", "mini_batch_rows", "partition_keys")
        values = [(name, getattr(self, name)) for name in names if getattr(self, name) is not None]
        if len(values) > 1:
            (first, first_value), (second, second_value) = values[:2]
            msg = f"{first} is {first_value!r} and {second} is {second_value!r}; set only one of them."
            if second == "partition_keys":
                msg += " With partition_keys, each combination of the keys is one mini-batch."
            raise ConfigError(msg)
        for name in self.retry_on or ():
            if name in (self.no_retry_on or ()):
                msg = (
                    f"{name!r} is in retry_on and in no_retry_on; remove it from one of them: after an "
                    "error in retry_on a mini-batch is tried again, an error in no_retry_on is final."
                )
                raise ConfigError(msg)
        as_environment(self.environment)
        as_compute(self.compute_target)

    @property
    def output_file(self) -> str:
        """The name of the file that ``append_row`` writes."""
        default = DEFAULT_OUTPUT_FILE
        if self.output_format is not None:
            default = f"{Path(default).stem}.{self.output_format}"
        return self.append_row_file_name or default

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, as YAML and JSON values."""
        record = {}
        for name in field_names():
            value = getattr(self, name)
            if isinstance(value, Environment):
                value = value.python
            elif name == "compute_target" and value is not None:
                value = as_compute(value).setting()
            elif isinstance(value, os.PathLike):
                value = str(value)
            elif callable(value):
                value = f"<function {value.__name__}>"
            elif isinstance(value, tuple):
                value = list(value)
            if value is not None and value != self.traits()[name].default_value:
                record[name] = value
        return record

    def save_to_yaml(self, path: str | os.PathLike[str]) -> None:
        """Write the configuration as YAML, under the key ``parallel_run_config`` as Azure does.

        Parameters
        ----------
        path
            The file, such as ``config.yml``. It is overwritten.

        Raises
        ------
        ConfigError
            The entry script is a function.
        """
        import yaml

        if is_entry(self.entry_script):
            msg = (
                f"entry_script is the function {self.entry_script.__name__!r} of the notebook, which "
                "YAML cannot represent. Write the function to a file as run(mini_batch), and give its path."
            )
            raise ConfigError(msg)
        text = yaml.safe_dump({"parallel_run_config": self.to_dict()}, sort_keys=False)
        Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def load_yaml(cls, path: str | os.PathLike[str]) -> ParallelRunConfig:
        """Read a configuration that ``save_to_yaml`` or Azure's SDK wrote.

        Parameters
        ----------
        path
            The YAML file.

        Raises
        ------
        ConfigError
            The file cannot be read, lacks the key ``parallel_run_config``, or has a wrong field.
            The message names the file.
        """
        import yaml

        try:
            record = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            msg = f"{os.fspath(path)!r} could not be read as YAML: {error}"
            raise ConfigError(msg) from error
        fields = record.get("parallel_run_config") if isinstance(record, dict) else None
        if not isinstance(fields, dict):
            msg = (
                f"{os.fspath(path)!r} has no mapping under the key 'parallel_run_config'; "
                "write one with ParallelRunConfig(...).save_to_yaml(path)."
            )
            raise ConfigError(msg)
        try:
            return cls(**fields)
        except ConfigError as error:
            msg = f"{os.fspath(path)!r}: {error}"
            raise ConfigError(msg) from error

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"ParallelRunConfig({shown})"


def field_names() -> list[str]:
    """Return the names of the configuration fields, in documentation order."""
    return [name for name in vars(ParallelRunConfig) if ParallelRunConfig.class_traits().get(name)]


def field_help(name: str) -> str:
    """Return the one-line description of a field."""
    return str(ParallelRunConfig.class_traits()[name].help)


def _parameters() -> str:
    """Return the section of the docstring that describes the fields."""
    lines = ["Parameters", "----------"]
    for name in field_names():
        default = ParallelRunConfig.class_traits()[name].default_value
        shown = "" if default is None else f" Default: {default}."
        lines += [
            name,
            *textwrap.wrap(
                field_help(name) + shown, 96, initial_indent="    ", subsequent_indent="    "
            ),
        ]
    return "\n".join(lines)


ParallelRunConfig.__doc__ = inspect.cleandoc(ParallelRunConfig.__doc__ or "").replace(
    "Raises\n", f"{_parameters()}\n\nRaises\n", 1
)
