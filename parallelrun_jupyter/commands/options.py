"""The options of commands and magics, and the settings and inputs that they describe."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.run_config import (
    LOGGING_LEVELS,
    OUTPUT_ACTIONS,
    OUTPUT_FORMATS,
    ParallelRunConfig,
    field_help,
    field_names,
)
from ..data.datasets.inputs import FORMATS, is_dataset, open_path
from ..data.datasets.memory_dataset import MemoryDataset, container_of
from ..errors import ConfigError, InputError
from ..formatting import nearest_hint
from .cell import CELL
from .option_parser import UPDATE, OptionParser

_TYPES: dict[str, Any] = {
    "mini_batch_rows": int,
    "node_count": int,
    "process_count_per_node": int,
    "error_threshold": int,
    "allowed_failed_count": int,
    "allowed_failed_percent": float,
    "run_invocation_timeout": int,
    "run_max_try": int,
    "retry_delay": float,
    "concurrency": int,
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
    "retry_delay": "SECONDS",
    "retry_on": "NAME",
    "no_retry_on": "NAME",
    "preload": "MODULE",
    "rate_limit": "RATE",
    "token_limit": "RATE",
    "token_prices": "USD",
    "budget": "USD",
    "description": "TEXT",
    "notify": "WHO",
}
_REPEATABLE = {
    "environment_variables",
    "partition_keys",
    "preload",
    "retry_on",
    "no_retry_on",
    "notify",
}
_FLAGS = {"isolate_failures"}
_NOT_OPTIONS = {"entry_script", "compute_target"}  # the cell or SCRIPT, and --compute
_UPDATES = ("version", "digest")


def run_options(prog: str) -> OptionParser:
    """Return the parser of the options that the cell and the terminal share."""
    parser = OptionParser(prog=prog, add_help=False, allow_abbrev=False)
    add = parser.add_argument
    add(
        "--input",
        "-i",
        action="append",
        metavar="PATH",
        help="File, folder, glob or URL. Repeatable.",
    )
    add("--format", choices=FORMATS, help="Read the paths as tables of this format. Default: pass files"
        " unread, or follow an MLTable file in the folder.")  # fmt: skip
    add("--column-types", action="append", metavar="NAME=TYPE", help="Column types of csv and"
        " jsonl, such as id=str,when=datetime:%%d.%%m.%%Y, or one type for all columns. Default:"
        " inferred from all rows. Repeatable.")  # fmt: skip
    add("--columns", action="append", metavar="NAMES", help="Columns of tables that run() gets,"
        " separated by commas; the others are not parsed. Default: all. Repeatable.")  # fmt: skip
    add("--separator", metavar="CHARACTER", help="Separator of fields in csv, such as ';' or"
        " '\\t' (a tab). Default: a comma.")  # fmt: skip
    add("--encoding", metavar="NAME", help="Encoding of csv and jsonl, such as latin1 or utf16."
        " Default: utf8.")  # fmt: skip
    add("--missing", action="append", metavar="WORDS", help="Texts in csv that count as missing,"
        " separated by commas, such as ,NA,- (the empty field, NA and -). Default: the empty field;"
        " in columns of numbers and dates also NA and the other markers of pandas.")  # fmt: skip
    add("--no-missing", action="store_true", help="In text columns of csv, no field counts"
        " as missing, not even an empty one.")  # fmt: skip
    add(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder or URL for the output file. Default: the run's folder.",
    )
    add("--workers", "-w", type=int, metavar="N", help="Same as --process-count-per-node.")
    add("--name", metavar="NAME", help="Name of the run.")
    _add_update(parser)
    add("--run-duplicates-once", action="store_true", help="Run only the first of several local"
        " files with the same content. The others get a copy of its rows, so rows should depend on"
        " the content alone.")  # fmt: skip
    add(
        "--compute",
        metavar="WHERE",
        help="Where to run: local, tcp://SCHEDULER of Dask, azureml:NAME of Azure ML, or a named "
        "compute. Default: local.",
    )
    add("--dry-run", metavar="FOLDER", help="Write the job of a compute of Azure ML to a new folder,"
        " and submit nothing.")  # fmt: skip
    add("--arg", action="append", metavar="ARG",
        help="An argument for the script (--arg=--model). Repeatable.")  # fmt: skip
    _add_settings(parser)
    return parser


def cell_options() -> OptionParser:
    """Return the parser of the options of ``%%parallelrun``."""
    parser = run_options(CELL)
    parser.describe("--input", "File, folder, glob or URL, or a variable with a dataset, a table, an array or a list."
                    " If a name is both, write ./name for the path. Repeatable.")  # fmt: skip
    parser.add_argument("--use", action="append", metavar="NAMES", help="Variables, functions and"
        " classes of the notebook that the cell gets by value, separated by commas, such as"
        " weights,labels. Repeatable.")  # fmt: skip
    parser.add_argument("--as", dest="variable", metavar="NAME", default="run",
                        help="Variable that receives the Run. Default: run.")  # fmt: skip
    parser.add_argument("--try", dest="try_first", action="store_true",
                        help="Run the first mini-batch in the kernel before starting the run.")  # fmt: skip
    parser.add_argument("--wait", action="store_true", help="Wait until the run ends.")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Add an option for each field of the configuration."""
    add = parser.add_argument
    for name in field_names():
        if name in _NOT_OPTIONS:
            continue
        flag = "--" + name.replace("_", "-")
        if name in _REPEATABLE:
            add(flag, action="append", metavar=_METAVARS[name], help=_help(name) + " Repeatable.")
        elif name in _FLAGS:
            add(flag, action=argparse.BooleanOptionalAction, help=_help(name))
        elif name in _CHOICES:
            add(flag, choices=_CHOICES[name], help=_help(name))
        else:
            metavar = _METAVARS.get(name, "N")
            add(flag, type=_TYPES.get(name, str), metavar=metavar, help=_help(name))


