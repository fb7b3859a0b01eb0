"""The files of a table on this machine, and what planning says of each range of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .cut import Cut
from .files import FileDataset
from .hive_keys import HiveKeys
from .local import FileItem
from .ranges import Range

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was listed, where it can be read, and the keys of its path (`hive_keys`)."""

    item: FileItem
    path: str
    keys: Mapping[str, str | None] = field(default_factory=dict)

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


def sources_of(files: FileDataset, *, has_keys: bool = False) -> Iterator[Source]:
    """List files, and bring those of a store to this machine, some at a time.

    Parameters
    ----------
    files
        What to list.
    has_keys
        Whether folders such as ``year=2024`` are keys.

    Raises
    ------
    InputError
        They cannot be listed or brought.
    """
    items = (item for folder in files.folders() for item in folder)
    hive = HiveKeys(files.paths if has_keys else ())
    if files.storage is None:
        for item in items:
            yield Source(item, item[0], hive.of(item[0]) if has_keys else {})
        return
    from .staging import local_copies  # and asyncio with it, which a start does without

    while some := list(islice(items, _AT_ONCE)):
        for item, path in zip(some, local_copies(some, files.storage), strict=True):
            yield Source(item, path, hive.of(item[0]) if has_keys else {})
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


def cut_groups(cut: Cut, groups: list[tuple[int, int]]) -> Iterator[Range]:
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
