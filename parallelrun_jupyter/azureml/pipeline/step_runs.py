"""``StepRun``: the run of a step, with its outputs, logs and metrics."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from ...client.run import Run as NativeRun
from ...data.storage.datastores import Datastore
from ...pipelines.folder import StepRecord
from ...pipelines.views import wait_until_ended
from ...runs.journal.pipelines import StepState
from ...runs.run_folder import RunFolder, runs_folder
from ..core.datastores import get as get_datastore
from ..data.datasets import FileDatasetFactory
from ..exceptions import ActivityFailedException, UserErrorException
from ..loader.name_table import Partial
from ..statuses import Status, run_status


class PortDataReference:
    """The output of a step: a folder in a datastore.

    `StepRun.get_output_data` returns one.
    """

    def __init__(self, datastore: Any, path_on_datastore: str, name: str) -> None:
        self.datastore = datastore
        self.path_on_datastore = path_on_datastore
        self.name = name

    def __repr__(self) -> str:
        return (
            f"PortDataReference(name={self.name!r}, path_on_datastore={self.path_on_datastore!r})"
        )

    @property
    def data_reference_name(self) -> str:
        """The name of the output."""
        return self.name

    def as_download(self, **_: Any) -> PortDataReference:
        """Return this output."""
        return self

    as_mount = as_download

    def download(
        self,
        local_path: str,
        overwrite: bool | None = None,
        show_progress: bool | None = None,
    ) -> int:
        """Copy the output to a local folder; return the number of files.

        The paths below ``local_path`` match the paths in the datastore, as in Azure.
        """
        native: Datastore = self.datastore.native
        return native.download(local_path, self.path_on_datastore, bool(overwrite))


class StepRunOutput:
    """An output of a step's run."""

    def __init__(self, reference: PortDataReference) -> None:
        self._reference = reference
        self.name = reference.name

    def get_port_data_reference(self) -> PortDataReference:
        """Return the reference to the output's folder."""
        return self._reference


