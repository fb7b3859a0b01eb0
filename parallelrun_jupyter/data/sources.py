"""The files of a table on this machine, and what planning says of each range of them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from .cut import Cut
from .files import FileDataset
from .local import FileItem
from .ranges import Range

_AT_ONCE = 8


class InputWarning(UserWarning):
    """Files are read otherwise than their author may have meant; a run's planner tells the run."""


@contextmanager
def input_warnings_to(tell: Callable[[str], None]) -> Iterator[None]:
    """Call ``tell`` with the text of each `InputWarning`; other warnings are shown as ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        show_others = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, InputWarning):
                tell(str(message))
            else:
                show_others(message, category, *where, **more)

        warnings.showwarning = show
        yield


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was listed, and where it can be read."""

    item: FileItem
    path: str

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
        They cannot be listed or brought.
    """
    listed = (item for folder in files.folders() for item in folder)
    items = (item for item in listed if paths is None or item[0] in paths)
    if files.storage is None:
        for item in items:
            yield Source(item, item[0])
        return
    from .staging import local_copies  # and asyncio with it, which a start does without

    while some := list(islice(items, _AT_ONCE)):
        for item, path in zip(some, local_copies(some, files.storage), strict=True):
            yield Source(item, path)
            if os.path.islink(path) or os.path.exists(path):
                os.unlink(path)  # the cache keeps it as long as there is room


def unreadable(source: Source, error: Exception) -> Planned:
    """Return a mini-batch that fails with what is wrong with its file, so that only it is lost."""
    why = f"the input {source.name} could not be read: {error}"
    table = {"format": "unreadable", "why": why}
    return Planned(source, (0, 0, 1), table_text(table, source))


def table_text(table: dict[str, Any], source: Source) -> str:
    """Return the JSON of how a worker reads a file."""
    if not isinstance(source.item[2], int) or source.path != source.name:
        table = {**table, "is_copy": True}  # it has another time than the original
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
