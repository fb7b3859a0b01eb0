"""A node on a Dask worker: an actor around the same node code as on this machine.

The actor runs in the Dask worker's process and only carries messages. User code runs in separate worker
processes, as everywhere.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ...engine.output.part_uploader import upload_target
from ...engine.scheduling.limits import NODE_LEASE_S
from ...engine.scheduling.signals import NodeStopped
from ...errors import ConfigError, ParallelRunError
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.child_loop import crash_message
from ...worker.log_limit import KEPT_BYTES
from ..local import LocalPool
from .commands import Command, shifted
from .mailbox import Message, Outbox

HEARTBEAT_S = 2.0
"""A node without signals sends an empty message at least this often."""

_LOGS_KEPT_S = 60.0
_TAIL_BYTES = 64 << 10
_TAILS_BYTES = 1 << 20
_STEP_S = 0.25
_ROUND_TRIP_S = 0.02
"""Round-trip time of a message in seconds, without batching."""

_SHORT_S = 0.003
_SHORT_LINGER_S = 0.03
"""Seconds for which a node batches the signals of mini-batches shorter than `_SHORT_S`: each message costs."""

_SNAPSHOT = "snapshot.tar"


class NodeCrash(RuntimeError):
    """An unexpected error ended a node; the arguments are its one-line text and its traceback."""


class DataFile(NamedTuple):
    """A file with the values of a variable: its name, bytes and time in the driver's run folder."""

    name: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The run, for a node that starts; ``environment`` may contain secrets and stays in memory.

    ``data`` are the files with values of variables that are inputs.
    """

    record: str
    run_folder: str
    environment: Mapping[str, str]
    driver_time_s: float
    data: tuple[DataFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a worker's log: ``text`` from byte ``start`` on."""

    worker: str
    start: int
    text: bytes


class DaskNode:
    """The actor. Its calls never wait for user code; only ``listen`` waits."""

    def __init__(self, name: str) -> None:
        from distributed import get_worker

        self._name = name
        worker = get_worker()
        self._threads = int(worker.state.nthreads)
        self._place = f"{worker.address} on {socket.gethostname()}"
        scratch = tempfile.mkdtemp(prefix=f"parallelrun-{name}-", dir=worker.local_directory)
        self._scratch = Path(scratch)
        self._thread: _NodeThread | None = None

    def load(self, piece: bytes) -> None:
        """Append a piece of the run's archive, which holds the script and the models."""
        with open(self._scratch / _SNAPSHOT, "ab") as file:
            file.write(piece)

    async def sees(self, spec: NodeSpec) -> bool:
        """Return whether this machine has the files of ``spec.data``, and use them if it does."""
        shared = RunFolder(Path(spec.run_folder)).data
        data = RunFolder(self._scratch).data
        if await asyncio.to_thread(_has_files, shared, spec.data):
            data.symlink_to(shared)
            return True
        data.mkdir()
        return False

    async def load_data(self, name: str, piece: bytes) -> None:
        """Append a piece of one of those files.

        Raises
        ------
        ConfigError
            It cannot be written on this machine.
        """
        path = RunFolder(self._scratch).data / name

        def write() -> None:
            with open(path, "ab") as file:
                file.write(piece)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            msg = (
                f"the values of the run's input cannot be written to {path} on "
                f"{socket.gethostname()} ({error.strerror}); give its Dask worker a "
                "--local-directory with more room, or put the run folder where it can be seen."
            )
            raise ConfigError(msg) from error

    async def begin(self, spec: NodeSpec) -> str:
        """Start the workers; return a description of this node's location, for display.

        Raises
        ------
        ConfigError
            The interpreter of the run does not exist on this machine.
        """
        node = _NodeThread(
            self._name, self._scratch, spec, self._threads, asyncio.get_running_loop()
        )
        self._thread = node
        node.thread.start()
        await node.begun.wait()
        if node.refusal:
            raise ConfigError(node.refusal)
        return self._place

    async def execute(self, commands: list[Command]) -> None:
        """Execute commands, in order."""
        if self._thread is not None:
            self._thread.execute(commands)

    async def listen(self, linger_s: float) -> Message:
        """Return the next message, or an empty one after a while to show that the node is alive.

        Messages are at least ``linger_s`` seconds apart, except urgent ones.
        """
        return Message() if self._thread is None else await self._thread.listen(linger_s)

    async def tails(self, fetched_bytes: dict[str, int]) -> list[Tail]:
        """Return the ends of the workers' logs beyond the bytes in ``fetched_bytes``."""
        return await asyncio.to_thread(read_tails, self._scratch / "logs" / "user", fetched_bytes)

    async def written(self) -> list[tuple[str, int]]:
        """Return the files that the script wrote on this machine only.

        Each is a path below the script's output folder, and a size in bytes.
        """
        return await asyncio.to_thread(files_below, self._scratch / "output")

    async def read_written(self, name: str, offset: int, size_bytes: int) -> bytes:
        """Return a piece of a file of ``written``."""

        def read() -> bytes:
            with open(self._scratch / "output" / name, "rb") as file:
                return os.pread(file.fileno(), size_bytes, offset)

        return await asyncio.to_thread(read)

    async def halt(self) -> None:
        """End the workers immediately."""
        if self._thread is not None:
            self._thread.halt()

    def __del__(self) -> None:
        # Dask forgets an actor once its client is gone: the driver has ended.
        if self._thread is not None:
            self._thread.halt()
        else:
            shutil.rmtree(self._scratch, ignore_errors=True)