class StepRun(Partial):
    """The run of one step.

    Parameters
    ----------
    pipeline_run
        The pipeline run.
    key
        The key of the step in the record.
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
        """Return the current state of the step."""
        state: StepState = self._pipeline.state().step(self._step.key)
        return state

    @property
    def name(self) -> str:
        """The name of the step."""
        return self._step.name

    @property
    def id(self) -> str:
        """The id of the step run, or the key of the step before it has started."""
        return self.state().step_run_id or self._step.key

    @property
    def parent(self) -> Any:
        """The pipeline run."""
        return self._pipeline

    @property
    def status(self) -> str:
        """The state of the step."""
        return self.get_status()

    @property
    def is_reused(self) -> bool:
        """Whether the outputs of an earlier run were reused."""
        return self.state().is_reused

    def get_status(self) -> Status:
        """Return the state; ``Finished`` and ``Completed`` are equal."""
        return run_status(self.state().state)

    def native(self) -> NativeRun:
        """Return the run over mini-batches, with its failures, logs and rows.

        Raises
        ------
        UserErrorException
            The step is a Python script, or has not started.
        """
        run_id = self.state().run_id
        if not run_id:
            msg = (
                f"step {self.name!r} has no run over mini-batches; it has not started, or it "
                "runs a Python script."
            )
            raise UserErrorException(msg)
        return NativeRun.attach(run_id)

    def wait_for_completion(
        self,
        show_output: bool = True,
        timeout_seconds: float = sys.maxsize,
        raise_on_error: bool = True,
    ) -> Status:
        """Wait until the step has ended; return its state.

        Raises
        ------
        ActivityFailedException
            The step did not complete.
        TimeoutError
            The step has not ended after ``timeout_seconds``.
        """
        pipeline = self._pipeline
        state = wait_until_ended(
            pipeline.folder,
            pipeline._record,
            show_output=show_output,
            timeout_s=timeout_seconds,
            step=self._step.key,
        ).step(self._step.key)
        if raise_on_error and state.state != "Completed":
            msg = f"{state.reason}\nstep {self.name} of pipeline run {pipeline.id}: {state.state}"
            raise ActivityFailedException(msg)
        return run_status(state.state)

    @property
    def output_names(self) -> list[str]:
        """The names of the step's outputs."""
        return [output.name for output in self._step.outputs]

    def get_output_data(self, name: str) -> PortDataReference:
        """Return an output by its name.

        Raises
        ------
        UserErrorException
            The step has no output with this name, or has not started.
        """
        if name not in self.output_names:
            names = ", ".join(self.output_names) or "none"
            msg = f"step {self.name!r} has no output {name!r}; its outputs are: {names}."
            raise UserErrorException(msg)
        url = self.state().outputs.get(name)
        if url is None:
            msg = f"step {self.name!r} has not started, so output {name!r} does not exist yet."
            raise UserErrorException(msg)
        record = next(output for output in self._step.outputs if output.name == name)
        path = url.removeprefix(record.root.rstrip("/")).lstrip("/")
        datastore = get_datastore(self.experiment.workspace, record.datastore)
        return PortDataReference(datastore, path, name)

    def get_outputs(self) -> dict[str, StepRunOutput]:
        """Return the outputs, by name."""
        return {name: StepRunOutput(self.get_output_data(name)) for name in self.output_names}

    def get_output(self) -> StepRunOutput:
        """Return the only output.

        Raises
        ------
        UserErrorException
            The step does not have exactly one output.
        """
        if len(self.output_names) != 1:
            msg = f"step {self.name!r} has {len(self.output_names)} outputs; use get_output_data(name)."
            raise UserErrorException(msg)
        return StepRunOutput(self.get_output_data(self.output_names[0]))

    def get_details(self) -> dict[str, Any]:
        """Return the details of the step run, as in Azure."""
        state = self.state()
        outputs = [
            {
                "identifier": {"savedId": name},
                "outputType": "RunOutput",
                "outputDetails": {"outputName": name},
                "dataset": self._dataset_of(name),
            }
            for name, url in state.outputs.items()
            if os.path.exists(url) or ("://" in url and state.ended_at)
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
        """Return an output as a dataset."""
        port = self.get_output_data(name)
        return FileDatasetFactory.from_files(
            (port.datastore, port.path_on_datastore), validate=False
        )

    def get_properties(self) -> dict[str, str]:
        """Return the properties of the step run."""
        properties: dict[str, str] = self.get_details()["properties"]
        return properties

    def get_metrics(self, name: str | None = None, **_: Any) -> dict[str, Any]:
        """Return the metrics that the script logged: a value, or a list of several values."""
        metrics: dict[str, list[Any]] = {}
        for row in self._logged_rows():
            if "name" in row and name in {None, row["name"]}:
                metrics.setdefault(row["name"], []).append(row["value"])
        return {key: values[0] if len(values) == 1 else values for key, values in metrics.items()}

    @property
    def tags(self) -> dict[str, Any]:
        """The tags that the script has set."""
        return {row["tag"]: row["value"] for row in self._logged_rows() if "tag" in row}

    def _logged_rows(self) -> list[dict[str, Any]]:
        path = self._folder() / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def _folder(self) -> Path:
        folder: Path = self._pipeline.folder.step(self._step.key)
        return folder

    def _files(self) -> dict[str, Path]:
        """Return the step's logs and the files that its script uploaded, by name."""
        files: dict[str, Path] = {}
        roots = [(self._folder() / "files", "")]
        if self._step.kind == "script":
            files["user_logs/std_log.txt"] = self._folder() / "std_log.txt"
        elif self.state().run_id:
            run = RunFolder(runs_folder() / self.state().run_id)  # it may have been removed
            roots += [(run.user_logs, "logs/user/"), (run.reports, "logs/")]
        for root, prefix in roots:
            for path in sorted(root.rglob("*")):
                if path.is_file():
                    files[f"{prefix}{path.relative_to(root)}"] = path
        return {name: path for name, path in files.items() if path.exists()}

    def get_file_names(self) -> list[str]:
        """Return the names of the step's logs and of the files that its script uploaded."""
        return list(self._files())

    def download_file(self, name: str, output_file_path: str | None = None, **_: Any) -> None:
        """Copy one of the step's files.

        Raises
        ------
        UserErrorException
            The step has no file with this name.
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
        """Return the output and logging of the script."""
        path = self._folder() / "std_log.txt"
        if self._step.kind == "script":
            return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return self.native().logs(10_000) if self.state().run_id else ""

    get_stdout_log = get_job_log
    get_stderr_log = get_job_log

    def get_portal_url(self) -> str:
        """Return the URL of the step's folder."""
        return f"file://{self._folder()}"
