"""Files of stores on this machine: a copy now, for whoever runs in this process."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

from ...errors import InputError
from ...worker.plan_line import PlanLine
from ..storage.object_store import ObjectStore, plain_errors, why_not
from ..storage.storage import StorageSpec
from .cache import Cache, View, digest_of, open_cache, path_in_store, root_of
from .fetcher import Fetcher

_AT_ONCE = 8

_views: dict[Path, View] = {}
"""The views of this process, by cache: what it was given stays while it lives."""

_placed: dict[tuple[Path, str], Path] = {}
"""Where in a view each object is."""

_Missing: TypeAlias = tuple[str, int, int | str, str, Path]
"""What is to be fetched: URL, size, version, digest, and the link to it."""


def local_copy(
    url: str,
    storage: StorageSpec | Mapping[str, Any],
    *,
    size: int = -1,
    version: int | str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Return the path of a local copy of a remote file, fetched now unless the cache has it.

    The copy is in the machine's staging cache and stays at that path while this process lives;
    the workers of a run get the same bytes, without another fetch, when the node stages the file.

    Parameters
    ----------
    url, size, version
        The file, as it was listed; where ``version`` is None the store is asked for it.
    storage
        The store, or its spec as a dataset's spec holds it under ``storage``.
    environ
        Where credentials and the cache's settings are looked for.

    Raises
    ------
    InputError
        It is gone, has changed, or the store refuses.
    ConfigError
        A credential is not where it is said to be.
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
        URL, size and version of each, as it was listed; one may be there more than once.
    storage, environ
        As of `local_copy`.
    lost
        Gets the URLs of files that are gone or have changed since, and why; nothing is at their
        paths then. Default: the first one is an error.

    Raises
    ------
    InputError, ConfigError
        As `local_copy`.
    """
    cache = open_cache(environ)
    view = _view_of(cache.folder, environ)
    placed: list[str] = []
    missing: dict[str, _Missing] = {}  # by digest: a file that is given twice is fetched once
    for url, given_size, given_version in files:
        size, version = given_size, given_version
        if version is None:
            size, version = _ask(url, storage)
        digest = digest_of(storage.identity, url, size, version, f"process {os.getpid()}")
        link = _placed.get((view.path, digest))
        if link is None or not link.exists():
            link = view.place("files", path_in_store(url), digest)
            _placed[view.path, digest] = link
            if not cache.use(digest, link, size):
                missing[digest] = (url, size, version, digest, link)
        placed.append(str(link))

    if missing:
        _fetch_missing([*missing.values()], storage, cache, lost)
    return placed


def _fetch_missing(
    missing: list[_Missing], storage: StorageSpec, cache: Cache, lost: dict[str, str] | None
) -> None:
    """Fetch files; note in ``lost`` which of them are gone or have changed, where it is given."""
    with plain_errors(storage, missing[0][0]):
        gone = _in_new_loop(_fetch_all(missing, storage, cache))
    cache.settle()
    for url, error in gone.items():
        if lost is None:
            with plain_errors(storage, url):
                raise error
        lost[url] = str(error) if isinstance(error, InputError) else why_not(storage, url, error)


async def _fetch_all(
    missing: list[_Missing], storage: StorageSpec, cache: Cache
) -> dict[str, FileNotFoundError | InputError]:
    """Fetch files into the cache, and put a link to each where it is wanted.

    Returns
    -------
    dict
        Those that are gone or have changed, by URL; any other error is raised.
    """
    gone: dict[str, FileNotFoundError | InputError] = {}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        fetcher, slots = Fetcher(storage, threads), asyncio.Semaphore(_AT_ONCE)

        async def one(url: str, size: int, version: int | str, digest: str, link: Path) -> None:
            async with slots:
                temporary = cache.temporary(digest)
                try:
                    await fetcher.fetch(url, size, version, temporary)
                    cache.add(digest, temporary, link)
                except (FileNotFoundError, InputError) as error:
                    gone[url] = error
                finally:
                    temporary.unlink(missing_ok=True)

        try:
            await asyncio.gather(*(one(*file) for file in missing))
        finally:
            await fetcher.close()
    return gone


def local_line(line: bytes, specs: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a plan line with local paths: as it is, or with copies of what is in a store.

    Parameters
    ----------
    line
        The plan line.
    specs
        The inputs of the run.

    Raises
    ------
    InputError, ConfigError
        As `local_copy`.
    """
    plan_line = PlanLine.decode(line)
    storage = specs[plan_line.input_number].get("storage")
    if not storage:
        return line
    plan_line.paths = local_copies(plan_line.files, StorageSpec.of_spec(storage))
    return plan_line.encode()


def local_root(spec: Mapping[str, Any]) -> str:
    """Return a local path for a whole dataset of a store: of its file, or of its folder.

    Raises
    ------
    InputError, ConfigError
        As `local_copy`; or there is no file.
    """
    storage = StorageSpec.of_spec(spec["storage"])
    [url] = spec["paths"]
    with ObjectStore(storage) as store:
        found = [item for files in store.folders(url) for item in files]
        if not found:
            raise InputError(store.why_no_files(url))
    paths = local_copies(found, storage)
    return root_of(_view_of(open_cache().folder, os.environ).path / "files", url, paths)


def _ask(url: str, storage: StorageSpec) -> tuple[int, int | str]:
    with ObjectStore(storage) as store:
        for files in store.folders(url):
            for found, size, version in files:
                if found == url:
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
    """Run a coroutine to its end, also where a notebook's own loop is running."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
