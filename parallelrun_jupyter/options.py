"""The options of a run as they are typed, in a cell and in a terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from .config import LOGGING_LEVELS, OUTPUT_ACTIONS, ParallelRunConfig, field_help, field_names
from .errors import ConfigError
from .parsing import nearest_hint

_TYPES: dict[str, Any] = {
    "node_count": int,
    "process_count_per_node": int,
    "error_threshold": int,
    "allowed_failed_count": int,
    "allowed_failed_percent": float,
    "run_invocation_timeout": int,
    "run_max_try": int,
    "task_overhead_timeout": int,
    "first_task_creation_timeout": int,
    "progress_update_timeout": int,
}
_CHOICES = {"output_action": OUTPUT_ACTIONS, "logging_level": LOGGING_LEVELS}
_METAVARS = {
    "mini_batch_size": "SIZE",
    "source_directory": "DIR",
    "environment": "PYTHON",
    "append_row_file_name": "NAME",
    "environment_variables": "NAME=VALUE",
    "partition_keys": "KEY",
    "description": "TEXT",
}
_NOT_OPTIONS = {"entry_script", "compute_target"}  # what is run, and --compute


class OptionParser(argparse.ArgumentParser):
    """A parser whose mistakes are errors with a remedy, and which ends no process."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing a usage page."""
        is_magic = self.prog.startswith("%")
        helper = f"{self.prog}?" if is_magic else f"'{self.prog} -h'"
        if not message.startswith("unrecognized arguments: "):
            raise ConfigError(f"{message}; {helper} shows the options.")
        given = message.removeprefix("unrecognized arguments: ").split()[0]
        name = self.prog if is_magic else f"'{self.prog}'"
        hint = nearest_hint(given, self.flags())
        raise ConfigError(f"{given} is no option of {name}.{hint} {helper} shows them.")

    def flags(self) -> list[str]:
        """Return the long options."""
        return [s for a in self._actions for s in a.option_strings if s.startswith("--")]

    def values_of(self, flag: str) -> list[str]:
        """Return the values that an option can have, where they are a closed set."""
        for action in self._actions:
            if flag in action.option_strings:
                return [str(choice) for choice in action.choices or ()]
        return []


def run_options(prog: str) -> OptionParser:
    """Return the parser of the options that the cell and the terminal share."""
    parser = OptionParser(prog=prog, add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add("--input", "-i", action="append", metavar="PATH", help="File, folder or glob; repeatable.")
    add("--output", "-o", metavar="DIR", help="Folder for the joined rows. Default: the run's.")
    add("--workers", "-w", type=int, metavar="N", help="Same as --process-count-per-node.")
    add("--name", metavar="NAME", help="A name for the run.")
    add(
        "--compute",
        metavar="WHERE",
        help="Where to run: local, tcp://SCHEDULER of Dask, or a name. Default: local.",
    )
    add("--arg", action="append", metavar="ARG", help="One argument of the script (--arg=--model).")
    for name in field_names():
        if name in _NOT_OPTIONS:
            continue
        flag = "--" + name.replace("_", "-")
        if name in {"environment_variables", "partition_keys"}:
            add(flag, action="append", metavar=_METAVARS[name], help=_help(name) + " Repeatable.")
        elif name in _CHOICES:
            add(flag, choices=_CHOICES[name], help=_help(name))
        else:
            metavar = _METAVARS.get(name, "N")
            add(flag, type=_TYPES.get(name, str), metavar=metavar, help=_help(name))
    return parser


def _help(name: str) -> str:
    """Return the help of an option, which has to double what argparse would fill in."""
    text = field_help(name)
    default = ParallelRunConfig.class_traits()[name].default_value
    if default is not None and "Default" not in text:
        text += f" Default: {default}."
    return text.replace("%", "%%")


def split_script_arguments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words before a bare ``--``, and the script's own after it."""
    words = list(words)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def config_of(given: argparse.Namespace, **settings: Any) -> ParallelRunConfig:
    """Return the configuration that was typed.

    Raises
    ------
    ConfigError
        A value outside its range, or two options that say the same differently.
    """
    for name in field_names():
        value = getattr(given, name, None)
        if value is not None:
            settings[name] = value
    if given.environment_variables:
        settings["environment_variables"] = dict(map(_variable, given.environment_variables))
    if given.workers is not None:
        if given.process_count_per_node not in {None, given.workers}:
            msg = (
                f"--workers is {given.workers} and --process-count-per-node is "
                f"{given.process_count_per_node}; they mean the same, so give one of them."
            )
            raise ConfigError(msg)
        settings["process_count_per_node"] = given.workers
    return ParallelRunConfig(**settings)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        msg = f"--environment-variables is {text!r}; expected NAME=VALUE."
        raise ConfigError(msg)
    return name, value
