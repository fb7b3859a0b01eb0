"""Local copies of files of object stores, downloaded now, for code in this process."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from ...errors import InputError
from ...worker.memory_items import located
from ...worker.plan_line import PlanLine
from ..storage.object_store import ObjectStore, plain_errors, why_not
from ..storage.storage import StorageSpec
from .cache import Cache, View, digest_of, open_cache, path_in_store, root_of
from .downloader import Downloader

_CONCURRENCY = 8

_views: dict[Path, View] = {}
"""The view of this process in each cache, by the cache's folder; kept until the process ends."""

_links: dict[tuple[Path, str], Path] = {}
"""The link to each cache entry, by view and digest."""

_Missing: TypeAlias = tuple[str, int, int | str, str, Path]
"""A file to download: URL, size, version, digest, and the path of its link."""


def local_copy(
    url: str,
    storage: StorageSpec | Mapping[str, Any],
    *,
    size: int = -1,
    version: int | str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Return the path of a local copy of a remote file; download it unless it is cached.

    The copy is in the machine's staging cache and keeps this path while the process lives. The
    workers of a run on this machine use the same cache entry, without another download.

    Parameters
    ----------
    url, size, version
        The file, as listed. Without ``version``, both size and version are read from the store.
    storage
        The store, or its spec, as in a dataset's spec under ``storage``.
    environ
        Environment variables, for credentials and the cache's settings.

    Raises
    ------
    InputError
        The file was deleted, has changed, or the store refuses.
    ConfigError
        A credential is missing.
    """
    store = storage if isinstance(storage, StorageSpec) else StorageSpec.of_spec(storage)
    [path] = local_copies([(url, size, version)], store, environ)
    return path


def local_copies(
    files: Sequence[tuple[str, int, int | str | None]],
    storage: StorageSpec,
    environ: Mapping[str, str] = os.environ,
    lost: dict[str, str] | None = None,
) -> list[str]:
    """Return the paths of local copies of several files; see `local_copy`.

    Parameters
    ----------
    files
        URL, size and version of each file, as listed; a file may occur more than once.
    storage, environ
        See `local_copy`.
    lost
        Maps the URL of each file that was deleted or has changed to the reason; updated. Their paths
        do not exist then. Default: the first such file raises an error.

    Raises
    ------
    InputError, ConfigError
        See `local_copy`.
    """
    cache = open_cache(environ)
    view = _view_of(cache.folder, environ)
    paths: list[str] = []
    missing: dict[str, _Missing] = {}  # by digest: a file that occurs twice is downloaded once
    for url, listed_size, listed_version in files:
        size, version = listed_size, listed_version
        if version is None:
            size, version = _version_in_store(url, storage)
        digest = digest_of(storage.identity, url, size, version, f"process {os.getpid()}")
        link = _links.get((view.path, digest))
        if link is None or not link.exists():
            link = view.path_for("files", path_in_store(url), digest)
            _links[view.path, digest] = link
            if not cache.pin(digest, link, size):
                missing[digest] = (url, size, version, digest, link)
        paths.append(str(link))

    if missing:
        _download_missing([*missing.values()], storage, cache, lost)
    return paths


def _download_missing(
    missing: list[_Missing], storage: StorageSpec, cache: Cache, lost: dict[str, str] | None
) -> None:
    with plain_errors(storage, missing[0][0]):
        errors = _in_new_loop(_download_all(missing, storage, cache))
    cache.update_usage()
    for url, error in errors.items():
        if lost is None:
            with plain_errors(storage, url):
                raise error
        lost[url] = str(error) if isinstance(error, InputError) else why_not(storage, url, error)


async def _download_all(
    missing: list[_Missing], storage: StorageSpec, cache: Cache
) -> dict[str, FileNotFoundError | InputError]:
    """Download files into the cache; return the errors of those deleted or changed, by URL."""
    errors: dict[str, FileNotFoundError | InputError] = {}
    with ThreadPoolExecutor(_CONCURRENCY) as threads:
        downloader, slots = Downloader(storage, threads), asyncio.Semaphore(_CONCURRENCY)

        async def add(url: str, size: int, version: int | str, digest: str, link: Path) -> None:
            async with slots:
                temporary = cache.temporary_path(digest)
                try:
                    await downloader.download(url, size, version, temporary)
                    cache.add(digest, temporary, link)
                except (FileNotFoundError, InputError) as error:
                    errors[url] = error
                finally:
                    temporary.unlink(missing_ok=True)

        try:
            await asyncio.gather(*(add(*file) for file in missing))
        finally:
            await downloader.close()
    return errors


def local_line(line: bytes, specs: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a plan line with local paths: of copies of objects in stores, of stored variables.

    Parameters
    ----------
    line
        The plan line.
    specs
        The specs of the run's inputs.

    Raises
    ------
    InputError, ConfigError
        See `local_copy`.
    """
    plan_line = PlanLine.decode(line)
    spec = specs[plan_line.input_number]
    if spec["kind"] == "memory":
        return located(plan_line, os.path.dirname(spec["path"])).encode()
    storage = spec.get("storage")
    if not storage:
        return line
    plan_line.paths = local_copies(plan_line.files, StorageSpec.of_spec(storage))
    return plan_line.encode()


def local_root(spec: Mapping[str, Any]) -> str:
    """Return a local path for a dataset of an object store: of its only file, or of its folder.

    Raises
    ------
    InputError, ConfigError
        The dataset has no files; or see `local_copy`.
    """
    storage = StorageSpec.of_spec(spec["storage"])
    [url] = spec["paths"]
    with ObjectStore(storage) as store:
        files = [file for folder in store.folders(url) for file in folder]
        if not files:
            raise InputError(store.why_no_files(url))
    paths = local_copies(files, storage)
    return root_of(_view_of(open_cache().folder, os.environ).path / "files", url, paths)


def _version_in_store(url: str, storage: StorageSpec) -> tuple[int, int | str]:
    """Return the size and version of a file."""
    with ObjectStore(storage) as store:
        for files in store.folders(url):
            for listed_url, size, version in files:
                if listed_url == url:
                    return size, version
    msg = f"{url!r} does not exist in {storage.title}. Check the path."
    raise InputError(msg)


def _view_of(folder: Path, environ: Mapping[str, str]) -> View:
    if folder not in _views or not _views[folder].path.name.endswith(f"-{os.getpid()}"):
        view = View(open_cache(environ), f"process-{os.getpid()}")
        _views[folder] = view
        atexit.register(view.close)
    return _views[folder]


def _in_new_loop(work: Any) -> Any:
    """Run a coroutine in a thread with an event loop of its own: a notebook's loop is running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
