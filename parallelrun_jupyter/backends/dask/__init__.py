"""A Dask cluster: one node on each Dask worker, driven by direct calls to an actor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import tarfile
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ...config.dask_compute import TLS_VARIABLE, DaskCompute, require_dask
from ...engine.node.fork_server import ForkServerCache
from ...engine.scheduling import signals
from ...engine.scheduling.actions import Piece
from ...engine.scheduling.signals import Signal
from ...runs.logs import remote_logs
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.child_loop import traceback_text
from .cluster import Cluster
from .commands import Command
from .mailbox import Inbox, Message
from .membership import ClusterLimits, Membership
from .node import DataFile, NodeSpec
from .node_client import NodeClient

_CLOSE_S = 30.0
_ARCHIVED = ("script", "models", "uses")
"""Subfolders of the run folder that are sent to every node, once."""


@dataclass(slots=True)
class _Delivery:
    """A message from a node; ``accepted`` is set once the driver has stored its rows."""

    node: str
    message: Message
    accepted: asyncio.Event


class DaskPool:
    """The nodes of a run on a Dask cluster.

    A thread with its own event loop owns the connection; the driver's loop never waits for it. The
    next message from a node is requested once the driver has accepted the last one, so that rows
    never pile up. The methods of `NodeEvents` run in that thread.
    """

    nodes: tuple[str, ...] = ()
    """Empty: nodes join later."""

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        keep_rows: Callable[[bytes], tuple[int, int]],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        require_dask()
        self._folder = folder
        self._record = record
        self._keep_rows = keep_rows
        # Nodes read from object stores. The driver writes the output, unless nodes upload parts.
        output = record.output if record.output.in_parts else replace(record.output, storage=None)
        staged = replace(record, output=output)
        names = {*record.script.environment_variables, *staged.secret_variables()}
        self._environment = {name: environ[name] for name in names if name in environ}
        compute = DaskCompute.of_spec(record.placement.compute)
        texts = json.loads(environ.get(TLS_VARIABLE, "{}"))
        self._cluster = Cluster(
            compute, record.placement.node_count, {**compute.tls, **texts}, environ
        )
        self._limits = ClusterLimits(
            folder.run_id,
            record.placement.node_count,
            max(1, record.placement.process_count_per_node),
            compute.scheduler_timeout_s,
        )
        self._inboxes: dict[str, Inbox] = {}
        self._inbound: deque[_Delivery | Signal] = deque()
        #: calls that must run in the driver's thread
        self._main_thread_calls: deque[Callable[[], None]] = deque()
        self._wakes = threading.Event()
        self._outbound: dict[str, list[Command]] = {}
        self._snapshot = _pack(folder)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._membership: Membership | None = None
        self._closing: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._background: set[asyncio.Task[None]] = set()
        remote_logs.mark_remote(folder)

    # The driver's thread

    def assign(
        self,
        node: str,
        first: int,
        attempt: int,
        lines: list[bytes],
        *,
        after_ms: float = 0.0,
        every_ms: float = 0.0,
    ) -> None:
        """Assign mini-batches from ``first`` on to a node; they are sent by the next ``wait``."""
        start_ms = time.monotonic() * 1000 + after_ms
        command = ("assign", first, attempt, lines, start_ms, every_ms)
        self._outbound.setdefault(node, []).append(command)

    def upload_part(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Upload a part of the output from a node; the command is sent by the next ``wait``."""
        self._outbound.setdefault(node, []).append(("put", first, pieces))

    def pause(self) -> None:
        """Pause all nodes: they finish running mini-batches and return the others."""
        self._flush()
        self._call(lambda membership: membership.pause())

    def stop(self, *, drain: bool) -> None:
        """End the workers of all nodes."""
        self._flush()
        self._call(lambda membership: membership.stop(drain=drain))

    def wait(self, timeout_s: float) -> list[Signal]:
        """Return pending signals, waiting up to ``timeout_s`` for the first."""
        if self._thread is None:
            self._start()
        self._flush()
        if not self._inbound:
            self._wakes.wait(timeout_s)
        self._wakes.clear()
        while self._main_thread_calls:
            self._main_thread_calls.popleft()()
        arrived: list[Signal] = []
        while self._inbound:
            item = self._inbound.popleft()
            if isinstance(item, _Delivery):
                inbox = self._inboxes.setdefault(item.node, Inbox(self._keep_rows))
                arrived += inbox.signals_of(item.message)
                # An asyncio.Event may be set by its own loop only.
                self._call_loop(item.accepted.set)
            else:
                if isinstance(item, signals.NodeGone):
                    self._inboxes.pop(item.node, None)
                arrived.append(item)
        return arrived

    def wake(self) -> None:
        """Make a blocked ``wait`` return."""
        self._wakes.set()

    def set_mini_batches_left(self, count: int) -> None:
        """Set the number of mini-batches left, from which an adaptive cluster derives its size."""
        if self._membership is not None:
            self._membership.mini_batches_left = count

    def fetch_logs(self) -> None:
        """Start fetching the new ends of the nodes' logs."""
        self._call(self._start_fetching_logs)

    def close(self) -> None:
        """End all nodes, disconnect, and close a cluster that the run created."""
        if self._thread is not None:
            if self._closing is not None:
                self._call_loop(self._closing.set)
            self._thread.join(_CLOSE_S)
        os.close(self._snapshot)

    def _start(self) -> None:
        """Start the thread; the driver must have forked its planner before."""
        self._cluster.prepare(self._on_main_thread)
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(ready)), name="dask-membership", daemon=True
        )
        self._thread.start()
        ready.wait()

    def _flush(self) -> None:
        outbound, self._outbound = self._outbound, {}
        if self._membership is not None:
            for node, commands in outbound.items():
                self._call_loop(partial(self._membership.send, node, commands))

    def _call(self, function: Callable[[Membership], None]) -> None:
        membership = self._membership
        if membership is not None:
            self._call_loop(lambda: function(membership))

    def _call_loop(self, function: Callable[[], Any]) -> None:
        if self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(function)
            except RuntimeError:
                pass  # the loop is closed

    # The loop's thread

    async def _run(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        closing = self._closing = asyncio.Event()
        membership = self._membership = Membership(
            self._cluster,
            self._limits,
            snapshot=self._snapshot,
            events=self,
        )
        ready.set()
        following = asyncio.create_task(membership.run())
        ending = asyncio.create_task(closing.wait())
        await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
        error = following.exception() if following.done() else None
        if error is not None:
            text = (
                f"the connection to the Dask cluster failed ({error!r}); "
                f"see {self._folder.driver_log}. Resume the run to continue"
            )
            self.post(signals.PoolLost(text, is_resumable=True, traceback=traceback_text(error)))
        await ending
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await membership.close()

    async def _on_main_thread(self, function: Callable[[], Any]) -> Any:
        """Call a function in the driver's thread, during its next ``wait``; return its value."""
        result: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._main_thread_calls.append(partial(_call_into, result, function))
        self._wakes.set()
        return await asyncio.wrap_future(result)

    # NodeEvents

    def node_spec(self) -> NodeSpec:
        """Return the specification of a node that starts now."""
        return NodeSpec(
            self._record.to_json(),
            str(self._folder.path),
            self._environment,
            time.time(),
            _data_files(self._folder, self._record),
        )

    def post(self, signal: Signal) -> None:
        """Queue a signal for the driver."""
        self._inbound.append(signal)
        self._wakes.set()

    async def deliver(self, node: str, message: Message) -> None:
        """Queue a message for the driver; return once it is accepted."""
        if not (message.signals or message.piece):
            return
        accepted = asyncio.Event()
        self._inbound.append(_Delivery(node, message, accepted))
        self._wakes.set()
        await accepted.wait()

    def _start_fetching_logs(self, membership: Membership) -> None:
        async def fetch() -> None:
            await membership.fetch_logs()
            remote_logs.mark_fetched(self._folder)

        task = asyncio.get_running_loop().create_task(fetch())
        self._background.add(task)  # the event loop holds weak references only
        task.add_done_callback(self._background.discard)

    async def store_logs(self, node: NodeClient) -> None:
        """Fetch and store the new ends of the logs of a node's workers."""
        for tail in await node.tails():
            skipped = node.record_tail(tail)
            remote_logs.append(self._folder, tail.worker, tail.text, skipped)

    async def store_written(self, node: NodeClient) -> None:
        """Fetch the files that the script wrote on a machine that cannot access the run folder."""
        target = Path(self._folder.script_output(self._record))
        try:
            await node.fetch_written(target)
        except (OSError, RuntimeError, asyncio.TimeoutError) as error:
            text = f"files that the script wrote on {node.address} could not be fetched: {error!r}"
            self.post(signals.Warned(text))


def _call_into(result: concurrent.futures.Future[Any], function: Callable[[], Any]) -> None:
    """Call a function, and set a future to its value or its exception."""
    try:
        result.set_result(function())
    except Exception as error:  # passed to the caller, which awaits the future
        result.set_exception(error)


def _data_files(folder: RunFolder, record: RunRecord) -> tuple[DataFile, ...]:
    """Return the files with the values of variables that workers read."""
    names = [os.path.basename(s["path"]) for s in record.inputs.datasets if s["kind"] == "memory"]
    files = []
    for name in names:
        status = os.stat(folder.data / name)
        files.append(DataFile(name, status.st_size, status.st_mtime_ns))
    return tuple(files)


def _pack(folder: RunFolder) -> int:
    """Return the descriptor of the archive that is sent to every node."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name in _ARCHIVED:
                if (folder.path / name).is_dir():
                    archive.add(folder.path / name, name)
        file.flush()
        return os.dup(file.fileno())


def make_pool(
    folder: RunFolder,
    record: RunRecord,
    keep_rows: Callable[[bytes], tuple[int, int]],
    fork_servers: ForkServerCache | None = None,  # noqa: ARG001 - a Dask worker adopts no orphans
) -> DaskPool:
    """Return the pool of a run on a Dask cluster."""
    return DaskPool(folder, record, keep_rows)
