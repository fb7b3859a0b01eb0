"""Uploads whole files to object stores, and downloads them."""

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

_CONCURRENCY = 8
_ATOMIC_PUT = {"az", "s3", "s3a", "gs", "gcs", "adl", "oss", "oci", "ocilake", "r2"}
"""Stores in which a file appears only when its upload is complete."""


def put_file(store: ObjectStore, path: str, url: str) -> None:
    """Upload a file so that a reader of the store never sees a part of it.

    Raises
    ------
    InputError
        The store refuses or cannot be reached.
    """
    with plain_errors(store.storage, url):
        if store.storage.protocol in _ATOMIC_PUT:
            store.files.put_file(path, url)
            return
        folder, _, name = url.rpartition("/")
        temporary = f"{folder}/.{name}.{os.getpid()}.tmp"
        store.files.makedirs(folder, exist_ok=True)
        is_moved = False
        try:
            store.files.put_file(path, temporary)
            store.files.mv(temporary, url)
            is_moved = True
        finally:
            if not is_moved:
                with suppress(*store_errors()):  # the first error is the one to report
                    store.files.rm_file(temporary)


def upload_all(pairs: Sequence[tuple[str, str]], target: Place, *, overwrite: bool) -> None:
    """Copy local files to a folder of this machine or of an object store.

    Parameters
    ----------
    pairs
        The path of each file, and its path below the target.
    target
        The folder.
    overwrite
        Replace existing files; otherwise they are skipped.

    Raises
    ------
    InputError
        A file is missing, or the store refuses.
    """
    missing = [path for path, _ in pairs if not os.path.isfile(path)]
    if missing:
        why = "is not a regular file" if os.path.exists(missing[0]) else "does not exist"
        msg = f"the file {missing[0]!r} to be uploaded {why}. Nothing was uploaded."
        raise InputError(msg)
    folder = target.path.rstrip("/")
    if target.storage is None:
        for path, name in pairs:
            _copy(path, f"{folder}/{name}", overwrite=overwrite)
        return
    with ObjectStore(target.storage) as store, ThreadPoolExecutor(_CONCURRENCY) as pool:

        def upload(pair: tuple[str, str]) -> None:
            path, url = pair[0], f"{folder}/{pair[1]}"
            with plain_errors(store.storage, url):
                if not overwrite and store.files.exists(url):
                    return
            put_file(store, path, url)

        list(pool.map(upload, pairs))


def download_all(
    source: Place,
    root: str,
    target: str,
    *,
    overwrite: bool,
    placed: dict[str, str] | None = None,
) -> list[str]:
    """Copy the files of a path, folder or glob to a local folder; return the paths of the copies.

    Parameters
    ----------
    source
        The path, folder or glob, on this machine or in an object store.
    root
        The folder that the paths below the target are relative to.
    target
        The local folder.
    overwrite
        Replace existing files; otherwise they are skipped.
    placed
        Maps each path that earlier calls wrote to its source; updated. Default: no earlier calls.

    Raises
    ------
    InputError
        The source has no files, the store refuses, or a name in it is not valid below the target.
        In these cases nothing was written.
    """
    sources = {} if placed is None else placed

    def target_of(path: str) -> str:
        return place_below(target, path.removeprefix(root), path)

    if source.storage is None:
        names = _local_files(source.path)
        _check_targets(names, target_of, sources)
        for path in names:
            _copy(path, target_of(path), overwrite=overwrite)
    else:
        with ObjectStore(source.storage) as store, ThreadPoolExecutor(_CONCURRENCY) as pool:

            def download(url: str) -> None:
                path = target_of(url)
                if overwrite or not os.path.exists(path):
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    with replacing(Path(path)) as temporary, plain_errors(store.storage, url):
                        store.files.get_file(url, str(temporary))

            names = [item[0] for files in store.folders(source.path) for item in files]
            _check_targets(names, target_of, sources)
            list(pool.map(download, names))
    if not names:
        msg = f"{source.path!r} contains no files to download. Check the path."
        raise InputError(msg)
    return [target_of(name) for name in names]


def _local_files(path: str) -> list[str]:
    files: list[str] = []
    try:
        for paths in list_path(path):
            if isinstance(paths, Unlisted):
                raise paths.error
            files += paths
    except OSError as error:
        msg = f"{path!r} could not be listed: {error.strerror} ({error.filename}). Nothing was copied."
        raise InputError(msg) from error
    return files


def _check_targets(
    names: Sequence[str], target_of: Callable[[str], str], sources: dict[str, str]
) -> None:
    """Check that files of a store, whose names are arbitrary, do not collide in a local folder."""
    for name in names:
        other = sources.setdefault(target_of(name), name)
        if other != name:
            msg = (
                f"{other!r} and {name!r} would be the same local file, {target_of(name)!r}. "
                "Download "
                "them separately, into different folders."
            )
            raise InputError(msg)
    for path, name in sources.items():
        folder = os.path.dirname(path)
        if folder in sources:
            msg = (
                f"{sources[folder]!r} is a file, and {name!r} is below it, which a local folder "
                "cannot represent. "
                "Download them separately, into different folders."
            )
            raise InputError(msg)


def _copy(path: str, target: str, *, overwrite: bool) -> None:
    """Copy a file by way of a temporary file: the next call would skip an incomplete copy."""
    if not overwrite and os.path.exists(target):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with replacing(Path(target)) as temporary:
        shutil.copyfile(path, temporary)


def why_not_written(storage: StorageSpec) -> str:
    """Return why a store cannot be written to, without contacting it; empty if unknown."""
    if storage.protocol in {"http", "https"}:
        return "a web server does not accept files. Give az://, another store, or a local folder."
    if storage.options.get("anon"):
        return (
            "it is opened without a credential, and a public container is read-only. Register "
            "the container with a key or a token that may write, or give a local folder."
        )
    return ""
