"""A configuration with its inputs, output and arguments bound."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from ..data.batching import BatchSpec
from ..data.datasets.file_dataset import FileDataset, is_several
from ..data.datasets.inputs import open_path
from ..data.datasets.memory_dataset import MemoryDataset, container_of, refused
from ..data.datasets.tabular_dataset import TabularDataset
from ..data.partitions.path_format import check_keys
from ..data.storage.datastores import DataPath, Datastore, place_of
from ..data.storage.storage import Place, StorageSpec, local_path
from ..data.storage.transfer import why_not_written
from ..errors import ConfigError, InputError
from ..formatting import parse_mini_batch_size
from .run_config import ParallelRunConfig

DEFAULT_FILES = 10
"""The default number of files per mini-batch, as in Azure."""

DEFAULT_BYTES = 1024**2
"""The default number of bytes of a table per mini-batch, as in Azure."""

Dataset = FileDataset | TabularDataset | MemoryDataset
_KINDS: dict[type, str] = {
    FileDataset: "files", TabularDataset: "tables", MemoryDataset: "variables of the notebook"
}  # fmt: skip
Inputs = (
    FileDataset | TabularDataset | MemoryDataset | str | os.PathLike[str] | DataPath | Sequence[Any]
)
_AS_TABLES = (
    "read the files as tables: TabularDataset.from_delimited_files(...), or --format csv in the "
    "terminal and in %%parallelrun"
)
Output = str | os.PathLike[str] | DataPath | tuple[Datastore, str]


class OutputFolder:
    """An argument that stands for the folder into which the script writes its own files.

    It is the folder in ``AZUREML_BI_OUTPUT_PATH``: the output folder or, if the output is in a
    store, a local folder whose files are uploaded when the run completes.
    """


class ParallelRunStep:
    """A configuration with its inputs, output and arguments; `submit` runs it.

    Parameters
    ----------
    name
        The run's name.
    parallel_run_config
        The settings, a `ParallelRunConfig`.
    inputs
        Datasets, paths, globs or URLs to run over, one or a list; or a DataFrame, a Series, an array,
        an Arrow table or another iterable of the notebook. A list is one of paths: for a list of
        values, give a `MemoryDataset`. Each is split into mini-batches on its own. A folder with an ``MLTable`` file is read as that file describes.
    output
        Folder or URL that receives the output file. Default: the run's own folder.
    side_inputs
        Paths or datasets that every worker reads whole, such as a model. Those in object stores are
        downloaded to each node before its workers start.
    arguments
        Command-line arguments of the script. A dataset among them becomes a side input, and the
        script gets its local path.

    Raises
    ------
    ConfigError
        ``parallel_run_config`` is not a `ParallelRunConfig` or does not fit the inputs, nothing can
        be written to ``output``, or two side inputs have the same name.
    InputError
        ``inputs`` is empty, or one of them cannot be used.

    Examples
    --------
    ::

        config = ParallelRunConfig(entry_script="score.py", mini_batch_size=5)
        step = ParallelRunStep(
            "digits", config, "digits/*.png", output="predictions/", side_inputs=["model.npz"]
        )
        run = submit(step)
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
        self.side_inputs = [_files_of(dataset) for dataset in sides]
        self.output: str | None = None
        self.output_storage: StorageSpec | None = None
        if output is not None:
            place = _output_place(output, self.inputs)
            self.output, self.output_storage = place.path, place.storage
        self.arguments = [self._argument(value) for value in arguments]
        self._check_partition_keys()
        self._check_kinds()
        self._check_side_names()

    def __repr__(self) -> str:
        return f"ParallelRunStep({self.name!r}, {self.config!r}, inputs={self.inputs!r})"

    @property
    def cut(self) -> BatchSpec:
        """The size of mini-batches, or the keys that group them.

        Raises
        ------
        ConfigError
            The inputs are files, and the size is in bytes or in rows.
        """
        text, rows = self.config.mini_batch_size, self.config.mini_batch_rows
        keys = tuple(self.config.partition_keys or ())
        if isinstance(self.inputs[0], MemoryDataset):
            return self._cut_of_memory()
        is_table = isinstance(self.inputs[0], TabularDataset)
        if rows is not None and not is_table:
            msg = (
                f"mini_batch_rows is {rows!r}, but the inputs are files, not tables. Give "
                f"mini_batch_size=5 (files), or {_AS_TABLES}."
            )
            raise ConfigError(msg)
        if text is None:
            return BatchSpec(DEFAULT_BYTES if is_table else DEFAULT_FILES, keys, rows or 0)
        size = parse_mini_batch_size(text)
        if size.has_unit and not is_table:
            msg = (
                f"mini_batch_size is {text!r}, a size in bytes; file inputs are counted in "
                f"files. Write, for example, mini_batch_size=5, or {_AS_TABLES}."
            )
            raise ConfigError(msg)
        return BatchSpec(size.count, keys)

    def _cut_of_memory(self) -> BatchSpec:
        """Return the size of mini-batches of the notebook's variables; 0 for the default."""
        text, rows = self.config.mini_batch_size, self.config.mini_batch_rows
        if text is None:
            return BatchSpec(rows or 0)
        size = parse_mini_batch_size(text)
        if size.has_unit:
            msg = (
                f"mini_batch_size is {text!r}, a size in bytes; the items of {self.inputs[0]!r} are "
                "counted. Write, for example, mini_batch_size=500."
            )
            raise ConfigError(msg)
        return BatchSpec(size.count)

    def _check_kinds(self) -> None:
        kinds = {type(dataset): _KINDS[type(dataset)] for dataset in self.inputs}
        if len(kinds) > 1:
            msg = (
                f"inputs contains {' and '.join(sorted(kinds.values()))}; a run's inputs must be of "
                "one kind. Start one run for each."
            )
            raise ConfigError(msg)

    def _check_side_names(self) -> None:
        """Check that the names of side inputs are unique: each names a variable with one path."""
        by_name: dict[str, FileDataset] = {}
        for side in self.side_inputs:
            first = by_name.setdefault(side.name, side) if side.name else side
            if (first.paths, first.storage) != (side.paths, side.storage):
                msg = (
                    f"two side inputs have the name {side.name!r}, {first!r} and {side!r}: the "
                    f"variable AZUREML_DATAREFERENCE_{side.name} can hold one path. Give each its own name."
                )
                raise ConfigError(msg)

    @property
    def side_specs(self) -> list[dict[str, Any]]:
        """The side inputs, in the form of a run's record."""
        return [{**side.spec(), "name": side.name} for side in self.side_inputs]

    def _argument(self, value: Any) -> Any:
        """Return an argument in the form of a run's record: text, or the number of a side input."""
        if isinstance(value, DataPath) or (isinstance(value, tuple) and not is_several(value)):
            value = FileDataset(value)
        if isinstance(value, OutputFolder):
            return {"output": ""}
        if isinstance(value, TabularDataset):
            value = value.files
        if not isinstance(value, FileDataset):
            return str(value)
        if len(value.paths) != 1:
            msg = f"arguments contains {value!r}; an argument can stand for one path only."
            raise ConfigError(msg)
        place = (value.paths, value.storage)
        places = [(side.paths, side.storage) for side in self.side_inputs]
        if place not in places:
            self.side_inputs.append(value)
        return {"side": [*places, place].index(place)} if value.storage else value.paths[0]

    def _check_partition_keys(self) -> None:
        """Check that every input has all partition keys; it may have more, as in Azure."""
        keys = self.config.partition_keys
        if keys and isinstance(self.inputs[0], MemoryDataset):
            msg = (
                f"partition_keys is {keys!r}, but the input {self.inputs[0]!r} is a variable, which has "
                "no keys in paths. Give its groups, such as MemoryDataset(list(frame.groupby(...)))."
            )
            raise ConfigError(msg)
        for dataset in self.inputs if keys else ():
            check_keys(keys, dataset.partition_keys, repr(dataset))


