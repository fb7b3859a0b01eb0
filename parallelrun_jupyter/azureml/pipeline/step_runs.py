"""``StepRun``: a step of a pipeline that was submitted; its outputs, logs and metrics."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from ...client.run import Run as NativeRun
from ...data.storage.storage import Place
from ...data.storage.transfer import download_all
from ...pipelines.folder import StepRecord
from ...pipelines.journal import StepState
from ..core.datastores import get as get_datastore
from ..data.datasets import FileDatasetFactory
from ..exceptions import ActivityFailedException, UserErrorException
from ..loader.missing import Partial
from ..statuses import Status, run_status
from .console import watch_step


class PortDataReference:
    """What a step wrote: a folder of a datastore.

    `StepRun.get_output_data` makes them.
    """

    def __init__(self, datastore: Any, path_on_datastore: str, place: str, name: str) -> None:
        self.datastore = datastore
        self.path_on_datastore = path_on_datastore
        self.name = name
        self._place = place

    def __repr__(self) -> str:
        return (
            f"PortDataReference(name={self.name!r}, path_on_datastore={self.path_on_datastore!r})"
        )

    @property
    def data_reference_name(self) -> str:
        """The output's name."""
        return self.name

    def as_download(self, **_: Any) -> PortDataReference:
        """Return this."""
        return self

    as_mount = as_download

    def download(
        self,
        local_path: str,
        overwrite: bool | None = None,
        show_progress: bool | None = None,
    ) -> int:
        """Copy what was written into a folder, at its path in the datastore; return the count.

        So a file is at ``local_path/path_on_datastore/name`` afterwards, as in Azure.
        """
        native = self.datastore.native
        root = self._place[: len(self._place) - len(self.path_on_datastore)]
        place = Place(self._place, native.storage)
        return len(download_all(place, root, local_path, overwrite=bool(overwrite)))


class StepRunOutput:
    """An output of a step's run."""

    def __init__(self, reference: PortDataReference) -> None:
        self._reference = reference
        self.name = reference.name

    def get_port_data_reference(self) -> PortDataReference:
        """Return where it is."""
        return self._reference


