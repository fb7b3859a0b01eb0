"""Listing this machine's files: a file, a folder or a glob, folder by folder, in a fixed order."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ...errors import InputError

MLTABLE = "MLTable"
"""Name of the files that say what lies beside them, as Azure ML reads them."""

MAGIC = re.compile(r"[*?[]")

FileItem: TypeAlias = tuple[str, int, int | str]
"""One file: its path, size in bytes and modification time in nanoseconds; in a store its URL, size
(-1 where it is unknown) and ETag."""


LeavesOut: TypeAlias = Callable[[str], bool]
"""Tells whether listings leave a name out, unless it is written."""


def is_hidden(name: str) -> bool:
    """Tell whether a name is no part of the data of its folder."""
    return name[0] == "." or name == MLTABLE


def is_hidden_from_tables(name: str) -> bool:
    """Tell whether a name is no table of its folder.

    Names with an underscore in front are those of tools: ``_SUCCESS``, ``_metadata``,
    ``_temporary``. As Spark has it, a key is data whatever its name: ``_year=2024``.
    """
    return is_hidden(name) or (name[0] == "_" and "=" not in name)


def names_hidden(pattern: str) -> bool:
    """Tell whether a pattern itself begins like names that are left out, so that it means them."""
    return pattern[0] in "._" or pattern == MLTABLE


_UNLISTABLE = (PermissionError, FileNotFoundError, NotADirectoryError)
"""Errors of a single folder; others, such as a disk that fails, concern the whole input."""


class Unlisted(list[str]):
    """A path that cannot be read, among others that can: an item that fails, and holds up nothing.

    Parameters
    ----------
    path
        A link to nothing, or a folder that may not be listed.
    error
        Why.
    is_folder
        Whether it is such a folder.
    """

    def __init__(self, path: str, error: OSError, *, is_folder: bool = False) -> None:
        super().__init__([path])
        self.error = error
        self.is_folder = is_folder


@dataclass(slots=True)
class _Scan:
    """What is in a folder, by name."""

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    broken: list[Unlisted] = field(default_factory=list)
    special: list[str] = field(default_factory=list)

    def items(self) -> Iterator[list[str]]:
        """Yield the files, and each link to nothing.

        Raises
        ------
        InputError
            A pipe, a socket or a device is among them.
        """
        if self.special:
            raise _not_regular(min(self.special))
        if self.files:
            yield self.files
        yield from sorted(self.broken)


def list_path(path: str, leaves_out: LeavesOut = is_hidden) -> Iterator[list[str]]:
    """List the files of one path; no list is empty, and what cannot be read comes as `Unlisted`.

    Files are not looked at: that takes longer than listing them, and on a network a hundred times
    as long, while a run waits for its first mini-batch.

    Raises
    ------
    OSError
        The path itself is not there, or may not be read.
    InputError
        A pipe, a socket or a device is in it: opening one may wait without end.
    """
    if os.path.isdir(path):
        yield from _below(path, _scan(path, "*", leaves_out), leaves_out)
    elif not MAGIC.search(path) or os.path.lexists(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _not_regular(path)
        yield [path]
    else:
        yield from _expand(path, leaves_out)


def _not_regular(path: str) -> InputError:
    return InputError(
        f"the input {path!r} is not a regular file but a pipe, a socket or a device, which a run may "
        "wait for without end. Remove it, or give a glob that leaves it out, such as '*.csv'."
    )


def item_of(path: str) -> FileItem:
    """Look at a file; the size is -1 where it cannot be looked at."""
    try:
        found = os.stat(path)
    except OSError:
        return path, -1, 0
    return path, found.st_size, found.st_mtime_ns


def why_unreadable(path: str) -> OSError | None:
    """Return what keeps a path from being opened or listed."""
    try:
        with os.scandir(path) if os.path.isdir(path) else open(path, "rb"):
            return None
    except OSError as error:
        return error


def _below(folder: str, scan: _Scan, leaves_out: LeavesOut) -> Iterator[list[str]]:
    """List a folder: its files by name, then its subfolders by name."""
    yield from scan.items()
    for subfolder in _without_loops(scan.folders, folder):
        try:
            inside = _scan(subfolder, "*", leaves_out)
        except _UNLISTABLE as error:
            yield Unlisted(subfolder, error, is_folder=True)
        else:
            yield from _below(subfolder, inside, leaves_out)


def _scan(folder: str, pattern: str, leaves_out: LeavesOut) -> _Scan:
    """Return what is in one folder and has a name that matches, sorted by name."""
    matches = re.compile(fnmatch.translate(pattern)).match
    takes_all = names_hidden(pattern)
    scan = _Scan()
    add_file, add_folder = scan.files.append, scan.folders.append  # for the many files
    with os.scandir(folder) as found:
        entries = [e for e in found if takes_all or not leaves_out(e.name)]
    if pattern != "*":
        # A name such as "[v2]" is that of a folder, where there is one.
        named_so = [e for e in entries if e.name == pattern] if is_literal_too(pattern) else []
        entries = named_so or [e for e in entries if matches(e.name)]
    for entry in entries:
        try:
            if entry.is_dir():
                add_folder(entry.path)
            elif entry.is_file():
                add_file(entry.path)
            else:
                entry.stat()
                scan.special.append(entry.path)
        except OSError as error:
            scan.broken.append(Unlisted(entry.path, error))
    scan.files.sort()
    scan.folders.sort()
    return scan


def is_literal_too(pattern: str) -> bool:
    """Say if a pattern with brackets is rather a name, where something has that name."""
    return "[" in pattern and "*" not in pattern and "?" not in pattern


def _without_loops(folders: list[str], parent: str) -> Iterator[str]:
    """Leave out links back to a folder that is being listed already."""
    for folder in folders:
        if os.path.islink(folder):
            inside = os.path.realpath(parent) + os.sep
            if inside.startswith(os.path.realpath(folder) + os.sep):
                continue
        yield folder


def _expand(glob: str, leaves_out: LeavesOut) -> Iterator[list[str]]:
    """List the files that a glob matches, folder by folder."""
    parts = Path(glob).parts
    fixed = next(i for i, part in enumerate(parts) if MAGIC.search(part))
    folder = os.path.join(*parts[:fixed])
    if not os.path.isdir(folder):
        return
    found = _match(folder, parts[fixed:], leaves_out, is_given=True)
    if parts.count("**") < 2:
        yield from found
        return
    seen: set[str] = set()  # two ** reach a folder by several ways
    for files in found:
        new = [path for path in files if path not in seen]
        seen.update(new)
        if new:
            yield files if isinstance(files, Unlisted) else new


def _match(
    folder: str, parts: Sequence[str], leaves_out: LeavesOut, *, is_given: bool = False
) -> Iterator[list[str]]:
    part, rest = parts[0], parts[1:]
    try:
        scan = _scan(folder, "*" if part == "**" else part, leaves_out)
    except _UNLISTABLE as error:
        if is_given:
            raise
        yield Unlisted(folder, error, is_folder=True)
        return
    if part == "**":
        yield from _match(folder, rest or ("*",), leaves_out, is_given=is_given)
        for subfolder in _without_loops(scan.folders, folder):
            yield from _match(subfolder, parts, leaves_out)
        return
    if not rest:
        yield from scan.items()
        return
    for subfolder in scan.folders:
        yield from _match(subfolder, rest, leaves_out)


def place_below(folder: str, inside: str, name: str) -> str:
    """Return where a file is put below a folder: names in a store are not to be trusted as paths.

    Parameters
    ----------
    folder
        The folder.
    inside
        The path below it.
    name
        The whole name that it was made of, such as a URL, for the check and for the error.

    Raises
    ------
    InputError
        The name has ``..`` in it, and could lead out of the folder, or a character that no file
        name can have.
    """
    if ".." in (*name.split("/"), *inside.split("/")) or "\0" in name:
        msg = (
            f"{name!r} has a name that would not stay below {folder!r}: expected one without '..' "
            "and NUL. Nothing was written. Rename it, or give paths or a glob without it."
        )
        raise InputError(msg)
    return os.path.normpath(os.path.join(folder, inside.strip("/")))


def local_nothing_found(path: str, leaves_out: LeavesOut = is_hidden) -> str:
    """Say why a path gives no file, from what is there."""
    if not MAGIC.search(path):
        if os.path.isdir(path):
            return (
                f"the input folder {path!r} holds no files{_but_left_out(path, leaves_out)}. "
                "Give a folder or a glob with files."
            )
        near = _existing_parent(path)
        return f"the input {path!r} does not exist; {_what_is_in(near)}"
    parts = Path(path).parts
    fixed = next(i for i, part in enumerate(parts) if MAGIC.search(part))
    folder = os.path.join(*parts[:fixed])
    if not os.path.isdir(folder):
        near = _existing_parent(folder)
        return f"the glob {path!r} matches no file: {folder!r} does not exist; {_what_is_in(near)}"
    return f"the glob {path!r} matches no file; {_what_is_in(folder)}{bracket_hint(path)}"


def bracket_hint(path: str) -> str:
    """Return what to write where brackets were meant to be part of a name."""
    if "[" not in path:
        return ""
    return f" [...] stands for one of its characters; for a bracket itself write {'[[]'!r}."


def _but_left_out(folder: str, leaves_out: LeavesOut) -> str:
    names = sorted(filter(leaves_out, os.listdir(folder)))
    if not names:
        return ""
    return (
        f" but {', '.join(names[:4])}: names that begin with a dot, and in tables with an underscore, are left out, "
        "unless they are written"
    )


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
