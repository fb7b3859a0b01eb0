"""The run of a job: its state, its steps and their outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ParallelRunError, RunFailedError
from ...notebook.display import kernel_place
from ...pipelines.cancellation import cancel_pipeline
from ...pipelines.folder import PipelineFolder, PipelineRecord, find_pipeline
from ...pipelines.rendering import pipeline_bundle, text_lines
from ...pipelines.start import resume_pipeline
from ...pipelines.views import PipelineView, wait_until_ended
from ...runs.journal.pipelines import PipelineState, StepState
from .failed import failed_sentence


@dataclass(frozen=True, slots=True)
class StepRun:
    """A step of a job's run.

    Parameters
    ----------
    name, type
        Its name in the job (``outer.inner`` in a pipeline component), and ``command`` or ``parallel``.
    status
        ``NotStarted``, ``Preparing``, ``Running``, ``Completed``, ``Failed``, ``Canceled``, ``Skipped``.
    run_id
        The id of the run over mini-batches, for `Run.attach`; empty for a command.
    outputs
        The paths of its outputs, by name; empty before it starts.
    log
        The output of a command.
    """

    name: str
    type: str
    status: str
    run_id: str
    reason: str
    outputs: dict[str, str]
    log: Path


class JobRun:
    """The run of a job; `run` returns one.

    Parameters
    ----------
    run_id
        Its id.
    notes
        Sentences about what is different on this machine.

    Raises
    ------
    RunNotFoundError
        No job has this id.
    """

    def __init__(self, run_id: str, notes: tuple[str, ...] = ()) -> None:
        self.folder: PipelineFolder = find_pipeline(run_id)
        self.record: PipelineRecord = self.folder.read_record()
        self.notes = notes

    def __repr__(self) -> str:
        return f"JobRun({self.run_id!r}: {self.record.name}, {self.status})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return pipeline_bundle(self.folder, self.record, self.state())

    @property
    def run_id(self) -> str:
        """The id."""
        return self.folder.run_id

    @property
    def status(self) -> str:
        """``NotStarted``, ``Running``, ``Completed``, ``Failed``, ``Canceled`` or ``Interrupted``."""
        return self.state().state

    def state(self) -> PipelineState:
        """Return the state of the pipeline and its steps."""
        return self.folder.read_state(self.record.created_at)

    @property
    def steps(self) -> list[StepRun]:
        """The steps, in order."""
        state = self.state()
        return [
            self._step(step.key, step.name, step.kind, state.steps.get(step.key, StepState()))
            for step in self.record.steps
        ]

    def _step(self, key: str, name: str, kind: str, state: StepState) -> StepRun:
        log = self.folder.step(key) / "std_log.txt"
        return StepRun(
            name, kind, state.state, state.run_id, state.reason, dict(state.outputs), log
        )

    @property
    def outputs(self) -> dict[str, str]:
        """The paths of the pipeline's outputs, by name; only of steps that have started."""
        state = self.state()
        return {
            name: state.step(key).outputs[output]
            for name, (key, output) in self.record.outputs.items()
            if output in state.step(key).outputs
        }

    def _step_outputs(self) -> dict[str, str]:
        return {
            f"{step.name}.{name}": path
            for step in self.steps
            for name, path in step.outputs.items()
        }

    def wait_for_completion(
        self,
        *,
        show_output: bool = True,
        raise_on_error: bool = True,
        timeout_s: float | None = None,
    ) -> str:
        """Wait until the job has ended; return its status.

        Parameters
        ----------
        show_output
            Print the progress of its steps, and the failed items at the end.
        raise_on_error
            Raise an error if it failed.
        timeout_s
            Maximum waiting time in seconds. Default: none.

        Raises
        ------
        RunFailedError
            The job failed; the message starts with the script's own exception.
        TimeoutError
            It has not ended in time.
        """
        limit = float("inf") if timeout_s is None else timeout_s
        state = wait_until_ended(self.folder, self.record, show_output=show_output, timeout_s=limit)
        if show_output:
            print(f"\njob {self.run_id}: {state.state}")
            for name, path in (self.outputs or self._step_outputs()).items():
                if "://" in path or os.path.exists(path):  # a failed step may not have written it
                    print(f"output {name}: {path}")
            for warning in self.warnings():
                print(f"warning: {warning}")
        if raise_on_error and state.state in {"Failed", "Interrupted"}:
            msg = f"{state.reason}\njob {self.run_id} {state.state.lower()}"
            if state.state == "Interrupted":
                msg += (
                    f"; 'parallelrun azureml resume {self.run_id}' continues it, 'parallelrun azureml "
                    f"cancel {self.run_id}' ends the steps that still run"
                )
            raise RunFailedError(msg)
        return state.state

    def warnings(self) -> list[str]:
        """Return a sentence for each step that has failed items, also if thresholds ignore them."""
        return list(self._warnings())

    def _warnings(self) -> Iterator[str]:
        for step in self.steps:
            if not step.run_id:
                continue
            try:
                sentence = failed_sentence(step.run_id)
            except ParallelRunError:
                continue  # the folder of the run was removed
            if sentence:
                yield f"step {step.name}: {sentence}"

    def show(self) -> None:
        """Show the pipeline and its steps live under the cell, and return; elsewhere print its state."""
        place = kernel_place()
        if place is None:
            print("\n".join(text_lines(self.record, self.state())))
        else:
            PipelineView(self.folder, self.record, place).open()

    def resume(self) -> None:
        """Continue a job that lost its driver; steps that have ended are kept.

        Raises
        ------
        RunFolderError
            The job is running, or has ended.
        """
        resume_pipeline(self.folder)

    def cancel(self) -> None:
        """Request that the job and its running steps be canceled."""
        cancel_pipeline(self.folder)
