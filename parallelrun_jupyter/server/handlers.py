"""The handlers, all under ``parallelrun/runs``; each refuses without the Jupyter token."""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from ..client.resume import resume_run
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.mini_batches import Grid, MiniBatchDetail, mini_batch_detail
from ..views import queries
from ..views.mime_bundle import news, run_output, saved_bundle
from .downloads import LogFileHandler, ResultHandler
from .followers import Followers
from .published import PublishedHandler
from .run_handler import RunsHandler, find_run

_LISTED = 50


class ListHandler(RunsHandler):
    """The newest runs of this home."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a RunList."""
        limit = min(max(self.number("limit", _LISTED), 1), _LISTED)
        self.finish(json.dumps(await self.answer(lambda: self.followers.rows(limit))))


class SnapshotHandler(RunsHandler):
    """Where a run stands."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with a RunOutput, or 204 when it has no news since ``seen``."""
        snapshot = await self.answer(lambda: self.followers.snapshot(find_run(run_id)))
        version = f"{hash(news(snapshot)) & 0xFFFFFFFFFFFF:x}"
        self.set_header("X-Run-Version", version)
        if version == self.get_query_argument("seen", ""):
            self.set_status(204)
            self.finish()
        else:
            self.finish(json.dumps(run_output(snapshot)))


class OutputHandler(RunsHandler):
    """What a notebook saves of a run."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with the MIME bundle: the run as JSON, as HTML and as text."""
        snapshot = await self.answer(lambda: self.followers.snapshot(find_run(run_id)))
        self.finish(json.dumps(saved_bundle(run_output(snapshot))))


class LogsHandler(RunsHandler):
    """A window of a run's log."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Answer a question about the log with a LogWindow."""
        question = self.question()
        found = await self.answer(
            lambda: queries.log_window(find_run(run_id), queries.log_query(question))
        )
        self.finish(json.dumps(found))


class MiniBatchHandler(RunsHandler):
    """One mini-batch."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with a MiniBatchDetail."""
        number = self.number("mini_batch", 0)

        def read() -> MiniBatchDetail:
            folder = find_run(run_id)
            return self.followers.ask(folder, lambda s: mini_batch_detail(folder, s, number))

        self.finish(json.dumps(await self.answer(read)))


class GridHandler(RunsHandler):
    """A part of the grid of mini-batches."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with a Grid."""
        first, count = self.number("first", 0), self.number("count", 0)

        def read() -> Grid:
            return self.followers.ask(
                find_run(run_id), lambda state: queries.grid_part(state, first, count)
            )

        self.finish(json.dumps(await self.answer(read)))


class FailuresHandler(RunsHandler):
    """The failed attempts of one group."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with Failures."""
        group = self.get_query_argument("group", "")
        found = await self.answer(lambda: queries.failures(find_run(run_id), group))
        self.finish(json.dumps(found))


class CancelHandler(RunsHandler):
    """The end of a run, on request."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Ask the run to end; ``{"drain": true}`` lets what runs now finish."""
        drain = self.question().get("drain") is True
        await self.answer(lambda: queries.cancel(find_run(run_id), drain=drain))
        self.set_status(202)
        self.finish("{}")


class ResumeHandler(RunsHandler):
    """A run that goes on, on request."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Go on with a run that has ended; ``{"failed_only": true}``: with what failed in it.

        ``{"group": "..."}`` besides: with what failed in that group.
        """
        question = self.question()
        failed_only, group = question.get("failed_only") is True, question.get("group")
        await self.answer(
            lambda: resume_run(
                Follower(find_run(run_id)),
                failed_only=failed_only,
                entry_script=None,
                group=str(group) if group else None,
            ),
            is_change=True,
        )
        self.set_status(202)
        self.finish("{}")


def handlers(base_url: str) -> list[tuple[str, type[RunsHandler], dict[str, Any]]]:
    """Return the routes, all behind the server's base URL."""
    shared = {"followers": Followers()}
    runs = url_path_join(base_url, "parallelrun", "runs")
    one = url_path_join(runs, "([^/]+)")
    published = url_path_join(base_url, "parallelrun", "published", "([^/]+)")
    return [
        (runs, ListHandler, shared),
        (url_path_join(one, "snapshot"), SnapshotHandler, shared),
        (url_path_join(one, "output"), OutputHandler, shared),
        (url_path_join(one, "logs"), LogsHandler, shared),
        (url_path_join(one, "log-file"), LogFileHandler, shared),
        (url_path_join(one, "result"), ResultHandler, shared),
        (url_path_join(one, "mini-batch"), MiniBatchHandler, shared),
        (url_path_join(one, "grid"), GridHandler, shared),
        (url_path_join(one, "resume"), ResumeHandler, shared),
        (url_path_join(one, "failures"), FailuresHandler, shared),
        (url_path_join(one, "cancel"), CancelHandler, shared),
        (published, PublishedHandler, shared),
    ]
