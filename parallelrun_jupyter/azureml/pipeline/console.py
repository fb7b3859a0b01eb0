"""Waiting for a pipeline, with its progress on the console."""

from __future__ import annotations

import sys
import time
from typing import Any

from ...errors import ParallelRunError
from ...pipelines.folder import PipelineFolder, PipelineRecord
from ...pipelines.journal import FINAL_STEP_STATES, PipelineState, StepState
from ...runs.logs.reader import text_from
from ...runs.run_folder import find
from ...runs.snapshot.follower import Follower
from ...views.text import LinePrinter
from ..statuses import run_status
from .open_views import settle_pipeline

_LOOK_S = 0.2


class Console:
    """Prints what is new of a pipeline: steps as they start and end, and the progress of each."""

    def __init__(self, folder: PipelineFolder, record: PipelineRecord, only: str = "") -> None:
        self._folder = folder
        self._record = record
        self._read: dict[str, int] = {}
        self._only = only
        self._said: dict[str, str] = {}
        self._runs: dict[str, tuple[Follower, LinePrinter]] = {}

    def say(self, state: PipelineState) -> None:
        """Print what has changed since the last time."""
        for step in self._record.steps:
            if self._only in {"", step.key} and step.key in state.steps:
                self._say_step(step.name, step.key, state.steps[step.key])
        sys.stdout.flush()

    def _say_step(self, name: str, key: str, state: StepState) -> None:
        before = self._said.get(key)
        if before is None and state.state != "Skipped":
            print(
                f"\nStepRunId: {state.step_run_id}\nStepRun( {name} ) Status: {run_status(state.state)}"
            )
            for note in state.notes:
                print(f"StepRun( {name} ) note: {note}")
        elif before != state.state:
            print(f"StepRun( {name} ) Status: {run_status(state.state)}")
        if state.is_reused:
            if before is None:
                print(f"StepRun( {name} ) reuses the outputs of {state.step_run_id}")
        elif state.run_id:
            self._say_progress(key, state.run_id)
        else:
            self._say_log(key)
        if state.state == "Failed" and before != "Failed":
            print(state.reason)
        self._said[key] = state.state

    def _say_log(self, key: str) -> None:
        """Print what a plain script has printed since the last time."""
        start = self._read.get(key, 0)
        text = text_from(self._folder.step(key) / "std_log.txt", start)
        whole = text[: text.rfind("\n") + 1]
        if whole:
            self._read[key] = start + len(whole.encode())
            print(whole, end="")

    def _say_progress(self, key: str, run_id: str) -> None:
        try:
            if key not in self._runs:
                self._runs[key] = (Follower(find(run_id)), LinePrinter())
            follower, printer = self._runs[key]
            for line in printer.lines(follower.refresh()):
                print(line)
        except ParallelRunError as error:
            print(error)


def watch_pipeline(
    folder: PipelineFolder, record: PipelineRecord, show: bool, timeout_s: float
) -> PipelineState:
    """Wait until a pipeline has ended.

    Raises
    ------
    TimeoutError
        It is still going after ``timeout_s``.
    """
    console = Console(folder, record) if show else None
    if show:
        print(f"PipelineRunId: {folder.run_id}\nLink to the run: {folder.path}")
    state = _watch(folder, record, console, timeout_s, lambda state: state.is_final)
    settle_pipeline(folder.run_id, state)
    if show:
        status = run_status(state.state)
        print(f"\nPipelineRun Execution Summary\n{'=' * 30}\nPipelineRun Status: {status}")
    return state


def watch_step(
    folder: PipelineFolder, record: PipelineRecord, key: str, show: bool, timeout_s: float
) -> StepState:
    """Wait until a step has ended, or its pipeline has.

    Raises
    ------
    TimeoutError
        It is still going after ``timeout_s``.
    """
    console = Console(folder, record, key) if show else None
    state = _watch(
        folder, record, console, timeout_s,
        lambda state: state.is_final or state.step(key).state in FINAL_STEP_STATES,
    )  # fmt: skip
    settle_pipeline(folder.run_id, state)
    return state.step(key)


def _watch(
    folder: PipelineFolder,
    record: PipelineRecord,
    console: Console | None,
    timeout_s: float,
    is_over: Any,
) -> PipelineState:
    until = time.monotonic() + timeout_s
    try:
        while True:
            state = folder.read_state(record.created_at)
            if console is not None:
                console.say(state)
            if is_over(state):
                return state
            if time.monotonic() > until:
                msg = (
                    f"pipeline run {folder.run_id} is still {state.state} after {timeout_s:g} s; it "
                    "goes on. Wait again, or end it with pipeline_run.cancel()."
                )
                raise TimeoutError(msg)
            time.sleep(_LOOK_S)
    except KeyboardInterrupt:
        print(
            f"stopped watching; pipeline run {folder.run_id} goes on. "
            "pipeline_run.wait_for_completion() watches again, pipeline_run.cancel() ends it.",
            file=sys.stderr,
        )
        raise