class StepRun(Partial):
    """The run of one step.

    Parameters
    ----------
    pipeline_run
        The pipeline's run.
    key
        The step, by its key in the record.
    """

    type = "azureml.StepRun"

    def __init__(self, pipeline_run: Any, key: str) -> None:
        self._pipeline = pipeline_run
        self._step: StepRecord = pipeline_run._record.step(key)
        self.experiment = pipeline_run.experiment

    def __repr__(self) -> str:
        return (
            f"Run(Experiment: {self.experiment.name},\nId: {self.id},\nType: {self.type},\n"
            f"Status: {self.status})"
        )

    def state(self) -> StepState:
        """Return where the step stands now."""
        state: StepState = self._pipeline.state().step(self._step.key)
        return state

    @property
    def name(self) -> str:
        """The name of the step."""
        return self._step.name

    @property
    def id(self) -> str:
        """The id of the step's run; the key of the step before there is one."""
        return self.state().step_run_id or self._step.key

    @property
    def parent(self) -> Any:
        """The pipeline's run."""
        return self._pipeline

    @property
    def status(self) -> str:
        """The state of the step."""
        return self.get_status()

    @property
    def is_reused(self) -> bool:
        """Whether an earlier run of the same step stands for this one."""
        return self.state().is_reused

    def get_status(self) -> Status:
        """Return the state; ``Finished`` and ``Completed`` are the same."""
        return run_status(self.state().state)

    def native(self) -> NativeRun:
        """Return the run over mini-batches: failures, logs, rows.

        Raises
        ------
        UserErrorException
            The step is a plain script, or has not started.
        """
        run_id = self.state().run_id
        if not run_id:
            msg = f"step {self.name!r} has no run over mini-batches (yet)."
            raise UserErrorException(msg)
        return NativeRun.attach(run_id)

    def wait_for_completion(
        self,
        show_output: bool = True,
        timeout_seconds: float = sys.maxsize,
        raise_on_error: bool = True,
    ) -> Status:
        """Wait until the step has ended, and return its state.

        Raises
        ------
        ActivityFailedException
            It failed, or could not be run.
        """
        pipeline = self._pipeline
        state = watch_step(
            pipeline.folder, pipeline._record, self._step.key, show_output, timeout_seconds
        )
        if raise_on_error and state.state != "Completed":
            msg = f"{state.reason}\nstep {self.name} of pipeline run {pipeline.id}: {state.state}"
            raise ActivityFailedException(msg)
        return run_status(state.state)

    # Outputs

    @property
    def output_names(self) -> list[str]:
        """The names of the step's outputs."""
        return [output.name for output in self._step.outputs]

    def get_output_data(self, name: str) -> PortDataReference:
        """Return an output by its name.

        Raises
        ------
        UserErrorException
            The step has none of that name, or has not started.
        """
        if name not in self.output_names:
            known = ", ".join(self.output_names) or "none"
            msg = f"step {self.name!r} has no output {name!r}; its outputs are: {known}."
            raise UserErrorException(msg)
        place = self.state().outputs.get(name)
        if place is None:
            msg = f"step {self.name!r} has not started, so there is no {name!r} yet."
            raise UserErrorException(msg)
        record = next(output for output in self._step.outputs if output.name == name)
        path = place.removeprefix(record.root.rstrip("/")).lstrip("/")
        datastore = get_datastore(self.experiment.workspace, record.datastore)
        return PortDataReference(datastore, path, place, name)

    def get_outputs(self) -> dict[str, StepRunOutput]:
        """Return the outputs, by name."""
        return {name: StepRunOutput(self.get_output_data(name)) for name in self.output_names}

    def get_output(self) -> StepRunOutput:
        """Return the only output.

        Raises
        ------
        UserErrorException
            There is none, or more than one.
        """
        if len(self.output_names) != 1:
            msg = f"step {self.name!r} has {len(self.output_names)} outputs; use get_output_data(name)."
            raise UserErrorException(msg)
        return StepRunOutput(self.get_output_data(self.output_names[0]))

    # What it said

    def get_details(self) -> dict[str, Any]:
        """Return what is known of the step's run."""
        state = self.state()
        outputs = [
            {
                "identifier": {"savedId": name},
                "outputType": "RunOutput",
                "outputDetails": {"outputName": name},
                "dataset": self._dataset_of(name),
            }
            for name, place in state.outputs.items()
            if os.path.exists(place) or ("://" in place and state.ended_at)
        ]
        return {
            "runId": self.id,
            "target": "local",
            "status": state.state,
            "startTimeUtc": state.started_at,
            "endTimeUtc": state.ended_at,
            "properties": {
                "azureml.moduleName": self.name,
                "azureml.isreused": "true" if state.is_reused else "false",
                "azureml.runsource": "azureml.StepRun",
                "parallelrun.run_id": state.run_id,
            },
            "warnings": list(state.notes),
            "error": {"message": state.reason} if state.reason else None,
            "inputDatasets": [],
            "outputDatasets": outputs,
            "logFiles": {name: str(path) for name, path in self._files().items()},
        }

    def _dataset_of(self, name: str) -> Any:
        """Return an output as a dataset of its datastore."""
        port = self.get_output_data(name)
        return FileDatasetFactory.from_files(
            (port.datastore, port.path_on_datastore), validate=False
        )

    def get_properties(self) -> dict[str, str]:
        """Return the properties of the step's run."""
        properties: dict[str, str] = self.get_details()["properties"]
        return properties

    def get_metrics(self, name: str | None = None, **_: Any) -> dict[str, Any]:
        """Return what the script has logged: a value, or a list where there were several."""
        path = self._folder() / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        found: dict[str, list[Any]] = {}
        for line in lines:
            row = json.loads(line)
            if "name" in row and name in {None, row["name"]}:
                found.setdefault(row["name"], []).append(row["value"])
        return {key: values[0] if len(values) == 1 else values for key, values in found.items()}

    @property
    def tags(self) -> dict[str, Any]:
        """The tags that the script has set."""
        path = self._folder() / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = (json.loads(line) for line in lines)
        return {row["tag"]: row["value"] for row in rows if "tag" in row}

    def _folder(self) -> Path:
        folder: Path = self._pipeline.folder.step(self._step.key)
        return folder

    def _files(self) -> dict[str, Path]:
        """Return the step's logs, and what the script has uploaded, by name."""
        found: dict[str, Path] = {}
        roots = [(self._folder() / "files", "")]
        if self._step.kind == "script":
            found["user_logs/std_log.txt"] = self._folder() / "std_log.txt"
        elif self.state().run_id:
            run = self.native().folder
            roots += [(run.user_logs, "logs/user/"), (run.reports, "logs/")]
        for root, prefix in roots:
            for path in sorted(root.rglob("*")):
                if path.is_file():
                    found[f"{prefix}{path.relative_to(root)}"] = path
        return {name: path for name, path in found.items() if path.exists()}

    def get_file_names(self) -> list[str]:
        """Return the names of the step's logs, and of what the script has uploaded."""
        return list(self._files())

    def download_file(self, name: str, output_file_path: str | None = None, **_: Any) -> None:
        """Copy one of the step's files.

        Raises
        ------
        UserErrorException
            There is none of that name.
        """
        files = self._files()
        if name not in files:
            msg = f"step {self.name!r} has no file {name!r}; it has: {', '.join(files) or 'none'}."
            raise UserErrorException(msg)
        target = Path(output_file_path or os.path.basename(name))
        if target.is_dir():
            target /= os.path.basename(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files[name], target)

    def download_files(
        self,
        prefix: str | None = None,
        output_directory: str | None = None,
        output_paths: Any = None,
        batch_size: int = 100,
        append_prefix: bool = True,
        timeout_seconds: Any = None,
    ) -> None:
        """Copy the step's files below a prefix into a folder."""
        for name in self._files():
            if name.startswith(prefix or ""):
                self.download_file(name, os.path.join(output_directory or ".", name))

    def get_job_log(self) -> str:
        """Return what the script printed and logged."""
        path = self._folder() / "std_log.txt"
        if self._step.kind == "script":
            return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return self.native().logs(10_000) if self.state().run_id else ""

    get_stdout_log = get_job_log
    get_stderr_log = get_job_log

    def get_portal_url(self) -> str:
        """Return where the step is: its folder."""
        return f"file://{self._folder()}"
