"""The base class of the handlers: threads for reading, errors as HTTP responses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from jupyter_server.base.handlers import APIHandler
from tornado import web

from ..errors import ConfigError, InputError, ParallelRunError, RunFolderError, RunNotFoundError
from .followers import Followers

T = TypeVar("T")


class RunsHandler(APIHandler):
    """Base class: shared followers, JSON answers, errors as HTTP responses."""

    auth_resource = "parallelrun"

    def initialize(self, followers: Followers) -> None:
        """Set the followers, which all handlers share."""
        self.followers = followers

    async def answer(self, ask: Callable[[], T], *, is_change: bool = False) -> T:
        """Call ``ask`` in a thread and return its result; its errors become HTTP errors.

        With ``is_change``, ``ask`` changes the run, and a refusal is answered with 409 Conflict.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(None, ask)
        except RunNotFoundError as error:
            raise web.HTTPError(404, _text(error), reason="no such run") from error
        except ConfigError as error:
            raise web.HTTPError(400, _text(error), reason=_one_line(_text(error))) from error
        except (ParallelRunError, OSError) as error:
            # A refused change is a conflict; a folder that cannot be read is damaged.
            is_refused = is_change and isinstance(error, InputError | RunFolderError)
            status = 409 if is_refused else 500
            raise web.HTTPError(status, _text(error), reason=_one_line(_text(error))) from error

    def number(self, name: str, default: int) -> int:
        """Return a whole number from the URL's query."""
        text = self.get_query_argument(name, str(default))
        try:
            return int(text)
        except ValueError:
            self.refuse(f"{name} is {text!r}; expected a whole number.")

    def refuse(self, msg: str) -> NoReturn:
        """Respond with 400 Bad Request."""
        raise web.HTTPError(400, msg, reason=_one_line(msg))

    def question(self) -> dict[str, Any]:
        """Return the JSON object in the body; empty if it is not an object."""
        body = self.get_json_body()
        return body if isinstance(body, dict) else {}


def _text(error: Exception) -> str:
    """Return the message of an error, in which remedies have the names of the panel's buttons."""
    return error.worded("panel") if isinstance(error, ParallelRunError) else str(error)


def _one_line(text: str) -> str:
    """Return a text that is valid in an HTTP status line."""
    return " ".join(text.split()).encode("ascii", "replace").decode("ascii")[:200]
