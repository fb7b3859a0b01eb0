"""What a step reads and writes, from the bindings of its record to paths and datasets."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.files import FileDataset
from ..data.inputs import Dataset, dataset_of
from ..errors import ConfigError
from ..runs.pipeline_journal import PipelineState
from ..runs.pipeline_record import (
    STEP_RUN_ID,
    InputRecord,
    OutputRecord,
    PipelineRecord,
    StepRecord,
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
                return self.output_folder(self._output(name))
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

    def settings(self) -> dict[str, Any]:
        """Return the settings of the step, its parameters filled in."""
        return {name: self.value(given) for name, given in self._step.settings.items()}

    def arguments(self) -> list[str]:
        """Return the words of the script's command line."""
        return [_word(self.value(given)) for given in self._step.arguments]

    def dataset(self, one: InputRecord) -> Dataset:
        """Return an input as a dataset, which is split."""
        value = self.value(one.value)
        if isinstance(value, str):  # a folder that an earlier step wrote
            return _read_as(one, value)
        return dataset_of(value)

    def output_folder(self, output: OutputRecord) -> str:
        """Return the folder, or the URL, of an output."""
        path = output.path.replace(STEP_RUN_ID, self._step_run_id)
        return f"{output.root.rstrip('/')}/{path}"

    def local_path(self, one: InputRecord) -> str:
        """Return where the script finds an input that it reads whole.

        A folder is itself, and so is a single file; files that a glob or a list chose are links in
        a folder, at their places relative to what they have in common.
        """
        value = self.value(one.value)
        if isinstance(value, str):
            return self._placed(one, value)
        dataset = dataset_of(value)
        if not isinstance(dataset, FileDataset):
            msg = f"the input {one.name!r} is a table; only files can be mounted as a side input."
            raise ConfigError(msg)
        paths = dataset.paths
        if len(paths) == 1 and not any(sign in paths[0] for sign in _MAGIC):
            return self._placed(one, paths[0])
        files = dataset.to_path()
        common = _common_folder(list(paths))
        target = Path(one.path_on_compute or self._folder / "inputs" / one.name)
        for path in files:
            link = target / os.path.relpath(path, common)
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


def _common_folder(paths: list[str]) -> str:
    """Return the folder that all paths and the fixed parts of all globs have in common."""
    fixed = []
    for path in paths:
        parts = Path(path).parts
        cut = next((i for i, part in enumerate(parts) if any(s in part for s in _MAGIC)), -1)
        head = os.path.join(*parts[:cut]) if cut >= 0 else path
        fixed.append(head if cut >= 0 or os.path.isdir(head) else os.path.dirname(head))
    return os.path.commonpath(fixed)


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _read_as(one: InputRecord, folder: str) -> Dataset:
    if one.reads != "files":
        msg = f"the output {one.name!r} is read as {one.reads}, which this version cannot."
        raise ConfigError(msg)
    return FileDataset(folder)


def split_secrets(
    variables: Mapping[str, str | None], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables with their values; those of secrets are in this process's environment."""
    return {
        name: environ.get(name, "") if value is None else value for name, value in variables.items()
    }
