"""Files as items: a dataset of paths, folders and globs, listed lazily in a fixed order."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from json.encoder import encode_basestring_ascii
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from ..errors import ConfigError, InputError
from ..parsing import plural
from .combinations import combinations_of, gather_files
from .cut import STILL_READING, Cut
from .partition_format import PartitionFormat, check_keys

MLTABLE = "MLTable"
"""Name of the files that say what lies beside them, as Azure ML reads them."""

_MAGIC = re.compile(r"[*?[]")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


FileItem: TypeAlias = tuple[str, int, int]
"""One file: its path, size in bytes and modification time in nanoseconds."""


class FileDataset:
    """Files to run over, each one an item.

    Parameters
    ----------
    path
        A file, a folder (all files below it), a glob (``*``, ``?``, ``[...]`` inside one name,
        ``**`` for any depth), or a list of these. Relative paths start at the current directory,
        now. Names that begin with a dot, and files named MLTable, which only tell of others, are
        left out unless they are written.
    partition_format
        Which parts of the paths are which keys, such as ``{user}/{day:yyyy/MM/dd}/*.wav``; the
        grammar is that of `PartitionFormat`. None: the files have no keys.

    Notes
    -----
    The order is: the paths as given; inside a folder or a glob sorted by name, folder by folder,
    the files of a folder before those of its subfolders. The same path given twice counts twice.

    Raises
    ------
    InputError
        No path is given, or one is empty or a URL.
    ConfigError
        ``partition_format`` is none.
    """

    kind: ClassVar[str] = "files"

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        partition_format: str | None = None,
    ) -> None:
        given = [path] if isinstance(path, str | os.PathLike) else list(path)
        if not given:
            msg = "FileDataset was given an empty list; give a file, a folder or a glob."
            raise InputError(msg)
        self.paths = tuple(_absolute(os.fspath(one)) for one in given)
        self.partition_format = PartitionFormat(partition_format) if partition_format else None

    def __repr__(self) -> str:
        if len(self.paths) == 1:
            return f"FileDataset({self.paths[0]!r})"
        return f"FileDataset({plural(len(self.paths), 'path')}, first {self.paths[0]!r})"

    def to_path(self) -> list[str]:
        """Return the paths of all files, in order."""
        return [path for files in self.folders() for path, _, _ in files]

    def folders(self) -> Iterator[list[FileItem]]:
        """List the files, in order: the files of one folder at a time, while they are read.

        Raises
        ------
        InputError
            A path that is no glob does not exist, or a folder cannot be read.
        """
        for path in self.paths:
            try:
                yield from _list_path(path)
            except OSError as error:
                msg = (
                    f"the input {path!r} could not be listed: {error.strerror or error}"
                    f"{f' ({error.filename})' if error.filename else ''}. "
                    "Check the path and its permissions."
                )
                raise InputError(msg) from error

    def spec(self) -> dict[str, Any]:
        """Return what a run's record says of this dataset: JSON, and no secret."""
        spec: dict[str, Any] = {"kind": self.kind, "paths": list(self.paths)}
        if self.partition_format:
            spec["partition_format"] = self.partition_format.text
        return spec

    @classmethod
    def of_spec(cls, spec: dict[str, Any]) -> FileDataset:
        """Return the dataset that a run's record describes."""
        return cls(spec["paths"], partition_format=spec.get("partition_format"))

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
        wanted = self.partition_keys if keys is None else list(keys)
        check_keys(wanted, self.partition_keys, repr(self))
        return combinations_of(
            (path for files in self.folders() for path, _, _ in files), self.key_format(), wanted
        )

    def key_format(self) -> PartitionFormat:
        """Return the format of the paths' keys, where there is one."""
        if self.partition_format is None:
            msg = f"{self!r} has no partition_format."
            raise ConfigError(msg)
        return self.partition_format

    def mini_batches(self, number: int, cut: Cut) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of items of each mini-batch, as input ``number``."""
        if cut.keys:
            items = chain.from_iterable(self.folders())
            for group in gather_files(items, self.key_format(), cut.keys):
                if group is None:
                    yield STILL_READING
                else:
                    values, found = group
                    yield file_line(number, found, f'{{"keys":{values}}}'), len(found)
            return
        for batch in group_items(self.folders(), cut.size):
            yield file_line(number, batch), len(batch)

    def check(self) -> None:
        """See that every path exists, that there is at least one file, and that the first has keys.

        Raises
        ------
        InputError
            A path matches nothing; the message says what is there instead. Or the first file of a
            path does not match the partition format.
        """
        for path in self.paths:
            is_there = os.path.lexists(path) or _MAGIC.search(path)
            first = next(FileDataset(path).folders(), None) if is_there else None
            if first is None:
                raise InputError(_nothing_found(path))
            if self.partition_format:
                self.partition_format.values(first[0][0])


def _absolute(path: str) -> str:
    if not path.strip():
        msg = "an input path is empty; give a file, a folder or a glob such as 'digits/*.png'."
        raise InputError(msg)
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    elif _URL.match(path):
        msg = (
            f"the input {path!r} is a URL; this version reads local files. "
            "Download or mount it, and give the local folder."
        )
        raise InputError(msg)
    return os.path.abspath(os.path.expanduser(path))


def _list_path(path: str) -> Iterator[list[FileItem]]:
    """List one path; no list is empty."""
    if os.path.isdir(path):
        yield from _walk(path)
    elif not _MAGIC.search(path) or os.path.lexists(path):
        stat = os.stat(path)
        yield [(path, stat.st_size, stat.st_mtime_ns)]
    else:
        yield from _expand(path)


def _walk(folder: str) -> Iterator[list[FileItem]]:
    """List a folder: its files by name, then its subfolders by name."""
    files, folders = _scan(folder, "*")
    if files:
        yield files
    for subfolder in _without_loops(folders, folder):
        yield from _walk(subfolder)


def _scan(folder: str, pattern: str) -> tuple[list[FileItem], list[str]]:
    """Return the files and the subfolders of one folder whose names match, sorted by name."""
    matches = re.compile(fnmatch.translate(pattern)).match
    hidden = pattern.startswith(".") or pattern == MLTABLE
    files, folders = [], []
    prefix = os.path.join(folder, "")
    # By descriptor, the kernel looks each name up in this folder, not along the whole path.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(fd) as found:
            entries = [e for e in found if hidden or (e.name[0] != "." and e.name != MLTABLE)]
            if pattern != "*":
                entries = [e for e in entries if matches(e.name)]
            entries.sort(key=attrgetter("name"))
            for entry in entries:
                if entry.is_dir():
                    folders.append(prefix + entry.name)
                else:
                    stat = entry.stat()
                    files.append((prefix + entry.name, stat.st_size, stat.st_mtime_ns))
    finally:
        os.close(fd)
    return files, folders


def _without_loops(folders: list[str], parent: str) -> Iterator[str]:
    """Leave out links back to a folder that is being listed already."""
    for folder in folders:
        if os.path.islink(folder):
            inside = os.path.realpath(parent) + os.sep
            if inside.startswith(os.path.realpath(folder) + os.sep):
                continue
        yield folder


def _expand(glob: str) -> Iterator[list[FileItem]]:
    """List the files that a glob matches, folder by folder."""
    parts = Path(glob).parts
    fixed = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    found = _match(os.path.join(*parts[:fixed]), parts[fixed:])
    if parts.count("**") < 2:
        yield from found
        return
    seen: set[str] = set()  # two ** reach a folder by several ways
    for files in found:
        new = [item for item in files if item[0] not in seen]
        seen.update(item[0] for item in new)
        if new:
            yield new


def _match(folder: str, parts: Sequence[str]) -> Iterator[list[FileItem]]:
    if not os.path.isdir(folder):
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _match(folder, rest or ("*",))
        for subfolder in _without_loops(_scan(folder, "*")[1], folder):
            yield from _match(subfolder, parts)
        return
    files, folders = _scan(folder, part)
    if not rest:
        if files:
            yield files
        return
    for subfolder in folders:
        yield from _match(subfolder, rest)


def _nothing_found(path: str) -> str:
    """Say why a path gives no file, from what is there."""
    if not _MAGIC.search(path):
        if os.path.isdir(path):
            return f"the input folder {path!r} holds no files. Give a folder or a glob with files."
        near = _existing_parent(path)
        return f"the input {path!r} does not exist; {_what_is_in(near)}"
    parts = Path(path).parts
    fixed = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
    folder = os.path.join(*parts[:fixed])
    if not os.path.isdir(folder):
        near = _existing_parent(folder)
        return f"the glob {path!r} matches no file: {folder!r} does not exist; {_what_is_in(near)}"
    return f"the glob {path!r} matches no file; {_what_is_in(folder)}"


def _existing_parent(path: str) -> str:
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _what_is_in(folder: str) -> str:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return f"{folder!r} cannot be read ({error.strerror})."
    if not names:
        return f"{folder!r} is empty."
    shown = ", ".join(names[:4])
    more = f" and {len(names) - 4:,} more" if len(names) > 4 else ""
    return f"{folder!r} holds {shown}{more}."


def file_line(number: int, batch: Sequence[FileItem], extra: str = "") -> bytes:
    """Return the plan line of a mini-batch of files from input ``number``; ``extra`` is JSON."""
    paths, sizes, times = zip(*batch, strict=True)
    # json.dumps of the whole row takes three times as long, and listing is what a run waits for.
    quoted = ",".join(map(encode_basestring_ascii, paths))
    end = f",{extra}]\n" if extra else "]\n"
    line = f'["f",{number},[{quoted}],{[*sizes]},{[*times]}{end}'
    return line.encode("ascii")


def changed_since(row: list[Any]) -> str:
    """Return which file of a plan line is not what it was, and how; nothing where all are."""
    for path, size_bytes, mtime_ns in zip(*row[2:5], strict=True):
        try:
            stat = os.stat(path)
        except OSError:
            return f"the input {path!r} is gone"
        if (stat.st_size, stat.st_mtime_ns) != (size_bytes, mtime_ns):
            return f"the input {path!r} has changed"
    return ""


def difference(before: list[Any], now: list[Any] | None) -> str:
    """Return which file of a mini-batch is not what is listed now, and how."""
    old = list(zip(*before[2:5], strict=True))
    new = list(zip(*now[2:5], strict=True)) if now else []
    for position, item in enumerate(old):
        other = new[position] if position < len(new) else None
        if other != item:
            what = "has changed" if other and other[0] == item[0] else "is no longer in its place"
            return f"the input {item[0]!r} {what}"
    return f"the input {old[-1][0]!r} is followed by other files than before"


def group_items(folders: Iterable[list[FileItem]], size: int) -> Iterator[list[FileItem]]:
    """Cut the files of a dataset into mini-batches of ``size``, the last one shorter."""
    rest: list[FileItem] = []
    for files in folders:
        held = rest + files if rest else files
        end = len(held) - len(held) % size
        for start in range(0, end, size):
            yield held[start : start + size]
        rest = held[end:]
    if rest:
        yield rest
