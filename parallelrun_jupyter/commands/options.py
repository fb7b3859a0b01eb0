"""The options of a run as they are typed, in a cell and in a terminal."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ..config.run_config import (
    LOGGING_LEVELS,
    OUTPUT_ACTIONS,
    OUTPUT_FORMATS,
    ParallelRunConfig,
    field_help,
    field_names,
)
from ..data.datasets.inputs import FORMATS, is_dataset, open_path
from ..errors import ConfigError, InputError
from ..formatting import nearest_hint

_TYPES: dict[str, Any] = {
    "mini_batch_rows": int,
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
_CHOICES = {
    "output_action": OUTPUT_ACTIONS,
    "output_format": OUTPUT_FORMATS,
    "logging_level": LOGGING_LEVELS,
}
_METAVARS = {
    "mini_batch_size": "SIZE",
    "source_directory": "DIR",
    "environment": "PYTHON",
    "append_row_file_name": "NAME",
    "environment_variables": "NAME=VALUE",
    "partition_keys": "KEY",
    "preload": "MODULE",
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

    def describe(self, flag: str, text: str) -> None:
        """Change the help of an option."""
        for action in self._actions:
            if flag in action.option_strings:
                action.help = text

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
    add(
        "--input",
        "-i",
        action="append",
        metavar="PATH",
        help="File, folder, glob or URL; repeatable.",
    )
    add("--format", choices=FORMATS, help="What the paths hold: tables, read as such. Default: files"
        " that are not read, or what an MLTable file in the folder says.")  # fmt: skip
    add("--column-types", action="append", metavar="NAME=TYPE", help="Types of columns of csv and"
        " jsonl, such as id=str,when=datetime:%%d.%%m.%%Y, or one for all columns. Default: inferred"
        " from all rows. Repeatable.")  # fmt: skip
    add("--missing", action="append", metavar="WORDS", help="Fields of csv that count as missing,"
        " between commas, such as ,NA,- (the empty field, NA and -). Default: the empty field; in"
        " columns of numbers and dates also NA and the other words of pandas.")  # fmt: skip
    add("--no-missing", action="store_true", help="In text columns of csv nothing counts as"
        " missing, not even the empty field.")  # fmt: skip
    add(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder or URL for the joined rows. Default: the run's.",
    )
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
        if name in {"environment_variables", "partition_keys", "preload"}:
            add(flag, action="append", metavar=_METAVARS[name], help=_help(name) + " Repeatable.")
        elif name in _CHOICES:
            add(flag, choices=_CHOICES[name], help=_help(name))
        else:
            metavar = _METAVARS.get(name, "N")
            add(flag, type=_TYPES.get(name, str), metavar=metavar, help=_help(name))
    return parser


def add_resume_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be said of a resume, in a cell and in a terminal."""
    add = parser.add_argument
    add("--failed-only", action="store_true", help="Only what had failed.")
    add("--group", metavar="GROUP", help="Only what had failed in this group of failures.")
    add("--compute", metavar="WHERE", help="Go on elsewhere. Default: where it was.")
    add("--entry-script", metavar="SCRIPT", help="A corrected script.")


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
    if given.preload == ["auto"]:
        settings["preload"] = "auto"
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


def reading_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return how tables are read, as typed: ``column_types`` and ``missing``, where they are given.

    Raises
    ------
    ConfigError
        One of them cannot be understood, or is not for the ``--format``.
    """
    reading: dict[str, Any] = {}
    if given.column_types:
        reading["column_types"] = _column_types(given.column_types)
    if given.missing and given.no_missing:
        raise ConfigError("--missing and --no-missing contradict each other; give one of them.")
    if given.missing:
        reading["missing"] = [word for words in given.missing for word in words.split(",")]
    if given.no_missing:
        reading["missing"] = []
    for name, forms in (("column_types", ("csv", "jsonl")), ("missing", ("csv",))):
        if name in reading and given.format not in forms:
            option = "--no-missing" if given.no_missing else "--missing"
            option = "--column-types" if name == "column_types" else option
            has = "is missing" if given.format is None else f"is {given.format}"
            do = f"Leave {option} out" if given.format else f"Add --format {forms[0]}"
            msg = (
                f"{option} is for tables of the format {' or '.join(forms)}, but --format {has}. "
                f"{do}, or make the dataset in a cell of its own and give it with --input."
            )
            raise ConfigError(msg)
    return reading


def _column_types(texts: Sequence[str]) -> dict[str, str] | str:
    """Return the types in ``a=str,b=datetime:%d %b, %Y``: what has no ``=`` belongs to the form before."""
    names: list[str] = []
    kinds: list[str] = []
    for text in texts:
        for number, part in enumerate(text.split(",")):
            name, equals, kind = part.rpartition("=")
            if equals and name.strip():
                names.append(name.strip())
                kinds.append(kind.strip())
            elif number and kinds[-1].startswith("datetime:"):
                kinds[-1] += f",{part}"
            elif len(texts) == 1 and part == text and not equals:
                return part
            else:
                msg = (
                    f"--column-types is {text!r}; expected NAME=TYPE, or several between commas, such "
                    "as id=str,when=datetime."
                )
                raise ConfigError(msg)
    return dict(zip(names, kinds, strict=True))


def inputs_of(
    words: Sequence[str] | None,
    form: str | None = None,
    names: Mapping[str, Any] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Return the inputs that were typed: paths, and variables that hold datasets.

    Parameters
    ----------
    words
        The values of ``--input``.
    form
        The value of ``--format``.
    names
        The variables that there are; none in a terminal.
    reading
        How tables are read, as `reading_of` returns it.

    Raises
    ------
    InputError
        There is no input, or a path cannot be read.
    ConfigError
        A word is a path and a dataset's variable as well, or ``--format`` has nothing to say.
    """
    if not words:
        msg = "there is no --input; write for example --input 'digits/*.png'."
        raise InputError(msg)
    inputs = []
    for word in words:
        value = (names or {}).get(word)
        if is_dataset(value):
            inputs.append(_named_dataset(word, value, form))
        elif value is not None and not os.path.lexists(word):
            msg = (
                f"--input is {word!r}: there is no such file, and the variable of that name holds a "
                f"{type(value).__name__}, not a dataset. Write {word} = FileDataset(...) first, or "
                f"{{{word}}} for a path in it."
            )
            raise InputError(msg)
        else:
            inputs.append(open_path(word, form, reading))
    return inputs


def _named_dataset(word: str, value: Any, form: str | None) -> Any:
    if os.path.lexists(word):
        msg = (
            f"--input is {word!r}, which is a path here and also the variable of {value!r}. Write "
            f"./{word} for the path; for the dataset, give it another name."
        )
        raise ConfigError(msg)
    if form is not None:
        msg = (
            f"--format is {form!r}, but --input {word} is {value!r}, which knows what it holds. "
            "Leave --format out, or give a path."
        )
        raise ConfigError(msg)
    return value


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        msg = f"--environment-variables is {text!r}; expected NAME=VALUE."
        raise ConfigError(msg)
    return name, value
