"""The stager: a process of a node that downloads files from stores ahead of the workers.

``python -m parallelrun_jupyter.data.staging.stager_process PARENT``, reads and writes lines of JSON. Commands::

    ["start", {...}]                             once; the keys are in ``START_KEYS``
    ["stage", key, [[input, url, size, version], ...]]
    ["side", key, {dataset}]                     the same for a whole dataset
    ["release", [key, ...]]                      these files may be deleted

Replies::

    ["staged", key, [path, ...], seconds]
    ["side", key, path]
    ["failed", key, {failure}, seconds]
    ["alive"]                                    once a second

It ends with its node, and its end aborts all transfers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from ...errors import InputError
from ...worker.child_loop import crash_message, serve_json_lines
from ..storage.object_store import ObjectStore, store_errors, why_not
from ..storage.storage import StorageSpec
from ..walker import FileItem
from .cache import Cache, View, digest_of, path_in_store, root_of
from .downloader import Downloader

START_KEYS = ("cache", "limit_bytes", "view", "keeps", "run", "storages", "load_s")

MAX_FETCHES = 32
"""Concurrent downloads: more do not make a store faster, and each needs memory."""

_ALIVE_S = 1.0
_LINE_BYTES = 1 << 30

File: TypeAlias = tuple[int, str, int, int | str]
"""The number of its input, URL, size and version."""


@dataclass(slots=True)
class _Copy:
    """A file that is downloaded or being downloaded, and its number of users."""

    task: asyncio.Task[Path]
    users: int = 0


@dataclass(slots=True)
class _Batch:
    """The files of a key."""

    files: Sequence[File]
    copies: list[tuple[str, _Copy]] = field(default_factory=list)
    is_done: bool = False

    @property
    def size_bytes(self) -> int:
        """The size of all files whose size is known."""
        return sum(max(0, file[2]) for file in self.files)


class Stager:
    """Stages files in the order of the commands, as many at a time as fit into the cache."""

    def __init__(self, start: Mapping[str, Any], send: Callable[[list[Any]], None]) -> None:
        self._send = send
        self._cache = Cache(Path(start["cache"]), start["limit_bytes"])
        self._view = View(self._cache, start["view"], adopt=start["keeps"])
        self._run: str = start["run"]
        self._load_s: float = start["load_s"]
        self._threads = ThreadPoolExecutor(MAX_FETCHES)
        self._storages = [StorageSpec.of_spec(s) if s else None for s in start["storages"]]
        self._fetchers: dict[int, Downloader] = {}
        self._slots = asyncio.Semaphore(MAX_FETCHES)
        self._copies: dict[str, _Copy] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._inputs = len(self._storages)
        self._batches: dict[int, _Batch] = {}
        self._queue: deque[int] = deque()
        self._in_flight = 0
        self._held_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: set to the first error of a task
        self._task_error: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Follow the commands until they end."""
        alive = asyncio.ensure_future(self._report_alive())
        # Imports take a second: done here, they do not count as loading time. Errors occur again in use.
        numbers = [number for number, storage in enumerate(self._storages) if storage]
        fetchers = [self._fetcher(number) for number in numbers]
        await asyncio.gather(*(f.open() for f in fetchers), return_exceptions=True)
        work = asyncio.ensure_future(self._read_commands(reader))
        # The end of one of these ends the stager: the node receives the cause and starts another
        # one.
        lasting = {work, alive, self._task_error}
        done, _ = await asyncio.wait(lasting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        alive.cancel()

    async def _read_commands(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            match json.loads(line):
                case ["stage", key, files]:
                    self._batches[key] = _Batch([tuple(file) for file in files])
                    self._queue.append(key)
                case ["side", key, spec]:
                    self._start_task(self._stage_side_input(key, spec))
                case ["release", keys]:
                    for key in keys:
                        self._release(key)
                    self._settle_cache()
            self._admit()

    async def _report_alive(self) -> None:
        while True:
            self._send(["alive"])
            await asyncio.sleep(_ALIVE_S)

    def close(self) -> None:
        """Delete the run's view of the cache; the objects stay for other runs."""
        self._view.close()
        self._cache.update_usage()

    def _start_task(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """End the stager after an unexpected error: the task would never download its files."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._task_error.done():
            self._task_error.set_exception(error)

    def _settle_cache(self) -> None:
        """Update the recorded size of the cache while nothing is added."""
        if not self._batches:
            self._cache.update_usage()

    def _admit(self) -> None:
        """Start downloading batches: as many as fit into half of the cache, and at least one."""
        while self._queue and self._in_flight < MAX_FETCHES:
            key = self._queue[0]
            batch = self._batches.get(key)
            if batch is None:  # released before it was started
                self._queue.popleft()
                continue
            if (
                self._held_bytes
                and self._held_bytes + batch.size_bytes > self._cache.limit_bytes // 2
            ):
                return
            self._queue.popleft()
            self._held_bytes += batch.size_bytes
            self._in_flight += len(batch.files)
            self._start_task(self._stage(key, batch))

    async def _stage(self, key: int, batch: _Batch) -> None:
        began = time.monotonic()
        result = await self._fetch_batch(batch)
        self._in_flight -= len(batch.files)
        batch.is_done = True
        seconds = round(time.monotonic() - began, 6)
        if self._batches.get(key) is not batch:  # released meanwhile
            self._drop_files(batch)
        elif isinstance(result, dict):
            self._release(key)
            self._send(["failed", key, result, seconds])
        else:
            self._send(["staged", key, result, seconds])
        self._admit()

    async def _fetch_batch(self, batch: _Batch) -> list[str] | dict[str, Any]:
        """Return the paths of the files of a batch, or a failure."""
        tasks = [asyncio.ensure_future(self._get(file, batch)) for file in batch.files]
        _, late = await asyncio.wait(tasks, timeout=self._load_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        for task, file in zip(tasks, batch.files, strict=True):
            error = None if task in late else task.exception()
            if task in late or error is not None:
                return self._failure(file, error)
        return [str(task.result()) for task in tasks]

    def _failure(self, file: File, error: BaseException | None) -> dict[str, Any]:
        number, url, _, _ = file
        storage = self._storages[number]
        kind, name, trace = "exception", type(error).__name__, ""
        if error is None:
            kind, name = "load_timeout", "LoadTimeout"
            message = (
                f"{url!r} was not downloaded within task_overhead_timeout = {self._load_s:g} s: "
                "the store is slow, or has stalled"
            )
        elif isinstance(error, InputError) or storage is None:
            message = str(error)
        elif isinstance(error, store_errors()):
            message = why_not(storage, url, error)
        else:  # a bug in the store's own code, or in ours
            _, _, text, trace = crash_message(error)
            message = f"{url!r} could not be downloaded from {storage.title}: {name}: {text}"
        group = f"{name} while staging"
        return {"kind": kind, "error": name, "message": message, "group": group, "traceback": trace}

    async def _get(self, file: File, batch: _Batch) -> Path:
        """Wait until a file is downloaded and return its path."""
        number, url, size, version = file
        storage = self._storages[number]
        if storage is None:
            return Path(url)  # a batch may hold local files as well
        digest = digest_of(storage.identity, url, size, version, self._run)
        # The folder of a side input has its own copies, even of files that are in other inputs.
        key = digest if number < self._inputs else f"{digest} {number}"
        copy = self._copies.get(key)
        if copy is None or (copy.task.done() and _has_failed(copy.task)):
            task = asyncio.ensure_future(self._fetch_once(file, digest, str(number)))
            copy = self._copies[key] = _Copy(task)
        copy.users += 1
        batch.copies.append((key, copy))
        return await asyncio.shield(copy.task)

    async def _fetch_once(self, file: File, digest: str, group: str) -> Path:
        _, url, size, _ = file
        link = self._view.path_for(group, path_in_store(url), digest)
        lock = self._locks.get(digest) or asyncio.Lock()
        self._locks[digest] = lock  # two tasks would write to the same temporary file
        async with lock:
            if not self._cache.pin(digest, link, size):
                await self._fetch(file, digest, link)
        return link

    async def _fetch(self, file: File, digest: str, link: Path) -> None:
        number, url, size, version = file
        async with self._slots:
            temporary = self._cache.temporary_path(digest)
            try:
                try:
                    await self._fetcher(number).download(url, size, version, temporary)
                except OSError as error:
                    if error.errno != 28:  # the disk is full
                        raise
                    self._cache.evict_unused()
                    await self._fetcher(number).download(url, size, version, temporary)
                self._cache.add(digest, temporary, link)
            finally:
                temporary.unlink(missing_ok=True)

    def _fetcher(self, number: int) -> Downloader:
        if number not in self._fetchers:
            storage = self._storages[number]
            if storage is None:
                msg = f"input {number} is local, so it cannot be staged"
                raise InputError(msg)
            self._fetchers[number] = Downloader(storage, self._threads)
        return self._fetchers[number]

    def _release(self, key: int) -> None:
        batch = self._batches.pop(key, None)
        if batch is not None and batch.is_done:
            self._drop_files(batch)

    def _drop_files(self, batch: _Batch) -> None:
        self._held_bytes -= batch.size_bytes
        for key, copy in batch.copies:
            copy.users -= 1
            if copy.users:
                continue
            if self._copies.get(key) is copy:  # a failed download may have been started again
                del self._copies[key]
            if not copy.task.done():
                copy.task.cancel()
            elif not _has_failed(copy.task):
                copy.task.result().unlink(missing_ok=True)

    # Side inputs

    async def _stage_side_input(self, key: int, spec: Mapping[str, Any]) -> None:
        """Download a whole dataset for the run and report its path."""
        storage = StorageSpec.of_spec(spec["storage"])
        number = len(self._storages)
        self._storages.append(storage)
        loop = asyncio.get_running_loop()
        listing = loop.run_in_executor(self._threads, _list_files, storage, spec["paths"])
        [listed] = await asyncio.gather(listing, return_exceptions=True)
        if isinstance(listed, BaseException):
            file: File = (number, spec["paths"][0], -1, "")
            self._send(["failed", key, self._failure(file, listed), 0.0])
            return
        batch = _Batch([(number, *item) for item in listed])
        result = await self._fetch_batch(batch)
        if isinstance(result, dict):
            self._send(["failed", key, result, 0.0])
            return
        self._send(["side", key, root_of(self._view.path / str(number), spec["paths"][0], result)])


def _list_files(storage: StorageSpec, urls: Sequence[str]) -> list[FileItem]:
    store = ObjectStore(storage)
    remote_files = [item for url in urls for files in store.folders(url) for item in files]
    if not remote_files:
        msg = f"the side input {urls[0]!r} matches no file in {storage.title}."
        raise InputError(msg)
    return remote_files


def _has_failed(task: asyncio.Task[Path]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _serve(send: Callable[[list[Any]], None]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    start = json.loads(await reader.readline())[1]
    stager = Stager(start, send)
    try:
        await stager.serve(reader)
    finally:
        stager.close()


def _work(_messages: Iterator[Any], send: Callable[[list[Any]], None]) -> None:
    # The event loop reads the messages. asyncio.run would wait for connections and threads at the
    # end; here they end with the process.
    asyncio.new_event_loop().run_until_complete(_serve(send))


if __name__ == "__main__":
    serve_json_lines(_work)
