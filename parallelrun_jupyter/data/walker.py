"""Walks folders and expands globs in the same order on this machine and in stores.

The files of a folder come first, sorted by name, then its subfolders, sorted by name.
"""

from __future__ import annotations

import errno
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

MLTABLE = "MLTable"
"""Name of the files that describe the data beside them, as in Azure ML."""

MAGIC = re.compile(r"[*?[]")
"""Finds the first character that makes a path a glob."""

_LISTED_AHEAD = 16
_SHOWN_NAMES = 4

FileItem: TypeAlias = tuple[str, int, int | str]
"""A file: path, size in bytes and modification time in nanoseconds. In a store: URL, size (-1 if
unknown) and ETag, or the time if the store has no ETags."""

F = TypeVar("F", str, FileItem)
"""A file of a listing: its path, on this machine; a `FileItem`, in a store."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)
"""An entry of a folder."""

Listing: TypeAlias = tuple[Iterable[list[F]], list[str]]
"""The files of a folder, in lists that are not empty, and the paths of its subfolders; sorted."""

ListFolder: TypeAlias = Callable[[str, str], Listing[F]]
"""Lists the names in a folder that match a pattern; ``**`` matches all of them."""

LeavesOut: TypeAlias = Callable[[str], bool]
"""Returns whether listings leave out a name, unless a pattern asks for such names."""


def is_hidden(name: str) -> bool:
    """Return whether a name is not data: hidden files, and ``MLTable``, which describes data."""
    return name[0] == "." or name == MLTABLE


def is_hidden_from_tables(name: str) -> bool:
    """Return whether a name in a folder of tables is not data.

    Tools mark their own files with an underscore: ``_SUCCESS``, ``_metadata``, ``_temporary``. A
    folder of a partition key is data, as for Spark: ``_year=2024``.
    """
    return is_hidden(name) or (name[0] == "_" and "=" not in name)


_UNLISTABLE = (PermissionError, FileNotFoundError, NotADirectoryError)
"""Errors that concern a single folder, such as a loop of links.