def _add_update(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        UPDATE,
        choices=_UPDATES,
        metavar="[=digest]",
        help="Take the rows of unchanged items from the newest run of the same script, settings and "
        "arguments, and run only the others. Unchanged: same size and time, or ETag; with =digest "
        "also the same content with another time.",
    )


def add_resume_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``resume``."""
    add = parser.add_argument
    add(
        "--failed-only",
        action="store_true",
        help="Run only the items that failed, and again mini-batches with fewer results than items.",
    )
    add("--group", metavar="GROUP", help="Run only the items that failed in this group.")
    add("--error-threshold", type=int, metavar="N",
        help="Number of failed items to tolerate from now on; -1 for any number.")  # fmt: skip
    add("--budget", metavar="USD",
        help="US dollars that the run may spend, with what it has spent already, such as '40 USD'.")  # fmt: skip
    add("--compute", metavar="WHERE", help="Where to continue. Default: the compute used before.")
    add("--entry-script", metavar="SCRIPT", help="Path of a corrected script.")


def _help(name: str) -> str:
    """Return the help of an option, with ``%`` escaped for argparse."""
    text = field_help(name)
    default = ParallelRunConfig.class_traits()[name].default_value
    if default is not None and "Default" not in text:
        text += f" Default: {default}."
    return text.replace("%", "%%")


def update_of(options: argparse.Namespace) -> bool | str:
    """Return the value of ``update`` for `submit`."""
    return "digest" if options.update == "digest" else options.update is not None


def config_of(options: argparse.Namespace, **settings: Any) -> ParallelRunConfig:
    """Return the configuration that the options describe.

    Raises
    ------
    ConfigError
        A value is outside its range, or two options contradict each other.
    """
    for name in field_names():
        value = getattr(options, name, None)
        if value is not None:
            settings[name] = value
    if options.preload == ["auto"]:
        settings["preload"] = "auto"
    if options.environment_variables:
        settings["environment_variables"] = dict(map(_variable, options.environment_variables))
    if options.workers is not None:
        if options.process_count_per_node not in {None, options.workers}:
            msg = (
                f"--workers is {options.workers} and --process-count-per-node is "
                f"{options.process_count_per_node}; both set the number of worker processes, so "
                "give one of them."
            )
            raise ConfigError(msg)
        settings["process_count_per_node"] = options.workers
    return ParallelRunConfig(**settings)


_READING_FORMS = {
    "column_types": ("csv", "jsonl"),
    "columns": ("csv", "jsonl", "parquet"),
    "separator": ("csv",),
    "encoding": ("csv", "jsonl"),
    "missing": ("csv",),
}
"""The formats that each argument for reading tables is for."""


def reading_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments for reading tables that are present, by the names that readers give them.

    Raises
    ------
    ConfigError
        An option is malformed, or does not apply to the ``--format``.
    """
    reading: dict[str, Any] = {}
    if options.column_types:
        reading["column_types"] = _column_types(options.column_types)
    if options.columns:
        reading["columns"] = [name for names in options.columns for name in names.split(",")]
    if options.separator is not None:
        # Shells and cells pass these two characters on as they are written.
        reading["separator"] = options.separator.replace("\\t", "\t")
    if options.encoding is not None:
        reading["encoding"] = options.encoding
    if options.missing and options.no_missing:
        raise ConfigError("--missing and --no-missing contradict each other; give one of them.")
    if options.missing:
        reading["missing"] = [text for texts in options.missing for text in texts.split(",")]
    if options.no_missing:
        reading["missing"] = []
    for name, forms in _READING_FORMS.items():
        if name in reading and options.format not in forms:
            option = "--no-missing" if options.no_missing and name == "missing" else f"--{name}"
            option = option.replace("_", "-")
            actual = "is missing" if options.format is None else f"is {options.format}"
            remedy = f"Leave {option} out" if options.format else f"Add --format {forms[0]}"
            msg = (
                f"{option} is for tables of the format {' or '.join(forms)}, but --format {actual}. "
                f"{remedy}, or make the dataset in a cell of its own and give it with --input."
            )
            raise ConfigError(msg)
    return reading


