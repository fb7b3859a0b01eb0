"""A configuration with its inputs, output and arguments bound."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..data.batching import BatchSpec
from ..data.datasets.file_dataset import FileDataset, is_several
from ..data.datasets.inputs import open_path
from ..data.datasets.tabular_dataset import TabularDataset
from ..data.partitions.path_format import check_keys
from ..data.storage.datastores import DataPath, Datastore, place_of
from ..data.storage.storage import Place, StorageSpec, local_path
from ..data.storage.transfer import why_not_written
from ..errors import ConfigError, InputError
from ..formatting import parse_mini_batch_size
from .run_config import ParallelRunConfig

DEFAULT_FILES = 10
"""Files per mini-batch where none is given, as in Azure."""

DEFAULT_BYTES = 1024**2
"""Bytes of a table per mini-batch where none are given, as in Azure."""

Dataset = FileDataset | TabularDataset
Inputs = FileDataset | TabularDataset | str | os.PathLike[str] | DataPath | Sequence[Any]
Output = str | os.PathLike[str] | DataPath | tuple[Datastore, str]


class OutputFolder:
    """Stands among the arguments for the folder that the script writes its own files to.

    That is ``AZUREML_BI_OUTPUT_PATH``: the output folder, or where the output is in a store, a
    local folder whose files are put there when the run completes.
    """


class ParallelRunStep:
    """What to run on what.

    Parameters
    ----------
    name
        A name for people; it is the run's name.
    parallel_run_config
        How to run.
    inputs
        What to run over: datasets, paths, globs or URLs, one or a list. Each is split on its own,
        and a mini-batch never mixes two. A folder with a file ``MLTable`` is what the file says.
    output
        Folder or URL that receives ``append_row_file_name``; None for the run folder's own.
    side_inputs
        Paths or datasets that the script reads whole; they are not split. Those in stores are
        brought to every node before its workers start.
    arguments
        The script's own command line. A dataset among them stands for its local path on the node.

    Raises
    ------
    ConfigError
        The configuration is none, or does not fit the inputs, or two side inputs have one name.
    InputError
        There are no inputs, or one cannot be used.
    """

    def __init__(
        self,
        name: str,
        parallel_run_config: object,
        inputs: Inputs,
        output: Output | None = None,
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
        sides = as_datasets(side_inputs, "side_inputs") if side_inputs else []
        self.side_inputs = [d.files if isinstance(d, TabularDataset) else d for d in sides]
        self.output: str | None = None
        self.output_storage: StorageSpec | None = None
        if output is not None:
            place = _output_place(output, self.inputs)
            self.output, self.output_storage = place.path, place.storage
        self.arguments = [self._argument(value) for value in arguments]
        self._check_keys()
        self._check_kinds()
        self._check_side_names()

    def __repr__(self) -> str:
        return f"ParallelRunStep({self.name!r}, {self.config!r}, inputs={self.inputs!r})"

    @property
    def cut(self) -> BatchSpec:
        """How the inputs are cut into mini-batches.

        Raises
        ------
        ConfigError
            The size has a unit of bytes, which files are not counted in, or is one of rows.
        """
        given, rows = self.config.mini_batch_size, self.config.mini_batch_rows
        keys = tuple(self.config.partition_keys or ())
        is_table = isinstance(self.inputs[0], TabularDataset)
        if rows is not None and not is_table:
            msg = (
                f"mini_batch_rows is {rows!r}, but the inputs are files, which are not read. Give "
                "mini_batch_size=5 (files), or inputs=TabularDataset.from_delimited_files(...)."
            )
            raise ConfigError(msg)
        if given is None:
            return BatchSpec(DEFAULT_BYTES if is_table else DEFAULT_FILES, keys, rows or 0)
        size = parse_mini_batch_size(given)
        if size.has_unit and not is_table:
            msg = (
                f"mini_batch_size is {given!r}, a size in bytes; file inputs are counted in "
                "files. Write for example mini_batch_size=5."
            )
            raise ConfigError(msg)
        return BatchSpec(size.count, keys)

    def _check_kinds(self) -> None:
        if len({type(dataset) for dataset in self.inputs}) > 1:
            msg = (
                "inputs holds files and tables; a run's inputs are of one kind. Start one run for "
                "each."
            )
            raise ConfigError(msg)

    def _check_side_names(self) -> None:
        """See that each name stands for one side input: it names a variable with the path."""
        named: dict[str, FileDataset] = {}
        for side in self.side_inputs:
            before = named.setdefault(side.name, side) if side.name else side
            if (before.paths, before.storage) != (side.paths, side.storage):
                msg = (
                    f"two side inputs are called {side.name!r}, {before!r} and {side!r}: the variable "
                    f"AZUREML_DATAREFERENCE_{side.name} has one path. Give each a name of its own."
                )
                raise ConfigError(msg)

    @property
    def side_specs(self) -> list[dict[str, Any]]:
        """The side inputs, as a run's record has them."""
        return [{**side.spec(), "name": side.name} for side in self.side_inputs]

    def _argument(self, value: Any) -> Any:
        """Return an argument as a run's record has it: text, or which side input it stands for."""
        if isinstance(value, DataPath) or (isinstance(value, tuple) and not is_several(value)):
            value = FileDataset(value)
        if isinstance(value, OutputFolder):
            return {"output": ""}
        if isinstance(value, TabularDataset):
            value = value.files
        if not isinstance(value, FileDataset):
            return str(value)
        if len(value.paths) != 1:
            msg = f"arguments holds {value!r}; an argument can stand for one path only."
            raise ConfigError(msg)
        known = [(side.paths, side.storage) for side in self.side_inputs]
        if (value.paths, value.storage) not in known:
            self.side_inputs.append(value)
        if not value.storage:
            return value.paths[0]
        return {"side": [*known, (value.paths, value.storage)].index((value.paths, value.storage))}

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
    several = isinstance(inputs, list | tuple) and is_several(inputs)
    given: list[Any] = list(inputs) if several else [inputs]  # type: ignore[arg-type] # narrowed above
    if not given or inputs is None:
        msg = f"{what} is empty; give a dataset, a file, a folder or a glob such as 'digits/*.png'."
        raise InputError(msg)
    return [_as_dataset(one, what) for one in given]


