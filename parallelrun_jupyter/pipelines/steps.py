"""The two kinds of steps: runs over mini-batches, through the public API, and plain scripts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..client.failures import failure_of
from ..client.run import Run
from ..client.submit import submit_as
from ..config.run_config import ParallelRunConfig
from ..config.step import ParallelRunStep
from ..data.storage.storage import Place, StorageSpec
from ..data.storage.transfer import upload_all
from ..engine.node.fork_server import WORKER_FOLDER
from ..errors import RunFolderError, RunNotFoundError
from ..runs.logs.reader import last_state
from ..runs.run_folder import find, runs_folder
from ..runs.snapshot.follower import Follower
from .bindings import Bindings
from .folder import StepRecord

LEGACY_PANDAS_VARIABLES = {"PANDAS_FUTURE_INFER_STRING": "0"}
"""Makes pandas 3 read texts as objects, as pandas 1 and 2 do, for which most scripts were written."""

_TERMINATE_S = 10.0
"""Time between SIGTERM and SIGKILL."""

_POLL_S = 0.05
_REASON_LINES = 30
_INTEGER_SETTINGS = {
    "node_count", "process_count_per_node", "run_invocation_timeout", "run_max_try",
    "error_threshold", "allowed_failed_count",
}  # fmt: skip
_AS_AZURE = {"isolate_failures": False, "retry_delay": 0}
"""In Azure a mini-batch fails as a whole, and is tried again at once; the thresholds count on it."""


class StepProcess(Protocol):
    """A started step."""

    @property
    def run_id(self) -> str:
        """The id of its run; empty for a plain script."""

    def poll(self) -> tuple[str, str] | None:
        """Return the final state and the reason, or None while the step is running."""

    def cancel(self) -> None:
        """Request that the step ends."""


class ParallelStep:
    """A step over mini-batches, which is a run of its own."""

    def __init__(self, run_id: str) -> None:
        self._follower = Follower(find(run_id))

    @property
    def run_id(self) -> str:
        """The id of its run."""
        return self._follower.folder.run_id

    def poll(self) -> tuple[str, str] | None:
        """Return the final state and the reason, or None while the run is running."""
        snapshot = self._follower.refresh()
        if not snapshot["is_final"]:
            return None
        if snapshot["state"] == "Failed":
            return "Failed", str(failure_of(self._follower, snapshot))
        if snapshot["state"] == "Interrupted":
            return "Failed", f"run {self.run_id} was interrupted: {snapshot['reason']}"
        return snapshot["state"], snapshot["reason"]

    def cancel(self) -> None:
        """Request that the run ends."""
        self._follower.folder.request("cancel")


class ScriptStep:
    """A plain script in its own process group, which ends with the pipeline's driver."""

    run_id = ""

    def __init__(
        self, python: str, script: Path, arguments: list[str], *, cwd: Path, log: Path,
        environ: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._log = log
        self._is_canceled = False
        with open(log, "ab") as file:
            self._process = subprocess.Popen(
                [python, str(WORKER_FOLDER), "script", str(os.getpid()), str(script), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=cwd,
                env={**environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    def poll(self) -> tuple[str, str] | None:
        """Return the final state and the reason, or None while the script is running."""
        status = self._process.poll()
        if status is None:
            return None
        self._signal(signal.SIGKILL)  # processes that the script left running
        if self._is_canceled:
            return "Canceled", "cancel was requested"
        if status == 0:
            return "Completed", ""
        return "Failed", f"{self._log_tail()}\nthe script ended with exit code {status}".strip()

    def _log_tail(self) -> str:
        """Return the end of the log, from the last traceback if there is one."""
        rows = self._log.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
        states = [last_state(row) if b"\r" in row else row for row in rows]
        lines = [state.decode("utf-8", "replace") for state in states]
        starts = [i for i, line in enumerate(lines) if line.startswith("Traceback")]
        first = max(starts[-1] if starts else 0, len(lines) - _REASON_LINES)
        return "\n".join(lines[first:])

    def cancel(self) -> None:
        """End the script: SIGTERM first, SIGKILL after 10 seconds."""
        if self._is_canceled:
            return
        self._is_canceled = True
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_TERMINATE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # all processes of the group have ended


def start_parallel(
    step: StepRecord,
    bindings: Bindings,
    *,
    script: Path,
    python: str,
    variables: dict[str, str],
    run_id: str,
) -> ParallelStep:
    """Submit the run of a step over mini-batches, under an id that is in the pipeline's journal.

    Raises
    ------
    ParallelRunError
        The run cannot be submitted; see ``submit``.
    """
    settings = {k: v for k, v in bindings.settings().items() if v is not None}
    for name in _INTEGER_SETTINGS & settings.keys():
        settings[name] = _as_integer(settings[name])
    keys = settings.get("partition_keys")
    if isinstance(keys, str):  # a pipeline parameter cannot be a list
        settings["partition_keys"] = json.loads(keys)
    settings.update(_AS_AZURE)
    output = bindings.output_path(step.outputs[0]) if step.outputs else None
    if output is not None and output.datastore.storage is None:
        # A summary_only script may write to this folder before the run creates it.
        os.makedirs(output.place().path, exist_ok=True)
    config = ParallelRunConfig(
        entry_script=step.script,
        source_directory=str(script),
        environment=python,
        environment_variables=variables,
        compute_target=step.compute or None,
        **settings,
    )
    native_step = ParallelRunStep(
        step.name,
        config,
        [bindings.dataset(item) for item in step.inputs],
        output,
        arguments=bindings.arguments_for_nodes(),
    )
    return ParallelStep(submit_as(native_step, run_id).run_id)


def _as_integer(value: Any) -> Any:
    """Convert a number that was given as text, as pipeline parameters often are."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return value  # the configuration reports the error


def start_script(
    step: StepRecord,
    bindings: Bindings,
    *,
    script: Path,
    python: str,
    variables: dict[str, str],
    log: Path,
) -> ScriptStep:
    """Start a plain script.

    Raises
    ------
    OSError
        The interpreter did not start.
    """
    for output in step.outputs:
        if output.storage is None:
            os.makedirs(os.path.dirname(bindings.output_folder(output)), exist_ok=True)
    arguments = bindings.arguments()
    credentials = bindings.credential_variables() & os.environ.keys()
    environ = {k: v for k, v in {**os.environ, **variables}.items() if k not in credentials}
    return ScriptStep(
        python or sys.executable,
        script / step.script,
        arguments,
        cwd=script,
        log=log,
        environ=environ,
    )


def upload_outputs(step: StepRecord, outputs: dict[str, str], folder: Path) -> None:
    """Upload a plain script's outputs to their object stores.

    Raises
    ------
    InputError
        The store refuses.
    """
    for output in step.outputs:
        local = folder / "outputs" / output.name
        if step.kind == "script" and output.storage is not None and local.exists():
            paths = [path for path in sorted(local.rglob("*")) if path.is_file()]
            pairs = [(str(path), str(path.relative_to(local))) for path in paths]
            target = Place(outputs[output.name], StorageSpec.of_spec(output.storage))
            upload_all(pairs, target, overwrite=True)


def was_submitted(run_id: str) -> bool:
    """Return whether a run exists; the folder of a submission that was cut short is removed."""
    try:
        find(run_id)
    except RunNotFoundError:
        shutil.rmtree(runs_folder() / run_id, ignore_errors=True)
        return False
    return True


def attach_parallel(run_id: str) -> ParallelStep:
    """Return a run that an earlier driver of the pipeline submitted, resumed if it is Interrupted.

    Raises
    ------
    ParallelRunError
        The run cannot be resumed.
    """
    run = Run.attach(run_id)
    while run.status == "Queued":  # Interrupted after 15 s if its driver never started
        time.sleep(_POLL_S)
    if run.status == "Interrupted":
        try:
            run.resume()
        except RunFolderError:
            if run.status != "Completed":
                raise
    return ParallelStep(run_id)
