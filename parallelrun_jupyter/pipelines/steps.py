"""The kinds of steps: runs over mini-batches, through the public API, plain scripts, and commands."""

from __future__ import annotations

import json
import os
import re
import shlex
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
from ..data.storage.datastores import DataPath
from ..data.storage.storage import Place, StorageSpec
from ..data.storage.transfer import upload_all
from ..engine.node.fork_server import WORKER_FOLDER
from ..errors import RunFolderError, RunNotFoundError
from ..runs.logs.reader import last_state
from ..runs.run_folder import find, runs_folder
from ..runs.snapshot.follower import Follower
from .bindings import Bindings
from .folder import StepRecord, is_staged
from .step_log import StepLog

LEGACY_PANDAS_VARIABLES = {"PANDAS_FUTURE_INFER_STRING": "0"}
"""Makes pandas 3 read texts as objects, as pandas 1 and 2 do, for which most scripts were written."""

_IMPORTS_AZUREML = re.compile(r"^\s*(?:from|import)\s+azureml\b", re.MULTILINE)

_TERMINATE_S = 10.0
"""Time between SIGTERM and SIGKILL."""

_POLL_S = 0.05
_REASON_LINES = 30
_REASON_BYTES = 1 << 18
"""The end of a log in which the reason is looked for: a script may write gigabytes."""
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
            # a notebook has a variable for the pipeline, but none for this run
            return "Failed", failure_of(self._follower, snapshot).worded("terminal")
        if snapshot["state"] == "Interrupted":
            return "Failed", f"run {self.run_id} was interrupted: {snapshot['reason']}"
        return snapshot["state"], snapshot["reason"]

    def cancel(self) -> None:
        """Request that the run ends."""
        self._follower.folder.request("cancel")


