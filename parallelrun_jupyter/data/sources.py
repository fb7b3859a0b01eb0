"""The files of a table on this machine, and what planning says of each range of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .cut import Cut
from .files import FileDataset
from .local import FileItem, why_unreadable
from .ranges import Range

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was listed, and where it can be read.

    Parameters
    ----------
    item
        The file.
    place
        Its path, or that of its copy on this machine.
    error
        What keeps it from being read, where that is known already.
    """

    item: FileItem
    place: str
    error: OSError | None = None

    @property
    def path(self) -> str:
        """Where to open it.

        Raises
        ------
        OSError
            It cannot be read.
        """
        if self.error is not None:
            raise self.error
        return self.place

    @property
    def name(self) -> str:
        """The path or URL, for people."""
        return self.item[0]


@dataclass(frozen=True, slots=True)
class Planned:
    """A mini-batch: a range of a file, and the JSON of how it is read."""

    source: Source
    range: Range
    table: str


Sources = Callable[[], Iterator[Source]]
Plan = Iterator[Planned | int]
"""Mini-batches in order; in between, the number of rows by which reading ahead has gone on."""


def sources_of(files: FileDataset, paths: Container[str] | None = None) -> Iterator[Source]:
    """List files, and bring those of a store to this machine, some at a time.

    Parameters
    ----------
    files
        What to list.
    paths
        Leave out all other files; None for none.

    Raises
    ------
    InputError
        They cannot be listed or brought. One that is gone or has changed since it was listed is no
        error here: it comes as a source that cannot be read.
    """
    listed = (item for folder in files.folders() for item in folder)
    items = (item for item in listed if paths is None or item[0] in paths)
    if files.storage is None:
        for item in items:
            yield Source(item, item[0], why_unreadable(item[0]) if item[1] < 0 else None)
        return
    from .staging import local_copies  # and asyncio with it, which a start does without

    while some := list(islice(items, _AT_ONCE)):
        lost: dict[str, str] = {}
        copies = local_copies(some, files.storage, lost=lost)
        for number, (item, copy) in enumerate(zip(some, copies, strict=True)):
            yield Source(item, copy, OSError(lost[item[0]]) if item[0] in lost else None)
            is_wanted_again = copy in copies[number + 1 :]
            if not is_wanted_again and os.path.lexists(copy):
                os.unlink(copy)  # the cache keeps it as long as there is room


def unreadable(source: Source, error: Exception) -> Planned:
    """Return a mini-batch that fails with what is wrong with its file, so that only it is lost."""
    why = f"the input {source.name} could not be read: {error}"
    table = {"format": "unreadable", "why": why}
    return Planned(source, (0, 0, 1), table_text(table, source))


def table_text(table: dict[str, Any], source: Source) -> str:
    """Return the JSON of how a worker reads a file."""
    is_unseen = isinstance(source.item[2], int) and source.item[1] < 0
    if not isinstance(source.item[2], int) or source.place != source.name or is_unseen:
        table = {**table, "is_copy": True}  # it has another time than the original, or none
    return json.dumps(table, separators=(",", ":"))


class GroupCutter:
    """Joins consecutive parts of a file, which cannot be divided, into mini-batches."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut

    def ranges(self, parts: list[tuple[int, int]]) -> Iterator[Range]:
        """Yield ranges of the numbers of parts.

        Parameters
        ----------
        parts
            Size in bytes and number of rows of each.
        """
        start = rows = size = 0
        for number, (part_bytes, part_rows) in enumerate(parts):
            is_full = (
                rows >= self._cut.rows if self._cut.rows else size + part_bytes > self._cut.size
            )
            if rows and is_full:
                yield start, number, rows
                start, rows, size = number, 0, 0
            rows += part_rows
            size += part_bytes
        if rows:
            yield start, len(parts), rows
