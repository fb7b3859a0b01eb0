"""Inputs of a run, of any kind: their datasets, plan lines, and changes since an earlier plan."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from ...errors import InputError, RunFolderError
from ...worker.plan_line import PlanLine
from ..batching import BatchSpec, numbered
from .file_dataset import FileDataset

if TYPE_CHECKING:
    from ..local.file_versions import FileVersions
    from .tabular_dataset import TabularDataset

# The readers of tables are imported on first use: a driver of files starts without them.

FORMATS = ("csv", "parquet", "jsonl")
"""Formats of tables that a path can be read as: the keys of ``mltable.MAKERS``."""

_SAME_IN_ALL_FILES = ("columns", "types", "schema")
"""Properties of a table that all mini-batches of a dataset share."""


class Dataset(Protocol):
    """The methods that a run needs from an input."""

    kind: ClassVar[str]

    @property
    def partition_keys(self) -> list[str]:
        """Names of the keys that the input has."""

    def spec(self) -> dict[str, Any]:
        """Return this dataset as JSON for the record of a run, without secrets."""

    def check(self) -> None:
        """Check, at submit, that the input is readable and not empty."""

    def mini_batches(self, number: int, batches: BatchSpec) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of items of each mini-batch, as input ``number``."""


def dataset_of(spec: dict[str, Any]) -> Dataset:
    """Return the dataset of a run's record.

    Raises
    ------
    RunFolderError
        A newer version wrote the record.
    """
    if spec.get("kind") == FileDataset.kind:
        return FileDataset.of_spec(spec)
    if spec.get("kind") == "tabular":
        from .tabular_dataset import TabularDataset

        return TabularDataset.of_spec(spec)
    if spec.get("kind") == "memory":
        from .memory_dataset import StoredDataset

        return StoredDataset(spec)
    msg = (
        f"the run has inputs of the kind {spec.get('kind')!r}, which this version does not "
        "support; upgrade parallelrun-jupyter."
    )
    raise RunFolderError(msg)


def is_dataset(value: object) -> bool:
    """Return whether a value is a dataset that can be the input of a run."""
    if isinstance(value, FileDataset):
        return True
    from .memory_dataset import MemoryDataset
    from .tabular_dataset import TabularDataset

    return isinstance(value, TabularDataset | MemoryDataset)


def open_path(
    path: str | os.PathLike[str],
    form: str | None = None,
    reading: Mapping[str, Any] | None = None,
) -> FileDataset | TabularDataset:
    """Return the dataset of a path: files, or a table.

    Parameters
    ----------
    path
        A file, folder or glob. An ``MLTable`` file, or a folder with one, is the dataset that the
        file describes.
    form
        Format of the files as tables: ``"csv"``, ``"parquet"`` or ``"jsonl"``. Default: files.
    reading
        Keyword arguments for the method of `TabularDataset` that reads the format.

    Raises
    ------
    InputError
        The path cannot be used, its ``MLTable`` file cannot be read, or both that file and ``form``
        name a format.
    """
    from .mltable import MAKERS, mltable_at, open_mltable

    mltable = mltable_at(os.fspath(path))
    if mltable is None:
        return FileDataset(path) if form is None else MAKERS[form](path, **reading or {})
    if form is not None:
        msg = (
            f"--format is {form!r}, but {mltable!r} describes the format itself. Omit --format, "
            "or give the files, such as a glob."
        )
        raise InputError(msg)
    return open_mltable(mltable)


def mini_batches(specs: list[dict[str, Any]], batches: BatchSpec) -> Iterator[tuple[bytes, int]]:
    """Yield the plan line and the number of items of every mini-batch, input by input.

    While an input is read ahead, `STILL_READING` is yielded in place of a line, with the number of
    items read since the last time.
    """
    first = 0
    for number, spec in enumerate(specs):
        for line, items in dataset_of(spec).mini_batches(number, batches):
            if line:
                yield numbered(line, first), items
                first += items
            else:
                yield line, items


