"""Listing this machine's files: a file, a folder or a glob, folder by folder, in a fixed order."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

MLTABLE = "MLTable"
"""Name of the files that say what lies beside them, as Azure ML reads them."""

MAGIC = re.compile(r"[*?[]")

FileItem: TypeAlias = tuple[str, int, int | str]
"""One file: its path, size in bytes and modification time in nanoseconds; in a store its URL, size
(-1 where it is unknown) and ETag."""


def list_path(path: str) -> Iterator[list[FileItem]]:
    """List one path; no list is empty."""
    if os.path.isdir(path):
        yield from _walk(path)
    elif not MAGIC.search(path) or os.path.lexists(path):
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
    files: list[FileItem] = []
    folders = []
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
    fixed = next(i for i, part in enumerate(parts) if MAGIC.search(part))
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
