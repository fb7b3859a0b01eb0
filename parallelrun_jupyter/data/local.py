"""Listing this machine's files: a file, a folder or a glob, folder by folder, in a fixed order."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from ..errors import InputError

MLTABLE = "MLTable"
"""Name of the files that say what lies beside them, as Azure ML reads them."""

MAGIC = re.compile(r"[*?[]")

FileItem: TypeAlias = tuple[str, int, int | str]
"""One file: its path, size in bytes and modification time in nanoseconds; in a store its URL, size
(-1 where it is unknown) and ETag."""


def list_path(path: str) -> Iterator[list[str]]:
    """List the files of one path; no list is empty.

    Files are not looked at: that takes longer than listing them, and on a network a hundred times
    as long, while a run waits for its first mini-batch.
    """
    if os.path.isdir(path):
        yield from _walk(path)
    elif not MAGIC.search(path) or os.path.lexists(path):
        os.stat(path)
        yield [path]
    else:
        yield from _expand(path)


def item_of(path: str) -> FileItem:
    """Look at a file."""
    found = os.stat(path)
    return path, found.st_size, found.st_mtime_ns


def _walk(folder: str) -> Iterator[list[str]]:
    """List a folder: its files by name, then its subfolders by name."""
    files, folders = _scan(folder, "*")
    if files:
        yield files
    for subfolder in _without_loops(folders, folder):
        yield from _walk(subfolder)


def _scan(folder: str, pattern: str) -> tuple[list[str], list[str]]:
    """Return the files and the subfolders of one folder whose names match, sorted by name."""
    matches = re.compile(fnmatch.translate(pattern)).match
    hidden = pattern.startswith(".") or pattern == MLTABLE
    files = []
    folders = []
    with os.scandir(folder) as found:
        entries = [e for e in found if hidden or (e.name[0] != "." and e.name != MLTABLE)]
    if pattern != "*":
        entries = [e for e in entries if matches(e.name)]
    for entry in entries:
        if entry.is_dir():
            folders.append(entry.path)
            continue
        if entry.is_symlink():
            entry.stat()  # a link to nothing is an error now, not one of run()'s
        files.append(entry.path)
    files.sort()
    folders.sort()
    return files, folders


def _without_loops(folders: list[str], parent: str) -> Iterator[str]:
    """Leave out links back to a folder that is being listed already."""
    for folder in folders:
        if os.path.islink(folder):
            inside = os.path.realpath(parent) + os.sep
            if inside.startswith(os.path.realpath(folder) + os.sep):
                continue
        yield folder


def _expand(glob: str) -> Iterator[list[str]]:
    """List the files that a glob matches, folder by folder."""
    parts = Path(glob).parts
    fixed = next(i for i, part in enumerate(parts) if MAGIC.search(part))
    found = _match(os.path.join(*parts[:fixed]), parts[fixed:])
    if parts.count("**") < 2:
        yield from found
        return
    seen: set[str] = set()  # two ** reach a folder by several ways
    for files in found:
        new = [path for path in files if path not in seen]
        seen.update(new)
        if new:
            yield new


def _match(folder: str, parts: Sequence[str]) -> Iterator[list[str]]:
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


def local_nothing_found(path: str) -> str:
    """Say why a path gives no file, from what is there."""
    if not MAGIC.search(path):
        if os.path.isdir(path):
            return f"the input folder {path!r} holds no files. Give a folder or a glob with files."
        near = _existing_parent(path)
        return f"the input {path!r} does not exist; {_what_is_in(near)}"
    parts = Path(path).parts
    fixed = next(i for i, part in enumerate(parts) if MAGIC.search(part))
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
