"""``azureml.core.Run``: of a step's script, and of a notebook that asks for its context."""

from __future__ import annotations

from typing import Any

from ...pipelines.folder import every_pipeline
from ...worker.azureml import core
from ..core.workspace import Workspace
from ..exceptions import ExperimentException
from .pipeline_runs import PipelineRun


class Run(core.Run):
    """The run that this process belongs to; outside of a step, an offline one."""

    @staticmethod
    def get(workspace: Workspace, run_id: str, **_: Any) -> Any:
        """Return a run of a pipeline by its id.

        Raises
        ------
        ExperimentException
            There is none.
        """
        for folder in every_pipeline():
            if folder.run_id == run_id:
                return PipelineRun.get(workspace, run_id)
            state = folder.read_state(folder.read_record().created_at)
            for key, step in state.steps.items():
                if run_id in {step.step_run_id, step.run_id}:
                    steps = PipelineRun.get(workspace, folder.run_id).get_steps()
                    return next(one for one in steps if one._step.key == key)
        msg = f"there is no run {run_id!r} in this home."
        raise ExperimentException(msg)
