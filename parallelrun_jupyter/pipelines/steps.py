"""The two kinds of steps: over mini-batches by the public API, and plain scripts by a process."""

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
from ..errors import ParallelRunError, RunFolderError, RunNotFoundError
from ..runs.logs.reader import last_state
from ..runs.run_folder import find, runs_folder
from ..runs.snapshot.follower import Follower
from .bindings import Bindings
from .record import StepRecord

LEGACY_PANDAS_VARIABLES = {"PANDAS_FUTURE_INFER_STRING": "0"}
"""Scripts of pipelines were written for pandas 1 and 2, whose texts are objects; pandas 3 reads this."""

_PATIENCE_S = 10.0
_LOOK_S = 0.05
_SAID_LINES = 30
_WHOLE_NUMBERS = {
    "node_count", "process_count_per_node", "run_invocation_timeout", "run_max_try",
    "error_threshold", "allowed_failed_count",
}  # fmt: skip


class StepProcess(Protocol):
    """A step that was started."""

    @property
    def run_id(self) -> str:
        """The id of its run; empty for a plain script."""

    def poll(self) -> tuple[str, str] | None:
        """Return its final state and the reason, or None while it goes on."""

    def cancel(self) -> None:
        """Ask it to end."""


class ParallelStep:
    """A step over mini-batches: a run like any other."""

    def __init__(self, run_id: str) -> None:
        self._follower = Follower(find(run_id))

    @property
    def run_id(self) -> str:
        """The id of its run."""
        return self._follower.folder.run_id

    def poll(self) -> tuple[str, str] | None:
        """Return its final state and the reason, or None while it goes on."""
        snapshot = self._follower.refresh()
        if not snapshot["is_final"]:
            return None
        if snapshot["state"] == "Failed":
            return "Failed", str(failure_of(self._follower, snapshot))
        if snapshot["state"] == "Interrupted":
            return "Failed", f"run {self.run_id} was interrupted: {snapshot['reason']}"
        return snapshot["state"], snapshot["reason"]

    def cancel(self) -> None:
        """Ask it to end."""
        self._follower.folder.request("cancel")


class ScriptStep:
    """A plain script in a process group of its own, which ends with the pipeline's driver."""

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
        """Return its final state and the reason, or None while it goes on."""
        status = self._process.poll()
        if status is None:
            return None
        self._signal(signal.SIGKILL)  # what it has started ends with it
        if self._is_canceled:
            return "Canceled", "cancel was asked for"
        if status == 0:
            return "Completed", ""
        return "Failed", f"{self._last_words()}\nthe script ended with exit code {status}".strip()

    def _last_words(self) -> str:
        rows = self._log.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
        states = [last_state(row) if b"\r" in row else row for row in rows]
        lines = [state.decode("utf-8", "replace") for state in states]
        starts = [i for i, line in enumerate(lines) if line.startswith("Traceback")]
        first = max(starts[-1] if starts else 0, len(lines) - _SAID_LINES)
        return "\n".join(lines[first:])

    def cancel(self) -> None:
        """End it: gently first, then at once."""
        if self._is_canceled:
            return
        self._is_canceled = True
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # all of the group is gone


def start_parallel(
    step: StepRecord,
    bindings: Bindings,
    *,
    script: Path,
    python: str,
    variables: dict[str, str],
    compute: str,
    run_id: str,
) -> ParallelStep:
    """Submit the run of a step over mini-batches, under an id that the pipeline's journal has.

    Raises
    ------
    ParallelRunError
        What ``submit`` raises.
    """
    settings = {k: v for k, v in bindings.settings().items() if v is not None}
    for name in _WHOLE_NUMBERS & settings.keys():
        settings[name] = _whole(settings[name])
    keys = settings.get("partition_keys")
    if isinstance(keys, str):  # a parameter of a pipeline has no lists
        settings["partition_keys"] = json.loads(keys)
    output = bindings.output_place(step.outputs[0]) if step.outputs else None
    if output is not None and output.datastore.storage is None:
        os.makedirs(
            output.place().path, exist_ok=True
        )  # a summary_only script may write there at once
    config = ParallelRunConfig(
        entry_script=step.script,
        source_directory=str(script),
        environment=python,
        environment_variables=variables,
        compute_target=compute or None,
        **settings,
    )
    bound = ParallelRunStep(
        step.name,
        config,
        [bindings.dataset(one) for one in step.inputs],
        output,
        arguments=bindings.arguments_for_nodes(),
    )
    return ParallelStep(submit_as(bound, run_id).run_id)


def _whole(value: Any) -> Any:
    """Return a number that was given as text, as parameters of pipelines often are."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return value  # the configuration says what is wrong with it


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
    held = {name for name in os.environ if name in bindings.held_names()}
    environ = {k: v for k, v in {**os.environ, **variables}.items() if k not in held}
    return ScriptStep(
        python or sys.executable,
        script / step.script,
        arguments,
        cwd=script,
        log=log,
        environ=environ,
    )


def publish_outputs(step: StepRecord, outputs: dict[str, str], place: Path) -> None:
    """Put what a plain script wrote for a store into the store.

    Raises
    ------
    InputError
        The store refuses.
    """
    for output in step.outputs:
        folder = place / "outputs" / output.name
        if step.kind == "script" and output.storage is not None and folder.exists():
            found = [p for p in sorted(folder.rglob("*")) if p.is_file()]
            pairs = [(str(path), str(path.relative_to(folder))) for path in found]
            target = Place(outputs[output.name], StorageSpec.of_spec(output.storage))
            upload_all(pairs, target, overwrite=True)


def was_submitted(run_id: str) -> bool:
    """Return whether there is a run of this id; a half-made folder is removed."""
    try:
        find(run_id)
    except RunNotFoundError:
        shutil.rmtree(runs_folder() / run_id, ignore_errors=True)
        return False
    return True


def take_up_parallel(run_id: str) -> ParallelStep:
    """Return the run that an earlier driver of the pipeline had started; resumed, if need be.

    Raises
    ------
    ParallelRunError
        It cannot be resumed.
    """
    run = Run.attach(run_id)
    while (
        run.status == "Queued"
    ):  # its driver is starting, or was never launched: then it is Interrupted after 15 s
        time.sleep(_LOOK_S)
    if run.status == "Interrupted":
        try:
            run.resume()
        except RunFolderError:
            if run.status != "Completed":
                raise
    return ParallelStep(run_id)


__all__ = ["ParallelRunError", "ParallelStep", "ScriptStep", "StepProcess"]
