"""The files of a table on this machine, and what planning says of each range of them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..batching import BatchSpec
from ..datasets.file_dataset import FileDataset
from ..local.listing import why_unreadable
from ..partitions.path_format import HiveKeys
from ..walker import FileItem
from .row_ranges import Range

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
class TableFile:
    """A file as it was listed, and where it can be read.

    Parameters
    ----------
    item
        The file.
    place
        Its path, or that of its copy on this machine.
    error
        What keeps it from being read, where that is known already.
    keys
        The keys in its path, by `HiveKeys`.
    """

    item: FileItem
    place: str
    error: OSError | None = None
    keys: Mapping[str, str | None] = field(default_factory=dict)

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
class PlannedBatch:
    """A mini-batch: a range of a file, and the JSON of how it is read."""

    source: TableFile
    range: Range
    table: str


Sources = Callable[[], Iterator[TableFile]]
Plan = Iterator[PlannedBatch | int]
"""Mini-batches in order; in between, the number of rows by which reading ahead has gone on."""


def sources_of(
    files: FileDataset, paths: Container[str] | None = None, *, has_keys: bool = False
) -> Iterator[TableFile]:
    """List files, and bring those of a store to this machine, some at a time.

    Parameters
    ----------
    files
        What to list.
    paths
        Leave out all other files; None for none.
    has_keys
        Whether folders such as ``year=2024`` are keys.

    Raises
    ------
    InputError
        They cannot be listed or brought. One that is gone or has changed since it was listed is no
        error here: it comes as a source that cannot be read.
    """
    listed = (item for folder in files.folders() for item in folder)
    items = (item for item in listed if paths is None or item[0] in paths)
    hive = HiveKeys(files.paths if has_keys else ())

    def keys_of(item: FileItem) -> Mapping[str, str | None]:
        return hive.of(item[0]) if has_keys else {}

    if files.storage is None:
        for item in items:
            error = why_unreadable(item[0]) if item[1] < 0 else None
            yield TableFile(item, item[0], error, keys_of(item))
        return
    from ..staging.local_copies import (
        local_copies,  # and asyncio with it, which a start does without
    )

    while some := list(islice(items, _AT_ONCE)):
        lost: dict[str, str] = {}
        copies = local_copies(some, files.storage, lost=lost)
        for number, (item, copy) in enumerate(zip(some, copies, strict=True)):
            error = OSError(lost[item[0]]) if item[0] in lost else None
            yield TableFile(item, copy, error, keys_of(item))
            is_wanted_again = copy in copies[number + 1 :]
            if not is_wanted_again and os.path.lexists(copy):
                os.unlink(copy)  # the cache keeps it as long as there is room


def unreadable(source: TableFile, error: Exception) -> PlannedBatch:
    """Return a mini-batch that fails with what is wrong with its file, so that only it is lost."""
    why = f"the input {source.name} could not be read: {error}"
    table = {"format": "unreadable", "why": why}
    return PlannedBatch(source, (0, 0, 1), table_text(table, source))


def table_text(table: dict[str, Any], source: TableFile) -> str:
    """Return the JSON of how a worker reads a file."""
    is_unseen = isinstance(source.item[2], int) and source.item[1] < 0
    if not isinstance(source.item[2], int) or source.place != source.name or is_unseen:
        table = {**table, "is_copy": True}  # it has another time than the original, or none
    return json.dumps(table, separators=(",", ":"))


def cut_groups(cut: BatchSpec, groups: list[tuple[int, int]]) -> Iterator[Range]:
    """Yield the ranges of rows of a file that consists of row groups.

    By size a mini-batch is one or more whole groups; by rows it has exactly as many rows as are
    asked for, wherever a group ends, the last one fewer.

    Parameters
    ----------
    cut
        How large a mini-batch is.
    groups
        Size in bytes and number of rows of each group.
    """
    total = sum(rows for _, rows in groups)
    if cut.rows:
        for first in range(0, total, cut.rows):
            end = min(first + cut.rows, total)
            yield first, end, end - first
        return
    start = end = size = 0
    for group_bytes, group_rows in groups:
        if end > start and size + group_bytes > cut.size:
            yield start, end, end - start
            start, size = end, 0
        end += group_rows
        size += group_bytes
    if end > start:
        yield start, end, end - start
