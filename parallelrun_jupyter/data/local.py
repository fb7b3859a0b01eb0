"""Listing this machine's files: a file, a folder or a glob, folder by folder, in a fixed order."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

MLTABLE = "MLTable"
"""Name of the files that say what lies beside them, as Azure ML reads them."""

MAGIC = re.compile(r"[*?[]")

FileItem: TypeAlias = tuple[str, int, int | str]
"""One file: its path, size in bytes and modification time in nanoseconds; in a store its URL, size
(-1 where it is unknown) and ETag."""


def is_left_out(name: str) -> bool:
    """Tell whether a name is no part of the data of its folder.

    Names with a dot or an underscore in front are those of tools: ``_SUCCESS``, ``_metadata``,
    ``_temporary``. As Spark has it, a key is data whatever its name: ``_year=2024``.
    """
    return name[0] == "." or name == MLTABLE or (name[0] == "_" and "=" not in name)


def is_left_out_of_copies(name: str) -> bool:
    """Tell whether a name is left out where a folder is copied: ``__init__.py`` is not."""
    return name[0] == "." or name == MLTABLE


def names_hidden(pattern: str) -> bool:
    """Tell whether a pattern itself begins like names that are left out, so that it means them."""
    return pattern[0] in "._" or pattern == MLTABLE


LeavesOut: TypeAlias = Callable[[str], bool]


def list_path(path: str, leaves_out: LeavesOut = is_left_out) -> Iterator[list[str]]:
    """List the files of one path; no list is empty.

    Files are not looked at: that takes longer than listing them, and on a network a hundred times
    as long, while a run waits for its first mini-batch.
    """
    if os.path.isdir(path):
        yield from _walk(path, leaves_out)
    elif not MAGIC.search(path) or os.path.lexists(path):
        os.stat(path)
        yield [path]
    else:
        yield from _expand(path, leaves_out)


def item_of(path: str) -> FileItem:
    """Look at a file."""
    found = os.stat(path)
    return path, found.st_size, found.st_mtime_ns


def _walk(folder: str, leaves_out: LeavesOut) -> Iterator[list[str]]:
    """List a folder: its files by name, then its subfolders by name."""
    files, folders = _scan(folder, "*", leaves_out)
    if files:
        yield files
    for subfolder in _without_loops(folders, folder):
        yield from _walk(subfolder, leaves_out)


def _scan(folder: str, pattern: str, leaves_out: LeavesOut) -> tuple[list[str], list[str]]:
    """Return the files and the subfolders of one folder whose names match, sorted by name."""
    matches = re.compile(fnmatch.translate(pattern)).match
    takes_all = names_hidden(pattern)
    files = []
    folders = []
    with os.scandir(folder) as found:
        entries = [e for e in found if takes_all or not leaves_out(e.name)]
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


def _expand(glob: str, leaves_out: LeavesOut) -> Iterator[list[str]]:
    """List the files that a glob matches, folder by folder."""
    parts = Path(glob).parts
    fixed = next(i for i, part in enumerate(parts) if MAGIC.search(part))
    found = _match(os.path.join(*parts[:fixed]), parts[fixed:], leaves_out)
    if parts.count("**") < 2:
        yield from found
        return
    seen: set[str] = set()  # two ** reach a folder by several ways
    for files in found:
        new = [path for path in files if path not in seen]
        seen.update(new)
        if new:
            yield new


def _match(folder: str, parts: Sequence[str], leaves_out: LeavesOut) -> Iterator[list[str]]:
    if not os.path.isdir(folder):
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _match(folder, rest or ("*",), leaves_out)
        for subfolder in _without_loops(_scan(folder, "*", leaves_out)[1], folder):
            yield from _match(subfolder, parts, leaves_out)
        return
    files, folders = _scan(folder, part, leaves_out)
    if not rest:
        if files:
            yield files
        return
    for subfolder in folders:
        yield from _match(subfolder, rest, leaves_out)


def local_nothing_found(path: str) -> str:
    """Say why a path gives no file, from what is there."""
    if not MAGIC.search(path):
        if os.path.isdir(path):
            return (
                f"the input folder {path!r} holds no files{_but_left_out(path)}. "
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
    return f"the glob {path!r} matches no file; {_what_is_in(folder)}"


def _but_left_out(folder: str) -> str:
    names = sorted(name for name in os.listdir(folder) if is_left_out(name))
    if not names:
        return ""
    return (
        f" but {', '.join(names[:4])}: names that begin with a dot or an underscore are left out, "
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
