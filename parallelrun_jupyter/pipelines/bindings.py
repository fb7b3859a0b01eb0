"""The values of a step: its bindings resolved to paths, datasets and parameters."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.step import OutputFolder
from ..data.datasets.file_dataset import FileDataset
from ..data.datasets.inputs import dataset_of, open_path
from ..data.datasets.mltable import mltable_at
from ..data.datasets.tabular_dataset import TabularDataset
from ..data.local.listing import place_below
from ..data.staging.local_copies import local_copies
from ..data.storage.datastores import DataPath, Datastore
from ..data.storage.storage import Place, StorageSpec
from ..errors import ConfigError, InputError
from ..runs.journal.pipelines import PipelineState
from .folder import (
    STEP_RUN_ID,
    InputRecord,
    OutputRecord,
    PipelineRecord,
    StepRecord,
    is_staged,
)

_MAGIC = "*?["


class Bindings:
    """The values of one step at the time it starts.

    Parameters
    ----------
    record
        The pipeline.
    step
        The step.
    state
        The pipeline's state; the steps that this one needs have completed.
    step_run_id
        The id of this step's run.
    folder
        The step's folder, for links to its side inputs and for outputs to upload.
    """

    def __init__(
        self,
        record: PipelineRecord,
        step: StepRecord,
        state: PipelineState,
        step_run_id: str,
        folder: Path,
    ) -> None:
        self._record = record
        self._step = step
        self._state = state
        self._step_run_id = step_run_id
        self._folder = folder

    def value(self, binding: Any) -> Any:
        """Return the value of a binding; a literal value is returned unchanged."""
        match binding:
            case {"parameter": str(name)}:
                return self._parameter(name)
            case {"output": [str(step), str(name)]}:
                return self._state.step(step).outputs[name]
            case {"input": str(name)}:
                return self.local_path(self._input(name))
            case {"write": str(name)}:
                return self._folder_to_write(self._output(name))
            case {"join": [*parts]}:
                return "".join(_argument_text(self.value(part)) for part in parts)
            case _:
                return binding

    def _parameter(self, name: str) -> Any:
        try:
            return self._record.parameters[name]
        except KeyError:
            msg = f"the pipeline has no parameter {name!r}."
            raise ConfigError(msg) from None

    def _input(self, name: str) -> InputRecord:
        items = [*self._step.side_inputs, *self._step.inputs]
        return next(item for item in items if item.name == name)

    def _output(self, name: str) -> OutputRecord:
        return next(output for output in self._step.outputs if output.name == name)

    def _folder_to_write(self, output: OutputRecord) -> str:
        """Return the output's path; for one that is staged, that of the files to upload."""
        if not is_staged(self._step, output):
            return self.output_folder(output)
        folder = self._folder / "outputs" / output.name
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder / os.path.basename(output.path) if output.is_file else folder)

    def credential_variables(self) -> set[str]:
        """Return the names of variables with credentials, which scripts must not get."""
        specs = [output.storage for step in self._record.steps for output in step.outputs]
        storages = [StorageSpec.of_spec(spec) for spec in specs if spec]
        datasets = [self.dataset(item) for item in (*self._step.inputs, *self._step.side_inputs)]
        storages += [dataset.storage for dataset in datasets if getattr(dataset, "storage", None)]
        return {name for storage in storages for name in storage.held_variables()}

    def settings(self) -> dict[str, Any]:
        """Return the settings of the step, with the values of its parameters."""
        return {name: self.value(value) for name, value in self._step.settings.items()}

    def arguments(self) -> list[str]:
        """Return the command-line arguments of a plain script."""
        return [_argument_text(self.value(value)) for value in self._step.arguments]

    def arguments_for_nodes(self) -> list[Any]:
        """Return the arguments of a run; each node downloads its own copy of remote inputs."""
        arguments: list[Any] = []
        for value in self._step.arguments:
            match value:
                case {"input": str(name)} if dataset := self._remote_input(self._input(name)):
                    arguments.append(dataset)
                case {"write": str(name)} if self._is_in_store(self._output(name)):
                    arguments.append(OutputFolder())
                case _:
                    arguments.append(_argument_text(self.value(value)))
        return arguments

    def _is_in_store(self, output: OutputRecord) -> bool:
        return output.storage is not None and not is_staged(self._step, output)

    def _remote_input(self, item: InputRecord) -> FileDataset | None:
        """Return an input as a dataset if it is a single path of an object store, else None."""
        dataset = self.dataset(item)
        if isinstance(dataset, FileDataset) and dataset.storage and len(dataset.paths) == 1:
            return dataset
        return None

    def dataset(self, item: InputRecord) -> Any:
        """Return an input as a dataset."""
        value = self.value(item.value)
        if isinstance(value, str):  # the output folder of an earlier step
            return _read_as(item, self._place_of_output(item, value))
        return dataset_of(value)

    def _place_of_output(self, item: InputRecord, path: str) -> Place:
        step, name = item.value["output"]
        outputs = self._record.step(step).outputs
        spec = next(output.storage for output in outputs if output.name == name)
        return Place(path, StorageSpec.of_spec(spec) if spec else None)

    def output_folder(self, output: OutputRecord) -> str:
        """Return the folder, or the URL, of an output."""
        path = output.path.replace(STEP_RUN_ID, self._step_run_id)
        return f"{output.root.rstrip('/')}/{path}"

    def output_path(self, output: OutputRecord) -> DataPath:
        """Return the path that a run writes: in the datastore, or in the folder to upload."""
        if is_staged(self._step, output):
            folder = Datastore("", str(self._folder / "outputs" / output.name), None)
            return folder.path(os.path.basename(output.path) if output.is_file else "")
        storage = StorageSpec.of_spec(output.storage) if output.storage else None
        path = output.path.replace(STEP_RUN_ID, self._step_run_id)
        return Datastore(output.datastore, output.root, storage).path(path)

    def local_path(self, item: InputRecord) -> str:
        """Return the local path of a side input.

        A local folder or file is used in place. Files of globs, of lists, of object stores and of an
        MLTable are linked below a folder, by their paths relative to their common folder.

        Raises
        ------
        ConfigError
            The input is a table.
        """
        dataset = self.dataset(item)
        is_mltable = item.reads == "mltable"
        if is_mltable and isinstance(dataset, TabularDataset):
            dataset = dataset.files
        if not isinstance(dataset, FileDataset):
            msg = f"the input {item.name!r} is a table; only files can be mounted as a side input."
            raise ConfigError(msg)
        paths = dataset.paths
        is_glob = any(sign in paths[0] for sign in _MAGIC)
        is_folder = not is_mltable or os.path.isdir(paths[0])
        if len(paths) == 1 and not is_glob and not dataset.storage and is_folder:
            return self._at_wanted_path(item, paths[0])
        return self._linked(item, dataset)

    def _linked(self, item: InputRecord, dataset: FileDataset) -> str:
        files = [file for batch in dataset.folders() for file in batch]
        urls = [file[0] for file in files]
        local = urls
        if dataset.storage:
            local = local_copies(files, dataset.storage)
            if urls == [dataset.paths[0]]:  # a single file
                return self._at_wanted_path(item, local[0])
        target = Path(item.path_on_compute or self._folder / "inputs" / item.name)
        link_files(target, list(dataset.paths), urls, local)
        return str(target)

    @staticmethod
    def _at_wanted_path(item: InputRecord, path: str) -> str:
        """Link a file or folder at the path the script expects; if that exists, return its own path."""
        wanted = item.path_on_compute
        if not wanted or not os.path.isabs(wanted):
            return path
        if os.path.isdir(wanted) and not os.path.islink(wanted) and not os.listdir(wanted):
            os.rmdir(wanted)  # a fresh temporary folder, which notebooks create as a mount point
        if not os.path.lexists(wanted):
            os.makedirs(os.path.dirname(wanted), exist_ok=True)
            with suppress(FileExistsError):  # another step made it since
                os.symlink(path, wanted)
        return wanted if os.path.realpath(wanted) == os.path.realpath(path) else path


