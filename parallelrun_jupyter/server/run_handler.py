"""What the handlers share: threads for reading, errors as sentences, and which runs there are."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..errors import (
    ConfigError,
    InputError,
    ParallelRunError,
    RunFolderError,
    RunNotFoundError,
)
from ..runs import run_folder
from ..runs.run_folder import RunFolder, runs_folder
from .followers import Followers

_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}", re.ASCII)

T = TypeVar("T")


class RunsHandler(APIHandler):
    """What the handlers share: one set of followers, answers as JSON, errors as sentences."""

    auth_resource = "parallelrun"

    def initialize(self, followers: Followers) -> None:
        """Take what the handlers share."""
        self.followers = followers

    async def answer(self, ask: Callable[[], T], *, is_change: bool = False) -> T:
        """Return what ``ask`` returns, from a thread; its errors become HTTP's.

        ``is_change`` tells that ``ask`` changes the run: where it refuses to, the answer is 409.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(None, ask)
        except RunNotFoundError as error:
            raise web.HTTPError(404, str(error), reason="no such run") from error
        except ConfigError as error:
            raise web.HTTPError(400, str(error), reason=_one_line(str(error))) from error
        except (ParallelRunError, OSError) as error:
            # To be refused a change is a conflict; a folder that cannot be read is damaged.
            is_refused = is_change and isinstance(error, InputError | RunFolderError)
            status = 409 if is_refused else 500
            raise web.HTTPError(status, str(error), reason=_one_line(str(error))) from error

    def number(self, name: str, default: int) -> int:
        """Return a whole number of the query."""
        text = self.get_query_argument(name, str(default))
        try:
            return int(text)
        except ValueError:
            self.refuse(f"{name} is {text!r}; expected a whole number.")

    def refuse(self, msg: str) -> NoReturn:
        """Answer that the question makes no sense."""
        raise web.HTTPError(400, msg, reason=_one_line(msg))

    def question(self) -> dict[str, Any]:
        """Return the JSON object of the body."""
        body = self.get_json_body()
        return body if isinstance(body, dict) else {}


def is_id(text: str) -> bool:
    """Say whether a text can be an id, and so leads nowhere else."""
    return _RUN_ID.fullmatch(text) is not None


def find_run(run_id: str) -> RunFolder:
    """Return the folder of a run of this home, and of nowhere else.

    Raises
    ------
    RunNotFoundError
        The id is none, or leads out of the runs folder.
    """
    if not is_id(run_id):
        msg = "that is no id of a run; Run.list() and 'parallelrun list' show the runs."
        raise RunNotFoundError(msg)
    folder = run_folder.find(run_id)
    if folder.path.resolve().parent != runs_folder().resolve():
        msg = f"run {run_id} is a link that leads out of {runs_folder()}."
        raise RunNotFoundError(msg)
    return folder


def _one_line(text: str) -> str:
    """Return a text that may stand in an HTTP status line."""
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")[:200]