def _as_dataset(value: Any, what: str) -> Dataset:
    if isinstance(value, FileDataset | TabularDataset):
        return value
    if isinstance(value, str | os.PathLike) and what == "inputs":
        return open_path(value)
    if not is_several(value):
        return FileDataset(value)
    msg = (
        f"{what} holds a {type(value).__name__}; expected a FileDataset, a TabularDataset, a path or a glob. "
        "Write for example inputs=FileDataset('digits/*.png')."
    )
    raise InputError(msg)


def _output_place(output: Output, inputs: Sequence[Dataset]) -> Place:
    """Return where the output goes; a container without an account is the inputs' account's."""
    if isinstance(output, str | os.PathLike) and not os.fspath(output).strip():
        msg = (
            f"output is {output!r}; expected a folder, which is made when it is missing, or a URL."
        )
        raise ConfigError(msg)
    try:
        place = place_of(output)
    except ConfigError:
        lent = [d.storage for d in inputs if d.storage and d.storage.protocol == "az"]
        text = output if isinstance(output, str) else ""
        if not lent or not text.startswith("az://") or "@" in text:
            raise
        place = Place(text, lent[0])
    if place.storage is None:
        return Place(os.path.abspath(os.path.expanduser(local_path(place.path))))
    reason = why_not_written(place.storage)
    if reason:
        msg = f"output is {place.path!r}, where nothing can be written: {reason}"
        raise ConfigError(msg)
    return Place(place.path.rstrip("/"), place.storage)
