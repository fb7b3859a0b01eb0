"""Problems of a job file: a place and a sentence each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...errors import ConfigError
from .places import Place

_SHOWN = 10


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake in a job file: its place, and a message that proposes a remedy."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class JobFileError(ConfigError):
    """A job file cannot be used.

    Parameters
    ----------
    problems
        All problems that were found. The message has the first ten, one per line.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:_SHOWN]]
        left = len(self.problems) - _SHOWN
        if left > 0:
            lines.append(f"... and {left} more")
        super().__init__("\n".join(lines))
