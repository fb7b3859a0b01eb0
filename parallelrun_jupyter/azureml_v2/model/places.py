"""Places in job files, for messages: file, line and column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file.

    Parameters
    ----------
    file
        Path of the file as it was given; or the source of a value that is in no file, such as
        ``--set jobs.score.compute``.
    line, column
        From 1; 0 for a value that is in no file.
    """

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


NOWHERE = Place("the job")
"""The place of values that were built in Python."""


@dataclass(frozen=True, slots=True)
class Places:
    """The places of an object and of its fields.

    Parameters
    ----------
    own
        The place of the object.
    fields
        The places of its fields, by their names in the file. Entries of mappings and lists have
        dotted names, such as ``environment_variables.MODE`` or ``partition_keys.0``.
    """

    own: Place = NOWHERE
    fields: Mapping[str, Place] = field(default_factory=dict)

    def of(self, name: str) -> Place:
        """Return the place of a field; of its parent, or of the object, if it is not in the file."""
        while name:
            if name in self.fields:
                return self.fields[name]
            name = name.rpartition(".")[0]
        return self.own

    def has(self, name: str) -> bool:
        """Return whether a field was written in the file, also if its value is a default."""
        return name in self.fields
