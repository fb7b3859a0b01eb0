"""The HTTP handlers; all of them require the Jupyter token."""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from ..client.resume import resume_run
from ..pipelines.start import start_published
from ..runs.run_lookup import find_run, is_id
from ..runs.snapshot.committed_results import ResultStates
from ..runs.snapshot.failed_item_pages import FailedItems, page_of, read_page
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.mini_batches import Grid, MiniBatchDetail, mini_batch_detail
from ..runs.snapshot.result_pages import ResultRows
from ..views import queries
from ..views.mime_bundle import news, run_output, saved_bundle
from ..views.previews import previews
from ..views.saved_rows import saved_rows
from .downloads import LogFileHandler, ResultHandler
from .followers import Followers
from .pipeline_handlers import PipelineCancelHandler, PipelineOutputHandler
from .run_handler import RunsHandler

_MAX_LISTED = 50


class ListHandler(RunsHandler):
    """The newest runs of this home."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer with a RunList."""
        limit = min(max(self.number("limit", _MAX_LISTED), 1), _MAX_LISTED)
        self.finish(json.dumps(await self.answer(lambda: self.followers.rows(limit))))


class SnapshotHandler(RunsHandler):
    """The snapshot of a run."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with a RunOutput; 204 if nothing has changed since the version ``seen``."""
        snapshot = await self.answer(lambda: self.followers.snapshot(find_run(run_id)))
        version = f"{hash(news(snapshot)) & 0xFFFFFFFFFFFF:x}"
        self.set_header("X-Run-Version", version)
        if version == self.get_query_argument("seen", ""):
            self.set_status(204)
            self.finish()
        else:
            self.finish(json.dumps(run_output(snapshot)))


class OutputHandler(RunsHandler):
    """The MIME bundle that a notebook saves for a run."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with the bundle: the run as JSON, HTML and text."""

        def read() -> dict[str, Any]:
            folder = find_run(run_id)
            snapshot = self.followers.snapshot(folder)
            rows = self.followers.ask(folder, lambda state: saved_rows(folder, state))
            return saved_bundle(run_output(snapshot), rows)

        self.finish(json.dumps(await self.answer(read)))


class LogsHandler(RunsHandler):
    """A window of a run's log."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Answer a query of the log with a LogWindow."""
        question = self.question()
        window = await self.answer(
            lambda: queries.log_window(find_run(run_id), queries.log_query(question))
        )
        self.finish(json.dumps(window))


class MiniBatchHandler(RunsHandler):
    """The details of one mini-batch."""

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
        failures = await self.answer(lambda: queries.failures(find_run(run_id), group))
        self.finish(json.dumps(failures))


class FailedItemsHandler(RunsHandler):
    """Some failed items of one group."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with FailedItems, those after the given mini-batch and position."""
        group = self.get_query_argument("group", "")
        after = self.number("mini_batch", -1), self.number("position", -1)

        def read() -> FailedItems:
            folder = find_run(run_id)
            page = self.followers.ask(folder, lambda state: page_of(state, group, after))
            return read_page(folder, page)

        self.finish(json.dumps(await self.answer(read)))


class ResultsHandler(RunsHandler):
    """Some rows of a run."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Answer a query of rows with ResultRows."""
        question = self.question()

        def read() -> ResultRows:
            folder, query = find_run(run_id), queries.row_query(question)
            return queries.results(folder, self.followers.ask(folder, ResultStates.of), query)

        self.finish(json.dumps(await self.answer(read)))


class PreviewsHandler(RunsHandler):
    """Previews of failed items."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Answer with a Preview for each of ``{"items": [[mini-batch, position], ...]}``."""
        items = self.question().get("items")
        rows = await self.answer(lambda: previews(find_run(run_id), queries.places_of(items)))
        self.finish(json.dumps(rows))


class CancelHandler(RunsHandler):
    """Cancels a run."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Cancel the run; ``{"drain": true}`` lets running mini-batches finish."""
        drain = self.question().get("drain") is True
        await self.answer(lambda: queries.cancel(find_run(run_id), drain=drain))
        self.set_status(202)
        self.finish("{}")


class ResumeHandler(RunsHandler):
    """Resumes a run."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Resume a run that has ended; the body selects the items to run.

        ``{"failed_only": true}``: those that failed; with ``{"group": "..."}`` in addition: those
        that failed in that group.
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


class PublishedHandler(RunsHandler):
    """The REST endpoint of a published pipeline, which notebooks of Azure's SDK v1 call."""

    @web.authenticated
    @authorized
    async def post(self, published_id: str) -> None:
        """Start the pipeline with the body's ``ParameterAssignments``; answer with the run's ``Id``."""
        body = self.question()
        parameters = body.get("ParameterAssignments") or {}
        if not is_id(published_id) or not isinstance(parameters, dict):
            self.refuse(
                'expected JSON such as {"ExperimentName": "digits", "ParameterAssignments": {}}.'
            )
        name = str(body.get("ExperimentName") or "")
        folder = await self.answer(lambda: start_published(published_id, parameters, name))
        self.finish(json.dumps({"Id": folder.run_id}))


def handlers(base_url: str) -> list[tuple[str, type[RunsHandler], dict[str, Any]]]:
    """Return the routes, below the server's base URL."""
    shared = {"followers": Followers()}
    runs = url_path_join(base_url, "parallelrun", "runs")
    run = url_path_join(runs, "([^/]+)")
    pipeline = url_path_join(base_url, "parallelrun", "pipelines", "([^/]+)")
    published = url_path_join(base_url, "parallelrun", "published", "([^/]+)")
    return [
        (runs, ListHandler, shared),
        (url_path_join(run, "snapshot"), SnapshotHandler, shared),
        (url_path_join(run, "output"), OutputHandler, shared),
        (url_path_join(run, "logs"), LogsHandler, shared),
        (url_path_join(run, "log-file"), LogFileHandler, shared),
        (url_path_join(run, "result"), ResultHandler, shared),
        (url_path_join(run, "mini-batch"), MiniBatchHandler, shared),
        (url_path_join(run, "grid"), GridHandler, shared),
        (url_path_join(run, "resume"), ResumeHandler, shared),
        (url_path_join(run, "failures"), FailuresHandler, shared),
        (url_path_join(run, "failed-items"), FailedItemsHandler, shared),
        (url_path_join(run, "results"), ResultsHandler, shared),
        (url_path_join(run, "previews"), PreviewsHandler, shared),
        (url_path_join(run, "cancel"), CancelHandler, shared),
        (url_path_join(pipeline, "output"), PipelineOutputHandler, shared),
        (url_path_join(pipeline, "cancel"), PipelineCancelHandler, shared),
        (published, PublishedHandler, shared),
    ]