class _NodeThread:
    """The thread that owns the worker processes: they end when the thread that spawned them does."""

    def __init__(
        self,
        name: str,
        scratch: Path,
        spec: NodeSpec,
        threads: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._name = name
        self._scratch = scratch
        self._spec = spec
        self._threads = threads
        self._loop = loop
        self._outbox = Outbox()
        self._commands: deque[Command] = deque()
        self._has_signals = asyncio.Event()
        self._has_room = threading.Event()
        self._halted = threading.Event()
        self._listened_at = time.monotonic()
        self._sent_at = 0.0
        self._leaving = False
        self._pool: LocalPool | None = None
        self.begun = asyncio.Event()
        self.refusal = ""
        self._crash: tuple[str, str] | None = None
        self.thread = threading.Thread(target=self._run, name=f"node-{name}", daemon=True)

    # From the actor, in the Dask worker's event loop

    def execute(self, commands: list[Command]) -> None:
        self._commands.extend(shifted(commands, time.monotonic() * 1000))
        self._wake()

    async def listen(self, linger_s: float) -> Message:
        """Return the next message; see `DaskNode.listen`.

        Raises
        ------
        NodeCrash
            An unexpected error has ended the node's thread.
        """
        if self._crash is not None:
            raise NodeCrash(*self._crash)
        if self._pool is not None:
            if 0 < self._pool.mean_run_s < _SHORT_S:
                linger_s = max(linger_s, _SHORT_LINGER_S)
            self._pool.set_latency(_ROUND_TRIP_S + 2 * linger_s)
        self._listened_at = time.monotonic()
        self._has_signals.clear()
        if not self._outbox.has_messages:
            try:
                await asyncio.wait_for(self._has_signals.wait(), HEARTBEAT_S)
            except asyncio.TimeoutError:
                pass
        until = self._sent_at + linger_s
        while (early_s := until - time.monotonic()) > 0 and not self._is_urgent():
            self._has_signals.clear()
            try:
                await asyncio.wait_for(self._has_signals.wait(), early_s)
            except asyncio.TimeoutError:
                break
        self._listened_at = self._sent_at = time.monotonic()
        # Before the queue is read: a signal that comes between the two is not in this message.
        is_idle = self._pool is not None and self._pool.is_idle and not self._commands
        message = self._outbox.take()
        self._has_room.set()
        return replace(message, is_idle=is_idle and not self._outbox.has_messages)

    def _is_urgent(self) -> bool:
        """Return whether the queue fills a message, or workers are waiting for the driver."""
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
                pass  # the pool is closed

    # The thread

    def _run(self) -> None:
        try:
            self._pool = self._make_pool()
        except (OSError, tarfile.TarError, ParallelRunError) as error:
            self.refusal = str(error)
        except Exception as error:  # the thread's top: reported to the driver
            self._note_crash(error)
        finally:
            self._call_loop(self.begun.set)
        if self._pool is not None:
            try:
                self._drive(self._pool)
            except Exception as error:  # the thread's top: reported to the driver
                self._note_crash(error)
            self._halted.wait(_LOGS_KEPT_S)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _note_crash(self, error: Exception) -> None:
        """Make the driver's next ``listen`` raise the error."""
        _, name, text, trace = crash_message(error)
        self._crash = (f"{name}: {text}", trace)
        self._call_loop(self._has_signals.set)

    def _drive(self, pool: LocalPool) -> None:
        over = False
        try:
            while not (over or self._halted.is_set()):
                if time.monotonic() - self._listened_at > NODE_LEASE_S:
                    break
                while self._commands:
                    self._execute(pool, self._commands.popleft())
                if self._outbox.is_full:
                    self._has_room.clear()
                    self._has_room.wait(0.05)
                    signals = pool.step()
                else:
                    signals = pool.wait(_STEP_S)
                if self._leaving and pool.is_idle:
                    self._leaving = False
                    pool.stop(drain=True)
                over = any(isinstance(signal, NodeStopped) for signal in signals)
                self._send(signals)
        finally:
            self._pool = None
            pool.close()

    def _execute(self, pool: LocalPool, command: Command) -> None:
        match command:
            case ("assign", first, attempt, lines, start_ms, every_ms):
                after_ms = start_ms - time.monotonic() * 1000 if every_ms else 0.0
                times = {"after_ms": after_ms, "every_ms": every_ms}
                pool.assign(self._name, first, attempt, lines, **times)
            case ("put", first, pieces):
                pool.upload_part(self._name, first, pieces)
            case ("stop", drain):
                pool.stop(drain=drain)
            case ("pause",):
                pool.pause()
            case ("unpause",):
                pool.unpause()
            case ("leave",):
                pool.pause()
                self._leaving = True

    def _send(self, signals: list[Any]) -> None:
        if signals:
            self._outbox.put(signals)
            self._call_loop(self._has_signals.set)

    def _call_loop(self, function: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            pass  # the Dask worker's loop is closed: it is ending, and so is this node

    def _make_pool(self) -> LocalPool:
        folder = RunFolder(self._scratch)
        for path in (folder.script, folder.output, folder.user_logs):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        snapshot = self._scratch / _SNAPSHOT
        with tarfile.open(snapshot) as archive:
            archive.extractall(self._scratch, filter="data")
        snapshot.unlink()
        spec = self._spec
        record = RunRecord.from_json(spec.record, "the specification of a node")
        environ = {**_own_environ(os.environ), **spec.environment}
        target = upload_target(record, environ)
        if target is not None:
            target.check()
        here = _record_here(record, spec, self._threads, time.time())
        # Credentials of the output alone are hidden from the script and from staging.
        hidden = record.secret_variables() - here.secret_variables()
        environ = {name: value for name, value in environ.items() if name not in hidden}
        keep_rows = self._outbox.keep_rows
        return LocalPool(folder, here, keep_rows, environ, names=(self._name,), target=target)


def _record_here(record: RunRecord, spec: NodeSpec, threads: int, now: float) -> RunRecord:
    """Return the run's record for this machine, with one node."""
    python = sys.executable
    if record.script.is_python_named:
        python = record.script.python
        if not os.access(python, os.X_OK):
            msg = (
                f"environment names the interpreter {python!r}, which is not on "
                f"{socket.gethostname()}; install it there, or leave environment out."
            )
            raise ConfigError(msg)
    # If the run folder is on a shared file system, scripts write to the output folder directly.
    # Otherwise they write below the scratch folder, and the driver fetches their files: a folder of
    # the same name on this machine would be another one.
    shared = RunFolder(Path(spec.run_folder))
    output: str | None = shared.script_output(record)
    if not (shared.output.is_dir() and output and os.path.isdir(output)):
        output = None
    return replace(
        record,
        script=replace(record.script, python=python),
        output=replace(record.output, destination=output, storage=None),
        placement=replace(
            record.placement,
            node_count=1,
            process_count_per_node=record.placement.process_count_per_node or threads,
            cores=threads,
        ),
        created_at=record.created_at + (now - spec.driver_time_s),  # by this machine's clock
    )


def _has_files(folder: Path, files: Sequence[DataFile]) -> bool:
    """Return whether a folder has files of the same names, sizes and times."""
    try:
        statuses = [os.stat(folder / file.name) for file in files]
    except OSError:
        return False
    return all(
        (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.mtime_ns)
        for status, file in zip(statuses, files, strict=True)
    )


def _own_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without the thread limits set by Dask's nanny."""
    import dask

    caps = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    return {k: v for k, v in environ.items() if k not in caps or v != str(caps[k])}


def files_below(folder: Path) -> list[tuple[str, int]]:
    """Return the path of each file below a folder, relative to it, and its size in bytes."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths]


def read_tails(folder: Path, fetched_bytes: Mapping[str, int]) -> list[Tail]:
    """Return the new whole lines of the logs of a folder, at most the last 64 kB of each."""
    tails = []
    room = _TAILS_BYTES
    for path in sorted(folder.glob("*.log"), key=lambda p: -p.stat().st_mtime):
        seen = fetched_bytes.get(path.stem, 0)
        size = path.stat().st_size
        if size < seen:
            seen = KEPT_BYTES  # its middle was left out
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
            tails.append(Tail(path.stem, start, text))
    return tails
