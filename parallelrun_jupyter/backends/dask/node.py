"""A node on a Dask worker: an actor around the same node code as on any machine.

It runs in the Dask worker's process, and user code never does: that is in worker processes of
their own, as everywhere. What the actor does itself is carry messages.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from ...engine.node.feeder import SHORT_S
from ...engine.output.part_uploader import upload_target
from ...engine.scheduling.limits import NODE_LEASE_S
from ...engine.scheduling.signals import NodeStopped
from ...errors import ConfigError, ParallelRunError
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.child_loop import crash_message
from ..local import LocalPool
from .mailbox import Mailbag, Outbox

HEARTBEAT_S = 2.0
"""A node without news says at least this often that it is there."""

_LOGS_KEPT_S = 60.0
_TAIL_BYTES = 64 << 10
_TAILS_BYTES = 1 << 20
_TURN_S = 0.25
_WAY_S = 0.02
"""A message's way to the driver and back, when nobody lingers."""

_SHORT_LINGER_S = 0.03
"""News of short mini-batches gather for so long: a message costs as much as one of them."""
_SNAPSHOT = "snapshot.tar"

Command: TypeAlias = tuple[Any, ...]
"""("assign", first, attempt, lines), ("put", first, pieces), ("stop", drain), ("pause",),
("unpause",) or ("leave",)."""


class NodeCrash(RuntimeError):
    """A node has ended by an error that nobody expected: the error in one line, and its traceback."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node is begun with; ``environment`` is in memory only, secrets included."""

    record: str
    run_folder: str
    environment: Mapping[str, str]
    driver_time_s: float


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a worker's log: ``text`` from byte ``start`` on."""

    worker: str
    start: int
    text: bytes


class DaskNode:
    """The actor. Its calls never wait for user code, and only ``listen`` waits at all."""

    def __init__(self, name: str) -> None:
        from distributed import get_worker

        self._name = name
        worker = get_worker()
        self._threads = int(worker.state.nthreads)
        self._place = f"{worker.address} on {socket.gethostname()}"
        scratch = tempfile.mkdtemp(prefix=f"parallelrun-{name}-", dir=worker.local_directory)
        self._scratch = Path(scratch)
        self._work: _NodeThread | None = None

    def load(self, piece: bytes) -> None:
        """Take a piece of the run's snapshot: the script, and what travels with it."""
        with open(self._scratch / _SNAPSHOT, "ab") as file:
            file.write(piece)

    async def begin(self, order: NodeSpec) -> str:
        """Start the workers; return where this is.

        Raises
        ------
        ConfigError
            The interpreter that the run names is not here.
        """
        work = _NodeThread(
            self._name, self._scratch, order, self._threads, asyncio.get_running_loop()
        )
        self._work = work
        work.thread.start()
        await work.begun.wait()
        if work.refusal:
            raise ConfigError(work.refusal)
        return self._place

    async def tell(self, commands: list[Command]) -> None:
        """Take commands, in order."""
        if self._work is not None:
            self._work.tell(commands)

    async def listen(self, linger_s: float) -> Mailbag:
        """Return what there is to say, or nothing after a while: both show that the node is there.

        Between two messages are ``linger_s`` seconds, in which news gather: of many nodes, each
        says less often.
        """
        work = self._work
        if work is None:
            return Mailbag()
        return await work.listen(linger_s)

    async def tails(self, known: dict[str, int]) -> list[Tail]:
        """Return what the workers' logs hold beyond the bytes that are known, at most their ends."""
        return await asyncio.to_thread(read_tails, self._scratch / "logs" / "user", known)

    async def written(self) -> list[tuple[str, int]]:
        """Return the files that the script has written here, where nobody else sees them.

        Each is its path below the script's output folder, and its size in bytes.
        """
        return await asyncio.to_thread(files_below, self._scratch / "output")

    async def read_written(self, name: str, offset: int, size_bytes: int) -> bytes:
        """Return a piece of one of those files."""

        def read() -> bytes:
            with open(self._scratch / "output" / name, "rb") as file:
                return os.pread(file.fileno(), size_bytes, offset)

        return await asyncio.to_thread(read)

    async def halt(self) -> None:
        """End the workers at once."""
        if self._work is not None:
            self._work.halt()

    def __del__(self) -> None:
        # Dask forgets an actor when its client is gone: the driver has ended, in whatever way.
        if self._work is not None:
            self._work.halt()
        else:
            shutil.rmtree(self._scratch, ignore_errors=True)


