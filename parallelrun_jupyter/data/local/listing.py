"""Lists files on this machine: a file, a folder or a glob."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial

from ...errors import InputError
from ..walker import (
    MAGIC,
    FileItem,
    LeavesOut,
    Listing,
    Unlisted,
    bracket_hint,
    is_hidden,
    matching,
    shown_names,
    split_glob,
    walk,
)


def list_path(path: str, leaves_out: LeavesOut = is_hidden) -> Iterator[list[str]]:
    """List the files of one path, folder by folder; no list is empty.

    A path that cannot be read is returned as `Unlisted`. Files are not examined: a stat takes
    longer than the listing, a hundred times as long on a network, and a run waits for its first
    mini-batch.

    Raises
    ------
    OSError
        The path itself does not exist or cannot be read.
    InputError
        A pipe, a socket or a device is in it: opening one may block forever.
    """
    if os.path.isdir(path):
        root, parts = path, ["**"]
    elif not MAGIC.search(path) or os.path.lexists(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _not_regular(path)
        yield [path]
        return
    else:
        root, parts = split_glob(path)
        if not os.path.isdir(root):
            return
    yield from walk(root, parts, partial(_list_folder, leaves_out=leaves_out))


def _list_folder(folder: str, pattern: str, leaves_out: LeavesOut) -> Listing[str]:
    """List one folder; its files raise an `InputError` if one is not regular."""
    with os.scandir(folder) as entries:
        matched = matching(entries, pattern, leaves_out)
    files: list[str] = []
    folders: list[str] = []
    broken: list[Unlisted] = []
    special: list[str] = []
    add_file, add_folder = files.append, folders.append  # faster, for many files
    for entry in matched:
        try:
            if entry.is_dir():
                add_folder(entry.path)
            elif entry.is_file():
                add_file(entry.path)
            else:
                entry.stat()
                special.append(entry.path)
        except OSError as error:
            broken.append(Unlisted(entry.path, error))
    files.sort()
    folders.sort()
    if pattern == "**":
        folders = [subfolder for subfolder in folders if not _leads_back(subfolder, folder)]
    return _lists(files, broken, special), folders


def _lists(files: list[str], broken: list[Unlisted], special: list[str]) -> Iterator[list[str]]:
    if special:
        raise _not_regular(min(special))
    if files:
        yield files
    yield from sorted(broken)


def _not_regular(path: str) -> InputError:
    return InputError(
        f"the input {path!r} is not a regular file but a pipe, a socket or a device, on which a "
        "run may block forever. Remove it, or give a glob that excludes it, such as '*.csv'."
    )


def _leads_back(folder: str, parent: str) -> bool:
    """Return whether a folder is a link to one of the folders around it."""
    if not os.path.islink(folder):
        return False
    return f"{os.path.realpath(parent)}/".startswith(f"{os.path.realpath(folder).rstrip('/')}/")


def item_of(path: str) -> FileItem:
    """Return the size and time of a file; the size is -1 if its status cannot be read."""
    try:
        status = os.stat(path)
    except OSError:
        return path, -1, 0
    return path, status.st_size, status.st_mtime_ns


def why_unreadable(path: str) -> OSError | None:
    """Return the error of opening a file or listing a folder, or None."""
    try:
        with os.scandir(path) if os.path.isdir(path) else open(path, "rb"):
            return None
    except OSError as error:
        return error


def place_below(folder: str, inside: str, name: str) -> str:
    """Return the path of a file in a folder; names in stores are not trusted as paths.

    Parameters
    ----------
    folder
        The folder.
    inside
        The path below the folder.
    name
        The name that ``inside`` is a part of, such as a URL; it is checked, and named in the error.

    Raises
    ------
    InputError
        The name has ``..`` in it and could lead out of the folder, or it has a NUL character.
    """
    if ".." in (*name.split("/"), *inside.split("/")) or "\0" in name:
        msg = (
            f"{name!r} has a name that would not stay below {folder!r}: expected one without '..' "
            "and NUL. Nothing was written. Rename it, or give paths or a glob without it."
        )
        raise InputError(msg)
    return os.path.normpath(os.path.join(folder, inside.strip("/")))


def why_no_files(path: str, leaves_out: LeavesOut = is_hidden) -> str:
    """Return an error message for a path without files, with the names in its folder."""
    folder, parts = split_glob(path)
    if not parts and os.path.isdir(path):
        return (
            f"the input folder {path!r} contains no files{_but_left_out(path, leaves_out)}. "
            "Give a folder or a glob with files."
        )
    if not parts:
        return f"the input {path!r} does not exist; {_contents(_existing_parent(path))}"
    if not os.path.isdir(folder):
        near = _contents(_existing_parent(folder))
        return f"the glob {path!r} matches no file: {folder!r} does not exist; {near}"
    return f"the glob {path!r} matches no file; {_contents(folder)}{bracket_hint(path)}"


def _but_left_out(folder: str, leaves_out: LeavesOut) -> str:
    names = sorted(filter(leaves_out, os.listdir(folder)))
    if not names:
        return ""
    return (
        f" but {', '.join(names[:4])}: names that begin with a dot, and in tables with an underscore, "
        "are skipped, unless the input spells them out"
    )


def _existing_parent(path: str) -> str:
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _contents(folder: str) -> str:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return f"{folder!r} cannot be read ({error.strerror})."
    return shown_names(folder, names) if names else f"{folder!r} is empty."