def as_datasets(inputs: Inputs, parameter: str = "inputs") -> list[Dataset]:
    """Return the datasets that ``inputs`` describes: datasets, paths and globs, one or a list.

    Raises
    ------
    InputError
        The list is empty, or an element is of another type. The message names ``parameter``.
    """
    several = isinstance(inputs, list | tuple) and is_several(inputs)
    values: list[Any] = list(inputs) if several else [inputs]  # type: ignore[arg-type] # narrowed above
    if not values or inputs is None:
        msg = f"{parameter} is empty; give a dataset, a file, a folder or a glob such as 'digits/*.png'."
        raise InputError(msg)
    return [_as_dataset(value, parameter) for value in values]


def _files_of(dataset: Dataset) -> FileDataset:
    """Return the files of a side input."""
    if isinstance(dataset, MemoryDataset):
        msg = (
            f"side_inputs contains {dataset!r}, a variable; expected files. Give the variable to the "
            "script with use=, or save it to a file."
        )
        raise InputError(msg)
    return dataset.files if isinstance(dataset, TabularDataset) else dataset


def _as_dataset(value: Any, parameter: str) -> Dataset:
    if isinstance(value, FileDataset | TabularDataset | MemoryDataset):
        return value
    if isinstance(value, str | os.PathLike) and parameter == "inputs":
        return open_path(value)
    if not is_several(value):
        return FileDataset(value)
    if parameter == "inputs" and not isinstance(value, list | tuple) and container_of(value):
        return MemoryDataset(value)
    if parameter == "inputs" and isinstance(value, Mapping | AbstractSet):
        raise refused(value, "inputs is")
    msg = (
        f"{parameter} contains a value of the type {type(value).__name__}; expected a FileDataset, "
        "a TabularDataset, a path or a glob. Write, for example, "
        "inputs=FileDataset('digits/*.png')."
    )
    if parameter == "inputs":
        msg += " For a list of values of the notebook, write inputs=MemoryDataset(values)."
    raise InputError(msg)


def _output_place(output: Output, inputs: Sequence[Dataset]) -> Place:
    """Return the output's location; a container without an account is in the inputs' account."""
    if isinstance(output, str | os.PathLike) and not os.fspath(output).strip():
        msg = f"output is {output!r}; expected a folder, which is created if missing, or a URL."
        raise ConfigError(msg)
    try:
        place = place_of(output)
    except ConfigError:
        accounts = [d.storage for d in inputs if d.storage and d.storage.protocol == "az"]
        text = output if isinstance(output, str) else ""
        if not accounts or not text.startswith("az://") or "@" in text:
            raise
        place = Place(text, accounts[0])
    if place.storage is None:
        return Place(os.path.abspath(os.path.expanduser(local_path(place.path))))
    reason = why_not_written(place.storage)
    if reason:
        msg = f"output is {place.path!r}, which cannot be written to: {reason}"
        raise ConfigError(msg)
    return Place(place.path.rstrip("/"), place.storage)
