"""The stager: a process of a node that brings files of stores to this machine ahead of its workers.

``python -m parallelrun_jupyter.data.staging.stager_process PARENT``, driven by lines of JSON. Commands::

    ["start", {...}]                             once; the keys are in ``START_KEYS``
    ["stage", key, [[input, url, size, version], ...]]
    ["side", key, {dataset}]                     the same for a whole dataset
    ["release", [key, ...]]                      the files of these are not needed any more

Replies::

    ["staged", key, [path, ...], seconds]
    ["side", key, path]
    ["failed", key, {failure}, seconds]
    ["alive"]                                    once a second
    ["crashed", error, message, traceback]       the last, where something went wrong in it

It ends with its node, and its end ends what it was doing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from ...errors import InputError
from ...worker.helper import crash_message, serve
from ..storage.object_store import ObjectStore, RemoteFile, store_errors, why_not
from ..storage.storage import StorageSpec
from .cache import Cache, View, digest_of, path_in_store, root_of
from .downloader import Downloader

START_KEYS = ("cache", "limit_bytes", "view", "keeps", "run", "storages", "load_s")

AT_ONCE = 32
"""Files in flight: more do not make a store faster, and each takes memory."""

_ALIVE_S = 1.0
_LINE_BYTES = 1 << 30

File: TypeAlias = tuple[int, str, int, int | str]
"""The number of its input, URL, size and version."""


@dataclass(slots=True)
class _Copy:
    """A file that is here, or on its way, and by how many it is wanted."""

    task: asyncio.Task[Path]
    users: int = 0


@dataclass(slots=True)
class _Batch:
    """What a key stands for."""

    files: Sequence[File]
    copies: list[tuple[str, _Copy]] = field(default_factory=list)
    is_done: bool = False

    @property
    def size(self) -> int:
        """Its bytes, as far as they are known."""
        return sum(max(0, file[2]) for file in self.files)


class Stager:
    """Stages what it is told to, in order, as much at a time as the cache allows."""

    def __init__(self, start: Mapping[str, Any], say: Callable[[list[Any]], None]) -> None:
        self._say = say
        self._cache = Cache(Path(start["cache"]), start["limit_bytes"])
        self._view = View(self._cache, start["view"], adopt=start["keeps"])
        self._run: str = start["run"]
        self._load_s: float = start["load_s"]
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._storages = [StorageSpec.of_spec(s) if s else None for s in start["storages"]]
        self._fetchers: dict[int, Downloader] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._copies: dict[str, _Copy] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._inputs = len(self._storages)
        self._batches: dict[int, _Batch] = {}
        self._queue: deque[int] = deque()
        self._flying = 0
        self._held_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        #: gets the first error of a task
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Do what the lines say, until they end."""
        alive = asyncio.ensure_future(self._say_alive())
        # Importing takes a second, which is nobody's loading time. What fails here fails in use too.
        numbers = [number for number, storage in enumerate(self._storages) if storage]
        fetchers = [self._fetcher(number) for number in numbers]
        await asyncio.gather(*(f.open() for f in fetchers), return_exceptions=True)
        work = asyncio.ensure_future(self._obey(reader))
        # The end of one of these ends the stager: the node starts another, and learns the cause.
        lasting = {work, alive, self._broken}
        done, _ = await asyncio.wait(lasting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        alive.cancel()

    async def _obey(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            match json.loads(line):
                case ["stage", key, files]:
                    self._batches[key] = _Batch([tuple(file) for file in files])
                    self._queue.append(key)
                case ["side", key, spec]:
                    self._spawn(self._side(key, spec))
                case ["release", keys]:
                    for key in keys:
                        self._release(key)
                    self._cache_settle()
            self._admit()

    async def _say_alive(self) -> None:
        while True:
            self._say(["alive"])
            await asyncio.sleep(_ALIVE_S)

    def close(self) -> None:
        """Give back the view; the objects stay for others."""
        self._view.close()
        self._cache.update_usage()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        """Let an unexpected error end the stager: the files of the task would never come."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._broken.done():
            self._broken.set_exception(error)

    def _cache_settle(self) -> None:
        """Keep the count of the cache true while nothing is added."""
        if not self._batches:
            self._cache.update_usage()

    def _admit(self) -> None:
        """Begin what fits: half of the cache is for what is wanted now, and one always fits."""
        while self._queue and self._flying < AT_ONCE:
            key = self._queue[0]
            batch = self._batches.get(key)
            if batch is None:  # released before it was begun
                self._queue.popleft()
                continue
            if self._held_bytes and self._held_bytes + batch.size > self._cache.limit_bytes // 2:
                return
            self._queue.popleft()
            self._held_bytes += batch.size
            self._flying += len(batch.files)
            self._spawn(self._stage(key, batch))

    async def _stage(self, key: int, batch: _Batch) -> None:
        began = time.monotonic()
        found = await self._bring_all(batch)
        self._flying -= len(batch.files)
        batch.is_done = True
        seconds = round(time.monotonic() - began, 6)
        if self._batches.get(key) is not batch:  # released meanwhile
            self._give_back(batch)
        elif isinstance(found, dict):
            self._release(key)
            self._say(["failed", key, found, seconds])
        else:
            self._say(["staged", key, found, seconds])
        self._admit()

    async def _bring_all(self, batch: _Batch) -> list[str] | dict[str, Any]:
        """Return the paths of the files of a batch, or what failed."""
        tasks = [asyncio.ensure_future(self._want(file, batch)) for file in batch.files]
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
                f"{url!r} did not come within task_overhead_timeout = {self._load_s:g} s: "
                "the store is slow, or has stalled"
            )
        elif isinstance(error, InputError) or storage is None:
            message = str(error)
        elif isinstance(error, store_errors()):
            message = why_not(storage, url, error)
        else:  # a fault of the store's own code, or of ours
            _, _, said, trace = crash_message(error)
            message = f"{url!r} could not be brought here from {storage.title}: {name}: {said}"
        where = f"{name} while staging"
        return {"kind": kind, "error": name, "message": message, "group": where, "traceback": trace}

    async def _want(self, file: File, batch: _Batch) -> Path:
        """Return where a file is, once it is here."""
        number, url, size, version = file
        storage = self._storages[number]
        if storage is None:
            return Path(url)  # a local file in a mixed company
        digest = digest_of(storage.identity, url, size, version, self._run)
        # The folder of a side input has all of its files, whoever else has them as well.
        key = digest if number < self._inputs else f"{digest} {number}"
        copy = self._copies.get(key)
        if copy is None or (copy.task.done() and _has_failed(copy.task)):
            task = asyncio.ensure_future(self._bring(file, digest, str(number)))
            copy = self._copies[key] = _Copy(task)
        copy.users += 1
        batch.copies.append((key, copy))
        return await asyncio.shield(copy.task)

    async def _bring(self, file: File, digest: str, group: str) -> Path:
        _, url, size, _ = file
        link = self._view.path_for(group, path_in_store(url), digest)
        lock = self._locks.get(digest) or asyncio.Lock()
        self._locks[digest] = lock  # two would write into one temporary file
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
                msg = f"input {number} is local and is not staged"
                raise InputError(msg)
            self._fetchers[number] = Downloader(storage, self._threads)
        return self._fetchers[number]

    def _release(self, key: int) -> None:
        batch = self._batches.pop(key, None)
        if batch is not None and batch.is_done:
            self._give_back(batch)

    def _give_back(self, batch: _Batch) -> None:
        self._held_bytes -= batch.size
        for key, copy in batch.copies:
            copy.users -= 1
            if copy.users:
                continue
            if self._copies.get(key) is copy:  # one that failed may have been begun again
                del self._copies[key]
            if not copy.task.done():
                copy.task.cancel()
            elif not _has_failed(copy.task):
                copy.task.result().unlink(missing_ok=True)

    # Side inputs

    async def _side(self, key: int, spec: Mapping[str, Any]) -> None:
        """Bring a whole dataset here for the run, and say where it is."""
        storage = StorageSpec.of_spec(spec["storage"])
        number = len(self._storages)
        self._storages.append(storage)
        loop = asyncio.get_running_loop()
        listing = loop.run_in_executor(self._threads, _list, storage, spec["paths"])
        [listed] = await asyncio.gather(listing, return_exceptions=True)
        if isinstance(listed, BaseException):
            file: File = (number, spec["paths"][0], -1, "")
            self._say(["failed", key, self._failure(file, listed), 0.0])
            return
        batch = _Batch([(number, *item) for item in listed])
        found = await self._bring_all(batch)
        if isinstance(found, dict):
            self._say(["failed", key, found, 0.0])
            return
        self._say(["side", key, root_of(self._view.path / str(number), spec["paths"][0], found)])


def _list(storage: StorageSpec, urls: Sequence[str]) -> list[RemoteFile]:
    store = ObjectStore(storage)
    found = [item for url in urls for files in store.folders(url) for item in files]
    if not found:
        msg = f"the side input {urls[0]!r} matches no file in {storage.title}."
        raise InputError(msg)
    return found


def _has_failed(task: asyncio.Task[Path]) -> bool:
    return task.cancelled() or task.exception() is not None


async def _serve(say: Callable[[list[Any]], None]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    start = json.loads(await reader.readline())[1]
    stager = Stager(start, say)
    try:
        await stager.serve(reader)
    finally:
        stager.close()


def _work(say: Callable[[list[Any]], None]) -> None:
    # asyncio.run would wait for connections and threads; here they end with the process.
    asyncio.new_event_loop().run_until_complete(_serve(say))


if __name__ == "__main__":
    serve(_work)
