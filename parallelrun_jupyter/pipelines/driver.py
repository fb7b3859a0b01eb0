"""The driver of a pipeline: starts its steps one after another, and writes its journal."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..environment.build import interpreter
from ..environment.packages import PackageSet
from ..errors import ParallelRunError
from ..files import write_atomically
from ..runs.driver_lock import DriverLock
from ..runs.journal.pipelines import (
    FINAL_STEP_STATES,
    PipelineEvent,
    PipelineFinished,
    PipelineStarted,
    StepFinished,
    StepPrepared,
    StepReused,
    StepStarted,
    StepSubmitting,
    append_event,
    fold,
    read_events,
)
from ..runs.run_folder import new_run_id
from ..worker.azureml.finder import CONTEXT_VARIABLE
from .bindings import Bindings, secret_values
from .folder import PipelineFolder, StepRecord, find_pipeline
from .registered_datasets import datasets_for_scripts, register_outputs
from .reuse import ReusableStep, find_reusable, fingerprint, save_reusable
from .steps import (
    LEGACY_PANDAS_VARIABLES,
    StepProcess,
    attach_parallel,
    start_command,
    start_parallel,
    start_script,
    upload_outputs,
    was_submitted,
)

_log = logging.getLogger(__name__)
_POLL_S = 0.05


class PipelineDriver:
    """Runs the steps of one pipeline, one after another, and writes its journal.

    Parameters
    ----------
    folder
        The pipeline's folder.
    clock
        Returns seconds since the epoch.
    """

    def __init__(self, folder: PipelineFolder, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = DriverLock(folder)
        self._record = folder.read_record()
        self._state = fold(read_events(folder.journal))
        self._rng = random.Random()  # noqa: S311 - a name, not a secret

    def run(self) -> None:
        """Run the remaining steps, and record how the pipeline ended."""
        self._write(PipelineStarted(self._clock(), os.getpid()))
        try:
            for step in self._record.steps:
                self._advance(step)
            self._finish()
        finally:
            self._lock.release()

    def _finish(self) -> None:
        states = {step.key: self._state.step(step.key) for step in self._record.steps}
        failed = [key for key, state in states.items() if state.state == "Failed"]
        canceled = [key for key, state in states.items() if state.state == "Canceled"]
        if self._is_canceled():
            self._write(PipelineFinished(self._clock(), "Canceled", "cancel was requested"))
        elif failed:
            name = self._record.step(failed[0]).name
            reason = f"step {name} failed: {states[failed[0]].reason}"
            self._write(PipelineFinished(self._clock(), "Failed", reason))
        elif canceled:
            reason = f"step {self._record.step(canceled[0]).name} was canceled"
            self._write(PipelineFinished(self._clock(), "Canceled", reason))
        else:
            self._write(PipelineFinished(self._clock(), "Completed", ""))

    def _advance(self, step: StepRecord) -> None:
        if self._state.step(step.key).state in FINAL_STEP_STATES:
            return  # the step ended under an earlier driver
        incomplete = [
            self._record.step(key).name
            for key in step.after
            if self._state.step(key).state != "Completed"
        ]
        any_failed = any(state.state == "Failed" for state in self._state.steps.values())
        if self._is_canceled():
            self._end(step, "Canceled", "cancel was requested")
        elif incomplete:
            self._end(step, "Skipped", f"step {incomplete[0]} did not complete")
        elif any_failed and not self._record.continue_on_step_failure:
            self._end(step, "Skipped", "an earlier step failed")
        else:
            self._try_step(step)

    def _try_step(self, step: StepRecord) -> None:
        try:
            self._run_step(step)
        except (ParallelRunError, OSError, KeyError) as error:
            _log.exception("step %s", step.name)
            kind = "" if isinstance(error, ParallelRunError) else f"{type(error).__name__}: "
            self._end(step, "Failed", f"{kind}{error}")

    def _run_step(self, step: StepRecord) -> None:
        """Run a step to its end; attach to its run if an earlier driver has submitted one."""
        state = self._state.step(step.key)
        if state.submitting and was_submitted(state.submitting):
            process = attach_parallel(state.submitting)
            self._write_started(step, state.step_run_id, process.run_id, state.outputs)
            self._finish_step(step, process)
        elif state.state == "Running" and state.run_id:
            self._finish_step(step, attach_parallel(state.run_id))
        else:
            self._run_new(step)

    def _run_new(self, step: StepRecord) -> None:
        """Run a step, unless the outputs of an earlier run can be reused."""
        folder = self._folder.step(step.key)
        step_run_id = new_run_id(self._clock(), self._rng)
        log = folder / "environment.log"
        policy = self._record.environment_policy
        python, notes = interpreter(PackageSet.of(step.environment), policy, log)
        self._write(StepPrepared(self._clock(), step.key, step_run_id, notes))
        bindings = Bindings(self._record, step, self._state, step_run_id, folder)
        key = ""
        if step.allow_reuse:
            with suppress(ParallelRunError, OSError):  # the step itself will report a missing input
                key = fingerprint(self._record, step, bindings, folder / "script", python)
            if key and not self._record.regenerate_outputs:
                reusable = find_reusable(self._record, key)
                if reusable is not None:
                    self._write_reused(step, reusable)
                    return
        outputs = {output.name: bindings.output_folder(output) for output in step.outputs}
        values = secret_values(step.variables)
        variables = {name: str(bindings.value(value)) for name, value in values.items()}
        variables = {**LEGACY_PANDAS_VARIABLES, **variables}
        variables[CONTEXT_VARIABLE] = str(self._write_context(step, bindings, step_run_id))
        process = self._start(step, bindings, outputs, python=python, variables=variables)
        self._write_started(step, step_run_id, process.run_id, outputs)
        self._finish_step(step, process, key)

    def _finish_step(self, step: StepRecord, process: StepProcess, key: str = "") -> None:
        """Wait for the end of a step, and publish its outputs; ``key`` is its fingerprint."""
        end, reason = self._wait(process, step.time_limit_s)
        if end == "Completed":
            state = self._state.step(step.key)
            upload_outputs(step, state.outputs, self._folder.step(step.key))
            register_outputs(Path(self._record.workspace), step, state.outputs)
            if key:
                reusable = ReusableStep(state.step_run_id, process.run_id, state.outputs)
                save_reusable(self._record, key, reusable)
        self._end(step, end, reason)

    def _start(
        self,
        step: StepRecord,
        bindings: Bindings,
        outputs: dict[str, str],
        *,
        python: str,
        variables: dict[str, str],
    ) -> StepProcess:
        folder = self._folder.step(step.key)
        script = folder / "script"
        if step.kind != "parallel":
            log = folder / "std_log.txt"
            start = start_command if step.kind == "command" else start_script
            return start(step, bindings, script=script, python=python, variables=variables, log=log)
        # Written before the run exists: if this driver is killed in between, the next one finds it.
        run_id = new_run_id(self._clock(), self._rng)
        self._write(StepSubmitting(self._clock(), step.key, run_id, outputs))
        return start_parallel(
            step, bindings, script=script, python=python, variables=variables, run_id=run_id
        )

    def _write_started(
        self, step: StepRecord, step_run_id: str, run_id: str, outputs: dict[str, str]
    ) -> None:
        self._write(StepStarted(self._clock(), step.key, step_run_id, run_id, outputs))

    def _write_reused(self, step: StepRecord, reusable: ReusableStep) -> None:
        ids = (reusable.step_run_id, reusable.run_id)
        self._write(StepReused(self._clock(), step.key, *ids, reusable.outputs))

    def _wait(self, process: StepProcess, time_limit_s: float) -> tuple[str, str]:
        """Return the final state of a step and the reason; forward a request to cancel."""
        is_cancel_sent = is_late = False
        until = time.monotonic() + (time_limit_s or math.inf)
        while True:
            end = process.poll()
            if end is not None:
                return ("Failed", f"it had not ended after {time_limit_s:g} s") if is_late else end
            if time.monotonic() > until and not is_cancel_sent:
                is_cancel_sent = is_late = True
                process.cancel()
            if not is_cancel_sent and self._is_canceled():
                is_cancel_sent = True
                process.cancel()
            self._lock.heartbeat()
            time.sleep(_POLL_S)

    def _write_context(self, step: StepRecord, bindings: Bindings, step_run_id: str) -> Path:
        """Write the context of the step's script, which the names from azureml read."""
        folder = self._folder.step(step.key)
        workspace = Path(self._record.workspace)
        context: dict[str, Any] = {
            **self._record.context,
            "run_id": step_run_id,
            "step": step.name,
            "parent_id": self._record.run_id,
            "experiment": self._record.experiment,
            "workspace_folder": self._record.workspace,
            "metrics": str(folder / "metrics.jsonl"),
            "files": str(folder / "files"),
            "inputs": {item.name: bindings.local_path(item) for item in step.side_inputs},
            "outputs": {output.name: bindings.output_folder(output) for output in step.outputs},
            "datasets": datasets_for_scripts(workspace, self._text_of(step), folder / "datasets"),
        }
        path = folder / "context.json"
        write_atomically(path, json.dumps(context))
        return path

    def _text_of(self, step: StepRecord) -> str:
        """Return the text of a step's scripts and arguments, which names its datasets."""
        scripts = sorted((self._folder.step(step.key) / "script").rglob("*.py"))
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in scripts]
        return "\n".join([*texts, json.dumps(step.arguments)])

    def _is_canceled(self) -> bool:
        return (self._folder.control / "cancel").exists()

    def _end(self, step: StepRecord, state: str, reason: str) -> None:
        self._write(StepFinished(self._clock(), step.key, state, reason))

    def _write(self, event: PipelineEvent) -> None:
        append_event(self._folder.journal, event)
        self._state.apply(event)


def drive_pipeline(path: str) -> None:
    """Drive the pipeline in a folder to its end, in this process.

    Raises
    ------
    RunNotFoundError
        The folder does not contain a pipeline.
    RunFolderError
        Another process drives the pipeline.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    PipelineDriver(find_pipeline(Path(path).name)).run()
