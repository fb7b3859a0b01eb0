"""A configuration with its inputs, output and arguments bound."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .config import ParallelRunConfig
from .data.cut import Cut
from .data.files import FileDataset
from .data.partition_format import check_keys
from .data.tabular import TabularDataset
from .errors import ConfigError, InputError
from .parsing import parse_mini_batch_size

DEFAULT_FILES = 10
"""Files per mini-batch where none is given, as in Azure."""

DEFAULT_BYTES = 1024**2
"""Bytes of a table per mini-batch where none are given, as in Azure."""

Dataset = FileDataset | TabularDataset
Inputs = FileDataset | TabularDataset | str | os.PathLike[str] | Sequence[Any]


class ParallelRunStep:
    """What to run on what.

    Parameters
    ----------
    name
        A name for people; it is the run's name.
    parallel_run_config
        How to run.
    inputs
        What to run over: datasets, paths or globs, one or a list. Each is split on its own, and a
        mini-batch never mixes two.
    output
        Folder that receives ``append_row_file_name``; None for the run folder's own.
    side_inputs
        Paths or datasets that the script reads whole; they are not split.
    arguments
        The script's own command line. A dataset among them stands for its path.

    Raises
    ------
    ConfigError
        The configuration is none, or does not fit the inputs.
    InputError
        There are no inputs, or one cannot be used.
    """

    def __init__(
        self,
        name: str,
        parallel_run_config: object,
        inputs: Inputs,
        output: str | os.PathLike[str] | None = None,
        *,
        side_inputs: Sequence[Any] = (),
        arguments: Sequence[Any] = (),
    ) -> None:
        if not isinstance(parallel_run_config, ParallelRunConfig):
            msg = (
                f"parallel_run_config is {parallel_run_config!r}; expected a ParallelRunConfig, "
                "such as ParallelRunConfig(entry_script='score.py')."
            )
            raise ConfigError(msg)
        self.name = name
        self.config = parallel_run_config
        self.inputs = as_datasets(inputs)
        self.side_inputs = as_datasets(side_inputs, "side_inputs") if side_inputs else []
        self.output = None if output is None else _output_folder(output)
        self.arguments = [_argument(value) for value in arguments]
        self._check_keys()
        self._check_kinds()

    def __repr__(self) -> str:
        return f"ParallelRunStep({self.name!r}, {self.config!r}, inputs={self.inputs!r})"

    @property
    def cut(self) -> Cut:
        """How the inputs are cut into mini-batches.

        Raises
        ------
        ConfigError
            The size has a unit of bytes, which files are not counted in, or is one of rows.
        """
        given, rows = self.config.mini_batch_size, self.config.mini_batch_rows
        is_table = isinstance(self.inputs[0], TabularDataset)
        if rows is not None and not is_table:
            msg = (
                f"mini_batch_rows is {rows!r}, but the inputs are files, which are not read. Give "
                "mini_batch_size=5 (files), or inputs=TabularDataset.from_delimited_files(...)."
            )
            raise ConfigError(msg)
        if self.config.partition_keys:
            return Cut(1, keys=tuple(self.config.partition_keys))
        if given is None:
            return Cut(DEFAULT_BYTES if is_table else DEFAULT_FILES, rows or 0)
        size = parse_mini_batch_size(given)
        if size.has_unit and not is_table:
            msg = (
                f"mini_batch_size is {given!r}, a size in bytes; file inputs are counted in "
                "files. Write for example mini_batch_size=5."
            )
            raise ConfigError(msg)
        return Cut(size.count)

    def _check_kinds(self) -> None:
        if len({type(dataset) for dataset in self.inputs}) > 1:
            msg = (
                "inputs holds files and tables; a run's inputs are of one kind. Start one run for "
                "each."
            )
            raise ConfigError(msg)

    def _check_keys(self) -> None:
        """See that every input has the keys that are asked for (Azure: a subset of its own)."""
        keys = self.config.partition_keys
        for dataset in self.inputs if keys else ():
            check_keys(keys, dataset.partition_keys, repr(dataset))


def as_datasets(inputs: Inputs, what: str = "inputs") -> list[Dataset]:
    """Read ``inputs`` as the API takes them: datasets, paths and globs, one or a list of them.

    Raises
    ------
    InputError
        There is none, or one is of another type.
    """
    given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if not given or inputs is None:
        msg = f"{what} is empty; give a dataset, a file, a folder or a glob such as 'digits/*.png'."
        raise InputError(msg)
    return [_as_dataset(one, what) for one in given]


def _as_dataset(value: Any, what: str) -> Dataset:
    if isinstance(value, FileDataset | TabularDataset):
        return value
    if isinstance(value, str | os.PathLike):
        return FileDataset(value)
    msg = (
        f"{what} holds a {type(value).__name__}; expected a FileDataset, a TabularDataset, a path or a glob. "
        "Write for example inputs=FileDataset('digits/*.png')."
    )
    raise InputError(msg)


def _output_folder(output: str | os.PathLike[str]) -> str:
    text = os.fspath(output)
    if not text.strip() or "://" in text.removeprefix("file://"):
        msg = f"output is {text!r}; expected a local folder, which is made when it is missing."
        raise ConfigError(msg)
    return os.path.abspath(os.path.expanduser(text.removeprefix("file://")))


def _argument(value: Any) -> str:
    if isinstance(value, TabularDataset):
        value = value.files
    if isinstance(value, FileDataset):
        if len(value.paths) != 1:
            msg = f"arguments holds {value!r}; an argument can stand for one path only."
            raise ConfigError(msg)
        return value.paths[0]
    return str(value)
