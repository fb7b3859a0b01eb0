"""The driver of a pipeline: starts each step when those it needs have completed; writes its journal."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..data.storage.credentials import take_credentials
from ..environment.build import interpreter
from ..environment.packages import PackageSet
from ..errors import ParallelRunError
from ..files import write_atomically
from ..machine import usable_cores
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
from .concurrency import cores_of, needed_by
from .folder import PipelineFolder, StepRecord, find_pipeline
from .registered_datasets import datasets_for_scripts, register_outputs
from .reuse import ReusableStep, find_reusable, fingerprint, save_reusable
from .start import held_variables
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


class _StepThread(threading.Thread):
    """Runs one step to its end.

    The process of a script ends when the thread that started it ends, so one thread sees a step
    through. It is a daemon: a driver that fails does not wait for its steps.
    """

    def __init__(self, step: StepRecord, run: Callable[[StepRecord], None]) -> None:
        super().__init__(name=f"step {step.key}", daemon=True)
        self.step = step
        self.is_done = False
        self._run_step = run

    def run(self) -> None:
        """Run the step; an unexpected error goes to the driver's log."""
        self._run_step(self.step)
        self.is_done = True


class PipelineDriver:
    """Runs the steps of one pipeline, independent ones side by side, and writes its journal.

    A step starts when those that it needs have completed and enough cores are free; see
    `cores_of`. One that needs more cores than there are starts when no other step uses any.

    Parameters
    ----------
    folder
        The pipeline's folder.
    clock
        Returns seconds since the epoch.
    cores
        The cores that the steps share. Default: those that this process may use.
    """

    def __init__(
        self, folder: PipelineFolder, clock: Callable[[], float] = time.time, cores: int = 0
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = DriverLock(folder)
        self._record = folder.read_record()
        take_credentials(held_variables(self._record), os.environ)
        self._state = fold(read_events(folder.journal))
        self._rng = random.Random()  # noqa: S311 - a name, not a secret
        self._cores = cores or usable_cores()
        self._needed = {step.key: needed_by(step) for step in self._record.steps}
        self._writing = threading.Lock()
        self._threads: list[_StepThread] = []

    def run(self) -> None:
        """Run the remaining steps, and record how the pipeline ended."""
        self._write(PipelineStarted(self._clock(), os.getpid()))
        waiting = [
            step
            for step in self._record.steps
            if self._state.step(step.key).state not in FINAL_STEP_STATES
        ]
        # Steps that an earlier driver submitted are running already: they do not wait for cores.
        submitted = [step for step in waiting if self._is_submitted(step)]
        try:
            for step in submitted:
                self._launch(step)
            waiting = [step for step in waiting if step not in submitted]
            while waiting or self._threads:
                waiting = [step for step in waiting if not self._advance(step)]
                self._lock.heartbeat()
                time.sleep(_POLL_S)
                self._join()
            self._finish()
        finally:
            self._lock.release()

    def _is_submitted(self, step: StepRecord) -> bool:
        state = self._state.step(step.key)
        return bool(state.submitting or (state.state == "Running" and state.run_id))

    def _launch(self, step: StepRecord) -> None:
        thread = _StepThread(step, self._try_step)
        self._threads.append(thread)
        thread.start()

    def _join(self) -> None:
        """Forget the threads of steps that have ended."""
        ended = [thread for thread in self._threads if not thread.is_alive()]
        self._threads = [thread for thread in self._threads if thread not in ended]
        for thread in ended:
            if not thread.is_done:
                msg = f"step {thread.step.name} ended by the error above"
                raise RuntimeError(msg)

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

    def _advance(self, step: StepRecord) -> bool:
        """Start a step, or end it without a start; return False if it has to wait."""
        needed = {key: self._state.step(key).state for key in self._needed[step.key]}
        missed = [
            self._record.step(key).name
            for key, state in needed.items()
            if state in FINAL_STEP_STATES and state != "Completed"
        ]
        any_failed = any(
            self._state.step(other.key).state == "Failed" for other in self._record.steps
        )
        if self._is_canceled():
            self._end(step, "Canceled", "cancel was requested")
        elif missed:
            self._end(step, "Skipped", f"step {missed[0]} did not complete")
        elif any_failed and not self._record.continue_on_step_failure:
            self._end(step, "Skipped", "another step failed")
        elif all(state == "Completed" for state in needed.values()) and self._has_room(step):
            self._launch(step)
        else:
            return False
        return True

    def _has_room(self, step: StepRecord) -> bool:
        """Return whether a step may run beside those that are running."""
        running = [thread.step for thread in self._threads]
        limit = self._record.steps_at_a_time
        if limit and len(running) >= limit:
            return False
        used = sum(cores_of(other, self._record, self._cores) for other in running)
        wanted = cores_of(step, self._record, self._cores)
        return not used or not wanted or used + wanted <= self._cores

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
        shutil.rmtree(folder / "outputs", ignore_errors=True)  # of an attempt that was cut short
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
            step, bindings, script=script, python=python, variables=variables, run_id=run_id,
            api=self._record.api,
        )  # fmt: skip

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
        with self._writing:
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
