"""What a step reads and writes, from the bindings of its record to paths and datasets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.step import OutputFolder
from ..data.datasets.file_dataset import FileDataset
from ..data.datasets.inputs import dataset_of
from ..data.datasets.tabular_dataset import TabularDataset
from ..data.local.listing import place_below
from ..data.staging.local_copies import local_copies
from ..data.storage.datastores import DataPath, Datastore
from ..data.storage.storage import Place, StorageSpec
from ..errors import ConfigError
from .journal import PipelineState
from .record import STEP_RUN_ID, InputRecord, OutputRecord, PipelineRecord, StepRecord

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
        Where the pipeline stands: the steps before this one have ended.
    step_run_id
        The id of this step's run.
    folder
        The step's own folder, for links to what it reads whole.
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

    def value(self, given: Any) -> Any:
        """Return a value itself, or what its binding stands for."""
        match given:
            case {"parameter": str(name)}:
                return self._parameter(name)
            case {"output": [str(step), str(name)]}:
                return self._state.step(step).outputs[name]
            case {"input": str(name)}:
                return self.local_path(self._input(name))
            case {"write": str(name)}:
                return self._writing(self._output(name))
            case _:
                return given

    def _parameter(self, name: str) -> Any:
        try:
            return self._record.parameters[name]
        except KeyError:
            msg = f"the pipeline has no parameter {name!r}."
            raise ConfigError(msg) from None

    def _input(self, name: str) -> InputRecord:
        known = [*self._step.inputs, *self._step.side_inputs]
        return next(one for one in known if one.name == name)

    def _output(self, name: str) -> OutputRecord:
        return next(one for one in self._step.outputs if one.name == name)

    def _writing(self, output: OutputRecord) -> str:
        """Return the folder that the script writes: for a store, one whose files go there later."""
        if output.storage is None or self._step.kind == "parallel":
            return self.output_folder(output)
        folder = self._folder / "outputs" / output.name
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def held_names(self) -> set[str]:
        """Return the variables with credentials of stores, which are not for the script."""
        stores = [one.storage for step in self._record.steps for one in step.outputs]
        inputs = [self.dataset(one) for one in (*self._step.inputs, *self._step.side_inputs)]
        known = [StorageSpec.of_spec(spec) for spec in stores if spec]
        known += [one.storage for one in inputs if getattr(one, "storage", None)]
        return {name for storage in known for name in storage.held_names()}

    def settings(self) -> dict[str, Any]:
        """Return the settings of the step, its parameters filled in."""
        return {name: self.value(given) for name, given in self._step.settings.items()}

    def arguments(self) -> list[str]:
        """Return the words of the script's command line."""
        return [_word(self.value(given)) for given in self._step.arguments]

    def arguments_for_nodes(self) -> list[Any]:
        """Return the arguments of a run on any nodes: each brings its own copy of what is remote."""
        words: list[Any] = []
        for given in self._step.arguments:
            match given:
                case {"input": str(name)} if (far := self._far_away(self._input(name))) is not None:
                    words.append(far)
                case {"write": str(name)} if self._output(name).storage is not None:
                    words.append(OutputFolder())
                case _:
                    words.append(_word(self.value(given)))
        return words

    def _far_away(self, one: InputRecord) -> FileDataset | None:
        """Return an input as a dataset, where it is a single path of a store."""
        dataset = self.dataset(one)
        if isinstance(dataset, FileDataset) and dataset.storage and len(dataset.paths) == 1:
            return dataset
        return None

    def dataset(self, one: InputRecord) -> Any:
        """Return an input as a dataset, which is split."""
        value = self.value(one.value)
        if isinstance(value, str):  # a folder that an earlier step wrote
            return _read_as(one, self._written(one, value))
        return dataset_of(value)

    def _written(self, one: InputRecord, place: str) -> Place:
        """Return where an earlier step wrote an output."""
        step, name = one.value["output"]
        outputs = self._record.step(step).outputs
        storage = next(output.storage for output in outputs if output.name == name)
        return Place(place, StorageSpec.of_spec(storage) if storage else None)

    def output_folder(self, output: OutputRecord) -> str:
        """Return the folder, or the URL, of an output."""
        path = output.path.replace(STEP_RUN_ID, self._step_run_id)
        return f"{output.root.rstrip('/')}/{path}"

    def output_place(self, output: OutputRecord) -> DataPath:
        """Return the place of an output in its datastore."""
        storage = StorageSpec.of_spec(output.storage) if output.storage else None
        path = output.path.replace(STEP_RUN_ID, self._step_run_id)
        return Datastore(output.datastore, output.root, storage).path(path)

    def local_path(self, one: InputRecord) -> str:
        """Return where the script finds an input that it reads whole.

        A local folder is itself, and so is a single file; files that a glob or a list chose, and
        those of stores, are links in a folder, at their places relative to what they have in common.
        """
        dataset = self.dataset(one)
        if not isinstance(dataset, FileDataset):
            msg = f"the input {one.name!r} is a table; only files can be mounted as a side input."
            raise ConfigError(msg)
        paths = dataset.paths
        is_one = len(paths) == 1 and not any(sign in paths[0] for sign in _MAGIC)
        if is_one and not dataset.storage:
            return self._placed(one, paths[0])
        return self._linked(one, dataset)

    def _linked(self, one: InputRecord, dataset: FileDataset) -> str:
        items = [item for files in dataset.folders() for item in files]
        here = [item[0] for item in items]
        if dataset.storage:
            here = local_copies(items, dataset.storage)
            if len(items) == 1 and items[0][0] == dataset.paths[0]:
                return self._placed(one, here[0])  # a single file is itself
        common = common_folder(list(dataset.paths), [item[0] for item in items])
        target = Path(one.path_on_compute or self._folder / "inputs" / one.name)
        for path, (url, _, _) in zip(here, items, strict=True):
            link = Path(place_below(str(target), os.path.relpath(url, common), url))
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(path)
        return str(target)

    @staticmethod
    def _placed(one: InputRecord, path: str) -> str:
        """Let the script find something where it wants to, when that place is free."""
        wanted = one.path_on_compute
        if not wanted or not os.path.isabs(wanted):
            return path
        if os.path.isdir(wanted) and not os.path.islink(wanted) and not os.listdir(wanted):
            os.rmdir(wanted)  # a fresh temporary folder, as notebooks make one to mount at
        if not os.path.lexists(wanted):
            os.makedirs(os.path.dirname(wanted), exist_ok=True)
            os.symlink(path, wanted)
        return wanted if os.path.realpath(wanted) == os.path.realpath(path) else path


