"""Files as items: a dataset of paths, folders and globs, listed lazily in a fixed order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from itertools import chain, islice, zip_longest
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, TypeAlias, TypeVar

from ...errors import ConfigError, InputError
from ...formatting import plural
from ..batching import STILL_READING, BatchSpec
from ..local.listing import (
    MAGIC,
    FileItem,
    LeavesOut,
    Unlisted,
    is_hidden,
    is_hidden_from_tables,
    item_of,
    list_path,
    local_nothing_found,
)
from ..partitions.path_format import PartitionFormat, check_keys
from ..storage.datastores import DataPath, Datastore, local_folder, place_of
from ..storage.storage import Place, StorageSpec

# What opens stores and gathers by keys is imported on use: a driver of local files starts without.

T = TypeVar("T")

PathLike: TypeAlias = str | os.PathLike[str] | DataPath | Datastore | tuple[Datastore, str] | Place
"""What names files: a path, folder, glob or URL, or one of these in a datastore."""


class FileDataset:
    """Files to run over, each one an item.

    Parameters
    ----------
    path
        A file, a folder (all files below it), a glob (``*``, ``?``, ``[...]`` inside one name,
        ``**`` for any depth), or a list of these. Relative paths start at the current directory,
        now. Names that begin with a dot, and files named MLTable, which only tell of others, are
        left out unless they are written. It may be a URL (``az://container/digits/*.png``,
        ``https://...``, any protocol of fsspec), or ``datastore.path("digits")``, also written
        ``(datastore, "digits")``.
    partition_format
        Which parts of the paths are which keys, such as ``{user}/{day:yyyy/MM/dd}/*.wav``; the
        grammar is that of `PartitionFormat`. None: the files have no keys.
    storage_options
        For URLs: what fsspec is given to open the store, such as ``account_name`` and
        ``account_key``. Credentials are never stored with a run.

    Notes
    -----
    The order is: the paths as given; inside a folder or a glob sorted by name, folder by folder,
    the files of a folder before those of its subfolders. The same path given twice counts twice.
    Brackets in a name are taken as they are where a file or folder has that very name.

    Raises
    ------
    InputError
        No path is given, one is empty, or they are of several stores.
    ConfigError, MissingExtraError
        ``partition_format`` is none, the store cannot be told from the URL and the options, or its
        package is missing.
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
        given: list[Any] = [*path] if several else [path]  # type: ignore[misc] # narrowed
        if not given:
            msg = "FileDataset was given an empty list; give a file, a folder or a glob."
            raise InputError(msg)
        places = [place_of(one, storage_options) for one in given]
        self.storage: StorageSpec | None = places[0].storage
        if any(place.storage != self.storage for place in places):
            msg = (
                "the paths of a FileDataset are of several stores, or some are local; expected one "
                "store, opened with one credential. Give a FileDataset for each: inputs=[FileDataset(...), FileDataset(...)]."
            )
            raise InputError(msg)
        paths = [place.path for place in places]
        self.paths = tuple(paths) if self.storage else tuple(map(_absolute, paths))
        self.partition_format = PartitionFormat(partition_format) if partition_format else None
        self.name: str | None = None
        #: names that listings leave out; a table of these files leaves out more
        self.leaves_out: LeavesOut = is_hidden

    def __repr__(self) -> str:
        if len(self.paths) == 1:
            return f"FileDataset({self.paths[0]!r})"
        return f"FileDataset({plural(len(self.paths), 'path')}, first {self.paths[0]!r})"

    def to_path(self) -> list[str]:
        """Return the paths of all files, in order; in a store their URLs."""
        return [path for paths in self.listed() for path in paths]

    def take(self, count: int) -> FileDataset:
        """Return a dataset of the first ``count`` files.

        Raises
        ------
        InputError
            There is no file, or ``count`` is below 1.
        """
        paths = list(islice(chain.from_iterable(self.listed()), max(0, count)))
        if not paths:
            msg = f"take({count!r}) of {self!r} gives no file; expected a count from 1, and files."
            raise InputError(msg)
        return FileDataset([Place(path, self.storage) for path in paths])

    def download(
        self,
        target_path: str | os.PathLike[str],
        overwrite: bool = False,  # noqa: FBT001, FBT002 - Azure's signature
    ) -> list[str]:
        """Copy the files to a local folder, below which they keep their own; return their paths.

        Raises
        ------
        InputError
            There are none, the store refuses, or a name cannot be that of a file below the folder, or
            is that of two files.
        """
        from ..storage.transfer import download_all

        target = local_folder(target_path, "target_path")
        paths = []
        placed: dict[str, str] = {}
        for path in self.paths:
            is_folder = self.storage is None and os.path.isdir(path)
            root = path if is_folder else MAGIC.split(path)[0].rpartition("/")[0]
            place = Place(path, self.storage)
            paths += download_all(place, root, target, overwrite=overwrite, placed=placed)
        return paths

    def as_named_input(self, name: str) -> FileDataset:
        """Return this dataset under a name: ``AZUREML_DATAREFERENCE_<name>`` has its path.

        Raises
        ------
        ConfigError
            No variable can have that name.
        """
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            msg = f"the name of an input is {name!r}; expected letters, digits and underscores."
            raise ConfigError(msg)
        return self._copy(name)

    def as_mount(self, path_on_compute: str | None = None) -> FileDataset:  # noqa: ARG002 - Azure's signature
        """Return this dataset as something that stands for a local path on every node.

        Nothing is mounted: files of a store are fetched before the script starts, and the path is
        that of the copy, wherever ``path_on_compute`` would have been.
        """
        return self._copy(self.name)

    def as_download(self, path_on_compute: str | None = None) -> FileDataset:
        """Return the same as `as_mount`: a local path on every node."""
        return self.as_mount(path_on_compute)

    def for_table(self) -> FileDataset:
        """Return this dataset as the files of a table: without names such as ``_SUCCESS``."""
        twin = copy(self)
        twin.leaves_out = is_hidden_from_tables
        return twin

    def _of(self, path: str) -> FileDataset:
        """Return a dataset of one of the paths."""
        twin = copy(self)
        twin.paths = (path,)
        twin.partition_format = None
        return twin

    def _copy(self, name: str | None) -> FileDataset:
        twin = copy(self)
        twin.name = name
        return twin

    def folders(self) -> Iterator[list[FileItem]]:
        """List the files, in order, and what each one is: the files of one folder at a time.

        On this machine, one that cannot be looked at has a size of -1.

        Raises
        ------
        InputError
            As `listed`.
        """
        if self.storage:
            from ..storage.object_store import ObjectStore

            with ObjectStore(self.storage, self.leaves_out) as store:
                for path in self.paths:
                    yield from store.folders(path)
            return
        for paths in self.listed():
            yield list(map(item_of, paths))

    def listed(self) -> Iterator[list[str]]:
        """List the paths of the files, in order: those of one folder at a time.

        A link to nothing, or a subfolder that may not be listed, is among them: an item that fails.

        Raises
        ------
        InputError
            A path that is no glob does not exist or may not be read, or a pipe, a socket or a device
            is among the files; with a partition format, also a subfolder that may not be listed.
        """
        if self.storage:
            for items in self.folders():
                yield [item[0] for item in items]
            return
        for path in self.paths:
            with _said_of(path):
                for paths in list_path(path, self.leaves_out):
                    # Which keys its files have, and so which combinations lack some, nobody knows.
                    if isinstance(paths, Unlisted) and paths.is_folder and self.partition_format:
                        raise paths.error
                    yield paths

    def spec(self) -> dict[str, Any]:
        """Return what a run's record says of this dataset: JSON, and no secret."""
        spec: dict[str, Any] = {"kind": self.kind, "paths": list(self.paths)}
        if self.partition_format:
            spec["partition_format"] = self.partition_format.text
        if self.storage:
            spec["storage"] = self.storage.spec()
        return spec

    @classmethod
    def of_spec(cls, spec: dict[str, Any]) -> FileDataset:
        """Return the dataset that a run's record describes."""
        storage = StorageSpec.of_spec(spec["storage"]) if spec.get("storage") else None
        places = [Place(path, storage) for path in spec["paths"]]
        return cls(places, partition_format=spec.get("partition_format"))

    @property
    def partition_keys(self) -> list[str]:
        """Names of the keys that the paths carry, in their order; none without a format."""
        return self.partition_format.keys if self.partition_format else []

    def get_partition_key_values(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the combinations of the keys' values that the files have, each one once.

        Parameters
        ----------
        keys
            Some of the partition keys. Default: all of them.

        Returns
        -------
        list
            A dict for each combination, in order of its first file; times are ``datetime``.

        Raises
        ------
        ConfigError
            One of ``keys`` is no key of this dataset.
        InputError
            The files cannot be listed, or a path does not match the format.
        """
        from ..partitions.group_by_keys import combinations_of

        wanted = self.partition_keys if keys is None else list(keys)
        check_keys(wanted, self.partition_keys, repr(self))
        return combinations_of(chain.from_iterable(self.listed()), self.key_format(), wanted)

    def key_format(self) -> PartitionFormat:
        """Return the format of the paths' keys, where there is one."""
        if self.partition_format is None:
            msg = f"{self!r} has no partition_format."
            raise ConfigError(msg)
        return self.partition_format

    def mini_batches(self, number: int, cut: BatchSpec) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of items of each mini-batch, as input ``number``."""
        folders: Iterator[list[Any]] = self.folders() if self.storage else self.listed()
        line_of: Callable[..., bytes] = store_line if self.storage else local_line
        if cut.keys:
            from ..partitions.group_by_keys import gather_files

            items = chain.from_iterable(folders)
            for group in gather_files(items, self.key_format(), cut.keys):
                if group is None:
                    yield STILL_READING, 0
                else:
                    values, found = group
                    yield line_of(number, found, f'{{"keys":{values}}}'), len(found)
            return
        unread: list[Unlisted] = []
        for batch in group_items(_readable(folders, unread), cut.size):
            yield line_of(number, batch), len(batch)
            yield from _unread_lines(number, unread)
        yield from _unread_lines(number, unread)

    def check(self) -> None:
        """See that every path exists, that there is at least one file, and that the first has keys.

        Raises
        ------
        InputError
            A path matches nothing; the message says what is there instead. Or the first file of a
            path does not match the partition format.
        """
        if self.storage:
            from ..storage.object_store import ObjectStore

            with ObjectStore(self.storage.with_short_timeouts(), self.leaves_out) as store:
                for url in self.paths:
                    store.check(url)
            return
        for path in self.paths:
            is_there = os.path.lexists(path) or MAGIC.search(path)
            first = next(self._of(path).listed(), None) if is_there else None
            if first is None:
                raise InputError(local_nothing_found(path, self.leaves_out))
            if self.partition_format:
                self.partition_format.values(first[0])


def is_several(path: Any) -> bool:
    """Say whether this is a list of paths; ``(datastore, path)`` is one."""
    if isinstance(path, tuple) and len(path) == 2 and isinstance(path[0], Datastore):
        return False
    return not isinstance(path, str | os.PathLike | DataPath | Datastore | Place)


def _absolute(path: str) -> str:
    if not path.strip():
        msg = "an input path is empty; give a file, a folder or a glob such as 'digits/*.png'."
        raise InputError(msg)
    return os.path.abspath(os.path.expanduser(path))


@contextmanager
def _said_of(path: str) -> Iterator[None]:
    """Say of an error in listing what was listed."""
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
    """Yield the files of each folder; what cannot be read goes to ``unread``."""
    for files in folders:
        if isinstance(files, Unlisted):
            unread.append(files)
        else:
            yield files


def _unread_lines(number: int, unread: list[Unlisted]) -> Iterator[tuple[bytes, int]]:
    """Yield a mini-batch for each path that cannot be read, so that it fails and no other."""
    for path in unread:
        why = json.dumps({"unread": path.error.strerror or str(path.error)})
        yield local_line(number, path, why), 1
    unread.clear()


def local_line(number: int, paths: Sequence[str], extra: str = "") -> bytes:
    """Return the plan line of a mini-batch of this machine's files; `versions` says what they are.

    Parameters
    ----------
    number
        Of the input.
    paths
        The files.
    extra
        JSON of what else is to be said of them.
    """
    # json.dumps of the whole row takes three times as long, and listing is what a run waits for.
    quoted = ",".join(map(encode_basestring_ascii, paths))
    return f'["f",{number},[{quoted}],[],[]{"," if extra else ""}{extra}]\n'.encode("ascii")


def store_line(number: int, batch: Sequence[FileItem], extra: str = "") -> bytes:
    """Return the plan line of a mini-batch of a store's files, as `local_line` does."""
    urls, sizes, tags = zip(*batch, strict=True)
    line = ["f", number, urls, sizes, tags, *([json.loads(extra)] if extra else [])]
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


PlannedBatch: TypeAlias = tuple[int, Any, list[int]]
"""A file of a store as it was planned: its size, its ETag, and the mini-batches that hold it."""


def changes_in_store(
    spec: dict[str, Any], planned: Mapping[str, PlannedBatch]
) -> Iterator[tuple[str, bool]]:
    """Yield (URL, whether it is gone) of the planned files of a store that are not what they were."""
    missing = set(planned)
    for folder in FileDataset.of_spec(spec).folders():
        for url, size, version in folder:
            if url in missing:
                missing.remove(url)
                if planned[url][:2] != (size, version):
                    yield url, False
    yield from ((url, True) for url in planned if url in missing)


def difference(before: list[Any], now: list[Any] | None) -> str:
    """Return which file of a mini-batch is not what is listed now, and how."""
    old = list(zip_longest(*before[2:5]))  # of local files there are only paths
    new = list(zip_longest(*now[2:5])) if now else []
    for position, item in enumerate(old):
        other = new[position] if position < len(new) else None
        if other != item:
            what = "has changed" if other and other[0] == item[0] else "is no longer in its place"
            return f"the input {item[0]!r} {what}"
    return f"the input {old[-1][0]!r} is followed by other files than before"


def group_items(folders: Iterable[list[T]], size: int) -> Iterator[list[T]]:
    """Cut the files of a dataset into mini-batches of ``size``, the last one shorter."""
    rest: list[T] = []
    for files in folders:
        held = rest + files if rest else files
        end = len(held) - len(held) % size
        for start in range(0, end, size):
            yield held[start : start + size]
        rest = held[end:]
    if rest:
        yield rest