def common_folder(paths: list[str], files: list[str]) -> str:
    """Return the folder that the files of a dataset are relative to.

    Parameters
    ----------
    paths
        The dataset's paths: folders, files and globs.
    files
        The paths of its files.
    """
    file_set = set(files)
    folders = []
    for path in paths:
        parts = path.rstrip("/").split("/")
        if path in file_set:
            folders.append("/".join(parts[:-1]))
            continue
        end = None
        if not os.path.isdir(path):  # the name of a folder may contain brackets
            end = next((i for i, part in enumerate(parts) if any(s in part for s in _MAGIC)), None)
        folders.append("/".join(parts[:end]))
    return os.path.commonpath(folders) if len(folders) > 1 else folders[0]


def link_files(
    folder: Path, paths: list[str], names: Sequence[str], targets: Sequence[str]
) -> None:
    """Link the files of a dataset below a folder, by their paths relative to `common_folder`.

    ``paths`` are the dataset's, ``names`` the paths or URLs of its files, ``targets`` their local
    paths.
    """
    common = common_folder(paths, list(names))
    for name, target in zip(names, targets, strict=True):
        link = Path(place_below(str(folder), os.path.relpath(name, common), name))
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            with suppress(FileExistsError):  # another step with this path made it since
                link.symlink_to(target)


def _argument_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _read_as(item: InputRecord, place: Place) -> Any:
    """Return the output of an earlier step as a dataset of files or of rows."""
    options = dict(item.options)
    if item.reads == "delimited":
        return TabularDataset.from_delimited_files(place, inference="pandas", **options)
    if item.reads == "parquet":
        return TabularDataset.from_parquet_files(place, **options)
    if item.reads == "mltable" and place.storage is None:
        if mltable_at(place.path) is None:
            msg = (
                f"the input {item.name!r} is of type mltable, but the step that writes it left no file "
                f"MLTable in {place.path}."
            )
            raise InputError(msg)
        return open_path(place.path)
    return FileDataset(place, **options)


def secret_values(
    variables: Mapping[str, str | None], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return environment variables with the values of secrets filled in from ``environ``."""
    return {
        name: environ.get(name, "") if value is None else value for name, value in variables.items()
    }
