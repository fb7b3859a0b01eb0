"""Files as items: a dataset of files, folders, globs and URLs, listed lazily in a fixed order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import chain, islice
from typing import Any, ClassVar, TypeAlias

from ...errors import ConfigError, InputError
from ...formatting import plural
from ..batching import STILL_READING, BatchSpec, file_line, group_items, store_line
from ..local.listing import item_of, list_path, why_no_files
from ..partitions.path_format import PartitionFormat, check_keys
from ..storage.datastores import DataPath, Datastore, local_folder, place_of
from ..storage.storage import Place, StorageSpec
from ..walker import (
    MAGIC,
    FileItem,
    LeavesOut,
    Unlisted,
    is_hidden,
    is_hidden_from_tables,
)

# Stores and grouping by keys are imported on first use: a driver of local files starts without
# them.

PathLike: TypeAlias = str | os.PathLike[str] | DataPath | Datastore | tuple[Datastore, str] | Place
"""A path, folder, glob or URL, also one in a datastore."""


class FileDataset:
    """Files as the input of a run. Each file is an item, and ``run()`` gets a list of paths.

    Files are listed when the run starts, not when the dataset is created.

    Parameters
    ----------
    path
        A file, a folder (all files below it), a glob, a URL, or a list of these.

        In a glob, ``*``, ``?`` and ``[...]`` match within one name, and ``**`` matches folders of
        any depth. ``x[1].png`` means the file of that name if it exists.

        A URL has any protocol of fsspec: ``az://container/digits/*.png``, ``https://...``,
        ``s3://...``. Paths in a datastore are ``datastore.path("digits")`` or
        ``(datastore, "digits")``. All paths of a dataset are in one store, or on this machine.

        Relative paths are resolved now, from the current directory.
    partition_format
        Names the keys in the paths, for a run with ``partition_keys``:
        ``{user}/{day:yyyy/MM/dd}/*.wav``. The format describes the end of each path, the file's name
        included. Default: the files have no keys.
    storage_options
        How fsspec opens the store of a URL, such as ``account_name`` and ``account_key``.
        Credentials are kept in memory and never written to disk. Default: those of a registered
        datastore, or of the environment.

    Raises
    ------
    InputError
        The list of paths is empty, a path is empty, or the paths are in more than one store.
    ConfigError
        The partition format is invalid, or the store is not clear from the URL and the options.
    MissingExtraError
        The package that opens the store is not installed.

    Notes
    -----
    Paths are listed in the order given. In a folder the files come first, sorted by name, then each
    subfolder. A file that is given twice counts twice. Names that begin with a dot, and files named
    ``MLTable``, are left out unless the path or glob asks for them.

    Examples
    --------
    >>> digits = FileDataset("digits/*.png")
    >>> photos = FileDataset(["2023/", "2024/"], partition_format="{month}/{camera}/*.jpg")
    >>> photos.partition_keys
    ['month', 'camera']
    >>> FileDataset("az://public/digits", storage_options={"account_name": "acct", "anon": True})
    FileDataset('az://public/digits')
    """

    kind: ClassVar[str] = "files"

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        *,
        partition_format: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        several = is_several(path) and isinstance(path, Iterable)
        inputs: list[Any] = [*path] if several else [path]  # type: ignore[misc] # narrowed
        if not inputs:
            msg = "FileDataset received an empty list; give a file, a folder or a glob."
            raise InputError(msg)
        places = [place_of(input_, storage_options) for input_ in inputs]
        self.storage: StorageSpec | None = places[0].storage
        if any(place.storage != self.storage for place in places):
            msg = (
                "the paths of a FileDataset are in several stores, or some are local; expected one "
                "store, opened with one credential. Give a FileDataset for each: "
                "inputs=[FileDataset(...), FileDataset(...)]."
            )
            raise InputError(msg)
        paths = [place.path for place in places]
        self.paths = tuple(paths) if self.storage else tuple(map(_absolute, paths))
        self.partition_format = PartitionFormat(partition_format) if partition_format else None
        self.name: str | None = None
        #: tables skip more names
        self.leaves_out: LeavesOut = is_hidden

    def __repr__(self) -> str:
        if len(self.paths) == 1:
            return f"FileDataset({self.paths[0]!r})"
        return f"FileDataset({plural(len(self.paths), 'path')}, first {self.paths[0]!r})"

    def to_path(self) -> list[str]:
        """Return the paths of all files, in order; URLs for files in a store.

        Raises
        ------
        InputError
            A path does not exist or cannot be read.
        """
        return list(chain.from_iterable(self.listed()))

    def take(self, count: int) -> FileDataset:
        """Return a dataset of the first files, for trying a script.

        Parameters
        ----------
        count
            Number of files, from 1.

        Raises
        ------
        InputError
            The dataset is empty, or ``count`` is below 1.
        """
        paths = list(islice(chain.from_iterable(self.listed()), max(0, count)))
        if not paths:
            msg = (
                f"take({count!r}) of {self!r} returns no file; expected a count from 1, and a "
                "dataset with files."
            )
            raise InputError(msg)
        return FileDataset([Place(path, self.storage) for path in paths])

    def download(
        self,
        target_path: str | os.PathLike[str],
        overwrite: bool = False,  # noqa: FBT001, FBT002 - Azure's signature
    ) -> list[str]:
        """Copy the files to a local folder and return the paths of the copies.

        Parameters
        ----------
        target_path
            The folder; created if it does not exist. Files keep their paths below the dataset's
            folder, or below the fixed part of its glob.
        overwrite
            Replace existing files. Default: they are left as they are.

        Raises
        ------
        InputError
            The dataset is empty, the store refuses, or two files would have the same path. Names
            with ``..`` are refused before anything is written.
        """
        from ..storage.transfer import download_all

        target = local_folder(target_path, "target_path")
        paths: list[str] = []
        placed: dict[str, str] = {}
        for path in self.paths:
            is_folder = self.storage is None and os.path.isdir(path)
            root = path if is_folder else MAGIC.split(path)[0].rpartition("/")[0]
            place = Place(path, self.storage)
            paths += download_all(place, root, target, overwrite=overwrite, placed=placed)
        return paths

    def as_named_input(self, name: str) -> FileDataset:
        """Return this dataset with a name, for the ``side_inputs`` of a step.

        The script finds its local path in the environment variable
        ``AZUREML_DATAREFERENCE_<name>``.

        Parameters
        ----------
        name
            Letters, digits and underscores.

        Raises
        ------
        ConfigError
            The name cannot be part of an environment variable.
        """
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            msg = f"the name of an input is {name!r}; expected letters, digits and underscores."
            raise ConfigError(msg)
        twin = copy(self)
        twin.name = name
        return twin

    def as_mount(self, path_on_compute: str | None = None) -> FileDataset:  # noqa: ARG002 - Azure's signature
        """Return this dataset as a local path on every node, as Azure ML does.

        Nothing is mounted: files in a store are downloaded before the script starts.

        Parameters
        ----------
        path_on_compute
            Ignored: the script receives the path of the copies.
        """
        return copy(self)

    def as_download(self, path_on_compute: str | None = None) -> FileDataset:
        """Return this dataset as a local path on every node; the same as `as_mount`.

        Parameters
        ----------
        path_on_compute
            Ignored: the script receives the path of the copies.
        """
        return self.as_mount(path_on_compute)

    @property
    def partition_keys(self) -> list[str]:
        """Names of the keys in the paths, in order; empty without a ``partition_format``."""
        return self.partition_format.keys if self.partition_format else []

    def get_partition_key_values(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the combinations of key values that the files have, each once.

        Parameters
        ----------
        keys
            Some of the partition keys. Default: all of them.

        Returns
        -------
        list
            One dict per combination, in order of its first file. Dates are ``datetime``.

        Raises
        ------
        ConfigError
            The dataset does not have one of the keys.
        InputError
            The files cannot be listed, or a path does not match the partition format.
        """
        from ..partitions.group_by_keys import combinations_of

        wanted = self.partition_keys if keys is None else list(keys)
        check_keys(wanted, self.partition_keys, repr(self))
        return combinations_of(chain.from_iterable(self.listed()), self.key_format(), wanted)

    def key_format(self) -> PartitionFormat:
        """Return the partition format.

        Raises
        ------
        ConfigError
            The dataset does not have one.
        """
        if self.partition_format is None:
            msg = f"{self!r} has no partition_format."
            raise ConfigError(msg)
        return self.partition_format

    def for_table(self) -> FileDataset:
        """Return this dataset as the files of a table: without names such as ``_SUCCESS``."""
        twin = copy(self)
        twin.leaves_out = is_hidden_from_tables
        return twin

    def folders(self) -> Iterator[list[FileItem]]:
        """List the files with their sizes and versions, folder by folder.

        A local file whose status cannot be read has size -1.

        Raises
        ------
        InputError
            As `listed`.
        """
        if not self.storage:
            for paths in self.listed():
                yield list(map(item_of, paths))
            return
        from ..storage.object_store import ObjectStore

        with ObjectStore(self.storage, self.leaves_out) as store:
            for path in self.paths:
                yield from store.folders(path)

    def listed(self) -> Iterator[list[str]]:
        """List the paths of the files, folder by folder.

        A broken link, or a subfolder that cannot be listed, is returned as `Unlisted`: an item that
        fails.

        Raises
        ------
        InputError
            A path does not exist or cannot be read, or a pipe, socket or device is among the files.
            With a partition format, also: a subfolder cannot be listed.
        """
        if self.storage:
            for items in self.folders():
                yield [item[0] for item in items]
            return
        for path in self.paths:
            with _naming(path):
                for paths in list_path(path, self.leaves_out):
                    # The keys of its files are unknown, so any combination may be incomplete.
                    if isinstance(paths, Unlisted) and paths.is_folder and self.partition_format:
                        raise paths.error
                    yield paths

    def spec(self) -> dict[str, Any]:
        """Return this dataset as JSON for the record of a run, with credentials by reference."""
        spec: dict[str, Any] = {"kind": self.kind, "paths": list(self.paths)}
        if self.partition_format:
            spec["partition_format"] = self.partition_format.text
        if self.storage:
            spec["storage"] = self.storage.spec()
        return spec

    @classmethod
    def of_spec(cls, spec: dict[str, Any]) -> FileDataset:
        """Return the dataset of a run's record."""
        storage = StorageSpec.of_spec(spec["storage"]) if spec.get("storage") else None
        places = [Place(path, storage) for path in spec["paths"]]
        return cls(places, partition_format=spec.get("partition_format"))

    def check(self) -> None:
        """Check that every path has files, and that the first file has the keys.

        Raises
        ------
        InputError
            A path matches nothing (the message lists its folder), or the first file of a path does
            not match the partition format.
        """
        if self.storage:
            from ..storage.object_store import ObjectStore

            with ObjectStore(self.storage.with_short_timeouts(), self.leaves_out) as store:
                for url in self.paths:
                    store.check(url)
            return
        for path in self.paths:
            twin = copy(self)
            twin.paths = (path,)
            is_there = os.path.lexists(path) or MAGIC.search(path)
            first = next(twin.listed(), None) if is_there else None
            if first is None:
                raise InputError(why_no_files(path, self.leaves_out))
            if self.partition_format:
                self.partition_format.values(first[0])

    def mini_batches(self, number: int, batches: BatchSpec) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of files of each mini-batch, as input ``number``."""
        folders: Iterator[list[Any]] = self.folders() if self.storage else self.listed()
        line_of: Callable[..., bytes] = store_line if self.storage else file_line
        if batches.keys:
            from ..partitions.group_by_keys import group_files

            items = chain.from_iterable(folders)
            for group in group_files(items, self.key_format(), batches.keys):
                if group is None:
                    yield STILL_READING, 0
                else:
                    values, files = group
                    yield line_of(number, files, f'{{"keys":{values}}}'), len(files)
            return
        unread: list[Unlisted] = []
        for files in group_items(_readable(folders, unread), batches.size):
            yield line_of(number, files), len(files)
            yield from _unread_lines(number, unread)
        yield from _unread_lines(number, unread)


def is_several(path: Any) -> bool:
    """Return whether an argument is a list of paths; ``(datastore, path)`` is one path."""
    if isinstance(path, tuple) and len(path) == 2 and isinstance(path[0], Datastore):
        return False
    return not isinstance(path, str | os.PathLike | DataPath | Datastore | Place)


def _absolute(path: str) -> str:
    if not path.strip():
        msg = "an input path is empty; give a file, a folder or a glob such as 'digits/*.png'."
        raise InputError(msg)
    return os.path.abspath(os.path.expanduser(path))


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Name the dataset's path in errors raised while it is listed."""
    try:
        yield
    except OSError as error:
        msg = (
            f"the input {path!r} could not be listed: {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}. "
            "Check the path and its permissions."
        )
        raise InputError(msg) from error


def _readable(folders: Iterable[list[Any]], unread: list[Unlisted]) -> Iterator[list[Any]]:
    """Yield the files of each folder; append the unreadable paths to ``unread``."""
    for files in folders:
        if isinstance(files, Unlisted):
            unread.append(files)
        else:
            yield files


def _unread_lines(number: int, unread: list[Unlisted]) -> Iterator[tuple[bytes, int]]:
    """Yield a mini-batch for each path that cannot be read, so that only these fail."""
    for path in unread:
        extra = json.dumps({"unread": path.error.strerror or str(path.error)})
        yield file_line(number, path, extra), 1
    unread.clear()
