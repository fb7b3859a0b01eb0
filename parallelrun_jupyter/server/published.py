"""Published pipelines: what notebooks of the SDK v1 call a pipeline's REST endpoint."""

from __future__ import annotations

import json

from jupyter_server.auth.decorator import authorized
from tornado import web

from ..pipelines.start import start_published
from .run_handler import RunsHandler, is_id


class PublishedHandler(RunsHandler):
    """Starts a published pipeline."""

    @web.authenticated
    @authorized
    async def post(self, published_id: str) -> None:
        """Start it with the ``ParameterAssignments`` of the body; answer with the run's ``Id``."""
        body = self.question()
        given = body.get("ParameterAssignments") or {}
        if not is_id(published_id) or not isinstance(given, dict):
            self.refuse(
                'expected JSON such as {"ExperimentName": "digits", "ParameterAssignments": {}}.'
            )
        name = str(body.get("ExperimentName") or "")
        folder = await self.answer(lambda: start_published(published_id, given, name))
        self.finish(json.dumps({"Id": folder.run_id}))
