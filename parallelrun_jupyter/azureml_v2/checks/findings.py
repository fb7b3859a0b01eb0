"""Findings of a check: a problem each, and whether it is an error."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..model.places import Place
from ..model.problems import Problem

Severity: TypeAlias = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A mistake in a file.

    Parameters
    ----------
    place
        File, line and column, from 1; for a notebook the file is ``name.ipynb:cell 3``, and the line
        is that of the cell.
    message
        What is wrong, and what to do.
    severity
        ``error`` for a run that would fail or not do what the file asks; ``warning`` otherwise.
    """

    place: Place
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        mark = "warning: " if self.severity == "warning" else ""
        return f"{self.place}: {mark}{self.message}"

    def to_dict(self) -> dict[str, str | int]:
        """Return the finding as JSON values: file, line, column, severity, message."""
        return {
            "file": self.place.file,
            "line": self.place.line,
            "column": self.place.column,
            "severity": self.severity,
            "message": self.message,
        }


class Findings:
    """The findings so far."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str], Finding] = {}

    def __len__(self) -> int:
        return len(self._found)

    def error(self, place: Place, message: str) -> None:
        """Add an error."""
        self._add(Finding(place, message))

    def warn(self, place: Place, message: str) -> None:
        """Add a warning."""
        self._add(Finding(place, message, "warning"))

    def add(self, problems: Iterable[Problem]) -> None:
        """Add the problems of a reader, as errors."""
        for problem in problems:
            self.error(problem.place, problem.message)

    def _add(self, finding: Finding) -> None:
        self._found.setdefault((finding.place, finding.message), finding)

    def sorted(self, given: str) -> tuple[Finding, ...]:
        """Return them in the order of their places, those of the given file first.

        Other files have short paths where they are below the working directory.
        """
        found = (
            Finding(_short(finding.place), finding.message, finding.severity)
            for finding in self._found.values()
        )
        return tuple(sorted(found, key=lambda f: (not f.place.file.startswith(given), f)))


def _short(place: Place) -> Place:
    here = os.getcwd() + os.sep
    if not place.file.startswith(here):
        return place
    return Place(place.file.removeprefix(here), place.line, place.column)
