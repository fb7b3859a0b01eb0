"""Published pipelines over HTTP: what Azure's notebooks call their REST endpoint."""

from __future__ import annotations

import json

from jupyter_server.auth.decorator import authorized
from tornado import web

from ..pipelines.start import start_published
from .run_handler import RunsHandler


class PublishedHandler(RunsHandler):
    """A published pipeline."""

    @web.authenticated
    @authorized
    async def post(self, published_id: str) -> None:
        """Start it with the ``ParameterAssignments`` of the body; answer with the run's ``Id``."""
        body = self.question()
        given = body.get("ParameterAssignments") or {}
        if not isinstance(given, dict):
            msg = "ParameterAssignments is no JSON object; expected parameters and their values."
            raise web.HTTPError(400, msg, reason=msg)
        name = str(body.get("ExperimentName") or "")
        folder = await self.answer(lambda: start_published(published_id, given, name))
        self.finish(json.dumps({"Id": folder.run_id}))