def _column_types(texts: Sequence[str]) -> dict[str, str] | str:
    """Parse ``a=str,b=datetime:%d %b, %Y``: a part without ``=`` continues the one before it."""
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
                    f"--column-types is {text!r}; expected NAME=TYPE, or several separated by "
                    "commas, such as id=str,when=datetime."
                )
                raise ConfigError(msg)
    return dict(zip(names, kinds, strict=True))


def inputs_of(
    words: Sequence[str] | None,
    form: str | None = None,
    names: Mapping[str, Any] | None = None,
    reading: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Return the inputs that the options name: paths, and variables with datasets or data.

    Data are lists and other iterables, arrays and tables: their elements or rows are the items, also
    those of a list of paths.

    Parameters
    ----------
    words
        The values of ``--input``.
    form
        The value of ``--format``.
    names
        The notebook's variables; None in a terminal.
    reading
        Arguments for reading tables, as `reading_of` returns them.

    Raises
    ------
    InputError
        No input is given, or a path cannot be read.
    ConfigError
        A word is both a path and a variable with a dataset or data, or ``--format`` does not apply.
    """
    if not words:
        msg = "--input is missing; write, for example, --input 'digits/*.png'."
        raise InputError(msg)
    inputs = []
    for word in words:
        value = (names or {}).get(word)
        if is_dataset(value):
            inputs.append(_named_dataset(word, value, form))
        elif value is not None and container_of(value):
            inputs.append(_named_dataset(word, MemoryDataset(value, word), form))
        elif value is not None and not os.path.lexists(word):
            msg = (
                f"--input is {word!r}: there is no such file, and the variable of that name is a "
                f"{type(value).__name__}, not a dataset. Write {word} = FileDataset(...) first, or "
                f"{{{word}}} for a path in it."
            )
            raise InputError(msg)
        else:
            _check_spelling(word, names or {})
            inputs.append(open_path(word, form, reading))
    return inputs


def _check_spelling(word: str, names: Mapping[str, Any]) -> None:
    """Check that a word is not the misspelled name of a variable."""
    if not word.isidentifier() or os.path.lexists(word):
        return
    data = (name for name, value in names.items() if is_dataset(value) or container_of(value))
    hint = nearest_hint(word, (name for name in data if not name.startswith("_")))
    if hint:
        msg = (
            f"--input is {word!r}: there is neither such a file nor a variable of that name.{hint}"
        )
        raise InputError(msg)


def _named_dataset(word: str, value: Any, form: str | None) -> Any:
    is_data = isinstance(value, MemoryDataset)
    shown = f"the values of a {value.container}" if is_data else repr(value)
    if os.path.lexists(word):
        kind = "values" if is_data else "dataset"
        msg = (
            f"--input is {word!r}, which is a path in this folder and also a variable with "
            f"{shown}. Write "
            f"./{word} for the path; for the {kind}, give it another name."
        )
        raise ConfigError(msg)
    if form is not None:
        why = "are not parsed" if is_data else "already defines its format"
        msg = (
            f"--format is {form!r}, but --input {word} is {shown}, which {why}. Omit --format, or "
            "give a path."
        )
        raise ConfigError(msg)
    return value


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        msg = f"--environment-variables is {text!r}; expected NAME=VALUE."
        raise ConfigError(msg)
    return name, value
