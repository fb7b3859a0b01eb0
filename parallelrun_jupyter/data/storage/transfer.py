"""Whole files to a store and from it: uploads, downloads, and the output of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from ...errors import InputError
from ...files import replacing
from ..local.listing import list_path, place_below
from ..walker import Unlisted
from .object_store import ObjectStore, plain_errors, store_errors
from .storage import Place, StorageSpec

_AT_ONCE = 8
_APPEARS_WHOLE = {"az", "s3", "s3a", "gs", "gcs", "adl", "oss", "oci", "ocilake", "r2"}
"""Stores in which a put appears at its end, at once: one request, or a list of blocks."""


def put_file(store: ObjectStore, path: str, url: str) -> None:
    """Put a local file in a store, where it appears whole or not at all.

    Raises
    ------
    InputError
        The store refuses or cannot be reached.
    """
    with plain_errors(store.storage, url):
        if store.storage.protocol in _APPEARS_WHOLE:
            store.files.put_file(path, url)
            return
        folder, _, name = url.rpartition("/")
        temporary = f"{folder}/.{name}.{os.getpid()}.tmp"
        store.files.makedirs(folder, exist_ok=True)
        is_whole = False
        try:
            store.files.put_file(path, temporary)
            store.files.mv(temporary, url)
            is_whole = True
        finally:
            if not is_whole:
                with suppress(*store_errors()):  # what went wrong before stays the error
                    store.files.rm_file(temporary)


def upload_all(pairs: Sequence[tuple[str, str]], target: Place, *, overwrite: bool) -> None:
    """Copy local files to below a place, many at a time.

    Parameters
    ----------
    pairs
        The path of each, and its path in the target.
    target
        A folder, here or in a store.
    overwrite
        Replace what is there; otherwise it is left as it is.

    Raises
    ------
    InputError
        A file is missing, or the store refuses.
    """
    missing = [path for path, _ in pairs if not os.path.isfile(path)]
    if missing:
        is_there = os.path.exists(missing[0])
        why = "is not a regular file" if is_there else "does not exist"
        msg = f"the file {missing[0]!r} to be uploaded {why}. Nothing was uploaded."
        raise InputError(msg)
    folder = target.path.rstrip("/")
    if target.storage is None:
        for path, inside in pairs:
            _copy(path, f"{folder}/{inside}", overwrite=overwrite)
        return
    with ObjectStore(target.storage) as store, ThreadPoolExecutor(_AT_ONCE) as pool:

        def one(pair: tuple[str, str]) -> None:
            path, there = pair[0], f"{folder}/{pair[1]}"
            with plain_errors(store.storage, there):
                if not overwrite and store.files.exists(there):
                    return
            put_file(store, path, there)

        list(pool.map(one, pairs))


def download_all(source: Place, root: str, target: str, *, overwrite: bool) -> int:
    """Copy what a path, folder or glob names to a local folder; return the number of files.

    The parameters and errors are those of `copies_of`.
    """
    return len(copies_of(source, root, target, overwrite=overwrite))


def copies_of(
    source: Place,
    root: str,
    target: str,
    *,
    overwrite: bool,
    placed: dict[str, str] | None = None,
) -> list[str]:
    """Copy what a path, folder or glob names to a local folder; return the paths of the copies.

    Parameters
    ----------
    source
        What to copy.
    root
        What the paths in the target are relative to.
    target
        The local folder.
    overwrite
        Replace what is there; otherwise it is left as it is.
    placed
        The name of what went to each path in earlier calls; filled in. Default: there were none.

    Raises
    ------
    InputError
        There is nothing, the store refuses, or a name cannot be that of a file below the target;
        then nothing was written.
    """
    before = {} if placed is None else placed

    def target_of(path: str) -> str:
        return place_below(target, path.removeprefix(root), path)

    if source.storage is None:
        found = _local_files(source.path)
        _check_targets(found, target_of, before)
        for path in found:
            _copy(path, target_of(path), overwrite=overwrite)
    else:
        opened = ObjectStore(source.storage)
        with opened as store, ThreadPoolExecutor(_AT_ONCE) as pool:

            def one(url: str) -> None:
                path = target_of(url)
                if overwrite or not os.path.exists(path):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with replacing(Path(path)) as temporary, plain_errors(store.storage, url):
                        store.files.get_file(url, str(temporary))

            found = [item[0] for files in store.folders(source.path) for item in files]
            _check_targets(found, target_of, before)
            list(pool.map(one, found))
    if not found:
        msg = f"{source.path!r} holds no files to download. Check the path."
        raise InputError(msg)
    return [target_of(path) for path in found]


def _local_files(path: str) -> list[str]:
    found: list[str] = []
    try:
        for paths in list_path(path):
            if isinstance(paths, Unlisted):
                raise paths.error
            found += paths
    except OSError as error:
        msg = f"{path!r} could not be listed: {error.strerror} ({error.filename}). Nothing was copied."
        raise InputError(msg) from error
    return found


def _check_targets(
    names: Sequence[str], target_of: Callable[[str], str], placed: dict[str, str]
) -> None:
    """See that each file has a place of its own: a store knows no folders, and takes any name."""
    for name in names:
        before = placed.setdefault(target_of(name), name)
        if before != name:
            msg = (
                f"{before!r} and {name!r} would be the same file here, {target_of(name)!r}. Download "
                "them one by one, into different folders."
            )
            raise InputError(msg)
    for place, name in placed.items():
        folder = os.path.dirname(place)
        if folder in placed:
            msg = (
                f"{placed[folder]!r} is a file, and {name!r} is below it, which no folder can hold. "
                "Download them one by one, into different folders."
            )
            raise InputError(msg)


def _copy(path: str, target: str, *, overwrite: bool) -> None:
    """Copy a file, which appears whole: half a copy would be taken for the file the next time."""
    if not overwrite and os.path.exists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with replacing(Path(target)) as temporary:
        shutil.copyfile(path, temporary)


def why_not_written(storage: StorageSpec) -> str:
    """Return why nothing can be written with this credential, as far as it can be told here."""
    if storage.protocol in {"http", "https"}:
        return "a web server takes no files. Give az://, another store, or a local folder."
    if storage.options.get("anon"):
        return (
            "it is opened without a credential, and a public container is for reading only. "
            "Register the container with a key or a token that may write, or give a local folder."
        )
    return ""
