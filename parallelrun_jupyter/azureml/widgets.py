"""``azureml.widgets``: shows a pipeline with its steps in this package's own view."""

from __future__ import annotations

from typing import Any

from ..notebook.display import kernel_place
from ..notebook.run_details import RunDetails as NativeDetails
from ..pipelines.rendering import text_lines
from ..pipelines.views import PipelineView
from .pipeline.pipeline_runs import PipelineRun
from .pipeline.step_runs import StepRun


class RunDetails:
    """Shows a run live in every front end.

    Parameters
    ----------
    run_instance
        A `PipelineRun`, a `StepRun`, or a run of this package.
    """

    def __init__(self, run_instance: Any) -> None:
        self._run = run_instance

    def show(self, render_lib: Any = None, widget_settings: Any = None) -> None:
        """Show the run under the cell and return; the view updates itself until the run ends."""
        run = self._run
        if isinstance(run, StepRun):
            run = run.native() if run.state().run_id else run.parent
        if not isinstance(run, PipelineRun):
            NativeDetails(run).show()
            return
        place = kernel_place()
        if place is None:
            print("\n".join(text_lines(run._record, run.state())))
        else:
            PipelineView(run.folder, run._record, place).open()

    def get_widget_data(self, widget_settings: Any = None) -> dict[str, Any]:
        """Return the details of the run."""
        details: dict[str, Any] = self._run.get_details()
        return details


class ParallelRunStepDetails:
    """Shows the run of one step.

    Parameters
    ----------
    run_instance
        The pipeline run.
    step_name
        The name of the step.

    Raises
    ------
    ValueError
        The pipeline has no step with this name.
    """

    def __init__(self, run_instance: PipelineRun, step_name: str) -> None:
        self._steps = run_instance.find_step_run(step_name)
        if not self._steps:
            msg = f"pipeline run {run_instance.id} has no step {step_name!r}."
            raise ValueError(msg)

    def show(self) -> None:
        """Show the run of the step and return."""
        RunDetails(self._steps[0]).show()
