"""The handlers, all under ``parallelrun``; each refuses without the Jupyter token."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from ..errors import ConfigError, ParallelRunError, RunNotFoundError
from ..pipelines.start import start_published
from ..runs import store
from ..runs.store import RunFolder, runs_folder
from ..widget import requests
from ..widget.output import news, run_output, saved_bundle
from .followers import Followers

_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}", re.ASCII)
_LISTED = 50

T = TypeVar("T")


class RunsHandler(APIHandler):
    """What the handlers share: one set of followers, answers as JSON, errors as sentences."""

    auth_resource = "parallelrun"

    def initialize(self, followers: Followers) -> None:
        """Take what the handlers share."""
        self.followers = followers

    async def answer(self, ask: Callable[[], T]) -> T:
        """Return what ``ask`` returns, from a thread; its errors become HTTP's."""
        try:
            return await asyncio.get_running_loop().run_in_executor(None, ask)
        except RunNotFoundError as error:
            raise web.HTTPError(404, str(error), reason="no such run") from error
        except ConfigError as error:
            raise web.HTTPError(400, str(error), reason=_one_line(str(error))) from error
        except (ParallelRunError, OSError) as error:
            raise web.HTTPError(500, str(error), reason=_one_line(str(error))) from error

    def number(self, name: str, default: int) -> int:
        """Return a whole number of the query."""
        text = self.get_query_argument(name, str(default))
        try:
            return int(text)
        except ValueError as error:
            msg = f"{name} is {text!r}; expected a whole number."
            raise web.HTTPError(400, msg, reason=_one_line(msg)) from error


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
    """The last lines of a run's log."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with a LogWindow."""
        worker = self.get_query_argument("worker", "")
        mini_batch = self.number("mini_batch", -1)
        lines = self.number("lines", requests.LOG_LINES)

        def read() -> requests.LogWindow:
            return requests.log_window(
                find_run(run_id), worker=worker, mini_batch=mini_batch, lines=lines
            )

        self.finish(json.dumps(await self.answer(read)))


class FailuresHandler(RunsHandler):
    """The failed attempts of one group."""

    @web.authenticated
    @authorized
    async def get(self, run_id: str) -> None:
        """Answer with Failures."""
        group = self.get_query_argument("group", "")
        found = await self.answer(lambda: requests.failures(find_run(run_id), group))
        self.finish(json.dumps(found))


class CancelHandler(RunsHandler):
    """The end of a run, on request."""

    @web.authenticated
    @authorized
    async def post(self, run_id: str) -> None:
        """Ask the run to end; ``{"drain": true}`` lets what runs now finish."""
        body = self.get_json_body() or {}
        drain = body.get("drain") is True if isinstance(body, dict) else False
        await self.answer(lambda: requests.cancel(find_run(run_id), drain=drain))
        self.set_status(202)
        self.finish("{}")


class PublishedHandler(RunsHandler):
    """A published pipeline: what the notebooks call its REST endpoint."""

    @web.authenticated
    @authorized
    async def post(self, published_id: str) -> None:
        """Start it with the ``ParameterAssignments`` of the body; answer with the run's ``Id``."""
        body = self.get_json_body() or {}
        given = body.get("ParameterAssignments") or {}
        if not _RUN_ID.fullmatch(published_id) or not isinstance(given, dict):
            msg = 'expected JSON such as {"ExperimentName": "digits", "ParameterAssignments": {}}.'
            raise web.HTTPError(400, msg, reason=_one_line(msg))
        name = str(body.get("ExperimentName") or "")
        folder = await self.answer(lambda: start_published(published_id, given, name))
        self.finish(json.dumps({"Id": folder.run_id}))


def find_run(run_id: str) -> RunFolder:
    """Return the folder of a run of this home, and of nowhere else.

    Raises
    ------
    RunNotFoundError
        The id is none, or leads out of the runs folder.
    """
    if not _RUN_ID.fullmatch(run_id):
        msg = "that is no id of a run; Run.list() and 'parallelrun list' show the runs."
        raise RunNotFoundError(msg)
    folder = store.find(run_id)
    if folder.path.resolve().parent != runs_folder().resolve():
        msg = f"run {run_id} is a link that leads out of {runs_folder()}."
        raise RunNotFoundError(msg)
    return folder


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
        (url_path_join(one, "failures"), FailuresHandler, shared),
        (url_path_join(one, "cancel"), CancelHandler, shared),
        (published, PublishedHandler, shared),
    ]


def _one_line(text: str) -> str:
    """Return a text that may stand in an HTTP status line."""
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")[:200]
