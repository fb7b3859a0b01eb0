"""Shows a pipeline and its steps live: in a notebook, and on the console."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from ..errors import ParallelRunError
from ..notebook.display import Place, kernel_place
from ..notebook.feed import settle
from ..notebook.run_details import CellOutput
from ..runs.journal.pipelines import FINAL_STEP_STATES, PipelineState, StepState
from ..runs.logs.reader import LOG_PIECE_BYTES, bytes_from
from ..runs.run_folder import find
from ..runs.snapshot.follower import Follower
from ..views.text import LinePrinter
from ..worker.log_limit import KEPT_BYTES
from .folder import PipelineFolder, PipelineRecord
from .rendering import pipeline_bundle, status_word, step_placeholder

_CONSOLE_POLL_S = 0.2
_VIEW_POLL_S = 0.5
_REFRESH_S = 5.0
_FINAL_DRAW_S = 2.0
_PRINTED_BYTES = 1 << 20
"""The most of a step's log that is printed at once, so that one with much output holds up no other."""


class _ExistingPlace(Place):
    """An existing output of a cell: displaying something replaces its content."""

    def __init__(self, place: Place) -> None:
        super().__init__(None, has_views=place.has_views)
        self._place = place

    def display(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self._place.update(bundle, metadata)

    def update(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        self._place.update(bundle, metadata)


class PipelineView(threading.Thread):
    """Live outputs under a cell: one for the pipeline, and one for each step over mini-batches.

    The thread draws until the pipeline has ended. `wait_for_views` finds it among the process's
    threads.
    """

    def __init__(self, folder: PipelineFolder, record: PipelineRecord, place: Place) -> None:
        super().__init__(name=f"parallelrun feed {folder.run_id}", daemon=True)
        self.run_id = folder.run_id
        self._folder = folder
        self._record = record
        self._place = place
        self._step_places: dict[str, Place] = {}
        self._opened_steps: set[str] = set()
        self._drawn = ""

    def open(self) -> None:
        """Display the outputs, and start to follow the pipeline unless it has ended."""
        state = self._read_state()
        self._place.display(pipeline_bundle(self._folder, self._record, state))
        for step in self._record.steps:
            if step.kind == "parallel":
                place = kernel_place()
                if place is None:
                    return
                place.display(step_placeholder(self._record, step.key, state))
                self._step_places[step.key] = _ExistingPlace(place)
        self._draw(state)
        if not state.is_final:
            self.start()

    def run(self) -> None:
        """Draw until the pipeline has ended."""
        while True:
            try:
                state = self._read_state()
                self._draw(state)
            except (ParallelRunError, OSError):
                return  # the run's folder was removed: its last known state stays on the page
            if state.is_final:
                return
            time.sleep(_VIEW_POLL_S)

    def _read_state(self) -> PipelineState:
        return self._folder.read_state(self._record.created_at)

    def _draw(self, state: PipelineState) -> None:
        drawn = "\n".join(f"{key}{step.state}" for key, step in state.steps.items()) + state.state
        if not state.is_final:
            drawn += str(int(time.monotonic() / _REFRESH_S))  # updates the elapsed times
        if drawn != self._drawn:
            self._drawn = drawn
            self._place.update(pipeline_bundle(self._folder, self._record, state))
        for key, place in self._step_places.items():
            step = state.steps.get(key)
            if step is None or key in self._opened_steps:
                continue
            if step.run_id:
                self._opened_steps.add(key)
                CellOutput(find(step.run_id), place).open()
            elif step.state in FINAL_STEP_STATES:
                self._opened_steps.add(key)
                place.update(step_placeholder(self._record, key, state))


def wait_for_views(run_id: str, state: PipelineState) -> None:
    """Wait up to 2 s for each view to draw the end of the pipeline or step.

    The notebook may end right after this, and its saved outputs should show the final state.
    """
    if state.is_final:
        for thread in threading.enumerate():
            if isinstance(thread, PipelineView) and thread.run_id == run_id:
                thread.join(_FINAL_DRAW_S)
    for step in state.steps.values():
        if step.run_id and step.state in FINAL_STEP_STATES:
            try:
                settle(find(step.run_id))
            except ParallelRunError:
                continue  # the run's folder was removed


class _Console:
    """Prints changes of a pipeline: steps that start or end, and the progress of each.

    Where lines of steps that run side by side alternate, a line with the step's name is before them.
    """

    def __init__(self, folder: PipelineFolder, record: PipelineRecord, only_step: str) -> None:
        self._folder = folder
        self._record = record
        self._only_step = only_step
        self._printed_states: dict[str, str] = {}
        self._log_offsets: dict[str, int] = {}
        self._runs: dict[str, tuple[Follower, LinePrinter]] = {}
        self._ended_runs: set[str] = set()
        self._speaker = ""

    def print_changes(self, state: PipelineState) -> None:
        for step in self._record.steps:
            if self._only_step in {"", step.key} and step.key in state.steps:
                self._print_step(step.name, step.key, state.steps[step.key])
        sys.stdout.flush()

    def _print_step(self, name: str, key: str, state: StepState) -> None:
        before = self._printed_states.get(key)
        status = f"StepRun( {name} ) Status: {status_word(self._record, state.state)}"
        is_end = before != state.state and state.state in FINAL_STEP_STATES
        if before is None:
            is_end = is_end and state.state != "Skipped"
            self._print_first(name, "" if is_end else status, state)
        if before not in {None, state.state} and not is_end:
            print(status)
        if before is None or (before != state.state and not is_end):
            self._speaker = key
        if state.is_reused:
            if before is None:
                print(f"StepRun( {name} ) reuses the outputs of {state.step_run_id}")
        elif state.run_id:
            self._print_progress(key, name, state.run_id)
        else:
            self._print_log(key, name, is_end=state.state in FINAL_STEP_STATES)
        if is_end:
            print(status)  # after its last lines
            self._speaker = key
        if state.state == "Failed" and before != "Failed":
            print(state.reason)
        self._printed_states[key] = state.state

    def _print_first(self, name: str, status: str, state: StepState) -> None:
        if state.state != "Skipped":
            print(f"\nStepRunId: {state.step_run_id}\n{status}".rstrip())
            for note in state.notes:
                print(f"StepRun( {name} ) note: {note}")
        elif self._record.api != "v1":
            print(f"\n{status}: {state.reason}")

    def _say(self, key: str, name: str, text: str) -> None:
        """Print lines of a step, below its name if another step spoke last."""
        if self._speaker != key:
            print(f"==> {name} <==")
            self._speaker = key
        print(text)

    def _print_log(self, key: str, name: str, *, is_end: bool) -> None:
        """Print the new whole lines of a plain script's output; at its end, also the rest."""
        path = self._folder.step(key) / "std_log.txt"
        if path.exists() and path.stat().st_size < self._log_offsets.get(key, 0):
            self._log_offsets[key] = KEPT_BYTES  # its middle was left out
        until = self._log_offsets.get(key, 0) + _PRINTED_BYTES
        while self._log_offsets.get(key, 0) < until:
            offset = self._log_offsets.get(key, 0)
            piece = bytes_from(path, offset)
            is_full = len(piece) == LOG_PIECE_BYTES
            whole = piece[: piece.rfind(b"\n") + 1]
            if is_end or (is_full and not whole):
                whole = whole if is_full and whole else piece
            if not whole:
                return
            self._log_offsets[key] = offset + len(whole)
            self._say(key, name, whole.decode("utf-8", "replace").removesuffix("\n"))
        if is_end and bytes_from(path, self._log_offsets[key]):
            self._say(key, name, f"the rest of the output is in {path}")

    def _print_progress(self, key: str, name: str, run_id: str) -> None:
        try:
            if key not in self._runs:
                self._runs[key] = (Follower(find(run_id)), LinePrinter())
            follower, printer = self._runs[key]
            if run_id in self._ended_runs:
                return
            snapshot = follower.refresh()
            if snapshot["is_final"]:
                self._ended_runs.add(run_id)  # the next steps may take long
            for line in printer.lines(snapshot):
                self._say(key, name, line)
        except ParallelRunError as error:
            self._say(key, name, str(error))


def wait_until_ended(
    folder: PipelineFolder,
    record: PipelineRecord,
    *,
    show_output: bool,
    timeout_s: float,
    step: str = "",
) -> PipelineState:
    """Wait until a pipeline has ended, or one of its steps.

    Parameters
    ----------
    folder, record
        The pipeline run.
    show_output
        Print the progress to the console.
    timeout_s
        Maximum waiting time in seconds.
    step
        Key of the step to wait for. Default: the whole pipeline.

    Raises
    ------
    TimeoutError
        It has not ended after ``timeout_s`` seconds.
    """
    console = _Console(folder, record, step) if show_output else None
    deadline = time.monotonic() + timeout_s
    noun, variable = record.noun, record.noun.replace(" ", "_")
    try:
        while True:
            state = folder.read_state(record.created_at)
            if console is not None:
                console.print_changes(state)
            if state.is_final or (step and state.step(step).state in FINAL_STEP_STATES):
                break
            if time.monotonic() > deadline:
                msg = (
                    f"{noun} {folder.run_id} is still {state.state} after {timeout_s:g} s and "
                    f"continues. Wait again, or end it with {variable}.cancel()."
                )
                raise TimeoutError(msg)
            time.sleep(_CONSOLE_POLL_S)
    except KeyboardInterrupt:
        print(
            f"stopped watching; {noun} {folder.run_id} continues. Watch it again with "
            f"{variable}.wait_for_completion(), or end it with {variable}.cancel().",
            file=sys.stderr,
        )
        raise
    wait_for_views(folder.run_id, state)
    return state