class ScriptStep:
    """A plain script, or a command, in its own process group, which ends with the pipeline's driver.

    Parameters
    ----------
    python
        The interpreter of the worker's code.
    mode
        ``script`` or ``command``.
    words
        The script or the program, and its arguments.
    """

    run_id = ""

    def __init__(
        self, python: str, mode: str, words: list[str], *, cwd: Path, log: Path,
        environ: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._log = log
        self._mode = mode
        self._is_canceled = False
        self._output = StepLog(log)
        try:
            self._process = subprocess.Popen(
                [python, str(WORKER_FOLDER), mode, str(os.getpid()), *words],
                stdin=subprocess.DEVNULL,
                stdout=self._output.descriptor,
                stderr=self._output.descriptor,
                cwd=cwd,
                env={**environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        finally:
            self._output.close_descriptor()

    def poll(self) -> tuple[str, str] | None:
        """Return the final state and the reason, or None while the script is running."""
        status = self._process.poll()
        if status is None:
            return None
        self._signal(signal.SIGKILL)  # processes that the script left running
        self._output.finish()
        if self._is_canceled:
            return "Canceled", "cancel was requested"
        if status == 0:
            return "Completed", ""
        return (
            "Failed",
            f"{self._log_tail()}\nthe {self._mode} ended with exit code {status}".strip(),
        )

    def _log_tail(self) -> str:
        """Return the end of the log, from the last traceback if there is one."""
        rows = _end_of(self._log).replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
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


def _end_of(log: Path) -> bytes:
    with open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _REASON_BYTES))
        return file.read()


def start_parallel(
    step: StepRecord,
    bindings: Bindings,
    *,
    script: Path,
    python: str,
    variables: dict[str, str],
    run_id: str,
    api: str,
) -> ParallelStep:
    """Submit the run of a step over mini-batches, under an id that is in the pipeline's journal.

    Its messages name the settings as ``api`` does.

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
    output, file_name = _rows_output(step, bindings)
    if file_name:
        settings["append_row_file_name"] = file_name
    _make_folders(step, bindings)
    config = ParallelRunConfig(
        entry_script=step.script,
        source_directory=str(script),
        environment=python,
        environment_variables=variables,
        compute_target=step.compute or None,
        **settings,
    )
    config.api = api
    native_step = ParallelRunStep(
        step.name,
        config,
        [bindings.dataset(item) for item in step.inputs],
        output,
        arguments=bindings.arguments_for_nodes(),
    )
    return ParallelStep(submit_as(native_step, run_id).run_id)


def _rows_output(step: StepRecord, bindings: Bindings) -> tuple[DataPath | None, str]:
    """Return the folder that receives the rows of a step, and the name of the file if it is fixed."""
    name = step.rows_to
    outputs = step.outputs[:1] if name is None else [o for o in step.outputs if o.name == name]
    if name == "" and len(step.outputs) == 1 and not step.outputs[0].is_file:
        outputs = step.outputs  # AZUREML_BI_OUTPUT_PATH is the only folder that the script can mean
    if not outputs:
        return None, ""
    path = bindings.output_path(outputs[0])
    if not outputs[0].is_file:
        return path, ""
    folder, _, file_name = path.path.rpartition("/")
    return DataPath(path.datastore, folder), file_name


def _make_folders(step: StepRecord, bindings: Bindings) -> None:
    """Create the folders of the outputs on this machine, into which a script may write at any time."""
    for output in step.outputs:
        if output.storage is None:
            path = bindings.output_folder(output)
            os.makedirs(os.path.dirname(path) if output.is_file else path, exist_ok=True)


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
    words = [str(script / step.script), *bindings.arguments()]
    environ = _environ(bindings, variables)
    return ScriptStep(
        python or sys.executable, "script", words, cwd=script, log=log, environ=environ
    )


def _environ(bindings: Bindings, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a script, without the credentials of stores."""
    credentials = bindings.credential_variables() & os.environ.keys()
    return {k: v for k, v in {**os.environ, **variables}.items() if k not in credentials}


def start_command(
    step: StepRecord,
    bindings: Bindings,
    *,
    script: Path,
    python: str,
    variables: dict[str, str],
    log: Path,
) -> ScriptStep:
    """Start a command line by bash; its ``python`` is the interpreter of the step's environment.

    Raises
    ------
    OSError
        bash did not start.
    """
    script.mkdir(exist_ok=True)  # a command without code
    _make_folders(step, bindings)
    programs = script.parent / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("python", "python3"):
        shim = programs / name  # a link would not find the packages of a virtual environment
        shim.write_text(_shim(python, script), encoding="utf-8")
        shim.chmod(0o700)
    environ = _environ(bindings, variables)
    environ["PATH"] = os.pathsep.join(
        (str(programs), os.path.dirname(python), environ.get("PATH", os.defpath))
    )
    words = ["bash", "-c", _command_line(step, bindings)]
    return ScriptStep(sys.executable, "command", words, cwd=script, log=log, environ=environ)


def _shim(python: str, script: Path) -> str:
    """Return a shell script that runs ``python``; scripts that use SDK v1 get its names, as in v1."""
    text = f'exec {shlex.quote(python)} "$@"\n'
    files = [path.read_text(encoding="utf-8", errors="replace") for path in script.rglob("*.py")]
    if any(_IMPORTS_AZUREML.search(file) for file in files):
        words = f'{shlex.quote(python)} {shlex.quote(str(WORKER_FOLDER))} script "$PPID"'
        text = f'case "$1" in *.py) exec {words} "$@";; esac\n{text}'
    return f"#!/bin/sh\n{text}"


def _command_line(step: StepRecord, bindings: Bindings) -> str:
    """Return the command line; a path with spaces is quoted, unless it is inside of quotes."""
    text = ""
    for part in step.arguments:
        value = str(bindings.value(part))
        is_path = isinstance(part, dict) and not text.endswith(("'", '"'))
        text += shlex.quote(value) if is_path else value
    return text


def upload_outputs(step: StepRecord, outputs: dict[str, str], folder: Path) -> None:
    """Upload the staged outputs of a completed step to their stores, and remove the local files.

    Raises
    ------
    InputError
        The store refuses.
    """
    for output in step.outputs:
        local = folder / "outputs" / output.name
        if not is_staged(step, output) or output.storage is None or not local.exists():
            continue
        url = outputs[output.name]
        if output.is_file:
            paths = [path for path in (local / os.path.basename(url),) if path.is_file()]
            url = os.path.dirname(url)
        else:
            paths = [path for path in sorted(local.rglob("*")) if path.is_file()]
        pairs = [(str(path), str(path.relative_to(local))) for path in paths]
        upload_all(pairs, Place(url, StorageSpec.of_spec(output.storage)), overwrite=True)
        shutil.rmtree(local, ignore_errors=True)


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
