"""Answers of the service, and the table of its routes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request: its method, path, query, the groups of its route, and its JSON body."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    groups: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """An answer with a JSON body."""

    status: int
    value: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The body."""
        return b"" if self.value is None else json.dumps(self.value).encode()


def not_found(what: str) -> Answer:
    """Return a 404 in the form of ARM."""
    error = {"code": "NotFound", "message": f"The emulator has no {what}."}
    return Answer(404, {"error": {"code": "UserError", **error}})


Route = Callable[[Request], Answer]


class Routes:
    """Functions by method and path."""

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Route]] = []

    def add(self, method: str, pattern: str, function: Route) -> None:
        """Add a route; ``{name}`` in the pattern stands for one part of a path."""
        expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        self._routes.append((method, re.compile(expression, re.IGNORECASE), function))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """Return the function of a request and the parts of its path."""
        for known, pattern, function in self._routes:
            match = pattern.fullmatch(path)
            if known == method and match:
                return function, match.groupdict()
        return None
