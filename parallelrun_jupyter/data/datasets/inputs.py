"""Inputs of any kind: what a run's record says of them, as datasets, and the plan's lines.

A plan line is a JSON array whose first element says the kind and whose second the input's number.
Lines of files are ``["f", input, [paths], [], []]``, where `versions` says what the files were; in a
store ``["f", input, [URLs], [sizes], [ETags]]``: the node stages those, and the worker gets the line
with the paths of the copies. Lines
of tables are ``["t", input, [paths], [sizes], [mtimes], [[start, end], ...], {table}, rows]``, with a
range for each path: bytes of text, row groups of Parquet; ``table`` says how they are read. The last
element of a line is an object: ``first`` is the number of the mini-batch's first item in the run,
``keys`` has the values of the partition keys that were asked for, ``unread`` is why the only path of
a line could not be read: the worker looks at it again, and fails the mini-batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from ...errors import InputError, RunFolderError
from ...worker import mini_batches as loading
from ..batching import BatchSpec
from . import file_dataset
from .file_dataset import FileDataset

if TYPE_CHECKING:
    from ..local.file_versions import FileVersions
    from .tabular_dataset import TabularDataset

# What reads tables is imported on use: a driver of files starts without it.

FORMATS = ("csv", "parquet", "jsonl")
"""What a path can be said to hold, where it is more than files: the keys of ``mltable.MAKERS``."""


class Dataset(Protocol):
    """What inputs of every kind can do."""

    kind: ClassVar[str]

    @property
    def partition_keys(self) -> list[str]:
        """Names of the keys that the input carries."""

    def spec(self) -> dict[str, Any]:
        """Return what a run's record says of this dataset: JSON, and no secret."""

    def check(self) -> None:
        """See, at submit, that there is something to read."""

    def mini_batches(self, number: int, cut: BatchSpec) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of items of each mini-batch, as input ``number``."""


def dataset_of(spec: dict[str, Any]) -> Dataset:
    """Return the dataset that a run's record describes.

    Raises
    ------
    RunFolderError
        The record is of a newer version.
    """
    if spec.get("kind") == FileDataset.kind:
        return FileDataset.of_spec(spec)
    if spec.get("kind") == "tabular":
        from .tabular_dataset import TabularDataset

        return TabularDataset.of_spec(spec)
    msg = (
        f"the run has inputs of the kind {spec.get('kind')!r}, which this version does not know; "
        "upgrade parallelrun-jupyter."
    )
    raise RunFolderError(msg)


def is_dataset(value: object) -> bool:
    """Say whether something is a dataset that a run can have as its input."""
    if isinstance(value, FileDataset):
        return True
    from .tabular_dataset import TabularDataset

    return isinstance(value, TabularDataset)


def open_path(
    path: str | os.PathLike[str],
    form: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> FileDataset | TabularDataset:
    """Return the dataset of a path: its files, or a table.

    Parameters
    ----------
    path
        A file, folder or glob. A folder with a file ``MLTable`` in it, or that file, is what the
        file says.
    form
        ``"csv"``, ``"parquet"`` or ``"jsonl"``: the files are tables of that format.
    reading
        How tables are read, as keyword arguments of what makes them. Default: nothing is given.

    Raises
    ------
    InputError
        The path cannot be used; it has an ``MLTable`` file that cannot be read, or one and a form.
    """
    from .mltable import MAKERS, mltable_at, open_mltable

    where = mltable_at(os.fspath(path))
    if where is None:
        return FileDataset(path) if form is None else MAKERS[form](path, **reading or {})
    if form is not None:
        msg = (
            f"--format is {form!r}, but {where!r} says itself what the input holds. Leave --format "
            "out, or give the files, such as a glob."
        )
        raise InputError(msg)
    return open_mltable(where)


def mini_batches(specs: list[dict[str, Any]], cut: BatchSpec) -> Iterator[tuple[bytes, int]]:
    """Yield the plan line and the number of items of every mini-batch, input by input.

    `cut.STILL_READING`, which is no line, comes in between where an input is read ahead, with the
    number of items that were seen since.
    """
    first = 0
    for number, spec in enumerate(specs):
        for line, items in dataset_of(spec).mini_batches(number, cut):
            if line:
                yield _with_first(line, first), items
                first += items
            else:
                yield line, items


def _with_first(line: bytes, first: int) -> bytes:
    """Return a plan line that says which item of the run is its first."""
    # Spliced, not parsed: listing is what a run waits for.
    if line.endswith(b"}]\n"):
        return b'%b,"first":%d}]\n' % (line[:-3], first)
    return b'%b,{"first":%d}]\n' % (line[:-2], first)


def count_items(line: bytes) -> int:
    """Return the number of items of a plan line."""
    return loading.count_items(json.loads(line))


def items_before_end(line: bytes) -> int:
    """Return how many items of the run there are up to the end of a plan line."""
    row = json.loads(line)
    return int(loading.extra_of(row)["first"]) + loading.count_items(row)


class Change(NamedTuple):
    """A file of a planned mini-batch that is not what it was when it was planned."""

    mini_batch: int
    path: str
    is_gone: bool

    def __str__(self) -> str:
        return f"the input {self.path!r} {'is gone' if self.is_gone else 'has changed'}"


def changes(
    lines: Iterable[tuple[int, bytes]], specs: list[dict[str, Any]], versions: FileVersions
) -> Iterator[Change]:
    """Yield the changed files of plan lines, at least one of each mini-batch that has any.

    Local files are looked at one by one; a store is listed again, once, after all local files.

    Parameters
    ----------
    lines
        Numbers of mini-batches with their plan lines.
    specs
        The inputs, as the run's record has them.
    versions
        What local files were when they were planned.
    """
    planned: dict[int, dict[str, file_dataset.PlannedBatch]] = {}
    for mini_batch, line in lines:
        row = json.loads(line)
        if not specs[row[1]].get("storage"):
            yield from (
                Change(mini_batch, path, is_gone) for path, is_gone in versions.changes(row)
            )
            continue
        of_store = planned.setdefault(row[1], {})
        for url, size, tag in zip(*row[2:5], strict=True):
            of_store.setdefault(url, (size, tag, []))[2].append(mini_batch)
    for number, of_store in planned.items():
        for url, is_gone in file_dataset.changes_in_store(specs[number], of_store):
            yield from (Change(mini_batch, url, is_gone) for mini_batch in of_store[url][2])


def planned_again(
    lines: list[bytes], changed: list[int], specs: list[dict[str, Any]]
) -> dict[int, bytes]:
    """Return new plan lines of mini-batches whose inputs have changed, by mini-batch.

    Files in stores get the sizes and ETags that they have now. A file of a table gets the range of
    all its rows, where it was one mini-batch.

    Raises
    ------
    InputError
        A table cannot be planned again: other mini-batches are ranges of the same file, or its
        columns are others now.
    """
    new: dict[int, bytes] = {}
    by_input: dict[int, list[int]] = {}
    for mini_batch in changed:
        by_input.setdefault(json.loads(lines[mini_batch])[1], []).append(mini_batch)
    for number, mini_batches in by_input.items():
        dataset = dataset_of(specs[number])
        if not isinstance(dataset, FileDataset):
            from .replanning import replan_tables

            new.update(replan_tables(dataset, lines, mini_batches))  # type: ignore[arg-type] # the other kind
        elif dataset.storage:
            new.update(_relisted(dataset, {k: json.loads(lines[k]) for k in mini_batches}))
    return new


def _relisted(dataset: FileDataset, rows: dict[int, list[Any]]) -> Iterator[tuple[int, bytes]]:
    """Yield plan lines of files in a store with the sizes and ETags that they have now."""
    urls = {url for row in rows.values() for url in row[2]}
    listed = (item for folder in dataset.folders() for item in folder if item[0] in urls)
    now = {url: (size, tag) for url, size, tag in listed}
    for mini_batch, row in rows.items():
        versions = [now.get(url, (size, tag)) for url, size, tag in zip(*row[2:5], strict=True)]
        row[3], row[4] = [size for size, _ in versions], [tag for _, tag in versions]
        yield mini_batch, json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


def difference(before: bytes, now: bytes | None) -> str:
    """Return what of a plan line is not what is listed now, and how."""
    old, new = json.loads(before), json.loads(now) if now else None
    if new and old[:5] == new[:5] and before != now:
        return f"how the input {old[2][0]!r} is cut and read has changed"
    return file_dataset.difference(old, new)