def digest_of(specs: list[dict[str, Any]]) -> str:
    """Return a digest of the files of datasets and their versions: sizes and times, or ETags.

    Raises
    ------
    InputError
        A file cannot be listed.
    """
    digest = hashlib.sha256()
    for spec in specs:
        for folder in FileDataset.of_spec(spec).folders():
            digest.update(json.dumps(folder).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def count_items(line: bytes) -> int:
    """Return the number of items of a plan line."""
    return PlanLine.decode(line).item_count


class Change(NamedTuple):
    """A file of a mini-batch that is not the version that was planned.

    ``position`` is the position of its item; -1 for a table, whose rows are the items.
    """

    mini_batch: int
    position: int
    path: str
    is_gone: bool

    def __str__(self) -> str:
        return f"the input {self.path!r} {'no longer exists' if self.is_gone else 'has changed'}"


def changes(
    lines: Iterable[tuple[int, bytes]], specs: list[dict[str, Any]], versions: FileVersions
) -> Iterator[Change]:
    """Yield the changed files of plan lines, at least one for each mini-batch that has any.

    The status of each local file is read; then each store is listed again, once.

    Parameters
    ----------
    lines
        Numbers of mini-batches with their plan lines.
    specs
        The inputs, from the run's record.
    versions
        The planned versions of local files.

    Raises
    ------
    InputError
        The stored values of a variable have changed.
    """
    in_stores: dict[int, list[tuple[int, PlanLine]]] = {}
    checked: set[int] = set()
    for mini_batch, text in lines:
        line = PlanLine.decode(text)
        if specs[line.input_number]["kind"] == "memory":
            if line.input_number not in checked:
                from ..memory_digest import check_stored

                check_stored(specs[line.input_number])
                checked.add(line.input_number)
            continue
        if specs[line.input_number].get("storage"):
            in_stores.setdefault(line.input_number, []).append((mini_batch, line))
            continue
        for position, is_gone in versions.changes(line):
            item = -1 if line.is_table else position
            yield Change(mini_batch, item, line.paths[position], is_gone)
    for number, planned in in_stores.items():
        yield from _changes_in_store(FileDataset.of_spec(specs[number]), planned)


def _changes_in_store(
    dataset: FileDataset, planned: list[tuple[int, PlanLine]]
) -> Iterator[Change]:
    versions: dict[str, tuple[int, Any]] = {}
    #: indices of the mini-batches with a file
    users: dict[str, list[int]] = {}
    for index, (_, line) in enumerate(planned):
        for url, size, version in line.files:
            versions[url] = size, version
            users.setdefault(url, []).append(index)
    missing = set(versions)
    for folder in dataset.folders():
        for url, size, version in folder:
            if url in missing:
                missing.remove(url)
                if versions[url] != (size, version):
                    lines = [planned[index] for index in dict.fromkeys(users[url])]
                    yield from _changes_of(url, lines, is_gone=False)
    for url in filter(missing.__contains__, users):
        lines = [planned[index] for index in dict.fromkeys(users[url])]
        yield from _changes_of(url, lines, is_gone=True)


def _changes_of(
    url: str, planned: list[tuple[int, PlanLine]], *, is_gone: bool
) -> Iterator[Change]:
    for mini_batch, line in planned:
        for position, path in enumerate(line.paths):
            if path == url:
                yield Change(mini_batch, position, url, is_gone)


def difference(before: bytes, now: bytes | None) -> str:
    """Return a sentence about the first difference between a planned line and the new listing."""
    old = PlanLine.decode(before)
    new = PlanLine.decode(now) if now else None
    # Versions of local files are recorded beside the plan, and None here.
    planned = list(zip_longest(old.paths, old.sizes, old.versions))
    listed = list(zip_longest(new.paths, new.sizes, new.versions)) if new else []
    is_same_input = new and (old.is_table, old.input_number) == (new.is_table, new.input_number)
    if is_same_input and planned == listed and before != now:
        return f"the batching or the reading of the input {old.paths[0]!r} has changed"
    for old_file, new_file in zip_longest(planned, listed[: len(planned)]):
        if new_file != old_file:
            is_same_path = new_file is not None and new_file[0] == old_file[0]
            change = "has changed" if is_same_path else "is at another position"
            return f"the input {old_file[0]!r} {change}"
    return f"the input {old.paths[-1]!r} is now followed by other files"


def planned_again(
    lines: Sequence[bytes], changed: Mapping[int, Iterable[int]], specs: list[dict[str, Any]]
) -> dict[int, bytes]:
    """Return new plan lines for mini-batches whose inputs have changed, by mini-batch.

    Changed files in stores get their present sizes and ETags. A table's file gets the range of all
    its rows.

    Parameters
    ----------
    lines
        The plan, without its end mark.
    changed
        Positions of the items with a changed file, of which no rows are kept, by mini-batch. Of a
        table's mini-batch, no rows are kept at all, and the positions are ignored.
    specs
        The inputs, from the run's record.

    Raises
    ------
    InputError
        A table cannot be planned again: other mini-batches have ranges of the same file, or its
        columns have changed.
    """
    new: dict[int, bytes] = {}
    by_input: dict[int, dict[int, PlanLine]] = {}
    for mini_batch in changed:
        line = PlanLine.decode(lines[mini_batch])
        by_input.setdefault(line.input_number, {})[mini_batch] = line
    for number, planned in by_input.items():
        dataset = dataset_of(specs[number])
        if not isinstance(dataset, FileDataset):
            new.update(_replan_tables(dataset, number, lines, planned))  # type: ignore[arg-type] # the other kind
        elif dataset.storage:
            new.update(_replan_files(dataset, planned, changed))
    return new


def _replan_files(
    dataset: FileDataset, planned: dict[int, PlanLine], changed: Mapping[int, Iterable[int]]
) -> Iterator[tuple[int, bytes]]:
    urls = {line.paths[k] for mini_batch, line in planned.items() for k in changed[mini_batch]}
    listed = (file for folder in dataset.folders() for file in folder if file[0] in urls)
    now = {url: (size, version) for url, size, version in listed}
    for mini_batch, line in planned.items():
        for k in changed[mini_batch]:
            before = line.sizes[k], line.versions[k]
            line.sizes[k], line.versions[k] = now.get(line.paths[k], before)
        yield mini_batch, line.encode() + b"\n"


def _replan_tables(
    dataset: TabularDataset, number: int, lines: Sequence[bytes], changed: dict[int, PlanLine]
) -> dict[int, bytes]:
    """Return a plan line with all rows of its file for each changed mini-batch."""
    planned = {k: line for k, line in enumerate(map(PlanLine.decode, lines))
               if line.is_table and line.input_number == number}  # fmt: skip
    by_path = {_only_path(planned, mini_batch): mini_batch for mini_batch in changed}
    model = next(
        (line for k, line in planned.items() if k not in changed and _is_readable(line)), None
    )
    types: dict[str, str] = {}
    if model:
        columns = model.table.get("columns", ())
        types = dict(zip(columns, model.table.get("types", ()), strict=True))
    paths = {*by_path, *(model.paths if model else ())}
    new: dict[int, bytes] = {}
    for text, _ in dataset.replanned(number, paths, types):
        line = PlanLine.decode(text) if text else None
        if line is None or line.paths[0] not in by_path:
            continue
        mini_batch = by_path[line.paths[0]]
        if model and _is_readable(line):
            _match_columns(line, model)
            if "assumed" in model.table:  # its rows must confirm the types, too
                line.table["assumed"] = model.table["assumed"]
        line.extra = changed[mini_batch].extra
        new[mini_batch] = line.encode() + b"\n"
    return new


def _is_readable(line: PlanLine) -> bool:
    """Return whether all files of a mini-batch could be read; with other ones no format is common."""
    return bool(line.table.get("format", "unreadable") != "unreadable")


def _only_path(planned: dict[int, PlanLine], mini_batch: int) -> str:
    """Return the path of a mini-batch that is one whole file."""
    paths = planned[mini_batch].paths
    is_shared = any(
        k != mini_batch and not set(paths).isdisjoint(line.paths) for k, line in planned.items()
    )
    if len(paths) == 1 and not is_shared:
        return paths[0]
    unit = "mini-batches of several files" if len(paths) > 1 else "several mini-batches of one file"
    msg = (
        f"the input {paths[0]!r} has changed since the run was planned, and {unit} cannot be planned "
        "again. Start a new run, or restore the input, with its modification time, and resume."
    )
    raise InputError(msg)


def _match_columns(line: PlanLine, model: PlanLine) -> None:
    """Check that a new plan line has the columns of the others, and mark the same gaps in it.

    Raises
    ------
    InputError
        The file has other columns or types.
    """
    table, other = line.table, model.table
    has_new_gaps = not set(table.get("gaps", ())) <= set(other.get("gaps", ()))
    if has_new_gaps or any(table.get(key) != other.get(key) for key in _SAME_IN_ALL_FILES):
        msg = (
            f"{line.paths[0]!r} has changed since the run was planned, and its columns do not "
            f"fit the columns of {model.paths[0]!r}: a resume would mix rows of two kinds. Start "
            "a new run."
        )
        raise InputError(msg)
    if "gaps" in other:
        table["gaps"] = other["gaps"]