def common_folder(paths: list[str], files: list[str]) -> str:
    """Return the folder that files are relative to: what the globs and folders have in common.

    Parameters
    ----------
    paths
        Folders, files and globs as they were given.
    files
        What was found there.
    """
    known = set(files)
    fixed = []
    for path in paths:
        parts = path.rstrip("/").split("/")
        cut = next((i for i, part in enumerate(parts) if any(s in part for s in _MAGIC)), None)
        if path in known or os.path.isdir(path):  # brackets may be part of a name
            cut = None
        if cut is not None:
            fixed.append("/".join(parts[:cut]))
        else:
            fixed.append("/".join(parts[:-1]) if path in known else "/".join(parts))
    return os.path.commonpath(fixed) if len(fixed) > 1 else fixed[0]


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _read_as(one: InputRecord, place: Place) -> Any:
    """Return what an earlier step wrote as a dataset: files, or the rows of them."""
    options = dict(one.options)
    if one.reads == "delimited":
        return TabularDataset.from_delimited_files(place, inference="pandas", **options)
    if one.reads == "parquet":
        return TabularDataset.from_parquet_files(place, **options)
    return FileDataset(place, **options)


def split_secrets(
    variables: Mapping[str, str | None], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables with their values; those of secrets are in this process's environment."""
    return {
        name: environ.get(name, "") if value is None else value for name, value in variables.items()
    }