class _NodeThread:
    """The thread that owns the worker processes: they end when the thread that spawned them does."""

    def __init__(
        self,
        name: str,
        scratch: Path,
        order: NodeSpec,
        threads: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._name = name
        self._scratch = scratch
        self._order = order
        self._threads = threads
        self._loop = loop
        self._outbox = Outbox()
        self._commands: deque[Command] = deque()
        self._bell = asyncio.Event()
        self._emptied = threading.Event()
        self._halted = threading.Event()
        self._heard_at = time.monotonic()
        self._said_at = 0.0
        self._leaving = False
        self._pool: LocalPool | None = None
        self.begun = asyncio.Event()
        self.refusal = ""
        self._crash: tuple[str, str] | None = None
        self.thread = threading.Thread(target=self._run, name=f"node-{name}", daemon=True)

    # From the actor, in the Dask worker's event loop

    def tell(self, commands: list[Command]) -> None:
        self._commands.extend(commands)
        self._wake()

    async def listen(self, linger_s: float) -> Mailbag:
        """Return what there is to say; see `DaskNode.listen`.

        Raises
        ------
        NodeCrash
            The node's thread has ended by an error.
        """
        if self._crash is not None:
            raise NodeCrash(*self._crash)
        if self._pool is not None:
            if 0 < self._pool.mean_run_s < SHORT_S:
                linger_s = max(linger_s, _SHORT_LINGER_S)
            self._pool.set_latency(_WAY_S + 2 * linger_s)
        self._heard_at = time.monotonic()
        self._bell.clear()
        if not self._outbox.has_news:
            try:
                await asyncio.wait_for(self._bell.wait(), HEARTBEAT_S)
            except asyncio.TimeoutError:
                pass
        until = self._said_at + linger_s
        while (early_s := until - time.monotonic()) > 0 and not self._is_needed_now():
            self._bell.clear()  # it rings with all news
            try:
                await asyncio.wait_for(self._bell.wait(), early_s)
            except asyncio.TimeoutError:
                break
        self._heard_at = self._said_at = time.monotonic()
        news = self._outbox.take()
        self._emptied.set()
        return news

    def _is_needed_now(self) -> bool:
        """Say whether what there is to say fills a message, or workers wait for the answer."""
        return self._outbox.is_urgent or self._pool is None or self._pool.is_idle

    def halt(self) -> None:
        self._halted.set()
        self._wake()

    def _wake(self) -> None:
        pool = self._pool
        if pool is not None:
            try:
                pool.wake()
            except OSError:
                pass  # it is closed: the node is over

    # The thread

    def _run(self) -> None:
        try:
            self._pool = self._make_pool()
        except (OSError, tarfile.TarError, ParallelRunError) as error:
            self.refusal = str(error)
        except Exception as error:  # the thread's top: the driver is told
            self._note_crash(error)
        finally:
            self._call_loop(self.begun.set)
        if self._pool is not None:
            try:
                self._drive(self._pool)
            except Exception as error:  # the thread's top: the driver is told
                self._note_crash(error)
            self._halted.wait(_LOGS_KEPT_S)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _note_crash(self, error: Exception) -> None:
        """Let the next call of the driver fail with an error that nobody expected."""
        _, name, said, trace = crash_message(error)
        self._crash = (f"{name}: {said}", trace)
        self._call_loop(self._bell.set)

    def _drive(self, pool: LocalPool) -> None:
        over = False
        try:
            while not (over or self._halted.is_set()):
                if time.monotonic() - self._heard_at > NODE_LEASE_S:
                    break
                while self._commands:
                    self._do(pool, self._commands.popleft())
                if self._outbox.is_full:
                    self._emptied.clear()
                    self._emptied.wait(0.05)
                    found = pool.step()
                else:
                    found = pool.wait(_TURN_S)
                if self._leaving and pool.is_idle:
                    self._leaving = False
                    pool.stop(drain=True)
                over = any(isinstance(signal, NodeStopped) for signal in found)
                self._say(found)
        finally:
            self._pool = None
            pool.close()

    def _do(self, pool: LocalPool, command: Command) -> None:
        match command:
            case ("assign", first, attempt, lines):
                pool.assign(self._name, first, attempt, lines)
            case ("put", first, pieces):
                pool.put(self._name, first, pieces)
            case ("stop", drain):
                pool.stop(drain=drain)
            case ("pause",):
                self._say(pool.pause())
            case ("unpause",):
                self._say(pool.unpause())
            case ("leave",):
                self._say(pool.pause())
                self._leaving = True

    def _say(self, found: list[Any]) -> None:
        if found:
            self._outbox.put(found)
            self._call_loop(self._bell.set)

    def _call_loop(self, function: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            pass  # the Dask worker's loop is closed: it is ending, and so are we

    def _make_pool(self) -> LocalPool:
        folder = RunFolder(self._scratch)
        for place in (folder.script, folder.output, folder.user_logs):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
        snapshot = self._scratch / _SNAPSHOT
        with tarfile.open(snapshot) as archive:
            archive.extractall(self._scratch, filter="data")
        snapshot.unlink()
        order = self._order
        record = RunRecord.from_json(order.record, "the order of a node")
        environ = {**_own_environ(os.environ), **order.environment}
        target = upload_target(record, environ)
        if target is not None:
            target.check()
        here = _record_here(record, order, self._threads, time.time())
        # What opens the output only is not for the script, and is not for staging either.
        hidden = record.secret_variables() - here.secret_variables()
        environ = {name: value for name, value in environ.items() if name not in hidden}
        keep_rows = self._outbox.keep_rows
        return LocalPool(folder, here, keep_rows, environ, names=(self._name,), target=target)


def _record_here(record: RunRecord, order: NodeSpec, threads: int, now: float) -> RunRecord:
    """Return a run's record as it holds on this machine, one node of it."""
    python = sys.executable
    if record.config.get("environment") is not None:
        python = record.python
        if not os.access(python, os.X_OK):
            msg = (
                f"environment names the interpreter {python!r}, which is not on "
                f"{socket.gethostname()}; install it there, or leave environment out."
            )
            raise ConfigError(msg)
    # Where the run's folder is on a file system that this machine sees too, scripts write there, and
    # to an output folder that it sees. Elsewhere they write below the scratch folder, and the driver
    # brings their files: a folder of that name on this machine would be another one.
    shared = RunFolder(Path(order.run_folder))
    output: str | None = shared.script_output(record)
    if not (shared.output.is_dir() and output and os.path.isdir(output)):
        output = None
    return replace(
        record,
        python=python,
        output=output,
        output_storage=None,
        node_count=1,
        process_count_per_node=record.process_count_per_node or threads,
        cores=threads,
        created_at=record.created_at + (now - order.driver_time_s),  # by this machine's clock
    )


def _own_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that Dask's nanny sets for its own single thread."""
    import dask

    caps = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    return {k: v for k, v in environ.items() if k not in caps or v != str(caps[k])}


def files_below(folder: Path) -> list[tuple[str, int]]:
    """Return the path of each file below a folder, relative to it, and its size in bytes."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in found]


def read_tails(folder: Path, known: Mapping[str, int]) -> list[Tail]:
    """Return what is new in the logs of a folder, whole lines, at most the last 64 kB of each."""
    found = []
    room = _TAILS_BYTES
    for path in sorted(folder.glob("*.log"), key=lambda p: -p.stat().st_mtime):
        seen = known.get(path.stem, 0)
        size = path.stat().st_size
        if size <= seen or room <= 0:
            continue
        start = max(seen, size - min(_TAIL_BYTES, room))
        with open(path, "rb") as file:
            text = os.pread(file.fileno(), size - start, start)
        if start > seen:
            cut = text.find(b"\n") + 1
            start, text = start + cut, text[cut:]
        text = text[: text.rfind(b"\n") + 1]
        if text:
            room -= len(text)
            found.append(Tail(path.stem, start, text))
    return found
