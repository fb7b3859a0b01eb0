"""``azureml.widgets.RunDetails``: a pipeline with its steps, each in this package's own window."""

from __future__ import annotations

import threading
import time
from typing import Any

from ..errors import ParallelRunError
from ..notebook.display import Place, kernel_place
from ..notebook.run_details import CellOutput
from ..notebook.run_details import RunDetails as NativeDetails
from ..pipelines.journal import FINAL_STEP_STATES, PipelineState
from ..runs.run_folder import find
from .pipeline.open_views import followed
from .pipeline.pipeline_runs import PipelineRun
from .pipeline.pipeline_views import html_table, text_lines
from .pipeline.step_runs import StepRun

_LOOK_S = 0.5
_REFRESH_S = 5.0


class RunDetails:
    """Shows a run, live, in every front end.

    Parameters
    ----------
    run_instance
        A `PipelineRun`, a `StepRun`, or a run of this package.
    """

    def __init__(self, run_instance: Any) -> None:
        self._run = run_instance

    def show(self, render_lib: Any = None, widget_settings: Any = None) -> None:
        """Show the run under the cell and return at once; the view goes on by itself."""
        run = self._run
        if isinstance(run, StepRun) and run.state().run_id:
            run = run.native()
        if isinstance(run, StepRun):
            run = run.parent
        if not isinstance(run, PipelineRun):
            NativeDetails(run).show()
            return
        place = kernel_place()
        if place is None:
            print("\n".join(text_lines(run._record, run.state())))
            return
        ShownPipeline(run, place).open()

    def get_widget_data(self, widget_settings: Any = None) -> dict[str, Any]:
        """Return what is known of the run."""
        details: dict[str, Any] = self._run.get_details()
        return details


class _KeptPlace(Place):
    """A place that is there already: what is displayed in it takes the place of what was."""

    def __init__(self, place: Place) -> None:
        super().__init__(None, has_views=place.has_views)
        self._there = place

    def display(self, bundle: dict[str, Any]) -> None:
        """Replace what is there."""
        self._there.update(bundle)

    def update(self, bundle: dict[str, Any]) -> None:
        """Replace what is there."""
        self._there.update(bundle)


class ShownPipeline:
    """One output for the pipeline, and one for each step over mini-batches, as it starts."""

    def __init__(self, run: PipelineRun, place: Place) -> None:
        self._run = run
        self._record = run._record
        self._place = place
        self._steps: dict[str, Place] = {}
        self._opened: set[str] = set()
        self._said = ""

    def open(self) -> None:
        """Put the outputs there, and follow the pipeline where it has not ended."""
        state = self._run.state()
        self._place.display(self._bundle(state))
        for step in self._record.steps:
            if step.kind == "parallel":
                place = kernel_place()
                if place is None:
                    return
                place.display(_waiting(step.name))
                self._steps[step.key] = _KeptPlace(place)
        self._draw(state)
        if not state.is_final:
            name = f"parallelrun feed {self._run.id}"
            threading.Thread(target=self._follow, name=name, daemon=True).start()

    def _follow(self) -> None:
        with followed(self._run.id):
            self._draw_to_the_end()

    def _draw_to_the_end(self) -> None:
        wait = threading.Event()
        while True:
            try:
                state = self._run.state()
                self._draw(state)
            except (ParallelRunError, OSError):
                return  # the run's folder is gone: what is shown is the last that was known
            if state.is_final:
                return
            wait.wait(_LOOK_S)

    def _draw(self, state: PipelineState) -> None:
        said = "\n".join(f"{key}{step.state}" for key, step in state.steps.items()) + state.state
        if not state.is_final:
            said += str(int(time.monotonic() / _REFRESH_S))  # the elapsed time goes on
        if said != self._said:
            self._said = said
            self._place.update(self._bundle(state))
        for key, place in self._steps.items():
            step = state.steps.get(key)
            if step is None or key in self._opened:
                continue
            if step.run_id:
                self._opened.add(key)
                CellOutput(find(step.run_id), place).open()
            elif step.state in FINAL_STEP_STATES:
                self._opened.add(key)
                name = self._record.step(key).name
                place.update({"text/plain": f"{name}: {step.state.lower()} {step.reason}"})

    def _bundle(self, state: PipelineState) -> dict[str, Any]:
        return {
            "text/html": html_table(self._record, state),
            "text/plain": "\n".join(text_lines(self._record, state)),
        }


def _waiting(name: str) -> dict[str, Any]:
    return {"text/plain": f"{name}: not started"}


class ParallelRunStepDetails:
    """Shows the run of one step.

    Parameters
    ----------
    run_instance
        The pipeline's run.
    step_name
        The step.
    """

    def __init__(self, run_instance: PipelineRun, step_name: str) -> None:
        self._steps = run_instance.find_step_run(step_name)
        if not self._steps:
            msg = f"pipeline run {run_instance.id} has no step {step_name!r}."
            raise ValueError(msg)

    def show(self) -> None:
        """Show the run of the step, and return at once."""
        RunDetails(self._steps[0]).show()
