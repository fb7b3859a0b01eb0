"""The HTTP handlers of pipelines; both require the Jupyter token."""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from ..errors import RunNotFoundError
from ..pipelines.cancellation import cancel_pipeline
from ..pipelines.folder import PipelineFolder, find_pipeline
from ..pipelines.rendering import pipeline_bundle, step_placeholder
from ..runs.run_folder import find, pipelines_folder
from ..runs.run_lookup import is_id
from ..views.mime_bundle import run_output, saved_bundle
from ..views.saved_rows import saved_rows
from .run_handler import RunsHandler


def _find(run_id: str) -> PipelineFolder:
    folder = find_pipeline(run_id) if is_id(run_id) else None
    if folder is None or folder.path.resolve().parent != pipelines_folder().resolve():
        msg = "this is not the id of a pipeline run."
        raise RunNotFoundError(msg)
    return folder


class PipelineOutputHandler(RunsHandler):
    """The output of a cell that shows a pipeline, or one of its steps."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with the bundle of the pipeline, or that of the run of the ``step``."""
        key = self.get_query_argument("step", "")

        def read() -> dict[str, Any]:
            folder = _find(run_id)
            record = folder.read_record()
            state = folder.read_state(record.created_at)
            if not key:
                return pipeline_bundle(folder, record, state)
            if key not in {step.key for step in record.steps}:
                msg = f"pipeline run {run_id} has no step {key!r}."
                raise RunNotFoundError(msg)
            run = state.step(key).run_id
            if not run:
                return step_placeholder(record, key, state)
            snapshot = self.followers.snapshot(find(run))
            rows = self.followers.ask(find(run), lambda fold: saved_rows(find(run), fold))
            return saved_bundle(run_output(snapshot), rows)

        self.finish(json.dumps(await self.answer(read)))


class PipelineCancelHandler(RunsHandler):
    """Cancels a pipeline."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Cancel the pipeline and its running step."""
        await self.answer(lambda: cancel_pipeline(_find(run_id)))
        self.set_status(202)
        self.finish("{}")
