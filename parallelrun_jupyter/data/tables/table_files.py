"""The files of a table, as local copies if they are remote, and the mini-batches planned from them."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..datasets.file_dataset import FileDataset
from ..local.listing import why_unreadable
from ..partitions.path_format import HiveKeys
from ..walker import FileItem
from .row_ranges import Range

_FETCHED_AT_ONCE = 8


class InputWarning(UserWarning):
    """A file may be read differently than its author intended; the planner warns in the run."""


@contextmanager
def input_warnings_to(report: Callable[[str], None]) -> Iterator[None]:
    """Call ``report`` with the text of each `InputWarning`; other warnings are shown as usual."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        show_others = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, InputWarning):
                report(str(message))
            else:
                show_others(message, category, *where, **more)

        warnings.showwarning = show
        yield


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file as it was listed, and its local path.

    Parameters
    ----------
    item
        The listed file.
    place
        The path of the file, or of its local copy.
    error
        The reason why it cannot be read, if already known.
    keys
        The keys in its path, by `HiveKeys`.
    """

    item: FileItem
    place: str
    error: OSError | None = None
    keys: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path to open.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        if self.error is not None:
            raise self.error
        return self.place

    @property
    def name(self) -> str:
        """The path or URL, for messages."""
        return self.item[0]


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A mini-batch: a range of a file, and the JSON table with which a worker reads it."""

    source: TableFile
    range: Range
    table: str


Sources = Callable[[], Iterator[TableFile]]
Plan = Iterator[PlannedBatch | int]
"""Mini-batches in order; in between, numbers of rows read ahead, as progress."""


def sources_of(
    files: FileDataset, paths: Container[str] | None = None, *, has_keys: bool = False
) -> Iterator[TableFile]:
    """List files, and download remote ones, some at a time.

    Parameters
    ----------
    files
        The files.
    paths
        List only these paths. Default: all files.
    has_keys
        Whether folders such as ``year=2024`` are keys.

    Raises
    ------
    InputError
        The files cannot be listed or downloaded. A file that was deleted or changed after listing
        does not raise: it is yielded with an ``error``.
    """
    hive = HiveKeys(files.paths if has_keys else ())

    def table_file(item: FileItem, place: str, error: OSError | None) -> TableFile:
        return TableFile(item, place, error, hive.of(item[0]) if has_keys else {})

    listed = (item for folder in files.folders() for item in folder)
    items = (item for item in listed if paths is None or item[0] in paths)
    if files.storage is None:
        for item in items:
            error = why_unreadable(item[0]) if item[1] < 0 else None
            yield table_file(item, item[0], error)
        return
    from ..staging.local_copies import local_copies  # imports asyncio

    while batch := list(islice(items, _FETCHED_AT_ONCE)):
        lost: dict[str, str] = {}
        copies = local_copies(batch, files.storage, lost=lost)
        for number, (item, copy) in enumerate(zip(batch, copies, strict=True)):
            yield table_file(item, copy, OSError(lost[item[0]]) if item[0] in lost else None)
            is_used_again = copy in copies[number + 1 :]
            if not is_used_again and os.path.lexists(copy):
                os.unlink(copy)  # only this link: the file stays in the cache until it is evicted


def unchanged(files: Iterable[FileItem]) -> Iterator[TableFile]:
    """Yield local files as they were listed; with an ``error`` if they are gone or have changed."""
    for item in files:
        error = None
        try:
            status = os.stat(item[0])
            if (status.st_size, status.st_mtime_ns) != item[1:]:
                error = OSError("it has changed")
        except OSError as gone:
            error = gone
        yield TableFile(item, item[0], error)


def unreadable(source: TableFile, error: Exception) -> PlannedBatch:
    """Return a mini-batch that fails with the error of its file, so that the other files are read."""
    table = {
        "format": "unreadable",
        "why": f"the input {source.name} could not be read: {error}",
    }
    return PlannedBatch(source, (0, 0, 1), table_text(table, source))


def table_text(table: dict[str, Any], source: TableFile) -> str:
    """Return the JSON table of a file; ``is_copy`` if its modification time cannot be checked."""
    _, size, time = source.item
    if not isinstance(time, int) or source.place != source.name or size < 0:
        table = {**table, "is_copy": True}
    return json.dumps(table, separators=(",", ":"))
