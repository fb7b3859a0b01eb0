"""The driver of a pipeline: launches its steps one by one, and writes its journal."""

from __future__ import annotations

import json
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..environment.build import interpreter
from ..environment.packages import PackageSet
from ..errors import ParallelRunError
from ..files import write_atomically
from ..runs.driver_lock import DriverLock
from ..runs.run_folder import new_run_id
from ..worker.azureml.finder import CONTEXT_VARIABLE
from .bindings import Bindings, split_secrets
from .folder import PipelineFolder, find_pipeline
from .journal import (
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
from .record import StepRecord
from .registered_datasets import register_outputs, staged_datasets
from .reuse import ReusableStep, find_finished, keep_finished, try_fingerprint
from .steps import (
    LEGACY_PANDAS_VARIABLES,
    StepProcess,
    publish_outputs,
    start_parallel,
    start_script,
    take_up_parallel,
    was_submitted,
)

_log = logging.getLogger(__name__)
_LOOK_S = 0.05


class PipelineDriver:
    """Drives one pipeline from its folder to its end.

    Parameters
    ----------
    folder
        The pipeline.
    clock
        Seconds since the epoch.
    """

    def __init__(self, folder: PipelineFolder, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._claim = DriverLock(folder)
        self._record = folder.read_record()
        self._state = fold(read_events(folder.journal))
        self._rng = random.Random()  # noqa: S311 - a name, not a secret

    def run(self) -> None:
        """Run the steps that are left, and record how the pipeline ended."""
        self._write(PipelineStarted(self._clock(), os.getpid()))
        try:
            for step in self._record.steps:
                self._advance(step)
            self._finish()
        finally:
            self._claim.release()

    def _finish(self) -> None:
        states = {step.key: self._state.step(step.key) for step in self._record.steps}
        failed = [key for key, state in states.items() if state.state == "Failed"]
        if self._is_canceled():
            self._write(PipelineFinished(self._clock(), "Canceled", "cancel was asked for"))
        elif failed:
            name = self._record.step(failed[0]).name
            reason = f"step {name} failed: {states[failed[0]].reason}"
            self._write(PipelineFinished(self._clock(), "Failed", reason))
        else:
            self._write(PipelineFinished(self._clock(), "Completed", ""))

    def _advance(self, step: StepRecord) -> None:
        state = self._state.step(step.key)
        if state.state in FINAL_STEP_STATES:
            return  # an earlier driver saw its end
        before = {key: self._state.step(key).state for key in step.after}
        missing = [self._record.step(k).name for k, was in before.items() if was != "Completed"]
        others_failed = any(s.state == "Failed" for s in self._state.steps.values())
        if self._is_canceled():
            self._end(step, "Canceled", "cancel was asked for")
        elif missing:
            self._end(step, "Skipped", f"step {missing[0]} did not complete")
        elif others_failed and not self._record.continue_on_step_failure:
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
        was = self._state.step(step.key)
        place = self._folder.step(step.key)
        is_submitted = bool(was.submitting) and was_submitted(was.submitting)
        run_id = was.submitting if is_submitted else was.run_id if was.state == "Running" else ""
        if run_id:
            step_run_id, key, outputs = was.step_run_id, "", was.outputs
            going: StepProcess = take_up_parallel(run_id)
            if is_submitted:
                self._write_started(step, step_run_id, run_id, outputs)
        else:
            step_run_id = new_run_id(self._clock(), self._rng)
            log = place / "environment.log"
            how = self._record.environment_policy
            python, notes = interpreter(PackageSet.of(step.environment), how, log)
            self._write(StepPrepared(self._clock(), step.key, step_run_id, notes))
            bindings = Bindings(self._record, step, self._state, step_run_id, place)
            script = place / "script"
            key = ""
            if step.allow_reuse:
                key = try_fingerprint(self._record, step, bindings, script, python)
                if key and not self._record.regenerate_outputs and self._reuse(step, key):
                    return
            outputs = {one.name: bindings.output_folder(one) for one in step.outputs}
            variables = {**LEGACY_PANDAS_VARIABLES, **split_secrets(step.variables)}
            variables[CONTEXT_VARIABLE] = str(self._write_context(step, bindings, step_run_id))
            going = self._begin(step, bindings, outputs, python=python, variables=variables)
            self._write_started(step, step_run_id, going.run_id, outputs)
        state, reason = self._wait(going)
        if state == "Completed":
            publish_outputs(step, outputs, place)
            register_outputs(Path(self._record.workspace), step, outputs)
            if key:
                keep_finished(self._record, key, ReusableStep(step_run_id, going.run_id, outputs))
        self._end(step, state, reason)

    def _begin(
        self,
        step: StepRecord,
        bindings: Bindings,
        outputs: dict[str, str],
        *,
        python: str,
        variables: dict[str, str],
    ) -> StepProcess:
        """Start the run, or the plain script, of a step."""
        script = self._folder.step(step.key) / "script"
        if step.kind != "parallel":
            log = self._folder.step(step.key) / "std_log.txt"
            return start_script(
                step, bindings, script=script, python=python, variables=variables, log=log
            )
        # Before there is a run: a driver that is killed in between leaves one that is found.
        run_id = new_run_id(self._clock(), self._rng)
        self._write(StepSubmitting(self._clock(), step.key, run_id, outputs))
        return start_parallel(
            step,
            bindings,
            script=script,
            python=python,
            variables=variables,
            compute=step.compute,
            run_id=run_id,
        )

    def _write_started(
        self, step: StepRecord, step_run_id: str, run_id: str, outputs: dict[str, str]
    ) -> None:
        self._write(StepStarted(self._clock(), step.key, step_run_id, run_id, outputs))

    def _reuse(self, step: StepRecord, key: str) -> bool:
        found = find_finished(self._record, key)
        if found is None:
            return False
        self._write(
            StepReused(self._clock(), step.key, found.step_run_id, found.run_id, found.outputs)
        )
        return True

    def _wait(self, going: StepProcess) -> tuple[str, str]:
        is_asked = False
        while True:
            ended = going.poll()
            if ended is not None:
                return ended
            if not is_asked and self._is_canceled():
                is_asked = True
                going.cancel()
            self._claim.heartbeat()
            time.sleep(_LOOK_S)

    def _write_context(self, step: StepRecord, bindings: Bindings, step_run_id: str) -> Path:
        """Write down what the step's script may know, for the names of azureml in it."""
        place = self._folder.step(step.key)
        context: dict[str, Any] = {
            **self._record.context,
            "run_id": step_run_id,
            "step": step.name,
            "parent_id": self._record.run_id,
            "experiment": self._record.experiment,
            "workspace_folder": self._record.workspace,
            "metrics": str(place / "metrics.jsonl"),
            "files": str(place / "files"),
            "inputs": {one.name: bindings.local_path(one) for one in step.side_inputs},
            "outputs": {one.name: bindings.output_folder(one) for one in step.outputs},
            "datasets": staged_datasets(
                Path(self._record.workspace), self._words(step), place / "datasets"
            ),
        }
        path = place / "context.json"
        write_atomically(path, json.dumps(context))
        return path

    def _words(self, step: StepRecord) -> str:
        """Return the text in which a step may name what it opens."""
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
    """Be the driver of the pipeline in a folder, to its end.

    Raises
    ------
    RunNotFoundError
        There is no pipeline in that folder.
    RunFolderError
        It has a driver already.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    PipelineDriver(find_pipeline(Path(path).name)).run()
