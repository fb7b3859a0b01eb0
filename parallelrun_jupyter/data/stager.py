"""The stager: a process of a node that brings files of stores to this machine ahead of its workers.

``python -m parallelrun_jupyter.data.stager PARENT``, driven by lines of JSON. Commands::

    ["start", {...}]                             once; the keys are in ``START_KEYS``
    ["stage", key, [[input, url, size, version], ...]]
    ["side", key, {dataset}]                     the same for a whole dataset
    ["release", [key, ...]]                      the files of these are not needed any more

Replies::

    ["staged", key, [path, ...], seconds]
    ["side", key, path]
    ["failed", key, {failure}, seconds]
    ["alive"]                                    once a second

It ends with its node, and its end ends what it was doing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import InputError
from ..worker.parent import die_with_parent
from .cache import Cache, View, digest_of, path_in_store, root_of
from .fetching import Fetcher
from .local import is_left_out_of_copies
from .remote import RemoteFile, Store, why_not
from .storage import Storage

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
    digests: list[str] = field(default_factory=list)
    is_done: bool = False

    @property
    def size(self) -> int:
        """Its bytes, as far as they are known."""
        return sum(max(0, file[2]) for file in self.files)


class Stager:
    """Stages what it is told to, in order, as much at a time as the cache allows."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._cache = Cache(Path(start["cache"]), start["limit_bytes"])
        self._view = View(self._cache, start["view"], keeps=start["keeps"])
        self._run: str = start["run"]
        self._load_s: float = start["load_s"]
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._storages = [Storage.of_spec(s) if s else None for s in start["storages"]]
        self._fetchers: dict[int, Fetcher] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._copies: dict[str, _Copy] = {}
        self._batches: dict[int, _Batch] = {}
        self._queue: deque[int] = deque()
        self._flying = 0
        self._held_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Do what the lines say, until they end."""
        alive = asyncio.ensure_future(_say_alive())
        # Importing takes a second, which is nobody's loading time. What fails here fails in use too.
        numbers = [number for number, storage in enumerate(self._storages) if storage]
        fetchers = [self._fetcher(number) for number in numbers]
        await asyncio.gather(*(f.open() for f in fetchers), return_exceptions=True)
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
        alive.cancel()

    def close(self) -> None:
        """Give back the view; the objects stay for others."""
        self._view.close()
        self._cache.settle()

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cache_settle(self) -> None:
        """Keep the count of the cache true while nothing is added."""
        if not self._batches:
            self._cache.settle()

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
            _say(["failed", key, found, seconds])
        else:
            _say(["staged", key, found, seconds])
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
        if error is None:
            kind, name = "load_timeout", "LoadTimeout"
            message = (
                f"{url!r} did not come within task_overhead_timeout = {self._load_s:g} s: "
                "the store is slow, or has stalled"
            )
        else:
            kind, name = "exception", type(error).__name__
            known = isinstance(error, InputError) or storage is None
            message = str(error) if known or storage is None else why_not(storage, url, error)
        where = f"{name} while staging"
        return {"kind": kind, "error": name, "message": message, "group": where, "traceback": ""}

    async def _want(self, file: File, batch: _Batch) -> Path:
        """Return where a file is, once it is here."""
        number, url, size, version = file
        storage = self._storages[number]
        if storage is None:
            return Path(url)  # a local file in a mixed company
        digest = digest_of(storage.identity, url, size, version, self._run)
        copy = self._copies.get(digest)
        if copy is None or (copy.task.done() and _has_failed(copy.task)):
            task = asyncio.ensure_future(self._bring(file, digest, str(number)))
            copy = self._copies[digest] = _Copy(task)
        copy.users += 1
        batch.digests.append(digest)
        return await asyncio.shield(copy.task)

    async def _bring(self, file: File, digest: str, group: str) -> Path:
        number, url, size, version = file
        link = self._view.place(group, path_in_store(url), digest)
        if self._cache.use(digest, link, size):
            return link
        async with self._slots:
            temporary = self._cache.temporary(digest)
            try:
                try:
                    await self._fetcher(number).fetch(url, size, version, temporary)
                except OSError as error:
                    if error.errno != 28:  # the disk is full
                        raise
                    self._cache.make_room()
                    await self._fetcher(number).fetch(url, size, version, temporary)
                self._cache.add(digest, temporary, link)
            finally:
                temporary.unlink(missing_ok=True)
        return link

    def _fetcher(self, number: int) -> Fetcher:
        if number not in self._fetchers:
            storage = self._storages[number]
            if storage is None:
                msg = f"input {number} is local and is not staged"
                raise InputError(msg)
            self._fetchers[number] = Fetcher(storage, self._threads)
        return self._fetchers[number]

    def _release(self, key: int) -> None:
        batch = self._batches.pop(key, None)
        if batch is not None and batch.is_done:
            self._give_back(batch)

    def _give_back(self, batch: _Batch) -> None:
        self._held_bytes -= batch.size
        for digest in batch.digests:
            copy = self._copies[digest]
            copy.users -= 1
            if copy.users:
                continue
            del self._copies[digest]
            if not copy.task.done():
                copy.task.cancel()
            elif not _has_failed(copy.task):
                copy.task.result().unlink(missing_ok=True)

    # Side inputs

    async def _side(self, key: int, spec: Mapping[str, Any]) -> None:
        """Bring a whole dataset here for the run, and say where it is."""
        storage = Storage.of_spec(spec["storage"])
        number = len(self._storages)
        self._storages.append(storage)
        loop = asyncio.get_running_loop()
        listing = loop.run_in_executor(self._threads, _list, storage, spec["paths"])
        [listed] = await asyncio.gather(listing, return_exceptions=True)
        if isinstance(listed, BaseException):
            file: File = (number, spec["paths"][0], -1, "")
            _say(["failed", key, self._failure(file, listed), 0.0])
            return
        batch = _Batch([(number, *item) for item in listed])
        found = await self._bring_all(batch)
        if isinstance(found, dict):
            _say(["failed", key, found, 0.0])
            return
        _say(["side", key, root_of(self._view.path / str(number), spec["paths"][0], found)])


def _list(storage: Storage, urls: Sequence[str]) -> list[RemoteFile]:
    store = Store(storage, is_left_out_of_copies)
    found = [item for url in urls for files in store.folders(url) for item in files]
    if not found:
        msg = f"the side input {urls[0]!r} matches no file in {storage.title}."
        raise InputError(msg)
    return found


def _has_failed(task: asyncio.Task[Path]) -> bool:
    return task.cancelled() or task.exception() is not None


_REPLIES = 1
"""The descriptor of the replies; a private copy, once what libraries print goes elsewhere."""


def _say(message: list[Any]) -> None:
    data = memoryview(json.dumps(message).encode("ascii") + b"\n")
    while data:
        data = data[os.write(_REPLIES, data) :]


async def _say_alive() -> None:
    while True:
        _say(["alive"])
        await asyncio.sleep(_ALIVE_S)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    start = json.loads(await reader.readline())[1]
    stager = Stager(start)
    try:
        await stager.serve(reader)
    finally:
        stager.close()
        os._exit(0)  # connections and threads end with the process: nobody waits for a store


if __name__ == "__main__":
    _REPLIES = os.dup(1)
    os.dup2(2, 1)
    die_with_parent(int(sys.argv[1]))
    asyncio.run(_main())