Others, such as a failing disk, concern the whole input.
"""


class Unlisted(list[str]):
    """A path that cannot be read. It becomes an item of its own, which fails; other items run.

    Parameters
    ----------
    path
        A broken link, or a folder that cannot be listed.
    error
        The reason.
    is_folder
        Whether the path is a folder.
    """

    def __init__(self, path: str, error: OSError, *, is_folder: bool = False) -> None:
        super().__init__([path])
        self.error = error
        self.is_folder = is_folder


def matching(entries: Iterable[N], pattern: str, leaves_out: LeavesOut) -> list[N]:
    """Return the entries of a folder that one part of a glob matches, in their order."""
    asks_for_hidden = pattern[0] in "._" or pattern == MLTABLE
    visible = [e for e in entries if asks_for_hidden or not leaves_out(e.name)]
    if pattern in {"*", "**"}:
        return visible
    if is_literal_too(pattern):
        exact = [e for e in visible if e.name == pattern]
        if exact:
            return exact
    matches = re.compile(fnmatch.translate(pattern)).match
    return [e for e in visible if matches(e.name)]


def is_literal_too(pattern: str) -> bool:
    """Return whether brackets are the only magic: ``x[1]`` is a literal name if it exists."""
    return "[" in pattern and "*" not in pattern and "?" not in pattern


def split_glob(path: str) -> tuple[str, list[str]]:
    """Split a path before its first part with magic characters, into a folder and the parts.

    A path without magic is its own folder, without parts.
    """
    magic = MAGIC.search(path)
    if magic is None:
        return path, []
    folder, slash, _ = path[: magic.start()].rpartition("/")
    parts = path[len(folder) + len(slash) :].split("/")
    return folder or slash, [part for part in parts if part]


class _Step(NamedTuple):
    """A folder to list, and the parts of the glob to match in it and below."""

    folder: str
    parts: tuple[str, ...]
    may_be_missing: bool = False

    @property
    def pattern(self) -> str:
        """The part to match in the folder."""
        return self.parts[0]

    @property
    def has_files(self) -> bool:
        """Whether files in the folder itself match, not only in folders below."""
        return self.parts[1:] in {(), ("*",)} if self.pattern == "**" else len(self.parts) == 1

    def next_steps(self, folders: list[str]) -> list[_Step]:
        """Return the steps that follow, the last one first."""
        if self.pattern != "**":
            return [_step(f, self.parts[1:]) for f in reversed(folders)] if self.parts[1:] else []
        below = [_step(folder, self.parts) for folder in reversed(folders)]
        return below if self.has_files else [*below, _step(self.folder, self.parts[1:])]


def _step(folder: str, parts: tuple[str, ...]) -> _Step:
    """Return the next folder to list: parts without magic need no listing."""
    step = _Step(folder, parts)
    while len(step.parts) > 1 and not MAGIC.search(step.pattern):
        path = f"{step.folder.rstrip('/')}/{step.pattern}"
        step = _Step(path, step.parts[1:], may_be_missing=True)
    return step


def walk(
    root: str,
    parts: Sequence[str],
    list_folder: ListFolder[F],
    pool: Executor | None = None,
) -> Iterator[list[F] | Unlisted]:
    """List the files that a glob matches, folder by folder; no list is empty.

    Parameters
    ----------
    root
        The folder to start in.
    parts
        The parts of the glob below it; ``["**"]`` for all files of the folder.
    list_folder
        Lists one folder.
    pool
        Threads that list the next folders ahead. Default: one folder is listed at a time.

    Yields
    ------
    list
        Files of a folder, or the path of a subfolder that cannot be listed.

    Raises
    ------
    OSError
        The root cannot be listed, or the error concerns more than one folder.
    """
    todo = [_step(root, tuple(parts))]
    ahead: dict[_Step, Future[Listing[F]]] = {}
    seen: set[str] | None = set() if parts.count("**") > 1 else None
    while todo:
        if pool:
            for step in todo[-_LISTED_AHEAD:]:
                if step not in ahead:
                    ahead[step] = pool.submit(list_folder, step.folder, step.pattern)
        step = todo.pop()
        try:
            files, folders = (
                ahead.pop(step).result() if pool else list_folder(step.folder, step.pattern)
            )
        except OSError as error:
            is_of_folder = isinstance(error, _UNLISTABLE) or error.errno == errno.ELOOP
            if step.folder == root or not is_of_folder:
                raise
            is_missing = step.may_be_missing and not isinstance(error, PermissionError)
            if not is_missing and (seen is None or _is_new(step.folder, seen)):
                yield Unlisted(step.folder, error, is_folder=True)
            continue
        if step.has_files:
            yield from files if seen is None else _each_once(files, seen)
        todo += step.next_steps(folders)


def _each_once(lists: Iterable[list[F]], seen: set[str]) -> Iterator[list[F]]:
    """Skip paths that were listed before: two ``**`` reach a folder in several ways."""
    for files in lists:
        new = [file for file in files if _is_new(file, seen)]
        if new:
            yield files if isinstance(files, Unlisted) else new


def _is_new(file: str | FileItem, seen: set[str]) -> bool:
    path = file if isinstance(file, str) else file[0]
    is_new = path not in seen
    seen.add(path)
    return is_new


def shown_names(folder: str, names: Sequence[str]) -> str:
    """Return a clause that lists the first names in a folder, for an error."""
    more = len(names) - _SHOWN_NAMES
    rest = f" and {more:,} more" if more > 0 else ""
    return f"{folder!r} contains {', '.join(names[:_SHOWN_NAMES])}{rest}."


def bracket_hint(path: str) -> str:
    """Return how to escape a bracket, for an error about a path with one."""
    if "[" not in path:
        return ""
    return f" [...] stands for one of its characters; for a bracket itself write {'[[]'!r}."
